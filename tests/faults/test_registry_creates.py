"""What was created while the answer was lost is not created again by who asks again (R24)."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from modelstead.registry.v1 import comments_pb2 as comments
from modelstead.registry.v1 import comments_pb2_grpc as comments_grpc
from modelstead.registry.v1 import model_versions_pb2 as versions
from modelstead.registry.v1 import model_versions_pb2_grpc as versions_grpc
from modelstead.registry.v1 import registered_models_pb2 as models
from modelstead.registry.v1 import registered_models_pb2_grpc as models_grpc
from services.local import waiting
from tests.faults.proxy import Proxy
from tests.stack import Stack

_TIMEOUT_S = 60.0


class Client:
    """Stubs of the registry over one connection."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.models: Any = models_grpc.RegisteredModelServiceStub(channel)
        self.versions: Any = versions_grpc.ModelVersionServiceStub(channel)
        self.comments: Any = comments_grpc.CommentServiceStub(channel)

    def new_model(self) -> str:
        name = uuid.uuid4().hex
        self.models.CreateRegisteredModel(models.CreateRegisteredModelRequest(name=name), timeout=_TIMEOUT_S)
        return name

    def new_version(self) -> str:
        name = self.new_model()
        self.versions.CreateModelVersion(
            versions.CreateModelVersionRequest(name=name, source="s3://bucket/m"), timeout=_TIMEOUT_S
        )
        return name

    def version_numbers(self, name: str) -> list[str]:
        request = versions.SearchModelVersionsRequest(filter=f"name = '{name}'", order_by=["version_number"])
        answer = self.versions.SearchModelVersions(request, timeout=_TIMEOUT_S)
        return [version.version for version in answer.model_versions]

    def comment_count(self, name: str) -> int:
        request = comments.ListCommentsRequest(name=name, version="1")
        return len(self.comments.ListComments(request, timeout=_TIMEOUT_S).comments)

    def model_count(self, name: str) -> int:
        request = models.SearchRegisteredModelsRequest(filter=f"name = '{name}'")
        return len(self.models.SearchRegisteredModels(request, timeout=_TIMEOUT_S).registered_models)


@dataclass(frozen=True)
class Creation:
    """How something is created under a key, how often it is there, and what another request under the key changes."""

    prepare: Callable[[Client], str]
    call: Callable[[Client], Any]
    request: Callable[[str, str], Any]
    count: Callable[[Client, str], int]
    field: str


CREATIONS = {
    "model": Creation(
        prepare=lambda _: uuid.uuid4().hex,
        call=lambda client: client.models.CreateRegisteredModel,
        request=lambda name, key: models.CreateRegisteredModelRequest(name=name, request_id=key),
        count=Client.model_count,
        field="description",
    ),
    "version": Creation(
        prepare=Client.new_model,
        call=lambda client: client.versions.CreateModelVersion,
        request=lambda name, key: versions.CreateModelVersionRequest(name=name, source="s3://b/m", request_id=key),
        count=lambda client, name: len(client.version_numbers(name)),
        field="source",
    ),
    "comment": Creation(
        prepare=Client.new_version,
        call=lambda client: client.comments.CreateComment,
        request=lambda name, key: comments.CreateCommentRequest(name=name, version="1", comment="x", request_id=key),
        count=Client.comment_count,
        field="comment",
    ),
}


@pytest.fixture
def direct(stack: Stack) -> Iterator[Client]:
    with grpc.insecure_channel(stack.registry_address) as channel:
        yield Client(channel)


@pytest.mark.parametrize("creation", CREATIONS.values(), ids=CREATIONS)
def test_a_create_whose_answer_was_lost_happens_once(stack: Stack, direct: Client, creation: Creation) -> None:
    name, key = creation.prepare(direct), uuid.uuid4().hex
    request = creation.request(name, key)
    with Proxy(stack.registry_address) as proxy, grpc.insecure_channel(proxy.address) as channel:
        client = Client(channel)
        client.model_count(name)
        proxy.is_deaf.set()
        call = creation.call(client).future(request, timeout=_TIMEOUT_S)
        # Only now: a caller who leaves before takes what he asked for with him.
        assert waiting.until(lambda: creation.count(direct, name) == 1, timeout_s=_TIMEOUT_S)
        assert not call.done()
        proxy.cut()
        with pytest.raises(grpc.RpcError) as lost:
            call.result()

    again = creation.call(direct)(request, timeout=_TIMEOUT_S)

    assert lost.value.code() is grpc.StatusCode.UNAVAILABLE
    assert again == creation.call(direct)(request, timeout=_TIMEOUT_S)
    assert creation.count(direct, name) == 1


@pytest.mark.parametrize("creation", CREATIONS.values(), ids=CREATIONS)
def test_another_request_under_the_key_is_refused(direct: Client, creation: Creation) -> None:
    name, key = creation.prepare(direct), uuid.uuid4().hex
    creation.call(direct)(creation.request(name, key), timeout=_TIMEOUT_S)
    other = creation.request(name, key)
    setattr(other, creation.field, "s3://b/other")

    with pytest.raises(grpc.RpcError) as refused:
        creation.call(direct)(other, timeout=_TIMEOUT_S)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert creation.count(direct, name) == 1
