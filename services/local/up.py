"""The life of the local platform, from the checks before anything is started to the last child's end."""

import time
from collections.abc import Callable, Mapping
from importlib import metadata

from services.local import orphans, ports, waiting
from services.local.cluster import Cluster
from services.local.data_dir import DataDir
from services.local.errors import LocalError
from services.local.object_store import ObjectStore
from services.local.plan import Plan, UpSettings, reachable
from services.local.process import Process
from services.local.signals import Signals, StopRequested
from services.local.supervisor import Supervisor

_MIGRATE_TIMEOUT_S = 3600.0
# What a migration logs that somebody stands in the way of.
_WAITS = "waiting for a lock"
_LOOK_S = 0.05

_SUMMARY = """\
Modelstead {version} is ready ({took_s:.1f} s). Ctrl-C stops it.
  gateway    {url}  MLflow's REST API
  tracking   {tracking}  gRPC
  artifacts  {artifacts}  gRPC
  registry   {registry}  gRPC
  database   {database}
  objects    {objects}
  data       {data}, logs in {data}/logs

Train against it:
  export MLFLOW_TRACKING_URI={url}
  pip install mlflow-skinny scikit-learn pandas
  python examples/sklearn_autolog.py"""


def run(settings: UpSettings, *, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Run the platform until a stop is requested. Services inherit `environ`. Raises LocalError."""
    began = time.monotonic()
    with Signals() as signals, DataDir(settings.data_dir, url=settings.url) as data_dir:
        try:
            if left := orphans.find_children(data_dir.path):
                say(f"Ending what an earlier launcher left running: {', '.join(map(str, left))}")
                orphans.end_children(data_dir.path, pause=signals.pause)
            _require_free_ports(settings)
            say(f"Starting Modelstead in {data_dir.path}")
            plan = _plan(settings, data_dir=data_dir, environ=environ, pause=signals.pause)
            supervisor = Supervisor(plan.children(), signals=signals, say=say)
        except StopRequested:
            return
        try:
            supervisor.start()
            supervisor.await_ready(plan.is_ready)
            say(_summary(plan, took_s=time.monotonic() - began))
            supervisor.watch()
        except StopRequested:
            say("Stopping. Another Ctrl-C hurries.")
        finally:
            supervisor.stop()


def migrate(settings: UpSettings, *, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Bring every service's schema up to date and start nothing that stays. Raises LocalError."""
    with Signals() as signals, DataDir(settings.data_dir) as data_dir:
        try:
            plan = _plan(settings, data_dir=data_dir, environ=environ, pause=signals.pause)
            databases = Supervisor(plan.databases(), signals=signals, say=say)
            try:
                databases.start()
                for migration in plan.migrations():
                    _run_to_end(Process(migration), say=say, pause=signals.pause)
            finally:
                databases.stop()
        except StopRequested:
            raise LocalError("Interrupted: what was migrated so far stays, run it again for the rest.") from None
        say("The database is up to date.")


def _plan(settings: UpSettings, *, data_dir: DataDir, environ: Mapping[str, str], pause: waiting.Pause) -> Plan:
    return Plan(
        settings=settings,
        data_dir=data_dir,
        cluster=None
        if settings.database_url
        else Cluster(data_dir, connections_max=settings.database_connections_max, pause=pause),
        object_store=None if settings.s3 else ObjectStore(data_dir),
        environ=environ,
    )


def _require_free_ports(settings: UpSettings) -> None:
    if not ports.is_free(settings.gateway):
        raise LocalError(f"Port {settings.port} on {settings.host} is in use: choose another with --port.")
    for name, address, place in (
        ("tracking", settings.tracking, "the one after the gateway's"),
        ("artifacts", settings.artifacts, "the second after the gateway's"),
        ("registry", settings.registry, "the third after the gateway's"),
    ):
        if not ports.is_free(address):
            raise LocalError(
                f"Port {address.port} on {settings.host} is in use, and {name} needs it as {place}: choose another "
                "with --port."
            )


def _run_to_end(process: Process, *, say: Callable[[str], None], pause: waiting.Pause) -> None:
    said = set[str]()

    def has_ended() -> bool:
        waits = [line.strip() for line in process.last_lines().splitlines() if _WAITS in line]
        for line in (line for line in waits if line not in said):
            said.add(line)
            say(line)
        return process.ended

    try:
        waiting.until(has_ended, timeout_s=_MIGRATE_TIMEOUT_S, pause=lambda _: pause(_LOOK_S))
        if process.exit_code != 0:
            raise LocalError(f"The migration failed. It last logged:\n{process.last_lines()}")
    finally:
        process.kill()


def _summary(plan: Plan, *, took_s: float) -> str:
    return _SUMMARY.format(
        version=metadata.version("modelstead-server"),
        took_s=took_s,
        url=plan.settings.url,
        tracking=reachable(plan.settings.tracking),
        artifacts=reachable(plan.settings.artifacts),
        registry=reachable(plan.settings.registry),
        database=f"{plan.cluster.address}  Postgres" if plan.cluster else "yours, from --database-url",
        objects=f"http://{plan.object_store.address}  S3" if plan.object_store else "yours, from --s3-endpoint",
        data=plan.data_dir.path,
    )
