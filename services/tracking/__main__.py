"""The tracking service: settings → database → services → servicers → gRPC server.

`python -m services.tracking` serves; `python -m services.tracking migrate` brings the schema up to date and ends.
"""

import asyncio
import os
import sys
import time
import uuid
from pathlib import Path
from types import ModuleType

import uvloop
from google.protobuf.descriptor import ServiceDescriptor

from modelstead.tracking.v1 import (
    datasets_pb2,
    experiments_pb2,
    ingest_pb2,
    logged_models_pb2,
    metrics_pb2,
    retention_pb2,
    runs_pb2,
)
from services.common import artifact_stores, auth, logs, settings, telemetry
from services.common.artifact_stores import Stores
from services.common.database import Database
from services.common.errors import ServiceError
from services.common.pages import PageTokens
from services.common.rpc.pipeline import EveryoneMayEverything, Pipeline
from services.common.rpc.server import Service, serve
from services.tracking.datasets.service import Datasets
from services.tracking.datasets.servicer import DatasetServicer
from services.tracking.experiments.service import Experiments
from services.tracking.experiments.servicer import ExperimentServicer
from services.tracking.ingest.service import Ingest
from services.tracking.ingest.servicer import IngestServicer
from services.tracking.logged_models.service import LoggedModels
from services.tracking.logged_models.servicer import LoggedModelServicer
from services.tracking.metrics.service import Metrics
from services.tracking.metrics.servicer import MetricServicer
from services.tracking.retention.service import Retention
from services.tracking.retention.servicer import RetentionServicer
from services.tracking.run_logs.service import RunLogs
from services.tracking.runs.service import Runs
from services.tracking.runs.servicer import RunServicer
from services.tracking.sealing.service import Sealing
from services.tracking.settings import Settings

SCHEMA = "tracking"
MIGRATIONS = Path(__file__).parent / "migrations"


def main(arguments: list[str]) -> None:
    """Run the service or, given `migrate`, its migrations. Exits 2 with one sentence for a wrong setting."""
    try:
        config = settings.load(Settings, os.environ)
        logs.configure(log_format=config.log_format, log_level=config.log_level)
        if config.migrate_on_start or arguments == ["migrate"]:
            _migrate(config)
        if arguments != ["migrate"]:
            telemetry.start("tracking", otlp_endpoint=config.otlp_endpoint, metrics_listen=config.metrics_listen)
            uvloop.run(_serve(config))
    except settings.SettingsError as error:
        sys.exit(_complain(str(error), code=2))
    except ServiceError as error:
        sys.exit(_complain(error.message, code=1))


def _complain(sentence: str, *, code: int) -> int:
    print(f"tracking: {sentence}", file=sys.stderr)
    return code


def _migrate(config: Settings) -> None:
    # Alembic costs 15 MB, which only a process that migrates pays.
    from services.common import migrations

    migrations.upgrade(config.database_url, schema=SCHEMA, scripts=MIGRATIONS)


async def _serve(config: Settings) -> None:
    db = Database(config.database_url, schema=SCHEMA)
    pages = PageTokens(config.page_token_key.encode())
    stores = _stores(config)
    experiments = Experiments(db=db, pages=pages, artifact_root=config.artifact_root, now_ms=_now_ms, stores=stores)
    runs = Runs(db=db, pages=pages, now_ms=_now_ms, new_id=_new_id)
    run_logs = RunLogs(db)
    models = LoggedModels(db=db, pages=pages, now_ms=_now_ms, new_id=_new_id)
    retention = Retention(db=db, pages=pages, artifact_root=config.artifact_root, now_ms=_now_ms)
    ingest = Ingest(
        db,
        experiments,
        now_ms=_now_ms,
        memory_bytes=config.ingest_memory_bytes,
        window_bytes=config.ingest_window_bytes,
    )
    await experiments.ensure_default()
    sealing = asyncio.create_task(Sealing(db).work())
    await serve(
        [
            Service(_service(experiments_pb2, "ExperimentService"), ExperimentServicer(experiments)),
            Service(_service(runs_pb2, "RunService"), RunServicer(runs, run_logs)),
            Service(_service(metrics_pb2, "MetricService"), MetricServicer(Metrics(db=db, pages=pages), run_logs)),
            Service(_service(datasets_pb2, "DatasetService"), DatasetServicer(Datasets(db=db))),
            Service(_service(logged_models_pb2, "LoggedModelService"), LoggedModelServicer(models)),
            Service(_service(retention_pb2, "RetentionService"), RetentionServicer(retention)),
            Service(_service(ingest_pb2, "IngestService"), IngestServicer(ingest)),
        ],
        listen=config.listen,
        pipeline=Pipeline(
            auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen),
            EveryoneMayEverything(),
        ),
        ready=db.is_ready,
        with_reflection=config.reflection,
        drain_notice_s=config.drain_notice_s,
    )
    sealing.cancel()
    await asyncio.gather(sealing, return_exceptions=True)
    await asyncio.shield(db.close())


def _stores(config: Settings) -> Stores:
    stores = artifact_stores.load(config.artifact_stores)
    if not stores.allow(config.artifact_root):
        raise settings.SettingsError(
            f"MODELSTEAD_ARTIFACT_ROOT={config.artifact_root} is in none of the stores of MODELSTEAD_ARTIFACT_STORES."
        )
    return stores


def _service(module: ModuleType, name: str) -> ServiceDescriptor:
    service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return service


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return uuid.uuid4().hex


if __name__ == "__main__":
    main(sys.argv[1:])
