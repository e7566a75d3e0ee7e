"""Copies the contents of a bucket into a folder and back. They never change under their key, so what is there stays.

May be cut off anywhere and done again: files get their names when they are whole. It takes hours at times, so whoever
has it done is called about twice a second meanwhile.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from services.local.backups.source import Bucket
from services.local.errors import LocalError

_THREADS = 8
# How many files are looked at before the next ones are listed.
_STEP = 1000
_TIMEOUT_S = 60.0
_TICK_S = 0.5
_PIECE_BYTES = 256 * 1024
_GONE = frozenset({"NoSuchKey"})

Tick = Callable[[], None]
"""Sees to other things meanwhile. May raise to give the copying up."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """How many objects there are, and how many bytes of how many had to be copied."""

    total: int = 0
    count: int = 0
    bytes: int = 0

    def plus(self, copied: int | None) -> "Copied":
        """Add one object; None is one that was there."""
        return Copied(total=self.total + 1, count=self.count + (copied is not None), bytes=self.bytes + (copied or 0))


def copy_out(bucket: Bucket, folder: Path, *, tick: Tick = lambda: None) -> Copied:
    """Copy into `folder` all objects of a bucket that it does not have. One that is removed meanwhile is left out.

    Raises LocalError.
    """
    with _explaining(bucket, folder):
        client = _client(bucket)
        listed = client.list_objects(bucket_name=bucket.name, recursive=True)
        found = ((_path(folder, each.object_name or ""), each.object_name or "", each.size or 0) for each in listed)
        copied = _total(found, lambda one, given_up: _fetch(client, bucket.name, *one, given_up), tick)
    # Once for all files: that they are on the disk must be true before somebody says so.
    os.sync()
    return copied


def copy_in(folder: Path, bucket: Bucket, *, tick: Tick = lambda: None) -> Copied:
    """Copy into a bucket, which is made if need be, all files of `folder` that it does not have. Raises LocalError."""
    with _explaining(bucket, folder):
        client = _client(bucket)
        if not client.bucket_exists(bucket_name=bucket.name):
            client.make_bucket(bucket_name=bucket.name)
        listed = client.list_objects(bucket_name=bucket.name, recursive=True)
        there = {each.object_name: each.size for each in listed}
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        return _total(files, lambda path, _: _send(client, bucket.name, folder, path, there), tick)


def _total(items: Iterable[_T], copy: Callable[[_T, threading.Event], int | None], tick: Tick) -> Copied:
    """Copy all, some at a time. The event tells those that are being copied when all is given up."""
    total, rest, given_up = Copied(), iter(items), threading.Event()
    threads = ThreadPoolExecutor(_THREADS)
    try:
        while step := _results([threads.submit(lambda: list(itertools.islice(rest, _STEP)))], tick)[0]:
            for copied in _results([threads.submit(copy, each, given_up) for each in step], tick):
                total = total.plus(copied)
    finally:
        given_up.set()
        threads.shutdown(cancel_futures=True)
    return total


def _results(under_way: Sequence[Future[_T]], tick: Tick) -> list[_T]:
    """Return what all come to, or raise what the first that fails does, or what `tick` does."""
    pending = set(under_way)
    while pending:
        done, pending = futures.wait(pending, timeout=_TICK_S, return_when=futures.FIRST_EXCEPTION)
        for each in done:
            each.result()
        tick()
    return [each.result() for each in under_way]


def _fetch(client: Minio, bucket: str, path: Path, key: str, size: int, given_up: threading.Event) -> int | None:
    if path.exists() and path.stat().st_size == size:
        return None
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    try:
        answer = client.get_object(bucket_name=bucket, object_name=key)
    except S3Error as error:
        if error.code in _GONE:
            return None
        raise
    try:
        with draft.open("wb") as file:
            for piece in answer.stream(_PIECE_BYTES):
                if given_up.is_set():
                    return None
                file.write(piece)
    finally:
        answer.close()
        answer.release_conn()
    if draft.stat().st_size != size:
        raise LocalError(f"The object {key} came with {draft.stat().st_size} bytes, and has {size}: run it again.")
    draft.replace(path)
    return size


def _send(client: Minio, bucket: str, folder: Path, path: Path, there: dict[str | None, int | None]) -> int | None:
    key, size = path.relative_to(folder).as_posix(), path.stat().st_size
    if there.get(key) == size:
        return None
    client.fput_object(bucket_name=bucket, object_name=key, file_path=str(path))
    return size


def _path(folder: Path, key: str) -> Path:
    """Return where an object is kept. Raises LocalError for a key that no platform of ours makes."""
    parts = key.split("/")
    if any(part in ("", "..") or part.startswith(".") or "\0" in part for part in parts):
        raise LocalError(f"The bucket holds an object {key!r}, and no platform makes such: is it another bucket?")
    return folder.joinpath(*parts)


@contextmanager
def _explaining(bucket: Bucket, folder: Path) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise LocalError(f"The S3 at {bucket.endpoint} refuses the bucket {bucket.name}: {error.code}.") from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise LocalError(f"The S3 at {bucket.endpoint} does not answer: {type(error).__name__}.") from error
    except OSError as error:
        raise LocalError(f"{error.filename or folder} cannot be read or written: {error.strerror or error}.") from error


def _client(bucket: Bucket) -> Minio:
    parts = urlsplit(bucket.endpoint)
    return Minio(
        parts.netloc,
        access_key=bucket.access_key,
        secret_key=bucket.secret_key,
        secure=parts.scheme == "https",
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10, read=_TIMEOUT_S), retries=urllib3.Retry(2), maxsize=_THREADS
        ),
    )
