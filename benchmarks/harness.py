"""One run: a Postgres for both systems, then each system alone from its cold start to its last row."""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import uvloop

from benchmarks import machine, workloads
from benchmarks.client import UnexpectedAnswer
from benchmarks.measuring import Measurement
from benchmarks.report import Report, Result
from benchmarks.rows import Row, When
from benchmarks.scale import Scale
from benchmarks.scene import Scene
from benchmarks.systems import Mlflow, Modelstead, System
from services.local.postgres import EmbeddedPostgres
from tests.s3 import S3, EmbeddedS3

_MLFLOW_DATABASE = "mlflow"


@dataclass(slots=True, kw_only=True)
class Harness:
    """Measures `rows` on one system after the other. `failed` tells afterwards whether any could not be measured."""

    rows: Sequence[Row]
    scale: Scale
    with_mlflow: bool = True
    failed: bool = field(default=False, init=False)

    def run(self) -> Report:
        """Measure everything and return what came out. Raises LocalError and SystemFailed."""
        about, began_at, began = machine.describe(), datetime.now(UTC), time.perf_counter()
        with (
            tempfile.TemporaryDirectory(prefix="modelstead-bench-") as folder,
            EmbeddedPostgres(Path(folder) / "database") as postgres,
            EmbeddedS3(Path(folder) / "objects") as objects,
        ):
            systems = self._systems(postgres, objects.s3, Path(folder))
            references = self._references(objects.s3)
            versions = {system.name: system.version for system in systems} | _postgres_version(postgres)
            figures = {system.name: self._measure(system) for system in systems}
        return Report(
            began_at=began_at.isoformat(timespec="seconds"),
            took_s=time.perf_counter() - began,
            scale=self.scale,
            machine=about,
            load_average_after=machine.describe().load_average,
            versions=versions,
            results=[
                Result(
                    row=row,
                    mlflow=figures.get(Mlflow.name, {}).get(row.name),
                    modelstead=figures[Modelstead.name].get(row.name),
                    reference=references.get(row.name),
                )
                for row in self.rows
            ],
        )

    def _references(self, s3: S3) -> dict[str, Measurement]:
        """Measure what the object store itself gives, once for all rows that ask the same of it."""
        measure_of = {row.name: row.reference for row in self.rows if row.reference is not None}
        found = {measure: measure(s3, self.scale) for measure in set(measure_of.values())}
        return {name: found[measure] for name, measure in measure_of.items()}

    def _systems(self, postgres: EmbeddedPostgres, s3: S3, folder: Path) -> list[System]:
        systems: list[System] = []
        if self.with_mlflow:
            mlflow = Mlflow(admin_url=_mlflow_database(postgres), s3=s3, folder=_subfolder(folder, "mlflow"))
            self._say(mlflow, "migrating its database")
            with mlflow.start():
                systems.append(mlflow)
        ours = _subfolder(folder, "modelstead")
        # Of a role that may create schemas, as it must be that `modelstead up` is given.
        systems.append(Modelstead(database_url=postgres.url(), s3=s3, folder=ours))
        return systems

    def _measure(self, system: System) -> dict[str, Measurement]:
        figures: dict[str, Measurement] = {}
        rows = sorted(self.rows, key=lambda row: row.when.value)
        for row in (row for row in rows if row.when is When.COLD):
            figures[row.name] = workloads.cold_start(system, self.scale)
            self._say_figure(system, row, figures[row.name])
        if len(figures) < len(rows):
            uvloop.run(self._measure_running(system, rows, figures))
        return figures

    async def _measure_running(self, system: System, rows: Sequence[Row], figures: dict[str, Measurement]) -> None:
        """Measure the rows that want a running system. One that fails costs its own figure only."""
        with system.start() as running:
            scene = Scene(system, running, self.scale)
            for row in rows:
                if row.measure is None or (row.is_ours and system.name != Modelstead.name):
                    continue
                try:
                    figures[row.name] = await row.measure(scene)
                    self._say_figure(system, row, figures[row.name])
                except* (UnexpectedAnswer, OSError) as errors:
                    self.failed = True
                    self._say(system, f"{row.name} FAILED: {_first(errors)}")

    def _say_figure(self, system: System, row: Row, measurement: Measurement) -> None:
        samples = ", ".join(row.unit.text(sample) for sample in measurement.samples[:5])
        disturbed = f"{measurement.foreign_cores:.2f} cores busy with something else"
        self._say(system, f"{row.name} {row.unit.text(measurement.median)}  ({samples}; {disturbed})")

    def _say(self, system: System, text: str) -> None:
        print(f"{system.name}: {text}", file=sys.stderr, flush=True)


def _first(error: BaseException) -> BaseException:
    """Return the first of the errors in a group, which most often has led to the others."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _subfolder(folder: Path, name: str) -> Path:
    subfolder = folder / name
    subfolder.mkdir()
    return subfolder


def _mlflow_database(postgres: EmbeddedPostgres) -> str:
    """Create a database for MLflow on the same server and return its URL."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {_MLFLOW_DATABASE}")
    return f"{postgres.url().rpartition('/')[0]}/{_MLFLOW_DATABASE}"


def _postgres_version(postgres: EmbeddedPostgres) -> dict[str, str]:
    with psycopg.connect(postgres.url()) as connection:
        return {"Postgres": connection.info.parameter_status("server_version") or "unknown"}
