"""The artifact service as tests run it: as a process that can be killed, or its use-cases in this one."""

import asyncio
import contextlib
import os
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelstead.artifacts.v1 import artifacts_pb2_grpc, maintenance_pb2_grpc, uploads_pb2_grpc
from services.artifacts.__main__ import MIGRATIONS, SCHEMA
from services.artifacts.files.commits import Commits
from services.artifacts.files.service import Files
from services.artifacts.maintenance.sweeping import Sweeper
from services.artifacts.objects import Location, Objects
from services.artifacts.trees import OpenFile, Segments
from services.artifacts.uploads import store as uploads_store
from services.artifacts.uploads.model import Upload
from services.artifacts.uploads.service import Uploads
from services.common import migrations
from services.common.database import Database
from services.common.pages import PageTokens
from services.common.secret_files import Secret
from services.common.settings import Address
from services.local import ports, waiting
from services.local.postgres import EmbeddedPostgres
from services.local.process import LAUNCHED_FOR, Child, Process
from tests import patient
from tests.s3 import S3, EmbeddedS3, from_environment

WORKSPACE = "default"
READY_TIMEOUT_S = 180
_HOST = "127.0.0.1"


@contextlib.contextmanager
def database(path: Path) -> Iterator[str]:
    """A Postgres with the newest schema, as the role that the service has."""
    with EmbeddedPostgres(path) as postgres:
        url = postgres.url(SCHEMA)
        migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)
        yield url


@contextlib.contextmanager
def object_store(path: Path) -> Iterator[S3]:
    """An embedded S3, or the one that the environment names."""
    if (other := from_environment()) is not None:
        yield other
        return
    with EmbeddedS3(path) as server:
        yield server.s3


@dataclass
class Clock:
    """A clock that is put forward by hand."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


class UseCases:
    """The use-cases over a real database and a real object store."""

    def __init__(self, database_url: str, s3: S3, bucket: str) -> None:
        self.clock = Clock()
        self._s3, self._bucket = s3, bucket
        self.db = Database(database_url, schema=SCHEMA)
        self.objects = Objects(location(s3, bucket))
        self.files = Files(
            db=self.db,
            objects=self.objects,
            commits=Commits(db=self.db, now=self.clock),
            pages=PageTokens(Secret("k" * 32)),
            now=self.clock,
            new_id=_new_id,
        )
        self.uploads = Uploads(db=self.db, objects=self.objects, now=self.clock, new_id=_new_id)
        self.sweeper = Sweeper(
            db=self.db,
            objects=self.objects,
            now=self.clock,
            upload_ttl=timedelta(days=1),
            garbage_grace=timedelta(hours=1),
        )

    async def empty(self) -> None:
        """Forget all that tests before have stored."""
        async with self.db.pipeline() as tx:
            await tx.execute("TRUNCATE artifacts, blobs, releases, uploads, garbage")

    async def row_counts(self) -> dict[str, int]:
        counts = {}
        async with self.db.pipeline() as tx:
            for table in ("artifacts", "blobs", "releases", "uploads", "garbage"):
                (counts[table],) = await (await tx.execute(f"SELECT count(*) FROM {table}")).fetchone()
        return counts

    async def sweep_all(self) -> None:
        """Sweep once, and take everything for old enough except uploads."""
        await self.sweeper.sweep(upload_ttl=self.sweeper.upload_ttl, garbage_grace=timedelta(0))

    async def upload_of(self, upload_id: str) -> Upload:
        async with self.db.pipeline() as tx:
            upload = await uploads_store.get(tx, upload_id)
        assert upload is not None
        return upload

    async def send_directly(self, path: Segments, contents: bytes) -> None:
        """Store a file as clients do that are given a URL."""
        upload, target = await self.uploads.create(WORKSPACE, path, size=len(contents))
        await asyncio.to_thread(put, target.url, contents)
        await self.uploads.complete(WORKSPACE, upload.upload_id)

    async def overwrite(self, key: str, contents: bytes) -> None:
        """Change an object behind the service's back."""
        await self.objects.put(key, chunks(contents), size=len(contents))

    async def flip_bit(self, key: str, position: int) -> None:
        """Change one bit of an object behind the service's back."""
        stat = await self.objects.stat(key)
        assert stat is not None
        read = self.objects.read(key, 0, stat.size, size=stat.size)
        contents = bytearray(b"".join([chunk async for chunk in read]))
        contents[position % len(contents)] ^= 1
        await self.overwrite(key, bytes(contents))

    def multipart_keys(self) -> list[str]:
        """The keys for which the store holds parts."""
        listed = self._s3.client()._list_multipart_uploads(self._bucket)
        return [upload.object_name or "" for upload in listed.uploads]

    async def multiply(self, source: str, names: list[str]) -> None:
        """Let many paths lead to the contents of one, as quickly as the database can."""
        async with self.db.pipeline() as tx:
            await tx.execute(
                "INSERT INTO artifacts (workspace, path, blob_id, create_time) "
                "SELECT workspace, name, blob_id, create_time "
                "FROM artifacts, unnest(%s::text[]) AS name WHERE path = %s",
                (names, source),
            )

    async def rows_scanned(self, call: Callable[[], Awaitable[object]]) -> int:
        """Call, and return how many entries of the index on paths were read for it."""
        before = await self._entries_read()
        await call()
        return await self._entries_read() - before

    async def _entries_read(self) -> int:
        # What a connection has counted is told to others at the end of a transaction that asks for it.
        async with self.db.pipeline() as tx:
            await tx.execute("SELECT pg_stat_force_next_flush()")
        async with self.db.pipeline() as tx:
            counted = await tx.execute(
                "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'artifacts_pkey'"
            )
            row = await counted.fetchone()
        assert row is not None
        return int(row[0])

    async def close(self) -> None:
        self.objects.close()
        await self.db.close()

    async def keys(self) -> list[str]:
        """The keys of all objects in the bucket."""
        return [stat.key async for stat in self.objects.stats()]


class ArtifactService:
    """The service as a process, and stubs to call it. It is patient as those of a `Stack` are."""

    def __init__(
        self, path: Path, *, database_url: str, s3: S3, bucket: str, is_patient: bool = True, **variables: str
    ) -> None:
        self._address = Address(_HOST, ports.choose(_HOST))
        argv = [sys.executable, "-P", "-m", "services.artifacts"]
        self._child = Child(
            name="artifacts",
            argv=patient.command(argv) if is_patient else argv,
            env={
                **os.environ,
                "MODELSTEAD_LISTEN": str(self._address),
                "MODELSTEAD_DATABASE_URL": database_url,
                "MODELSTEAD_PAGE_TOKEN_KEY": "k" * 32,
                "MODELSTEAD_S3_ENDPOINT": s3.endpoint,
                "MODELSTEAD_S3_PUBLIC_ENDPOINT": s3.endpoint,
                "MODELSTEAD_S3_BUCKET": bucket,
                "MODELSTEAD_S3_ACCESS_KEY": s3.access_key,
                "MODELSTEAD_S3_SECRET_KEY": s3.secret_key,
                LAUNCHED_FOR: str(path),
                **variables,
            },
            log=path / "artifacts.log",
        )
        self.process: Process | None = None
        self._channel = grpc.insecure_channel(str(self._address))
        self.artifacts = artifacts_pb2_grpc.ArtifactServiceStub(self._channel)
        self.uploads = uploads_pb2_grpc.UploadServiceStub(self._channel)
        self.maintenance = maintenance_pb2_grpc.MaintenanceServiceStub(self._channel)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
        if self.process is not None:
            self.process.stop()

    def start(self) -> None:
        """Start the service and wait until it is ready."""
        process = self.process = Process(self._child)
        has_come = waiting.until(lambda: process.ended or self.is_ready(), timeout_s=READY_TIMEOUT_S)
        assert has_come, process.last_lines()
        assert not process.ended, process.last_lines()

    def kill(self) -> None:
        """End the service as a power cut would."""
        assert self.process is not None, "not started"
        self.process.kill()
        self.process = None

    def is_ready(self) -> bool:
        """Whether the service says that it is ready."""
        try:
            answer = health_pb2_grpc.HealthStub(self._channel).Check(
                health_pb2.HealthCheckRequest(service="readiness"), timeout=2
            )
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def location(s3: S3, bucket: str) -> Location:
    return Location(
        endpoint=s3.endpoint,
        bucket=bucket,
        region="us-east-1",
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        public_endpoint=s3.endpoint,
    )


async def chunks(contents: bytes, *, length: int = 1024 * 1024) -> AsyncIterator[bytes]:
    """The contents as they come from a client."""
    for start in range(0, len(contents), length):
        yield contents[start : start + length]


async def read_all(file: OpenFile) -> bytes:
    return b"".join([chunk async for chunk in file.read(0, file.size)])


def put(url: str, contents: bytes) -> str:
    """Send contents to a URL with plain HTTP; return the ETag."""
    request = urllib.request.Request(url, data=contents, method="PUT")
    with urllib.request.urlopen(request) as answer:
        etag: str = answer.headers["ETag"]
    return etag


def _new_id() -> str:
    return uuid.uuid4().hex
