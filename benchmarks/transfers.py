"""Files in and out: through the proxy that MLflow's clients use, by presigned URL, and directly for comparison."""

import asyncio
import http.client
import io
import itertools
import json
import os
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import machine, measuring
from benchmarks.client import Connection, UnexpectedAnswer
from benchmarks.measuring import Clock, Measurement
from benchmarks.scale import Scale
from benchmarks.scene import Scene
from benchmarks.systems import MLFLOW_BIN
from tests.s3 import S3

_ROOT = "/api/2.0/mlflow-artifacts/artifacts/bench"
_BLOCK_BYTES = 1024 * 1024
_SMALL_FILES = 1000
_SMALL_BYTES = 4096
_SMALL_CLIENTS = 8
_MEMORY_CLIENTS = 8
_SAMPLE_INTERVAL_S = 0.05
_SEED = 20
_MB = 1e6
_names = itertools.count()


async def upload(scene: Scene) -> Measurement:
    """Megabytes per second of one client that puts large files through the proxy."""
    content = _content(scene.scale.file_bytes)
    put = _large(lambda: _put(scene, f"large-{next(_names)}", _unlike_others(content)))
    return _per_second(scene.scale.file_bytes, await measuring.duration(put, factor=1.0, scale=scene.scale))


async def download(scene: Scene) -> Measurement:
    """Megabytes per second of one client that gets a large file through the proxy."""
    _put(scene, "downloaded", _content(scene.scale.file_bytes))
    get = _large(lambda: _get(scene, "downloaded", scene.scale.file_bytes))
    return _per_second(scene.scale.file_bytes, await measuring.duration(get, factor=1.0, scale=scene.scale))


async def presigned_upload(scene: Scene) -> Measurement:
    """Megabytes per second of the MLflow client's log_artifact, which sends the parts to presigned URLs."""
    return await asyncio.to_thread(_by_client, scene, "upload")


async def presigned_download(scene: Scene) -> Measurement:
    """Megabytes per second of the MLflow client's download_artifacts, which gets ranges from a presigned URL."""
    return await asyncio.to_thread(_by_client, scene, "download")


async def small_uploads(scene: Scene) -> Measurement:
    """Small files per second that eight clients put."""
    bodies = _small_contents()

    def request(folder: int, index: int) -> bytes:
        return scene.endpoint.put(f"{_ROOT}/small-{folder}/{index}", bodies[index])

    return await _small(scene, request)


async def small_downloads(scene: Scene) -> Measurement:
    """Small files per second that eight clients get."""
    folder, bodies = next(_names), _small_contents()
    async with scene.endpoint.connections(1) as [connection]:
        for index, body in enumerate(bodies):
            await connection.send(scene.endpoint.put(f"{_ROOT}/read-{folder}/{index}", body))
    return await _small(scene, lambda _, index: scene.endpoint.get(f"{_ROOT}/read-{folder}/{index}"))


async def transfer_memory(scene: Scene) -> Measurement:
    """Megabytes by which the process that grows most grows, of those that the bytes pass through."""
    processes = list(machine.tree(scene.pid))
    # MLflow's workers have no names to know them by, so all of its processes are watched.
    watched = {pid: machine.rss_bytes(pid) for pid in [*filter(_moves_bytes, processes)] or processes}
    grown = dict.fromkeys(watched, 0)
    clock = Clock()
    with ThreadPoolExecutor(_MEMORY_CLIENTS) as pool:
        for work in (_put_endless, _get_endless):
            under_way = [pool.submit(work, scene, number) for number in range(_MEMORY_CLIENTS)]
            while not all(future.done() for future in under_way):
                await asyncio.sleep(_SAMPLE_INTERVAL_S)
                for pid, before in watched.items():
                    grown[pid] = max(grown[pid], machine.rss_bytes(pid) - before)
            for future in under_way:
                future.result()
    return clock.measurement([max(grown.values()) / _MB])


def direct_upload(s3: S3, scale: Scale) -> Measurement:
    """Megabytes per second of the `minio` client alone."""
    client, bucket, content = s3.client(), s3.make_bucket(), _content(scale.file_bytes)

    def put() -> None:
        body = io.BytesIO(_unlike_others(content))
        client.put_object(bucket_name=bucket, object_name=f"{next(_names)}", data=body, length=scale.file_bytes)

    try:
        return _per_second(scale.file_bytes, _repeated(put, scale))
    finally:
        s3.remove_bucket(bucket)


def direct_download(s3: S3, scale: Scale) -> Measurement:
    """Megabytes per second of the `minio` client alone."""
    client, bucket = s3.client(), s3.make_bucket()
    body = io.BytesIO(_content(scale.file_bytes))
    client.put_object(bucket_name=bucket, object_name="file", data=body, length=scale.file_bytes)

    def get() -> None:
        with client.get_object(bucket_name=bucket, object_name="file") as answer:
            for _ in answer.stream(_BLOCK_BYTES):
                pass

    try:
        return _per_second(scale.file_bytes, _repeated(get, scale))
    finally:
        s3.remove_bucket(bucket)


def _repeated(work: Callable[[], None], scale: Scale) -> Measurement:
    work()
    clock, samples = Clock(), []
    for _ in range(scale.repeats_min):
        began = time.perf_counter()
        work()
        samples.append(time.perf_counter() - began)
    return clock.measurement(samples)


def _per_second(size: int, durations: Measurement) -> Measurement:
    samples = tuple(size / _MB / seconds for seconds in durations.samples)
    return Measurement(samples=samples, client_cores=durations.client_cores, foreign_cores=durations.foreign_cores)


def _large(work: Callable[[], None]) -> measuring.Call:
    return lambda: asyncio.to_thread(work)


async def _small(scene: Scene, request: Callable[[int, int], bytes]) -> Measurement:
    """Return files per second; `request` is given the number of the round and of the file."""
    async with scene.endpoint.connections(_SMALL_CLIENTS) as connections:

        async def all_files() -> None:
            folder, remaining = next(_names), iter(range(_SMALL_FILES))
            async with asyncio.TaskGroup() as tasks:
                for connection in connections:
                    tasks.create_task(_send_each(connection, (request(folder, index) for index in remaining)))

        await all_files()
        durations = await measuring.duration(all_files, factor=1.0, scale=scene.scale)
    return Measurement(
        samples=tuple(_SMALL_FILES / seconds for seconds in durations.samples),
        client_cores=durations.client_cores,
        foreign_cores=durations.foreign_cores,
    )


async def _send_each(connection: Connection, requests: Iterator[bytes]) -> None:
    for request in requests:
        await connection.send(request)


def _put(scene: Scene, name: str, content: bytes) -> None:
    _exchange(scene, "PUT", name, content, len(content), answer_bytes=None)


def _get(scene: Scene, name: str, size: int) -> None:
    _exchange(scene, "GET", name, None, 0, answer_bytes=size)


def _put_endless(scene: Scene, number: int) -> None:
    size = scene.scale.memory_file_bytes
    block = random.Random(number).randbytes(_BLOCK_BYTES)
    blocks = (block for _ in range(size // _BLOCK_BYTES))
    _exchange(scene, "PUT", f"memory-{number}", blocks, size, answer_bytes=None)


def _get_endless(scene: Scene, number: int) -> None:
    _get(scene, f"memory-{number}", scene.scale.memory_file_bytes)


def _exchange(
    scene: Scene, method: str, name: str, body: bytes | Iterator[bytes] | None, size: int, *, answer_bytes: int | None
) -> None:
    address = scene.endpoint.address
    connection = http.client.HTTPConnection(address.host, address.port, timeout=600, blocksize=_BLOCK_BYTES)
    try:
        headers = {"Content-Length": str(size)} if body is not None else {}
        connection.request(method, f"{_ROOT}/{name}", body=body, headers=headers)
        answer = connection.getresponse()
        received, buffer = 0, bytearray(_BLOCK_BYTES)
        while count := answer.readinto(buffer):
            received += count
    finally:
        connection.close()
    if answer.status != 200 or (answer_bytes is not None and received != answer_bytes):
        raise UnexpectedAnswer(f"{method} {name}: status {answer.status}, {received:,} bytes.")


_CLIENT_SCRIPT = """
import json, os, sys, tempfile, time
from mlflow import MlflowClient
direction, path, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = MlflowClient()
run_id = client.create_run("0").info.run_id
client.log_artifact(run_id, path)
samples = []
for number in range(repeats):
    if direction == "upload":
        with open(path, "r+b") as file:
            file.write(os.urandom(16))
        began = time.perf_counter()
        client.log_artifact(run_id, path, f"copy-{number}")
        samples.append(time.perf_counter() - began)
    else:
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            client.download_artifacts(run_id, os.path.basename(path), folder)
            samples.append(time.perf_counter() - began)
print(json.dumps(samples))
"""


def _by_client(scene: Scene, direction: str) -> Measurement:
    variables = {
        "MLFLOW_TRACKING_URI": f"http://{scene.endpoint.address}",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
        "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": "1",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="modelstead-bench-") as folder:
        path = Path(folder) / "large.bin"
        path.write_bytes(_content(scene.scale.file_bytes))
        command = [str(MLFLOW_BIN / "python"), "-c", _CLIENT_SCRIPT, direction, str(path), str(scene.scale.repeats_min)]
        done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnexpectedAnswer(f"The MLflow client failed: {done.stderr.strip().splitlines()[-1]}")
    samples = json.loads(done.stdout.splitlines()[-1])
    return _per_second(scene.scale.file_bytes, clock.measurement(samples))


def _moves_bytes(pid: int) -> bool:
    """Whether a process is one of the services that files pass through."""
    return machine.command(pid).endswith(("services.gateway", "services.artifacts"))


def _content(size: int) -> bytes:
    return random.Random(_SEED).randbytes(size)


def _unlike_others(content: bytes) -> bytes:
    """Return other contents of the same size, so that nobody can know them already."""
    return os.urandom(16) + content[16:]


def _small_contents() -> Sequence[bytes]:
    return [os.urandom(_SMALL_BYTES) for _ in range(_SMALL_FILES)]
