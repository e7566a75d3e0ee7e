"""What a standby of Postgres takes, and how far it is behind while points come in: `python -m benchmarks.standby`.

It tells what could be read elsewhere than from the primary, and how old that would be. The platform itself reads from
the primary alone.
"""

import argparse
import asyncio
import dataclasses
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
import uvloop

from benchmarks import ingest, machine
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.scene import Scene
from benchmarks.systems import HOST, Modelstead, SystemFailed
from services.local import ports, waiting
from services.local.cluster import DATABASE, SUPERUSER
from services.local.postgres import EmbeddedPostgres
from services.local.process import Process
from tests.s3 import EmbeddedS3

_LOOK_S = 0.05
_TIMEOUT_S = 120.0
_PRIMARY = "SELECT pg_current_wal_insert_lsn() - '0/0', (SELECT coalesce(sum(point_count), 0) FROM tracking.metrics)"
_STANDBY = "SELECT pg_last_wal_replay_lsn() - '0/0'"


@dataclasses.dataclass(frozen=True, slots=True)
class Standby:
    """A Postgres that follows another one."""

    pid: int
    url: str


def main() -> int:
    """Measure, and print what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.standby", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short windows: to try the benchmark")
    scale = QUICK if parser.parse_args().quick else FULL
    with (
        tempfile.TemporaryDirectory(prefix="modelstead-standby-") as folder,
        EmbeddedPostgres(Path(folder) / "database") as postgres,
        EmbeddedS3(Path(folder) / "objects") as objects,
        _following(postgres, Path(folder)) as standby,
    ):
        platform = Path(folder) / "platform"
        platform.mkdir()
        system = Modelstead(database_url=postgres.url(), s3=objects.s3, folder=platform)
        print(uvloop.run(_measure(system, scale, postgres, standby)))
    return 0


async def _measure(system: Modelstead, scale: Scale, postgres: EmbeddedPostgres, standby: Standby) -> str:
    with system.start() as running:
        scene = Scene(system, running, scale)
        lags: list[float] = []
        watching = asyncio.create_task(asyncio.to_thread(_watch, postgres.url(), standby.url, lags, stop := _Stop()))
        before = _taken(postgres, standby)
        await ingest.ingest(scene)
        await ingest.sealed(scene)
        stop.is_set = True
        await watching
        after = _taken(postgres, standby)
    wal, points, primary_s, standby_s = (now - then for now, then in zip(after, before, strict=True))
    p50, p99 = np.quantile(lags, [0.5, 0.99])
    return (
        f"{machine.describe()}\n"
        f"WAL {wal / points:.1f} bytes a point. Processor time for 1,000 points: primary "
        f"{1e6 * primary_s / points:.3f} ms, standby {1e6 * standby_s / points:.3f} ms.\n"
        f"Behind while {points:,.0f} points came in: p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms, "
        f"at most {1000 * max(lags):.0f} ms."
    )


class _Stop:
    is_set = False


def _watch(primary_url: str, standby_url: str, lags: list[float], stop: _Stop) -> None:
    """Note, again and again, after how many seconds the standby has what the primary has."""
    with (
        psycopg.connect(primary_url, autocommit=True) as primary,
        psycopg.connect(standby_url, autocommit=True) as standby,
    ):
        while not stop.is_set:
            [[newest]] = primary.execute("SELECT pg_current_wal_flush_lsn() - '0/0'").fetchall()
            began = time.perf_counter()
            while standby.execute(_STANDBY).fetchall()[0][0] < newest:
                time.sleep(0.001)
            lags.append(time.perf_counter() - began)
            time.sleep(_LOOK_S)


def _taken(postgres: EmbeddedPostgres, standby: Standby) -> tuple[float, float, float, float]:
    """WAL in bytes, points, and processor time of primary and standby, so far."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        [[wal, points]] = connection.execute(_PRIMARY).fetchall()
    cpu_s = [sum(machine.cpu_s(pid) for pid in machine.tree(root)) for root in (postgres.pid, standby.pid)]
    return float(wal), float(points), cpu_s[0], cpu_s[1]


@contextmanager
def _following(postgres: EmbeddedPostgres, folder: Path) -> Iterator[Standby]:
    """Run a standby, made from a base backup, for the length of the block. Raises SystemFailed."""
    child, target, port = postgres.cluster.child(), folder / "standby", ports.choose(HOST)
    programs = Path(child.argv[0]).parent
    log = folder / "standby.log"
    source = postgres.url(SUPERUSER)
    backup = dataclasses.replace(
        child,
        argv=[str(programs / "pg_basebackup"), "-d", source, "-D", str(target), "-R", "-c", "fast", "-X", "stream"],
        prepare=None,
        log=log,
    )
    made = Process(backup)
    waiting.until(lambda: made.ended, timeout_s=_TIMEOUT_S)
    if made.exit_code != 0:
        made.kill()
        raise SystemFailed(f"No base backup: {made.last_lines()}")
    server = Process(
        dataclasses.replace(child, argv=[child.argv[0], "-D", str(target), "-c", f"port={port}"], prepare=None, log=log)
    )
    url = f"{source.rpartition('@')[0]}@{HOST}:{port}/{DATABASE}"
    try:
        if not waiting.until(lambda: server.ended or _answers(url), timeout_s=_TIMEOUT_S) or server.ended:
            raise SystemFailed(f"The standby did not start: {server.last_lines()}")
        yield Standby(server.pid, url)
    finally:
        server.stop()


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            return bool(connection.execute("SELECT pg_is_in_recovery()").fetchall()[0][0])
    except psycopg.OperationalError:
        return False


if __name__ == "__main__":
    sys.exit(main())
