"""Calls of the artifact service as tests make them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from modelstead import http_pb2
from modelstead.artifacts.v1 import artifacts_pb2 as pb
from tests.artifacts import ArtifactService

CHUNK = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A download: what the gateway makes status and headers of, and the contents."""

    status: int
    content_type: str
    headers: dict[str, str]
    contents: bytes


def messages(path: str, contents: bytes, **fields: Any) -> Iterator[pb.UploadArtifactRequest]:
    """The messages of an upload; where no size is announced the last one marks the end."""
    yield pb.UploadArtifactRequest(path=path, **fields)
    for start in range(0, len(contents), CHUNK):
        yield pb.UploadArtifactRequest(content={"data": contents[start : start + CHUNK]})
    if "size" not in fields:
        yield pb.UploadArtifactRequest()


def upload(service: ArtifactService, path: str, contents: bytes, **fields: Any) -> None:
    service.artifacts.UploadArtifact(messages(path, contents, size=len(contents), **fields))


def download(service: ArtifactService, path: str, **conditions: str) -> Answer:
    received = list(service.artifacts.DownloadArtifact(pb.DownloadArtifactRequest(path=path, **conditions)))
    head = http_pb2.HttpHead()
    assert received[0].extensions[0].Unpack(head)
    assert not any(message.extensions for message in received[1:])
    assert all(len(message.data) <= CHUNK for message in received)
    return Answer(
        status=head.status,
        content_type=received[0].content_type,
        headers=dict(head.headers),
        contents=b"".join(message.data for message in received),
    )


def refusal(call: Any, *arguments: Any, **options: Any) -> tuple[str, str]:
    """Make a call that must fail; return its reason and its text."""
    with pytest.raises(grpc.RpcError) as caught:
        _exhaust(call(*arguments, **options))
    error: Any = caught.value
    status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, status.message


def _exhaust(answer: Any) -> None:
    if hasattr(answer, "__next__"):
        for _ in answer:
            pass
