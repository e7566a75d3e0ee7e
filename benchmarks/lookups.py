"""Which version serves: asked through REST and over gRPC, found among many models, and told to many watchers."""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import grpc.aio
import orjson

from benchmarks import echo, measuring
from benchmarks.client import Connection, Endpoint, UnexpectedAnswer
from benchmarks.measuring import Clock, Measurement
from benchmarks.scene import Scene
from modelstead.registry.v1 import lookups_pb2
from services.common.settings import Address
from services.local import ports, waiting
from services.local.process import Child, Process

_MODELS = "/api/2.0/mlflow/registered-models"
_VERSIONS = "/api/2.0/mlflow/model-versions"
_SERVICE = "/modelstead.registry.v1.LookupService"
_ALIAS = "champion"
# The registry's port follows the gateway's: services/local/plan.py.
_REGISTRY_OFFSET = 3

_CLIENTS = 16
_LOADING_CLIENTS = 8
_TAGGED = 50
_MS, _US = 1e3, 1e6

_CALLS = 300
_WATCHERS, _CHANNELS = 1000, 8
_FLIPS = 10
# Of how many watchers one comes back anew before each flip.
_RECONNECTING = 10
_SEEN_TIMEOUT_S = 30.0
_START_TIMEOUT_S = 60.0


async def by_alias(scene: Scene) -> Measurement:
    """Versions by alias per second that 16 clients get through REST."""
    async with scene.endpoint.connections(_CLIENTS) as connections:
        name = await _new_champion(connections[0], scene.endpoint)
        request = scene.endpoint.get(f"{_MODELS}/alias?{urlencode({'name': name, 'alias': _ALIAS})}")
        found = orjson.loads(await connections[0].send(request))["model_version"]
        if (found["name"], str(found["version"])) != (name, "1"):
            raise UnexpectedAnswer(f"The alias stands for another version than it should: {found}")
        work = [lambda connection=connection: connection.send(request) for connection in connections]
        return await measuring.rate(work, per_call=1, scale=scene.scale)


async def search_by_tag(scene: Scene) -> Measurement:
    """Milliseconds to find the fifty of many models that have a tag."""
    marker = f"bench-{time.time_ns()}"
    async with scene.endpoint.connections(_LOADING_CLIENTS) as connections:
        await _registry_answers(connections[0], scene.endpoint)
        await _load_models(connections, scene.endpoint, marker, count=scene.scale.models)
        query = {"filter": f"tags.team = '{marker}'", "max_results": "100"}
        request = scene.endpoint.get(f"{_MODELS}/search?{urlencode(query, quote_via=quote)}")
        found = orjson.loads(await connections[0].send(request))["registered_models"]
        if len(found) != _TAGGED:
            raise UnexpectedAnswer(f"The search found {len(found)} models, not {_TAGGED}.")
        return await measuring.duration(lambda: connections[0].send(request), factor=_MS, scale=scene.scale)


async def resolve(scene: Scene, *, in_echoes: bool) -> Measurement:
    """Microseconds of ResolveModel over gRPC, one call after the other; or how many empty calls take as long."""
    async with scene.endpoint.connections(1) as [connection]:
        name = await _new_champion(connection, scene.endpoint)
    body = lookups_pb2.ResolveModelRequest(name=name, alias=_ALIAS).SerializeToString()
    samples = []
    async with _echo() as echo_address, _channel(_registry(scene)) as ours, _channel(echo_address) as empty:
        calls = ours.unary_unary(f"{_SERVICE}/ResolveModel"), empty.unary_unary(echo.PATH)
        answer = lookups_pb2.ResolveModelResponse.FromString(await calls[0](body))
        if answer.model_version.version != "1":
            raise UnexpectedAnswer(f"The alias stands for another version than it should: {answer}")
        clock = Clock()
        # In turns, so that what else the machine does meets both.
        while len(samples) < 2 * scene.scale.repeats_max:
            resolved_s, echoed_s = [await _median_s(call, body) for call in calls]
            samples.append(resolved_s / echoed_s if in_echoes else resolved_s * _US)
    return clock.measurement(samples[1:])


async def flip_seen(scene: Scene, *, quantile: float) -> Measurement:
    """Milliseconds from sending an alias' change until a share of 1,000 watchers have it, some of whom have just come
    back. Fails if one misses a change.
    """
    samples = []
    async with contextlib.AsyncExitStack() as stack:
        [connection] = await stack.enter_async_context(scene.endpoint.connections(1))
        name = await _new_champion(connection, scene.endpoint)
        channels = [await stack.enter_async_context(_channel(_registry(scene))) for _ in range(_CHANNELS)]
        watchers = [_Watcher(channels[index % _CHANNELS], name) for index in range(_WATCHERS)]
        for watcher in watchers:
            watcher.start()
            stack.callback(watcher.stop)
        await _all_seen(watchers)
        clock, flips = Clock(), 0
        for _ in range(scene.scale.windows):
            delays_s: list[float] = []
            for _ in range(_FLIPS):
                flips += 1
                for watcher in watchers[flips % _RECONNECTING :: _RECONNECTING]:
                    watcher.stop()
                    watcher.start()
                sent = time.perf_counter()
                await _set_alias(connection, scene.endpoint, name, version=str(1 + flips % 2))
                await _all_seen(watchers)
                delays_s += [watcher.seen_at - sent for watcher in watchers]
            samples.append(sorted(delays_s)[round(quantile * len(delays_s)) - 1] * _MS)
        return clock.measurement(samples)


@dataclass(slots=True)
class _Watcher:
    """Watches one model and notes when it is told of a revision that it did not know."""

    channel: grpc.aio.Channel
    name: str
    resume_token: str = ""
    revision: int = -1
    seen_at: float = 0.0
    is_news: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def start(self) -> None:
        self.task = asyncio.create_task(self._watch())

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _watch(self) -> None:
        request = lookups_pb2.WatchModelsRequest(names=[self.name], resume_token=self.resume_token)
        call = self.channel.unary_stream(f"{_SERVICE}/WatchModels")(request.SerializeToString())
        async for body in call:
            seen_at = time.perf_counter()
            message = lookups_pb2.WatchModelsResponse.FromString(body)
            self.resume_token = message.resume_token
            if message.model.revision > self.revision:
                self.revision, self.seen_at = message.model.revision, seen_at
                self.is_news.set()


async def _all_seen(watchers: Sequence[_Watcher]) -> None:
    try:
        async with asyncio.timeout(_SEEN_TIMEOUT_S):
            for watcher in watchers:
                await watcher.is_news.wait()
                watcher.is_news.clear()
    except TimeoutError:
        raise UnexpectedAnswer("A watcher was not told of a change.") from None
    if len({watcher.revision for watcher in watchers}) > 1:
        raise UnexpectedAnswer("Watchers were told of different revisions.")


async def _new_champion(connection: Connection, endpoint: Endpoint) -> str:
    """Create a model of two versions, the first of which has the alias."""
    await _registry_answers(connection, endpoint)
    name = f"bench-{time.time_ns()}"
    await _post(connection, endpoint, f"{_MODELS}/create", {"name": name})
    for _ in range(2):
        body = {"name": name, "source": "s3://bucket/model", "tags": [{"key": "framework", "value": "sklearn"}]}
        await _post(connection, endpoint, f"{_VERSIONS}/create", body)
    await _set_alias(connection, endpoint, name, version="1")
    return name


async def _registry_answers(connection: Connection, endpoint: Endpoint) -> None:
    """Wait for the registry: a system counts as started when it answers about experiments."""
    request = endpoint.get(f"{_MODELS}/search?max_results=1")
    async with asyncio.timeout(_START_TIMEOUT_S):
        while True:
            try:
                await connection.send(request)
            except UnexpectedAnswer:
                await asyncio.sleep(0.1)
            else:
                return


async def _set_alias(connection: Connection, endpoint: Endpoint, name: str, *, version: str) -> None:
    await _post(connection, endpoint, f"{_MODELS}/alias", {"name": name, "alias": _ALIAS, "version": version})


async def _load_models(connections: Sequence[Connection], endpoint: Endpoint, marker: str, *, count: int) -> None:
    """Create so many models of two tags each, fifty of which belong to the team that the marker names."""
    numbers = iter(range(count))

    async def work(connection: Connection) -> None:
        for number in numbers:
            team = marker if number % (count // _TAGGED) == 0 else f"{marker}-{number % 100}"
            tags = [{"key": "team", "value": team}, {"key": "number", "value": str(number)}]
            await _post(connection, endpoint, f"{_MODELS}/create", {"name": f"{marker}-{number}", "tags": tags})

    async with asyncio.TaskGroup() as tasks:
        for connection in connections:
            tasks.create_task(work(connection))


async def _post(connection: Connection, endpoint: Endpoint, path: str, body: dict[str, Any]) -> None:
    await connection.send(endpoint.post(path, orjson.dumps(body)))


async def _median_s(call: Any, body: bytes) -> float:
    times = []
    for _ in range(_CALLS):
        began = time.perf_counter()
        await call(body)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _registry(scene: Scene) -> Address:
    gateway = scene.endpoint.address
    return Address(gateway.host, gateway.port + _REGISTRY_OFFSET)


@contextlib.asynccontextmanager
async def _channel(address: Address) -> AsyncIterator[grpc.aio.Channel]:
    # One connection each: by default, channels to one address share one.
    async with grpc.aio.insecure_channel(str(address), options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
        yield channel


@contextlib.asynccontextmanager
async def _echo() -> AsyncIterator[Address]:
    address = Address("127.0.0.1", ports.choose("127.0.0.1"))
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, "-m", "benchmarks.echo", str(address)]
        process = Process(Child(name="echo", argv=argv, env=_environment(), log=Path(folder) / "log"))
        try:
            await asyncio.to_thread(waiting.until, lambda: not ports.is_free(address), timeout_s=60)
            yield address
        finally:
            process.kill()


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path)}
