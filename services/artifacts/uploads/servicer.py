"""UploadService over gRPC: decode, one call, encode."""

import re

from modelstead.artifacts.v1 import uploads_pb2 as pb
from services.artifacts import paths
from services.artifacts.files.model import DEFAULT_WORKSPACE
from services.artifacts.trees import Segments
from services.artifacts.uploads.service import Uploads
from services.common.codec import encode
from services.common.rpc.call import Call

_SEPARATORS = re.compile(r"[/\\]")


class UploadServicer:
    """Serves the methods of modelstead.artifacts.v1.UploadService."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    async def CreateMultipartUpload(
        self, request: pb.CreateMultipartUploadRequest, call: Call
    ) -> pb.CreateMultipartUploadResponse:
        upload, targets = await self._uploads.create_multipart(
            DEFAULT_WORKSPACE,
            _target(request.artifact_path, request.path),
            part_count=request.num_parts if request.HasField("num_parts") else 1,
        )
        credentials = [encode(pb.PartCredential, target) for target in targets]
        return pb.CreateMultipartUploadResponse(upload_id=upload.upload_id, credentials=credentials)

    async def PresignParts(self, request: pb.PresignPartsRequest, call: Call) -> pb.PresignPartsResponse:
        targets = await self._uploads.presign_parts(DEFAULT_WORKSPACE, request.upload_id, request.part_numbers)
        return pb.PresignPartsResponse(credentials=[encode(pb.PartCredential, target) for target in targets])

    async def CompleteMultipartUpload(
        self, request: pb.CompleteMultipartUploadRequest, call: Call
    ) -> pb.CompleteMultipartUploadResponse:
        await self._uploads.complete_multipart(
            DEFAULT_WORKSPACE,
            _target(request.artifact_path, request.path),
            request.upload_id,
            [(part.part_number, part.etag) for part in request.parts],
        )
        return pb.CompleteMultipartUploadResponse()

    async def AbortMultipartUpload(
        self, request: pb.AbortMultipartUploadRequest, call: Call
    ) -> pb.AbortMultipartUploadResponse:
        path = _target(request.artifact_path, request.path)
        await self._uploads.abort_multipart(DEFAULT_WORKSPACE, path, request.upload_id)
        return pb.AbortMultipartUploadResponse()

    async def CreatePresignedUpload(
        self, request: pb.CreatePresignedUploadRequest, call: Call
    ) -> pb.CreatePresignedUploadResponse:
        path = paths.parse_file(request.path)
        upload, target = await self._uploads.create(DEFAULT_WORKSPACE, path, size=request.size)
        return pb.CreatePresignedUploadResponse(upload_id=upload.upload_id, url=target.url)

    async def CompletePresignedUpload(
        self, request: pb.CompletePresignedUploadRequest, call: Call
    ) -> pb.CompletePresignedUploadResponse:
        await self._uploads.complete(DEFAULT_WORKSPACE, request.upload_id)
        return pb.CompletePresignedUploadResponse()


def _target(folder: str, local_path: str) -> Segments:
    """Return where a file goes: into the folder, under the name that it has where it comes from."""
    name = _SEPARATORS.split(local_path)[-1]
    return paths.parse_file(f"{folder.removesuffix('/')}/{name}")
