"""What it costs an inference service to know which version `@champion` is: `ModelResolver`, beside a call over REST."""

import asyncio
import time
import uuid
from typing import Any

import orjson

from benchmarks.client import Connection, UnexpectedAnswer
from benchmarks.measuring import Clock, Measurement, duration
from benchmarks.scene import Scene
from modelstead import ModelResolver

_API = "/api/2.0/mlflow/"
_GETS = 100_000
_US = 1e6
_READY_TIMEOUT_S, _READY_PAUSE_S = 60.0, 0.1


async def get(scene: Scene) -> Measurement:
    """Microseconds to learn where an alias points: within the process from a resolver that follows the registry, each
    sample the median of 100,000; where there is none, as with MLflow, over REST.
    """
    await _registry_answers(scene)
    async with scene.endpoint.connections(1) as [connection]:
        name = await _new_model(scene, connection)
        if scene.registry_address is None:
            request = scene.endpoint.get(f"{_API}registered-models/alias?name={name}&alias=champion")
            _require_version(orjson.loads(await connection.send(request))["model_version"]["version"])
            return await duration(lambda: connection.send(request), factor=_US, scale=scene.scale)
    return await asyncio.to_thread(_in_process, scene.registry_address, name, scene.scale.windows)


def _in_process(address: str, name: str, windows: int) -> Measurement:
    reference = f"{name}@champion"
    with ModelResolver(address, names=[name]) as resolver:
        _require_version(resolver.get(reference).version)
        if not resolver.status().connected:
            raise UnexpectedAnswer(f"The resolver is not connected to {address}.")
        clock = Clock()
        return clock.measurement([_median_us(resolver, reference) for _ in range(windows)])


def _median_us(resolver: ModelResolver, reference: str) -> float:
    took = []
    for _ in range(_GETS):
        began = time.perf_counter_ns()
        resolver.get(reference)
        took.append(time.perf_counter_ns() - began)
    return sorted(took)[_GETS // 2] / 1000


async def _registry_answers(scene: Scene) -> None:
    """Wait for the registry: a start is over when tracking answers."""
    request = scene.endpoint.get(f"{_API}registered-models/search?max_results=1")
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while True:
        try:
            async with scene.endpoint.connections(1) as [connection]:
                await connection.send(request)
        except UnexpectedAnswer:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_READY_PAUSE_S)
        else:
            return


async def _new_model(scene: Scene, connection: Connection) -> str:
    """Create a model whose version 1 is @champion."""
    name = f"bench-{uuid.uuid4().hex}"
    bodies: tuple[tuple[str, dict[str, Any]], ...] = (
        ("registered-models/create", {"name": name}),
        ("model-versions/create", {"name": name, "source": "s3://bench/model"}),
        ("registered-models/alias", {"name": name, "alias": "champion", "version": "1"}),
    )
    for path, body in bodies:
        await connection.send(scene.endpoint.post(_API + path, orjson.dumps(body)))
    return name


def _require_version(found: str) -> None:
    if found != "1":
        raise UnexpectedAnswer(f"@champion is version {found}, not 1.")
