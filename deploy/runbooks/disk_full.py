#!/usr/bin/env python3
"""Says what fills the disk of Postgres, and makes room without losing anything.

  disk_full.py look --url-file FILE                     what is large, and what holds WAL back
  disk_full.py make-room --url-file FILE                give back what Postgres need not keep
  disk_full.py make-room … --ballast FILE               first remove the ballast, where nothing else can be written
  disk_full.py make-room … --drop-slot NAME             of a standby or a backup that will not come back
  disk_full.py keep-ballast --ballast FILE [--size 1G]  put by, on Postgres' own disk, what make-room can give back

Never remove anything in pg_wal by hand. Services answer 503 while the disk is full and go on by themselves afterwards.
It may be run again at any point. Needs psycopg, which `modelstead-server` brings.
"""

import argparse
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_LARGEST = """
    SELECT nspname || '.' || relname, pg_total_relation_size(pg_class.oid)
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r'
    ORDER BY 2 DESC, 1
    LIMIT 5
"""
_SLOTS = """
    SELECT slot_name, active, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
    FROM pg_replication_slots
    ORDER BY 3 DESC, 1
"""
_DROP_SLOT = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
_WAL = "SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_waldir()"
_ARCHIVER = """
    SELECT last_failed_wal
    FROM pg_stat_archiver
    WHERE last_failed_time > coalesce(last_archived_time, '-infinity')
"""
_TABLES = """
    SELECT nspname, relname
    FROM pg_class
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND nspname IN ('tracking', 'artifacts', 'registry')
    ORDER BY pg_relation_size(pg_class.oid) DESC, 1, 2
"""

Connection = psycopg.Connection[Any]


def main() -> None:
    """Do what the command line says."""
    options = _parser().parse_args()
    try:
        if options.what == "keep-ballast":
            _keep_ballast(_required(options.ballast, "--ballast"), _bytes(options.size))
            return
        if options.what == "make-room" and options.ballast:
            _remove_ballast(options.ballast)
        url = _required(options.url_file, "--url-file").read_text(encoding="utf-8").strip()
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            if options.what == "make-room":
                _make_room(connection, options.drop_slot)
            _look(connection)
    except (psycopg.Error, OSError, ValueError) as error:
        sys.exit(f"disk_full: {str(error).strip()}")


def _look(connection: Connection) -> None:
    _say(f"WAL: {_amount(_value(connection, _WAL))}")
    for name, is_active, size in connection.execute(_SLOTS):
        state = "in use" if is_active else f"used by nobody: --drop-slot {name}, if nobody comes back for it"
        _say(f"  the replication slot {name} holds back {_amount(size)}, {state}")
    if segment := _value(connection, _ARCHIVER):
        _say(f"  archiving fails at {segment}, and until it succeeds no WAL goes: see the log of Postgres")
    _say("Tables, with their indexes:")
    for name, size in connection.execute(_LARGEST):
        _say(f"  {name}: {_amount(size)}")
    _say(
        "More room: `modelstead gc --older-than 30d` for runs, models and files that were deleted; "
        "MODELSTEAD_WEBHOOK_LOG_DAYS for deliveries of webhooks; a larger volume."
    )


def _make_room(connection: Connection, slot: str | None) -> None:
    if slot:
        dropped = connection.execute(_DROP_SLOT, [slot]).rowcount
        _say(f"Dropped the replication slot {slot}." if dropped else f"There is no replication slot {slot} (any more).")
    before = _value(connection, _WAL)
    # What is written back needs no WAL any more, and is removed or used again.
    connection.execute("CHECKPOINT")
    _say(f"WAL: {_amount(before)} before the checkpoint, {_amount(_value(connection, _WAL))} after it.")
    for schema, table in connection.execute(_TABLES).fetchall():
        # Not FULL, which writes each table anew and needs room for that.
        connection.execute(sql.SQL("VACUUM (TRUNCATE, SKIP_LOCKED) {}").format(sql.Identifier(schema, table)))
    _say("Vacuumed: what was deleted in tables is used again, and their free ends went back to the disk.")


def _keep_ballast(path: Path, size: int) -> None:
    """Take room on the disk, really: a file with holes would give nothing back. As much again has to stay free."""
    if path.exists() and path.stat().st_size >= size:
        _say(f"{path} is there already.")
        return
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < 2 * size:
        raise ValueError(f"{_amount(free)} are free, and a ballast of {_amount(size)} wants twice its size: see --size")
    try:
        with draft.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _say(f"{path} takes {_amount(size)}.")


def _remove_ballast(path: Path) -> None:
    if path.exists():
        size = path.stat().st_size
        path.unlink()
        _say(f"Removed the ballast of {_amount(size)}. Make room for good, then put another one by: keep-ballast.")
    else:
        _say(f"There is no ballast {path} (any more).")


def _value(connection: Connection, query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _required(path: Path | None, option: str) -> Path:
    if path is None:
        raise ValueError(f"{option} is needed")
    return path


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d{1,12})([KMG]?)", text)
    if match is None:
        raise ValueError(f"--size {text} is no size such as 512M or 1G")
    return int(match[1]) * _UNITS[match[2]]


def _amount(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("look", "make-room", "keep-ballast"))
    parser.add_argument("--url-file", type=Path, metavar="FILE", help="the postgresql:// URL of a superuser")
    parser.add_argument("--ballast", type=Path, metavar="FILE", help="a file on the disk of Postgres")
    parser.add_argument("--size", default="1G", help="how much ballast")
    parser.add_argument("--drop-slot", metavar="NAME")
    return parser


if __name__ == "__main__":
    main()
