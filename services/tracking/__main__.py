"""The tracking service: settings → database → services → servicers → gRPC server.

`python -m services.tracking` serves; `python -m services.tracking migrate` brings the schema up to date and ends.
"""

import asyncio
import os
import sys
import uuid
from pathlib import Path

from modelstead.tracking.v1 import (
    datasets_pb2,
    experiments_pb2,
    ingest_pb2,
    logged_models_pb2,
    metrics_pb2,
    permissions_pb2,
    retention_pb2,
    run_ranks_pb2,
    run_watches_pb2,
    runs_pb2,
    status_pb2,
)
from services.common import artifact_stores, auth, program
from services.common.artifact_stores import Stores
from services.common.clock import now_ms
from services.common.database import Database
from services.common.pages import PageTokens
from services.common.prefork import launch
from services.common.program import descriptor
from services.common.readiness import Readiness
from services.common.rpc.pipeline import EveryoneMayEverything, Pipeline
from services.common.rpc.server import Service, serve
from services.common.settings import SettingsError
from services.common.status import Process
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
from services.tracking.permissions.service import ExperimentPermissions
from services.tracking.permissions.servicer import ExperimentPermissionServicer
from services.tracking.retention.service import Retention
from services.tracking.retention.servicer import RetentionServicer
from services.tracking.run_logs.meter import Meter
from services.tracking.run_logs.service import RunLogs
from services.tracking.run_ranks.service import RunRanks
from services.tracking.run_ranks.servicer import RunRankServicer
from services.tracking.run_watches.service import RunWatches, run_changes
from services.tracking.run_watches.servicer import RunWatchServicer
from services.tracking.runs.service import Runs
from services.tracking.runs.servicer import RunServicer
from services.tracking.sealing.service import Sealing
from services.tracking.settings import Settings
from services.tracking.status import figures as status_figures
from services.tracking.status.service import Status
from services.tracking.status.servicer import TrackingStatusServicer

SCHEMA = "tracking"
# Of a batch that is not read there comes no more.
LOOKAHEAD_BYTES = 64 * 1024
MIGRATIONS = Path(__file__).parent / "migrations"


def main(arguments: list[str]) -> None:
    """Run the service or, given `migrate`, its migrations. Exits 2 with one sentence for a wrong setting."""
    program.run(
        arguments, environ=os.environ, schema=SCHEMA, migrations=MIGRATIONS, settings_class=Settings, serve=_serve
    )


async def _serve(config: Settings) -> None:
    db = Database(config.database_url, schema=SCHEMA, connections=config.database_connections)
    pages = PageTokens(config.page_token_key)
    stores = _stores(config)
    experiments = Experiments(db=db, pages=pages, artifact_root=config.artifact_root, now_ms=now_ms, stores=stores)
    changes = run_changes(db)
    runs = Runs(db=db, pages=pages, now_ms=now_ms, new_id=_new_id, tell=changes.tell)
    meter = Meter()
    run_logs = RunLogs(db, meter=meter, tell=changes.tell)
    models = LoggedModels(db=db, pages=pages, now_ms=now_ms, new_id=_new_id)
    retention = Retention(db=db, pages=pages, artifact_root=config.artifact_root, now_ms=now_ms)
    run_ranks = RunRanks(db, pages=pages, now_ms=now_ms)
    ingest = Ingest(
        db,
        experiments,
        run_ranks,
        now_ms=now_ms,
        memory_bytes=config.ingest_memory_bytes,
        window_bytes=config.ingest_window_bytes,
        session_age_s=config.ingest_session_days * 24 * 3600,
        meter=meter,
        tell=changes.tell,
    )
    sealing = Sealing(db)
    status = Status(db, Process.here(), meter=meter, ingest=ingest, run_logs=run_logs, sealing=sealing)
    status_figures.tell(status)
    working = [asyncio.create_task(work) for work in (sealing.work(), run_ranks.work())]
    await serve(
        [
            Service(descriptor(experiments_pb2, "ExperimentService"), ExperimentServicer(experiments)),
            Service(descriptor(runs_pb2, "RunService"), RunServicer(runs, run_logs)),
            Service(descriptor(metrics_pb2, "MetricService"), MetricServicer(Metrics(db=db, pages=pages), run_logs)),
            Service(descriptor(datasets_pb2, "DatasetService"), DatasetServicer(Datasets(db=db))),
            Service(descriptor(logged_models_pb2, "LoggedModelService"), LoggedModelServicer(models)),
            Service(descriptor(retention_pb2, "RetentionService"), RetentionServicer(retention)),
            Service(descriptor(run_ranks_pb2, "RunRankService"), RunRankServicer(run_ranks)),
            Service(descriptor(ingest_pb2, "IngestService"), IngestServicer(ingest), rooms={"IngestBatch": ingest}),
            Service(descriptor(run_watches_pb2, "RunWatchService"), RunWatchServicer(RunWatches(db, changes))),
            Service(
                descriptor(permissions_pb2, "ExperimentPermissionService"),
                ExperimentPermissionServicer(ExperimentPermissions(db=db)),
            ),
            Service(descriptor(status_pb2, "TrackingStatusService"), TrackingStatusServicer(status)),
        ],
        listen=config.listen,
        health_listen=config.health_listen,
        shares_port=launch.shares_port(config),
        pipeline=Pipeline(
            auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen),
            EveryoneMayEverything(),
        ),
        ready=Readiness(db, MIGRATIONS, prepare=experiments.ensure_default),
        with_reflection=config.reflection,
        drain_notice_s=config.drain_notice_s,
        connection_age_s=config.connection_age_s,
        lookahead_bytes=LOOKAHEAD_BYTES,
    )
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    await run_ranks.stop()
    await asyncio.shield(db.close())


def _stores(config: Settings) -> Stores:
    stores = artifact_stores.load(config.artifact_stores)
    if not stores.allow(config.artifact_root):
        raise SettingsError(
            f"MODELSTEAD_ARTIFACT_ROOT={config.artifact_root} is in none of the stores of MODELSTEAD_ARTIFACT_STORES."
        )
    return stores


def _new_id() -> str:
    return uuid.uuid4().hex


if __name__ == "__main__":
    main(sys.argv[1:])
