"""The gateway holds no files: transfers of any size cost it a few pieces each."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from modelstead import http_pb2
from tests.gateway.harness import Backend, Script, until

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
TRANSFERS = 8
FILE_MIB = 150
GROWTH_MIB_MAX = 64
PATH = "/api/2.0/mlflow-artifacts/artifacts/a"


class CountedScript(Script):
    """Takes bodies without keeping them."""

    def take(self, request: object) -> int:
        return len(request.content.data)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def gateway(backend: Backend) -> AsyncIterator[tuple[int, int]]:
    """A gateway as a process of its own: its id and its port."""
    address = f"127.0.0.1:{backend.port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.gateway",
        cwd=ROOT,
        env={
            **os.environ,
            "MODELSTEAD_LISTEN": "127.0.0.1:0",
            "MODELSTEAD_TRACKING_ADDRESS": address,
            "MODELSTEAD_ARTIFACTS_ADDRESS": address,
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        found = re.search(rb"127\.0\.0\.1:(\d+)", await process.stdout.readline())
        assert found
        yield process.pid, int(found[1])
    finally:
        process.kill()
        await process.wait()


def held_mib(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


async def download(port: int, size_mib: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    received = 0
    while data := await reader.read(MIB):
        received += len(data)
    writer.close()
    assert received > size_mib * MIB


async def upload(port: int, size_mib: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = f"content-length: {size_mib * MIB}"
    writer.write(f"PUT {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}\r\n\r\n".encode())
    for _ in range(size_mib):
        writer.write(bytes(MIB))
        await writer.drain()
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.alone
@pytest.mark.parametrize("transfer", [download, upload])
async def test_many_large_transfers_at_once_cost_little_memory(transfer: Callable[[int, int], Awaitable[None]]) -> None:
    backend = Backend()
    await backend.start()
    backend.script = CountedScript()
    backend.script.head = http_pb2.HttpHead(headers={"content-length": str(FILE_MIB * MIB)})
    backend.script.answer = [bytes(MIB)] * FILE_MIB
    async with gateway(backend) as (pid, port):
        idle = held_mib(pid)
        under_way = asyncio.gather(*(transfer(port, FILE_MIB) for _ in range(TRANSFERS)))
        held = [idle]

        async def look() -> bool:
            held.append(held_mib(pid))
            return under_way.done()

        await until(look, bool, within_s=240)
        await under_way
    await backend.stop()

    assert max(held) - idle < GROWTH_MIB_MAX
