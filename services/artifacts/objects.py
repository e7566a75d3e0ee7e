"""The object store: objects by key, streamed in both directions. The only module that knows `minio`.

Keys are made by this service, never by a client. Everything raises Unavailable while the store is away.
"""

import asyncio
import contextlib
import hashlib
import http.client
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, TypeVarTuple
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.credentials.credentials import Credentials
from minio.credentials.providers import Provider
from minio.datatypes import Part
from minio.deleteobjects import DeleteObject
from minio.error import MinioException, S3Error

from services.artifacts.availability import PROBE_TIMEOUT_S, Watch
from services.artifacts.connections import SILENCE_S_MAX, Connections, Exchange, TracedPool
from services.artifacts.traffic import Traffic
from services.artifacts.trees import CHUNK_BYTES_MAX
from services.common.errors import DataLoss, NotImplemented_, ResourceExhausted, Unavailable
from services.common.rpc.wire import Bytes
from services.common.secret_files import Secret, read_together

URL_LIFETIME = timedelta(hours=1)
KEYS_PER_STEP = 1000
# Each holds a connection and up to three mebibytes.
TRANSFERS_MAX = 256
_THREADS = 16
_NOT_FOUND = frozenset({"NoSuchKey", "NoSuchUpload"})
_FAILURES = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError, MinioException)

_T = TypeVar("_T")
_A = TypeVarTuple("_A")

_log = logging.getLogger("modelstead.object_store")


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """A bucket and the way to it. Without `public_endpoint` clients get no URLs, as they could not use them."""

    endpoint: str
    bucket: str
    region: str
    access_key: str | Secret
    secret_key: str | Secret
    public_endpoint: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Stat:
    """What the store says of an object: bytes, and the ETag without quotes."""

    key: str
    size: int
    etag: str


class Objects:
    """The objects of one bucket."""

    def __init__(
        self, location: Location, *, transfers_max: int = TRANSFERS_MAX, traffic: Traffic | None = None
    ) -> None:
        """Nothing is sent yet. More than `transfers_max` objects sent or read at once are ResourceExhausted."""
        self._traffic = traffic or Traffic()
        self._transfers_left = transfers_max
        self._bucket = location.bucket
        self._client = _client(location, location.endpoint, timeout_s=SILENCE_S_MAX)
        self._prober = _client(location, location.endpoint, timeout_s=PROBE_TIMEOUT_S)
        self._public = _client(location, location.public_endpoint) if location.public_endpoint else None
        self._connections = Connections(location.endpoint)
        self._watch = Watch(self._is_there, threads=_THREADS)

    async def ensure_bucket(self) -> None:
        """Make the bucket unless it exists."""
        await self._run(self._ensure_bucket)

    async def answers(self) -> bool:
        """Return whether the store answers, within 1.5 s."""
        return await self._watch.probe()

    async def put(self, key: str, pieces: AsyncIterator[Bytes], *, size: int) -> str:
        """Store an object of `size` bytes, which `pieces` yields; return the ETag that the store answers."""
        return await self._send(self._url("PUT", key), pieces, size)

    async def put_small(self, key: str, pieces: Sequence[Bytes]) -> tuple[str, Stat | None]:
        """Store an object whose bytes are here; return the ETag that is answered, and what the store then has."""
        size = sum(map(len, pieces))
        exchange = Exchange(self._connections, "PUT", self._url("PUT", key), {"Content-Length": str(size)})
        with self._transfer(), self._ending(exchange):
            stored = await self._run(self._put_small, exchange, key, pieces)
        self._traffic.bytes_in.add(size)
        return stored

    async def put_part(
        self, key: str, store_upload_id: str, number: int, pieces: AsyncIterator[Bytes], *, size: int
    ) -> str:
        """Store a part, from 1, as `put` does."""
        return await self._send(self._part_url(self._client, key, store_upload_id, number), pieces, size)

    async def stat(self, key: str) -> Stat | None:
        """Return what is known of an object, None if there is none."""
        return await self._run(self._stat, key)

    async def read(
        self, key: str, start: int, length: int, *, size: int, on_chunk: Callable[[bytes], object] | None = None
    ) -> AsyncIterator[bytes]:
        """Yield `length` bytes, at least one, from `start` on, in chunks of 1 MiB.

        `on_chunk` is called with each in another thread, before it is yielded. Raises DataLoss if the object does not
        exist or has other than `size` bytes.
        """
        reader = _Reader(self._exchange_get(key, start, length), length=length, size=size, on_chunk=on_chunk)
        with self._transfer():
            with self._ending(reader.exchange):
                chunk = await self._run(reader.begin)
                while reader.left:
                    ahead = asyncio.create_task(self._run(reader.next))
                    self._traffic.bytes_out.add(len(chunk))
                    try:
                        yield chunk
                        chunk = await ahead
                    finally:
                        ahead.cancel()
            self._traffic.bytes_out.add(len(chunk))
            yield chunk

    async def remove(self, keys: Sequence[str]) -> list[str]:
        """Remove objects, at most 1,000; return the keys of those that are gone now."""
        return await self._run(self._remove, keys)

    async def stats(self) -> AsyncIterator[Stat]:
        """Yield every object of the bucket, by key."""
        found = iter(self._client.list_objects(bucket_name=self._bucket, recursive=True))
        while step := await self._run(lambda: list(itertools.islice(found, KEYS_PER_STEP))):
            for each in step:
                yield Stat(key=each.object_name or "", size=each.size or 0, etag=(each.etag or "").strip('"'))

    async def create_multipart(self, key: str) -> str:
        """Begin an object in parts; return the id that the store gives to that."""
        # What is public in minio of multipart uploads sends whole files and nothing else.
        return await self._run(self._client._create_multipart_upload, self._bucket, key, {})

    async def complete_multipart(self, key: str, store_upload_id: str, parts: Sequence[tuple[int, str]]) -> bool:
        """Make the object of its parts, (number, ETag); return False if there is no such upload (any more).

        Raises S3Refusal if the store has other parts.
        """
        return await self._run(self._complete_multipart, key, store_upload_id, parts)

    async def abort_multiparts(self, key: str) -> None:
        """Remove all parts of whatever was begun for a key."""
        await self._run(self._abort_multiparts, key)

    def presign_get(self, key: str, *, headers: dict[str, str]) -> str:
        """Return a URL from which clients can read an object; the store answers with `headers`, as S3 allows them."""
        overrides: Any = {f"response-{name}": value for name, value in headers.items()}
        return self._signer().get_presigned_url(
            "GET", self._bucket, key, expires=URL_LIFETIME, response_headers=overrides
        )

    def presign_put(self, key: str) -> str:
        """Return a URL to which clients can send an object."""
        return self._signer().get_presigned_url("PUT", self._bucket, key, expires=URL_LIFETIME)

    def presign_part(self, key: str, store_upload_id: str, number: int) -> str:
        """Return a URL to which clients can send a part."""
        return self._part_url(self._signer(), key, store_upload_id, number)

    def check_public(self) -> None:
        """Raises NotImplemented_ if clients cannot reach the store."""
        self._signer()

    def close(self) -> None:
        """Close what is idle and take no more calls."""
        self._watch.close()
        self._connections.close()

    async def _run(self, call: Callable[[*_A], _T], *arguments: *_A) -> _T:
        return await self._watch.run(_translated, call, *arguments)

    async def _send(self, url: str, pieces: AsyncIterator[Bytes], size: int) -> str:
        exchange = Exchange(self._connections, "PUT", url, {"Content-Length": str(size)})
        with self._transfer(), self._ending(exchange):
            await self._run(exchange.begin)
            async for piece in pieces:
                await self._run(exchange.send, piece)
                self._traffic.bytes_in.add(len(piece))
            return await self._run(_finish, exchange)

    @contextlib.contextmanager
    def _transfer(self) -> Iterator[None]:
        if not self._transfers_left:
            raise ResourceExhausted("Too many files are being sent and read; try again.", retry_after_s=1)
        self._transfers_left -= 1
        try:
            yield
        finally:
            self._transfers_left += 1

    @contextlib.contextmanager
    def _ending(self, exchange: Exchange) -> Iterator[None]:
        """End an exchange with the block; if an exception leaves that, also a step that is still under way."""
        try:
            yield
        except BaseException:
            exchange.interrupt()
            self._watch.later(exchange.close)
            raise
        exchange.close()

    def _exchange_get(self, key: str, start: int, length: int) -> Exchange:
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        return Exchange(self._connections, "GET", self._url("GET", key), headers)

    def _url(self, method: str, key: str) -> str:
        return self._client.get_presigned_url(method, self._bucket, key, expires=URL_LIFETIME)

    def _part_url(self, client: Minio, key: str, store_upload_id: str, number: int) -> str:
        query: Any = {"uploadId": store_upload_id, "partNumber": str(number)}
        return client.get_presigned_url("PUT", self._bucket, key, expires=URL_LIFETIME, extra_query_params=query)

    def _signer(self) -> Minio:
        if self._public is None:
            raise NotImplemented_("Clients cannot reach the object store here: send and read through the server.")
        return self._public

    def _is_there(self) -> bool:
        try:
            self._prober.bucket_exists(bucket_name=self._bucket)
        except _FAILURES:
            return False
        return True

    def _ensure_bucket(self) -> None:
        if not self._client.bucket_exists(bucket_name=self._bucket):
            try:
                self._client.make_bucket(bucket_name=self._bucket)
            except S3Error as error:
                # Another replica was faster.
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def _put_small(self, exchange: Exchange, key: str, pieces: Sequence[Bytes]) -> tuple[str, Stat | None]:
        exchange.begin()
        for piece in pieces:
            exchange.send(piece)
        etag = _finish(exchange)
        # Now, so that the next one has its connection.
        exchange.close()
        return etag, self._stat(key)

    def _stat(self, key: str) -> Stat | None:
        exchange = Exchange(self._connections, "HEAD", self._url("HEAD", key), {})
        try:
            exchange.begin()
            response = exchange.answer()
            # Of nothing; only then the connection can be used again.
            response.read()
            if response.status == http.client.NOT_FOUND:
                return None
            _require(response, http.client.OK)
            return Stat(key=key, size=int(response.headers["Content-Length"]), etag=_etag(response))
        finally:
            exchange.close()

    def _remove(self, keys: Sequence[str]) -> list[str]:
        doomed = [DeleteObject(key) for key in keys]
        errors = self._client.remove_objects(bucket_name=self._bucket, delete_object_list=doomed)
        kept = {error.name for error in errors if error.code not in _NOT_FOUND}
        return [key for key in keys if key not in kept]

    def _complete_multipart(self, key: str, store_upload_id: str, parts: Sequence[tuple[int, str]]) -> bool:
        try:
            self._client._complete_multipart_upload(
                self._bucket, key, store_upload_id, [Part(number, etag) for number, etag in parts]
            )
        except S3Error as error:
            if error.code in _NOT_FOUND:
                return False
            if error.code in ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML"):
                raise S3Refusal(error.code) from error
            raise
        return True

    def _abort_multiparts(self, key: str) -> None:
        found = self._client._list_multipart_uploads(self._bucket, prefix=key)
        for each in found.uploads:
            if each.object_name == key and each.upload_id:
                self._client._abort_multipart_upload(self._bucket, key, each.upload_id)


class S3Refusal(Exception):
    """The store refuses what the client asked for; the text is S3's error code."""


class _Reader:
    """The blocking steps of reading from an object."""

    def __init__(
        self, exchange: Exchange, *, length: int, size: int, on_chunk: Callable[[bytes], object] | None
    ) -> None:
        self.exchange = exchange
        self.left = length
        self._size = size
        self._on_chunk = on_chunk

    def begin(self) -> bytes:
        self.exchange.begin()
        response = self.exchange.answer()
        if response.status in (http.client.NOT_FOUND, http.client.REQUESTED_RANGE_NOT_SATISFIABLE):
            raise DataLoss("The contents of the file are not in the object store, or not all of them.")
        _require(response, http.client.PARTIAL_CONTENT)
        total = response.headers.get("Content-Range", "").rpartition("/")[2]
        if total != str(self._size):
            raise DataLoss(f"The contents of the file have {total or 'no'} bytes where {self._size} were stored.")
        return self.next()

    def next(self) -> bytes:
        chunk = self.exchange.read(min(self.left, CHUNK_BYTES_MAX))
        if not chunk:
            raise http.client.IncompleteRead(chunk, self.left)
        self.left -= len(chunk)
        if self._on_chunk is not None:
            self._on_chunk(chunk)
        return chunk


class _Keys(Provider):
    """The keys as they are at each request."""

    def __init__(self, access_key: Secret, secret_key: Secret) -> None:
        self._access_key = access_key
        self._secret_key = secret_key

    def retrieve(self) -> Credentials:
        return Credentials(*read_together(self._access_key, self._secret_key))


def composite_etag(etags: Sequence[str]) -> str:
    """Return the ETag that S3 gives to an object made of parts with these ETags, each the MD5 of the part."""
    digest = hashlib.md5(b"".join(bytes.fromhex(etag) for etag in etags), usedforsecurity=False)
    return f"{digest.hexdigest()}-{len(etags)}"


def _client(location: Location, endpoint: str, *, timeout_s: float = SILENCE_S_MAX) -> Minio:
    parts = urlsplit(endpoint)
    return Minio(
        parts.netloc,
        credentials=_Keys(Secret.of(location.access_key), Secret.of(location.secret_key)),
        secure=parts.scheme == "https",
        # Known, so that signing asks nobody.
        region=location.region,
        http_client=TracedPool(
            timeout=urllib3.Timeout(connect=PROBE_TIMEOUT_S, read=timeout_s), retries=False, maxsize=_THREADS
        ),
    )


def _finish(exchange: Exchange) -> str:
    response = exchange.answer()
    response.read()
    _require(response, http.client.OK)
    return _etag(response)


def _require(response: http.client.HTTPResponse, status: int) -> None:
    if response.status != status:
        raise http.client.HTTPException(f"status {response.status}")


def _etag(response: http.client.HTTPResponse) -> str:
    return response.headers.get("ETag", "").strip('"')


def _translated(call: Callable[[*_A], _T], *arguments: *_A) -> _T:
    """Call in a thread of ours, and make of what the store does wrong the one thing that it means to a caller."""
    try:
        return call(*arguments)
    except _FAILURES as error:
        cause = error.code if isinstance(error, S3Error) else type(error).__name__
        _log.warning("object store failed", extra={"cause": cause})
        raise Unavailable("The object store is unavailable; try again.", retry_after_s=1) from error
