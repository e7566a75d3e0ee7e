#!/usr/bin/env python3
"""Says who keeps a migration from its tables, and ends that session where you say so.

  stuck_migration.py look --url-file FILE            who is in the way, since when, and with which statement
  stuck_migration.py end --url-file FILE --pid PID   end that session, which rolls its transaction back

A migration gives way to everybody: it tries for 0.3 s, pauses for 2 s, and tries again, so this watches for ten
seconds. It ends nobody who is not in the way, and no other runner, which is at work. The migration goes on by itself.
It may be run again at any point. Needs psycopg, which `modelstead-server` brings.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

_WATCH_S = 10.0
_POLL_S = 0.1
_END_MS = 5000
_RUNNER = "modelstead migrate"
_HOLDERS = """
    SELECT DISTINCT holder.pid, holder.usename, holder.application_name, holder.state,
        coalesce(holder.xact_start, holder.query_start), left(holder.query, 200)
    FROM pg_stat_activity AS runner
    CROSS JOIN LATERAL unnest(pg_blocking_pids(runner.pid)) AS blocking (pid)
    JOIN pg_stat_activity AS holder ON holder.pid = blocking.pid
    WHERE runner.application_name = %s
    ORDER BY holder.pid
"""

Connection = psycopg.Connection[Any]


def main() -> None:
    """Do what the command line says; exits 1 where a session is in the way that was not ended."""
    options = _parser().parse_args()
    try:
        url = options.url_file.read_text(encoding="utf-8").strip()
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            holders = _watch(connection, options.pid)
            for line in holders.values():
                print(line, flush=True)
            if options.what == "end":
                _end(connection, options.pid, holders)
            elif holders:
                sys.exit(1)
            else:
                print("No migration waits for anybody.", flush=True)
    except (psycopg.Error, OSError, ValueError) as error:
        sys.exit(f"stuck_migration: {str(error).strip()}")


def _watch(connection: Connection, wanted: int | None) -> dict[int, str]:
    """Return who is seen in the way of a runner, by process id, at the latest when `wanted` is."""
    holders: dict[int, str] = {}
    until = time.monotonic() + _WATCH_S
    while time.monotonic() < until and wanted not in holders:
        for pid, user, name, state, since, query in connection.execute(_HOLDERS, [_RUNNER]):
            if name != _RUNNER:
                words = " ".join((query or "").split())
                holders[pid] = f"pid {pid} ({user}, {name or 'no name'}; {state} since {since:%F %T %Z}): {words}"
        time.sleep(_POLL_S)
    return holders


def _end(connection: Connection, pid: int | None, holders: dict[int, str]) -> None:
    if pid is None:
        raise ValueError("--pid is needed: look says which")
    if pid not in holders:
        raise ValueError(f"--pid {pid} keeps no migration waiting, or is another runner; nobody was ended")
    row = connection.execute("SELECT pg_terminate_backend(%s, %s)", [pid, _END_MS]).fetchone()
    if row != (True,):
        raise ValueError(f"--pid {pid} was told to end and has not within {_END_MS} ms, or was gone before: look again")
    print(f"Ended pid {pid}.", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("look", "end"))
    parser.add_argument(
        "--url-file", type=Path, metavar="FILE", required=True, help="the postgresql:// URL of a superuser"
    )
    parser.add_argument("--pid", type=int, help="whom to end, as `look` says")
    return parser


if __name__ == "__main__":
    main()
