"""An alias that was flipped is seen: at once by who reads strictly, within 250 ms by all, and never the other way."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import grpc
import psycopg
import pytest

from modelstead.registry.v1 import (
    lookups_pb2,
    lookups_pb2_grpc,
    model_versions_pb2,
    model_versions_pb2_grpc,
    registered_models_pb2,
    registered_models_pb2_grpc,
)
from services.common.notifications import APPLICATION_NAME
from tests.stack import Stack

FLIPS = 40
REPLICAS = 3
STALENESS_S_MAX = 0.25
_TIMEOUT_S = 30
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"


@dataclass
class Replica:
    models: Any
    versions: Any
    lookups: Any

    @classmethod
    def at(cls, channel: grpc.Channel) -> "Replica":
        return cls(
            models=registered_models_pb2_grpc.RegisteredModelServiceStub(channel),
            versions=model_versions_pb2_grpc.ModelVersionServiceStub(channel),
            lookups=lookups_pb2_grpc.LookupServiceStub(channel),
        )

    def new_model(self) -> str:
        name = uuid.uuid4().hex
        self.models.CreateRegisteredModel(registered_models_pb2.CreateRegisteredModelRequest(name=name))
        for _ in range(2):
            self.versions.CreateModelVersion(
                model_versions_pb2.CreateModelVersionRequest(name=name, source="s3://bucket/model")
            )
        return name

    def flip(self, name: str, version: str) -> None:
        request = registered_models_pb2.SetRegisteredModelAliasRequest(name=name, alias="champion", version=version)
        self.models.SetRegisteredModelAlias(request, timeout=_TIMEOUT_S)

    def by_alias(self, name: str) -> str:
        request = registered_models_pb2.GetModelVersionByAliasRequest(name=name, alias="champion")
        return str(self.models.GetModelVersionByAlias(request, timeout=_TIMEOUT_S).model_version.version)

    def resolve(self, name: str, **given: Any) -> lookups_pb2.ResolveModelResponse:
        request = lookups_pb2.ResolveModelRequest(name=name, alias="champion", **given)
        answer: lookups_pb2.ResolveModelResponse = self.lookups.ResolveModel(request, timeout=_TIMEOUT_S)
        return answer


@dataclass
class Reader:
    """Reads again and again; remembers when each read began and what it saw."""

    ask: Callable[[int], int]
    seen: list[tuple[float, int]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def run(self, is_over: threading.Event) -> None:
        while not is_over.is_set():
            begun = time.monotonic()
            try:
                revision = self.ask(self.seen[-1][1] if self.seen else 0)
            except grpc.RpcError as error:
                self.failures.append(error)
                return
            self.seen.append((begun, revision))
            is_over.wait(0.002)


@pytest.fixture
def replicas(own_stack: Stack) -> Iterator[list[Replica]]:
    addresses = [own_stack.registry_address, *(own_stack.start_replica("registry") for _ in range(REPLICAS - 1))]
    with ExitStack() as opened:
        yield [Replica.at(opened.enter_context(grpc.insecure_channel(address))) for address in addresses]


def _repeat(action: Callable[[], object], is_over: threading.Event) -> None:
    while not is_over.wait(0.05):
        action()


def _oldest_allowed(acknowledged: list[tuple[float, int]], begun: float) -> int:
    """The revision that a read which began then must have seen."""
    return max((revision for at, revision in acknowledged if at <= begun - STALENESS_S_MAX), default=0)


@pytest.mark.parametrize("listeners_are_cut", [False, True])
def test_a_flip_is_seen_at_once_strictly_and_soon_by_all(
    own_stack: Stack, replicas: list[Replica], listeners_are_cut: bool
) -> None:
    # A model each, as a strict read, or one of a known revision, brings what is kept up to date.
    strictly, kept, anywhere = names = [replicas[0].new_model() for _ in range(3)]
    for name in names:
        replicas[0].flip(name, "2")
    base = replicas[0].resolve(strictly, strict=True).revision
    turns = cycle(replicas)
    readers = [
        *(Reader(lambda _, to=replica: to.resolve(kept).revision) for replica in replicas),  # type: ignore[misc]
        Reader(lambda known: next(turns).resolve(anywhere, min_revision=known).revision),
    ]
    is_over, acknowledged, stale = threading.Event(), list[tuple[float, int]](), list[tuple[int, str, int]]()

    with psycopg.connect(own_stack.postgres.url(), autocommit=True) as sql:
        threads = [threading.Thread(target=reader.run, args=(is_over,)) for reader in readers]
        if listeners_are_cut:
            cut = threading.Thread(target=_repeat, args=(lambda: sql.execute(_TERMINATE, (APPLICATION_NAME,)), is_over))
            threads.append(cut)
        for thread in threads:
            thread.start()
        try:
            for number in range(1, FLIPS + 1):
                version = str(1 + (number + 1) % 2)
                for name in names:
                    replicas[number % REPLICAS].flip(name, version)
                acknowledged.append((time.monotonic(), base + number))
                for replica in replicas:
                    found = replica.by_alias(strictly), replica.resolve(strictly, strict=True).revision
                    if found != (version, base + number):
                        stale.append((number, *found))
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

    assert stale == []
    assert [reader.failures for reader in readers] == [[]] * len(readers)
    for reader in readers:
        revisions = [revision for _, revision in reader.seen]
        assert revisions == sorted(revisions)
        assert len(set(revisions)) > 1
        assert [at for at, revision in reader.seen if revision < _oldest_allowed(acknowledged, at)] == []
