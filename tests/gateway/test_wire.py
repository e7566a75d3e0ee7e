"""Wire forms made by hand are what protobuf makes and reads."""

from google.api import httpbody_pb2
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from modelstead.artifacts.v1 import artifacts_pb2
from services.common.rpc import wire

FIELD = artifacts_pb2.UploadArtifactRequest.CONTENT_FIELD_NUMBER
Parts = list[bytes]


@given(st.lists(st.binary(max_size=300)))
def test_a_piece_is_read_as_the_field(parts: Parts) -> None:
    message = artifacts_pb2.UploadArtifactRequest.FromString(wire.piece(FIELD, parts))

    assert message.content == httpbody_pb2.HttpBody(data=b"".join(parts))


@given(st.lists(st.binary(max_size=300)), st.text(max_size=20))
def test_a_piece_adds_to_a_message_before_it(parts: Parts, path: str) -> None:
    first = artifacts_pb2.UploadArtifactRequest(path=path)
    first.content.content_type = "a/b"

    message = artifacts_pb2.UploadArtifactRequest.FromString(first.SerializeToString() + wire.piece(FIELD, parts))

    assert (message.path, message.content.content_type) == (path, "a/b")
    assert message.content.data == b"".join(parts)


@given(st.binary(max_size=300), st.text(max_size=5))
def test_data_is_read_from_any_body(data: bytes, content_type: str) -> None:
    body = httpbody_pb2.HttpBody(data=data, content_type=content_type)

    assert bytes(wire.data(body.SerializeToString())) == data


@given(st.binary(max_size=40) | st.binary(max_size=40).map(b"\x12".__add__))
def test_data_of_anything_is_what_protobuf_reads(message: bytes) -> None:
    assert outcome(message) == expected(message)


def outcome(message: bytes) -> bytes | None:
    try:
        return bytes(wire.data(message))
    except DecodeError:
        return None


def expected(message: bytes) -> bytes | None:
    try:
        body = httpbody_pb2.HttpBody.FromString(message)
    except DecodeError:
        return None
    return bytes(body.data)


def test_large_data_is_not_copied() -> None:
    message = httpbody_pb2.HttpBody(data=bytes(1024 * 1024)).SerializeToString()

    data = wire.data(message)

    assert isinstance(data, memoryview)
    assert data.obj is message


@given(st.binary(max_size=300))
def test_a_body_has_only_data(data: bytes) -> None:
    assert httpbody_pb2.HttpBody.FromString(wire.body(data)) == httpbody_pb2.HttpBody(data=data)


@given(st.lists(st.binary(max_size=300)))
def test_the_contents_of_a_piece_are_read(parts: Parts) -> None:
    found = wire.contents(wire.piece(FIELD, parts), FIELD)

    assert found is not None
    assert bytes(found) == b"".join(parts)


@given(st.binary(max_size=60) | st.binary(max_size=40).map(wire.piece(FIELD, [b""])[:1].__add__))
def test_what_is_not_read_as_a_piece_is_none_or_read_by_protobuf_likewise(message: bytes) -> None:
    found = wire.contents(message, FIELD)

    if found is not None:
        assert artifacts_pb2.UploadArtifactRequest.FromString(message).content.data == bytes(found)
