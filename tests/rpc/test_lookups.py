"""Lookups over gRPC on the real platform: watches tell what models stand at, resume anywhere and miss nothing."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import psycopg
import pytest

from modelstead.registry.v1 import (
    lookups_pb2 as pb,
)
from modelstead.registry.v1 import (
    lookups_pb2_grpc,
    model_versions_pb2,
    model_versions_pb2_grpc,
    registered_models_pb2,
    registered_models_pb2_grpc,
)
from services.common.notifications import APPLICATION_NAME
from tests.stack import Stack
from tests.watching import TIMEOUT_S, Watching


class Watch(Watching[pb.WatchModelsResponse]):
    """What a watch of models tells."""

    def __init__(self, stub: Any, names: list[str], resume_token: str = "") -> None:
        request = pb.WatchModelsRequest(names=names, resume_token=resume_token)
        super().__init__(stub.WatchModels(request), resume_token=resume_token)

    def next(self, timeout_s: float = TIMEOUT_S) -> pb.ModelState:
        """Return the state that is told next."""
        while True:
            message = self.take(timeout_s)
            if message.HasField("model"):
                return message.model

    def until(self, met: Callable[[pb.ModelState], bool]) -> list[pb.ModelState]:
        """Return what is told until a state is as wanted, that one included."""
        told = [self.next()]
        while not met(told[-1]):
            told.append(self.next())
        return told


@dataclass(frozen=True)
class Client:
    stack: Stack
    models: Any
    versions: Any
    lookups: Any

    def new_model(self, *, versions: int = 2) -> str:
        name = uuid.uuid4().hex
        self.models.CreateRegisteredModel(registered_models_pb2.CreateRegisteredModelRequest(name=name))
        for _ in range(versions):
            self.versions.CreateModelVersion(
                model_versions_pb2.CreateModelVersionRequest(name=name, source="s3://bucket/model")
            )
        self.flip(name, "1")
        return name

    def flip(self, name: str, version: str) -> None:
        request = registered_models_pb2.SetRegisteredModelAliasRequest(name=name, alias="champion", version=version)
        self.models.SetRegisteredModelAlias(request, wait_for_ready=True)

    def rename(self, name: str, new_name: str) -> None:
        self.models.RenameRegisteredModel(
            registered_models_pb2.RenameRegisteredModelRequest(name=name, new_name=new_name)
        )

    def watch(self, *names: str, resume_token: str = "") -> Watch:
        return Watch(self.lookups, list(names), resume_token)


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with grpc.insecure_channel(stack.registry_address) as channel:
        yield _client(stack, channel)


def _client(stack: Stack, channel: grpc.Channel) -> Client:
    return Client(
        stack=stack,
        models=registered_models_pb2_grpc.RegisteredModelServiceStub(channel),
        versions=model_versions_pb2_grpc.ModelVersionServiceStub(channel),
        lookups=lookups_pb2_grpc.LookupServiceStub(channel),
    )


def _champion(state: pb.ModelState) -> str | None:
    return next((version.version for version in state.versions if "champion" in version.aliases), None)


def test_a_version_is_resolved(client: Client) -> None:
    name = client.new_model()

    answer = client.lookups.ResolveModel(pb.ResolveModelRequest(name=name, alias="champion", strict=True))

    assert answer.model_version == pb.ResolvedVersion(
        name=name, version="1", current_stage="None", source="s3://bucket/model", download_uri="s3://bucket/model",
        run_id="", aliases=["champion"],
    )  # fmt: skip
    assert answer.revision == 4


def test_a_watch_begins_with_what_each_model_stands_at(client: Client) -> None:
    names = [client.new_model(), uuid.uuid4().hex, client.new_model()]

    with client.watch(*names) as watch:
        told = {state.name: state for state in (watch.next() for _ in names)}

    assert [told[name].exists for name in names] == [True, False, True]
    assert [told[name].revision for name in names] == [4, 0, 4]
    assert [_champion(told[name]) for name in names] == ["1", None, "1"]
    assert told[names[0]].latest_version == "2"


def test_each_change_is_told(client: Client) -> None:
    name, other = client.new_model(), client.new_model()

    with client.watch(name) as watch:
        watch.until(lambda state: state.revision == 4)
        for number in ("2", "1", "2"):
            client.flip(other, number)
            client.flip(name, number)
            assert watch.until(lambda state, number=number: _champion(state) == number)[-1].name == name


def test_a_model_that_goes_and_comes_is_told(client: Client) -> None:
    name, new_name = client.new_model(), uuid.uuid4().hex

    with client.watch(name, new_name) as watch:
        watch.until(lambda state: state.name == name)
        client.rename(name, new_name)
        told = watch.until(lambda state: state.name == new_name and state.exists)
        told += [] if any(not state.exists for state in told if state.name == name) else [watch.next()]
        client.rename(new_name, name)
        back = watch.until(lambda state: state.name == name and state.exists)[-1]

    gone = next(state for state in told if state.name == name)
    assert not gone.exists
    assert not gone.versions
    assert back.revision > gone.revision


def test_who_comes_back_is_told_of_what_changed_meanwhile_and_of_nothing_else(client: Client) -> None:
    names = [client.new_model() for _ in range(3)]
    with client.watch(*names) as watch:
        for _ in names:
            watch.next()

    client.flip(names[1], "2")
    with client.watch(*names, resume_token=watch.token) as resumed:
        first = resumed.next()
        client.flip(names[2], "2")
        second = resumed.next()

    assert [(state.name, _champion(state)) for state in (first, second)] == [(names[1], "2"), (names[2], "2")]


def test_a_token_of_other_names_is_no_token(client: Client) -> None:
    name, other = client.new_model(), client.new_model()
    with client.watch(name) as watch:
        watch.next()

    with client.watch(name, other, resume_token=watch.token) as resumed:
        told = {resumed.next().name for _ in range(2)}

    assert told == {name, other}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.WatchModelsRequest(), "Parameter 'names' must have 1 to 1000 entries, got 0."),
        (
            pb.WatchModelsRequest(names=map(str, range(1001))),
            "Parameter 'names' must have 1 to 1000 entries, got 1001.",
        ),
        (pb.WatchModelsRequest(names=["a", "a"]), "Parameter 'names' has an entry twice."),
        (
            pb.WatchModelsRequest(names=["a"], resume_token="x"),
            "Parameter 'resume_token' is none that a watch has sent.",
        ),
        (
            pb.WatchModelsRequest(names=["a"], resume_token="MQ=="),
            "Parameter 'resume_token' is none that a watch",
        ),
    ],
)
def test_a_malformed_watch_is_refused(client: Client, request_: pb.WatchModelsRequest, message: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        next(client.lookups.WatchModels(request_, timeout=TIMEOUT_S))

    error: Any = caught.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(message)


def test_a_thousand_models_are_watched_at_once(client: Client) -> None:
    names = [*(uuid.uuid4().hex for _ in range(999)), client.new_model()]

    with client.watch(*names) as watch:
        told = [watch.next() for _ in names]
        client.flip(names[-1], "2")
        changed = watch.next()

    assert {state.name for state in told} == set(names)
    assert _champion(changed) == "2"
    with client.watch(*names, resume_token=watch.token) as resumed:
        client.flip(names[-1], "1")
        assert _champion(resumed.next()) == "1"


def test_nothing_is_missed_while_connections_are_lost(client: Client) -> None:
    name = client.new_model()
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"

    with client.watch(name) as watch, psycopg.connect(client.stack.postgres.url(), autocommit=True) as sql:
        for number in ("2", "1", "2", "1"):
            sql.execute(terminate, (APPLICATION_NAME,))
            client.flip(name, number)
            watch.until(lambda state, number=number: _champion(state) == number)


def test_a_server_that_is_stopped_sends_its_watchers_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with Stack(tmp_path_factory.mktemp("stopped")) as stack, grpc.insecure_channel(stack.registry_address) as channel:
        client = _client(stack, channel)
        name = client.new_model()
        with client.watch(name) as watch:
            watch.next()

            ended_well = stack.process("registry").stop()

            with pytest.raises(grpc.RpcError) as caught:
                watch.next()
        error: Any = caught.value
        assert (error.code(), error.details()) == (
            grpc.StatusCode.UNAVAILABLE, "This watch has ended; resume it."
        )  # fmt: skip
        assert ended_well
        stack.start("registry")
        stack.wait_until_ready()
        client.flip(name, "2")
        with client.watch(name, resume_token=watch.token) as resumed:
            assert _champion(resumed.next()) == "2"
