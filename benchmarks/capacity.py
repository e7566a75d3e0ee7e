"""What each kind of work costs each part of Modelstead, as docs/capacity.md counts it: `python -m benchmarks.capacity`.

Processor time, WAL and commits a unit of work depend little on what else the machine does, so two cores tell them as
well as sixty-four; how fast all of it goes they do not. `--workers 2` gives each service two processes.
"""

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psycopg
import uvloop

from benchmarks import cold_chunks, ingest, lookups, machine, ranks, workloads
from benchmarks.client import UnexpectedAnswer
from benchmarks.measuring import Measurement
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.scene import Scene
from benchmarks.systems import Modelstead
from services.local.postgres import EmbeddedPostgres
from tests.s3 import EmbeddedS3

PARTS = ("gateway", "tracking", "registry", "postgres")
_POINTS = "SELECT coalesce(sum(point_count), 0) FROM tracking.metrics"
_RANK_POINTS = 20
# So many that a busy machine takes in what they bring.
_RANKS = 300
_RANKS_S = 30.0
# Processor time is counted in hundredths of a second.
_REPEATS_MAX = 300
_HEAD = "| work | unit | units/s here | " + " | ".join(PARTS) + " | WAL, bytes | commits |"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A workload, and how many units of it were done: of those that log, the database knows; of others, they do."""

    name: str
    unit: str
    measure: Callable[[Scene], Awaitable[Measurement]]
    # Points that are one unit; None counts calls.
    points: int | None = None
    prepare: Callable[[Scene], Awaitable[object]] | None = None


WORKS = (
    Work(name="ingest", unit="1,000 points by gRPC", measure=ingest.ingest, points=1000),
    Work(
        name="ranks",
        unit=f"batch of {_RANK_POINTS} metrics of a rank",
        measure=partial(ranks.acknowledged, quantile=0.99),
        points=_RANK_POINTS,
    ),
    Work(name="log-batch", unit="`log-batch` of 1,000 points", measure=workloads.log_batch, points=1000),
    Work(name="log-metric", unit="`log-metric`", measure=workloads.log_metric, points=1),
    Work(name="create-end", unit="run created and ended", measure=workloads.create_and_end),
    Work(
        name="search",
        unit="search, 100 of 10,000 runs",
        measure=partial(workloads.search_filter, limit=100),
        prepare=Scene.searchable,
    ),
    Work(name="by-alias", unit="version by alias", measure=lookups.by_alias),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What has been taken so far, processor time in seconds by part, and how many points are stored."""

    cpu_s: Mapping[str, float]
    wal_bytes: int
    commits: int
    points: int

    def since(self, before: "Taken") -> "Taken":
        """Return what was taken from then until now."""
        return Taken(
            {part: self.cpu_s[part] - before.cpu_s[part] for part in self.cpu_s},
            self.wal_bytes - before.wal_bytes,
            self.commits - before.commits,
            self.points - before.points,
        )


@dataclass(frozen=True, slots=True)
class Meter:
    """Reads what a running platform and its Postgres have taken."""

    platform: int
    postgres: EmbeddedPostgres

    def read(self) -> Taken:
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            # What backends have not told of yet is told when they are idle for a second.
            row = connection.execute(
                "SELECT pg_current_wal_insert_lsn() - '0/0', (SELECT sum(xact_commit) FROM pg_stat_database)"
            ).fetchone()
            assert row
            points = connection.execute(_POINTS).fetchone()
            assert points
        return Taken(self._cpu_s(), int(row[0]), int(row[1]), int(points[0]))

    def _cpu_s(self) -> dict[str, float]:
        taken = dict.fromkeys(PARTS, 0.0)
        for pid in machine.tree(self.platform):
            command = machine.command(pid)
            part = next((part for part in PARTS if f"services.{part}" in command), None)
            if part is not None:
                taken[part] += machine.cpu_s(pid)
        taken["postgres"] = sum(machine.cpu_s(pid) for pid in machine.tree(self.postgres.pid))
        return taken


def main() -> int:
    """Measure what the command line asks for, and print a table. Returns 1 if something could not be measured."""
    options = _parser().parse_args()
    works = [work for work in WORKS if not options.only or work.name in options.only]
    scale = QUICK if options.quick else replace(FULL, ranks=_RANKS, ranks_s=_RANKS_S, repeats_max=_REPEATS_MAX)
    with (
        tempfile.TemporaryDirectory(prefix="modelstead-capacity-") as folder,
        EmbeddedPostgres(Path(folder) / "database") as postgres,
        EmbeddedS3(Path(folder) / "objects") as objects,
    ):
        platform = Path(folder) / "platform"
        platform.mkdir()
        system = Modelstead(database_url=postgres.url(), s3=objects.s3, folder=platform, workers=options.workers)
        failed = uvloop.run(_measure(system, works, scale, postgres, with_chunks=not options.only))
        if not options.only:
            print(cold_chunks.compare(postgres.url(), objects.s3))
    return 1 if failed else 0


async def _measure(
    system: Modelstead, works: Sequence[Work], scale: Scale, postgres: EmbeddedPostgres, *, with_chunks: bool
) -> bool:
    """Print a row for each work. Returns whether any could not be measured, which costs its own row only."""
    failed = False
    with system.start() as running:
        scene, meter = Scene(system, running, scale), Meter(running.process.pid, postgres)
        print(f"{machine.describe()}\n\nMilliseconds of processor time a unit:\n\n{_HEAD}")
        print("|---" * (_HEAD.count("|") - 1) + "|")
        for work in works:
            try:
                print(await _row(work, scene, meter), flush=True)
            except* (UnexpectedAnswer, OSError) as errors:
                print(f"{work.name} FAILED: {errors.exceptions[0]}", file=sys.stderr)
                failed = True
        if with_chunks:
            print(f"\nPeak connections of Postgres: {_connections(postgres.url())}.")
            print(f"Bytes a point, all sealed: {(await ingest.stored_bytes(scene)).median:.1f}.")
    return failed


async def _row(work: Work, scene: Scene, meter: Meter) -> str:
    if work.prepare is not None:
        await work.prepare(scene)
    before = meter.read()
    measurement = await work.measure(scene)
    if work.points is not None:
        await ingest.sealed(scene)
    taken = meter.read().since(before)
    units = taken.points / work.points if work.points is not None else measurement.count
    print(f"{work.name}: {measurement.foreign_cores:.2f} cores busy with something else", file=sys.stderr)
    rate = f"{measurement.median / (work.points or 1):,.0f}" if work.name not in ("ranks", "search") else ""
    cpu = " | ".join(f"{1000 * taken.cpu_s[part] / units:.3f}" for part in PARTS)
    wal, commits = f"{taken.wal_bytes / units:,.0f}", f"{taken.commits / units:.2f}"
    return f"| {work.name} | {work.unit} | {rate} | {cpu} | {wal} | {commits} |"


def _connections(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    assert row
    return int(row[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__)
    parser.add_argument("--only", action="append", choices=[work.name for work in WORKS], help="may be repeated")
    parser.add_argument("--workers", type=int, default=1, help="processes of each service")
    parser.add_argument("--quick", action="store_true", help="short windows: to try the benchmark")
    return parser


if __name__ == "__main__":
    sys.exit(main())
