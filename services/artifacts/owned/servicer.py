"""OwnedArtifactService over gRPC: decode, one call, encode."""

from collections.abc import AsyncIterator, Iterable

from modelstead.artifacts.v1 import artifacts_pb2
from modelstead.artifacts.v1 import owned_artifacts_pb2 as pb
from services.artifacts import answers, arrivals
from services.artifacts.owned import model
from services.artifacts.owned.service import OwnedArtifacts
from services.artifacts.trees import Entry
from services.common.rpc.call import Call
from services.common.rpc.pipeline import Answer
from services.common.rpc.wire import Bytes

_Download = (
    pb.DownloadRunArtifactRequest | pb.DownloadLoggedModelArtifactRequest | pb.DownloadModelVersionArtifactRequest
)


class OwnedArtifactServicer:
    """Serves the methods of modelstead.artifacts.v1.OwnedArtifactService."""

    def __init__(self, artifacts: OwnedArtifacts) -> None:
        self._artifacts = artifacts

    async def ListRunArtifacts(self, request: pb.ListRunArtifactsRequest, call: Call) -> pb.ListRunArtifactsResponse:
        listing = await self._artifacts.list(model.run(request.run_id), request.path, call.asker)
        return pb.ListRunArtifactsResponse(root_uri=listing.root_uri, files=_file_infos(listing.entries))

    async def ListLoggedModelArtifacts(
        self, request: pb.ListLoggedModelArtifactsRequest, call: Call
    ) -> pb.ListLoggedModelArtifactsResponse:
        owner = model.logged_model(request.model_id)
        listing = await self._artifacts.list(owner, request.artifact_directory_path, call.asker)
        return pb.ListLoggedModelArtifactsResponse(root_uri=listing.root_uri, files=_file_infos(listing.entries))

    async def DownloadRunArtifact(self, request: pb.DownloadRunArtifactRequest, call: Call) -> AsyncIterator[Answer]:
        file, name = await self._artifacts.open(model.run(request.run_id), request.path, call.asker)
        async for message in answers.stream(file, name=name, conditions=_conditions(request)):
            yield message

    async def DownloadLoggedModelArtifact(
        self, request: pb.DownloadLoggedModelArtifactRequest, call: Call
    ) -> AsyncIterator[Answer]:
        file, name = await self._artifacts.open_of_model(request.model_id, request.artifact_file_path, call.asker)
        async for message in answers.stream(file, name=name, conditions=_conditions(request)):
            yield message

    async def DownloadModelVersionArtifact(
        self, request: pb.DownloadModelVersionArtifactRequest, call: Call
    ) -> AsyncIterator[Answer]:
        file, name = await self._artifacts.open_of_version(request.name, request.version, request.path, call.asker)
        async for message in answers.stream(file, name=name, conditions=_conditions(request)):
            yield message

    async def ProbeArtifacts(self, request: pb.ProbeArtifactsRequest, call: Call) -> pb.ProbeArtifactsResponse:
        return pb.ProbeArtifactsResponse(found=await self._artifacts.exist(request.artifact_uri, call.asker))

    async def UploadRunArtifact(
        self, request: pb.UploadRunArtifactRequest, following: AsyncIterator[Bytes], call: Call
    ) -> pb.UploadRunArtifactResponse:
        await self._artifacts.upload(
            request.run_id,
            request.path,
            arrivals.contents(request, following),
            size=arrivals.announced_size(request),
            asker=call.asker,
        )
        return pb.UploadRunArtifactResponse()

    async def CreatePresignedDownloadUrl(
        self, request: pb.CreatePresignedDownloadUrlRequest, call: Call
    ) -> pb.CreatePresignedDownloadUrlResponse:
        signed, size = await self._artifacts.presign_download(
            request.run_id, request.path, expires_s=_expires_s(request), asker=call.asker
        )
        return pb.CreatePresignedDownloadUrlResponse(presigned_url=signed.url, headers=signed.headers, file_size=size)

    async def CreatePresignedUploadUrl(
        self, request: pb.CreatePresignedUploadUrlRequest, call: Call
    ) -> pb.CreatePresignedUploadUrlResponse:
        signed = await self._artifacts.presign_upload(
            request.run_id, request.model_id, request.path, expires_s=_expires_s(request), asker=call.asker
        )
        return pb.CreatePresignedUploadUrlResponse(presigned_url=signed.url, headers=signed.headers)


def _conditions(request: _Download) -> answers.Conditions:
    return answers.Conditions(range=request.range, if_none_match=request.if_none_match, if_range=request.if_range)


def _expires_s(request: pb.CreatePresignedDownloadUrlRequest | pb.CreatePresignedUploadUrlRequest) -> int:
    return request.expiration if request.HasField("expiration") else model.EXPIRES_S_DEFAULT


def _file_infos(entries: Iterable[Entry]) -> list[artifacts_pb2.FileInfo]:
    return [artifacts_pb2.FileInfo(path=entry.name, is_dir=entry.is_dir, file_size=entry.size) for entry in entries]
