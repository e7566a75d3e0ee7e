"""The artifact service: settings → database and object store → services → servicers → gRPC server.

`python -m services.artifacts` serves; `python -m services.artifacts migrate` brings the schema up to date and ends.
"""

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from modelstead.artifacts.v1 import artifacts_pb2, maintenance_pb2, owned_artifacts_pb2, status_pb2, uploads_pb2
from services.artifacts.external.stores import ExternalStores
from services.artifacts.files.commits import Commits
from services.artifacts.files.model import DEFAULT_WORKSPACE
from services.artifacts.files.service import Files
from services.artifacts.files.servicer import ArtifactServicer
from services.artifacts.files.tree import ManagedTree
from services.artifacts.maintenance.service import Maintenance
from services.artifacts.maintenance.servicer import MaintenanceServicer
from services.artifacts.maintenance.sweeping import Sweeper
from services.artifacts.objects import Location, Objects
from services.artifacts.owned.registry import RegistryVersions
from services.artifacts.owned.service import OwnedArtifacts
from services.artifacts.owned.servicer import OwnedArtifactServicer
from services.artifacts.owned.tracking import TrackingOwners
from services.artifacts.settings import Settings
from services.artifacts.status import figures as status_figures
from services.artifacts.status.service import Status
from services.artifacts.status.servicer import ArtifactsStatusServicer
from services.artifacts.traffic import Traffic
from services.artifacts.trees import CHUNK_BYTES_MAX
from services.artifacts.uploads.service import Uploads
from services.artifacts.uploads.servicer import UploadServicer
from services.common import artifact_stores, auth, memory, program
from services.common.database import Database
from services.common.errors import Unavailable
from services.common.pages import PageTokens
from services.common.prefork import launch
from services.common.program import descriptor
from services.common.readiness import Readiness
from services.common.rpc.contract import PLATFORM_DEADLINE_S_MAX
from services.common.rpc.pipeline import EveryoneMayEverything, Pipeline
from services.common.rpc.server import Service, serve
from services.common.status import Process

SCHEMA = "artifacts"
MIGRATIONS = Path(__file__).parent / "migrations"
_BUCKET_POLL_S = 0.2


def main(arguments: list[str]) -> None:
    """Run the service or, given `migrate`, its migrations. Exits 2 with one sentence for a wrong setting."""
    program.run(
        arguments, environ=os.environ, schema=SCHEMA, migrations=MIGRATIONS, settings_class=Settings, serve=_serve
    )


async def _serve(config: Settings) -> None:
    memory.keep_little()
    db = Database(config.database_url, schema=SCHEMA, connections=config.database_connections)
    traffic = Traffic()
    objects = Objects(_location(config), traffic=traffic)
    files = Files(
        db=db,
        objects=objects,
        commits=Commits(db=db, now=_now),
        pages=PageTokens(config.page_token_key),
        now=_now,
        new_id=_new_id,
    )
    sweeper = Sweeper(
        db=db,
        objects=objects,
        now=_now,
        upload_ttl=timedelta(seconds=config.upload_ttl_s),
        garbage_grace=timedelta(seconds=config.garbage_grace_s),
    )
    external = ExternalStores(artifact_stores.load(config.artifact_stores))
    owners = TrackingOwners(config.tracking_address)
    versions = RegistryVersions(config.registry_address)
    owned = OwnedArtifacts(
        owners=owners,
        versions=versions,
        managed=ManagedTree(files=files, workspace=DEFAULT_WORKSPACE),
        external=external,
    )
    uploads = Uploads(db=db, objects=objects, now=_now, new_id=_new_id)
    maintenance = Maintenance(files=files, sweeper=sweeper, external=external)
    status = Status(db, Process.here(), traffic, objects)
    status_figures.tell(status, traffic)
    async with _in_background(objects, sweeper, interval_s=config.sweep_interval_s):
        await serve(
            [
                Service(descriptor(artifacts_pb2, "ArtifactService"), ArtifactServicer(files)),
                Service(descriptor(owned_artifacts_pb2, "OwnedArtifactService"), OwnedArtifactServicer(owned)),
                Service(descriptor(uploads_pb2, "UploadService"), UploadServicer(uploads)),
                Service(descriptor(maintenance_pb2, "MaintenanceService"), MaintenanceServicer(maintenance)),
                Service(descriptor(status_pb2, "ArtifactsStatusService"), ArtifactsStatusServicer(status)),
            ],
            listen=config.listen,
            health_listen=config.health_listen,
            shares_port=launch.shares_port(config),
            pipeline=Pipeline(
                auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen),
                EveryoneMayEverything(),
            ),
            # Names are served also while the object store is away.
            ready=Readiness(db, MIGRATIONS),
            with_reflection=config.reflection,
            drain_notice_s=config.drain_notice_s,
            connection_age_s=config.connection_age_s,
            connection_grace_s=PLATFORM_DEADLINE_S_MAX,
            lookahead_bytes=CHUNK_BYTES_MAX,
        )
    objects.close()
    await asyncio.shield(asyncio.gather(owners.close(), versions.close(), external.close(), db.close()))


@contextlib.asynccontextmanager
async def _in_background(objects: Objects, sweeper: Sweeper, *, interval_s: float) -> AsyncIterator[None]:
    """Make the bucket and sweep for as long as the block lasts."""
    task = asyncio.create_task(_look_after(objects, sweeper, interval_s=interval_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _look_after(objects: Objects, sweeper: Sweeper, *, interval_s: float) -> None:
    while True:
        try:
            await objects.ensure_bucket()
            break
        except Unavailable:
            await asyncio.sleep(_BUCKET_POLL_S)
    await sweeper.run(interval_s=interval_s)


def _location(config: Settings) -> Location:
    return Location(
        endpoint=config.s3_endpoint,
        bucket=config.s3_bucket,
        region=config.s3_region,
        access_key=config.s3_access_key,
        secret_key=config.s3_secret_key,
        public_endpoint=config.s3_public_endpoint,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> str:
    return uuid.uuid4().hex


if __name__ == "__main__":
    main(sys.argv[1:])
