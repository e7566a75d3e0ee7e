"""What is measured of logging at high volume: over gRPC where a system speaks it, else by what it has instead."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks import machine, workloads
from benchmarks.client import UnexpectedAnswer
from benchmarks.measuring import Clock, Measurement
from benchmarks.scene import Scene

_STREAMS = 8
_END_TIMEOUT_S = 30


async def ingest(scene: Scene) -> Measurement:
    """Points per second acknowledged to 8 streams, each of batches of 1,000 for its own run."""
    if scene.grpc_address is None:
        return await workloads.log_batch(scene)
    async with scene.endpoint.connections(_STREAMS) as connections:
        run_ids = await scene.new_runs(connections)
    with _client(str(scene.grpc_address), run_ids) as client:
        await asyncio.sleep(scene.scale.warm_up_s)
        clock, samples = Clock(), []
        began_s = machine.cpu_s(client.pid)
        for _ in range(scene.scale.windows):
            began, before = time.perf_counter(), await _acknowledged(client)
            await asyncio.sleep(scene.scale.window_s)
            samples.append((await _acknowledged(client) - before) / (time.perf_counter() - began))
        measurement = clock.measurement(samples)
        client_cores = (machine.cpu_s(client.pid) - began_s) / clock.elapsed_s()
    return replace(measurement, client_cores=measurement.client_cores + client_cores)


@contextlib.contextmanager
def _client(address: str, run_ids: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that streams, and see that it ends without an error."""
    command = [sys.executable, "-m", "benchmarks.ingest_client", address, *run_ids]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.communicate(timeout=_END_TIMEOUT_S)
    if process.returncode:
        raise UnexpectedAnswer(f"The client that streams ended with {process.returncode}.")


async def _acknowledged(client: "subprocess.Popen[str]") -> int:
    """Ask a client how many of its points are acknowledged."""
    assert client.stdin
    assert client.stdout
    client.stdin.write("\n")
    client.stdin.flush()
    return int(await asyncio.to_thread(client.stdout.readline) or "0")
