"""ArtifactService over gRPC: decode, one call, encode."""

from collections.abc import AsyncIterator

from google.protobuf import timestamp_pb2

from modelstead.artifacts.v1 import artifacts_pb2 as pb
from services.artifacts import answers, arrivals, paths
from services.artifacts.files.model import DEFAULT_WORKSPACE, Artifact
from services.artifacts.files.service import Files
from services.artifacts.trees import Entry
from services.common.rpc.call import Call
from services.common.rpc.pipeline import Answer
from services.common.rpc.wire import Bytes


class ArtifactServicer:
    """Serves the methods of modelstead.artifacts.v1.ArtifactService."""

    def __init__(self, files: Files) -> None:
        self._files = files

    async def ListArtifacts(self, request: pb.ListArtifactsRequest, call: Call) -> pb.ListArtifactsResponse:
        entries, next_page_token = await self._files.list(
            DEFAULT_WORKSPACE,
            paths.parse(request.path),
            max_results=request.max_results if request.HasField("max_results") else None,
            page_token=request.page_token,
        )
        return pb.ListArtifactsResponse(files=map(_file_info, entries), next_page_token=next_page_token)

    async def GetArtifact(self, request: pb.GetArtifactRequest, call: Call) -> pb.GetArtifactResponse:
        artifact = await self._files.get(DEFAULT_WORKSPACE, paths.parse_file(request.path))
        return pb.GetArtifactResponse(artifact=_artifact(artifact))

    async def UploadArtifact(
        self, request: pb.UploadArtifactRequest, following: AsyncIterator[Bytes], call: Call
    ) -> pb.UploadArtifactResponse:
        await self._files.upload(
            DEFAULT_WORKSPACE,
            paths.parse_file(request.path),
            arrivals.contents(request, following),
            size=arrivals.announced_size(request),
            sha256=request.sha256,
        )
        return pb.UploadArtifactResponse()

    async def LinkArtifact(self, request: pb.LinkArtifactRequest, call: Call) -> pb.LinkArtifactResponse:
        path = paths.parse_file(request.path)
        linked = await self._files.link(DEFAULT_WORKSPACE, path, sha256=request.sha256, size=request.size)
        return pb.LinkArtifactResponse(linked=linked)

    async def DownloadArtifact(self, request: pb.DownloadArtifactRequest, call: Call) -> AsyncIterator[Answer]:
        path = paths.parse_file(request.path)
        conditions = answers.Conditions(
            range=request.range, if_none_match=request.if_none_match, if_range=request.if_range
        )
        async for message in answers.stream(
            await self._files.open(DEFAULT_WORKSPACE, path), name=path[-1], conditions=conditions
        ):
            yield message

    async def DeleteArtifact(self, request: pb.DeleteArtifactRequest, call: Call) -> pb.DeleteArtifactResponse:
        await self._files.delete(DEFAULT_WORKSPACE, paths.parse_file(request.path))
        return pb.DeleteArtifactResponse()

    async def CopyArtifact(self, request: pb.CopyArtifactRequest, call: Call) -> pb.CopyArtifactResponse:
        count = await self._files.copy(
            DEFAULT_WORKSPACE, paths.parse_file(request.source_path), paths.parse_file(request.destination_path)
        )
        return pb.CopyArtifactResponse(file_count=count)

    async def GetPresignedDownloadUrl(
        self, request: pb.GetPresignedDownloadUrlRequest, call: Call
    ) -> pb.GetPresignedDownloadUrlResponse:
        path = paths.parse_file(request.path)
        url, size = await self._files.presign(
            DEFAULT_WORKSPACE,
            path,
            content_type=answers.content_type(path[-1]),
            disposition=answers.disposition(path[-1]),
        )
        return pb.GetPresignedDownloadUrlResponse(url=url, file_size=size)


def _file_info(entry: Entry) -> pb.FileInfo:
    return pb.FileInfo(path=entry.name, is_dir=entry.is_dir, file_size=entry.size)


def _artifact(artifact: Artifact) -> pb.Artifact:
    create_time = timestamp_pb2.Timestamp()
    create_time.FromDatetime(artifact.create_time)
    return pb.Artifact(path=artifact.path, size=artifact.size, sha256=artifact.sha256, create_time=create_time)
