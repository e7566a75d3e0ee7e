#!/usr/bin/env python3
"""Promotes a standby of Postgres whose primary is lost, and moves the address that the services use.

For two servers of your own. CloudNativePG does all of this by itself.

That commits waited for the standby is known from the standby's own configuration alone, which has to be the primary's
as well: nobody can ask that one any more. Commits to the new primary wait for nobody: give it a standby, and set
synchronous_standby_names there again.

It may be run again at any point: what is done already is not done twice. It needs psycopg, which `modelstead-server`
brings.
Exits 0 once the services' address takes writes, 1 with a sentence otherwise.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psycopg
from psycopg import conninfo
from psycopg.pq import PGconn, Ping

_CONNECT_S = 3
_PROMOTE_S = 60
_TRIES = 3
# Both servers are to be configured alike, so that each can take the other's place. It proves no more than that this one
# is configured so.
_WAS_WAITED_FOR = """
    SELECT current_setting('cluster_name') <> ''
        AND position(current_setting('cluster_name') IN current_setting('synchronous_standby_names')) > 0
"""
_IS_WAITED_FOR = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum'))"


class Stop(Exception):
    """Something that a person has to decide or to do first."""


def main() -> None:
    """Do the steps in their order."""
    options = _parser().parse_args()
    try:
        _require_that_it_is_gone(_url(options.primary_url_file), fenced=options.fenced)
        standby = _url(options.standby_url_file)
        _promote(standby, may_lose=options.may_lose)
        has_one_copy = _write_with_one_copy(standby)
        if options.move:
            _say(f"Moving the address: {options.move}")
            subprocess.run(shlex.split(options.move), check=True)  # noqa: S603 -- the operator's own command
        if options.service_url_file:
            _await_writes(_url(options.service_url_file), within_s=options.within)
        if options.may_lose:
            _say(
                "The registry may remember what is lost: kubectl rollout restart deployment/registry, in its namespace."
            )
        if has_one_copy:
            _say("Commits are on one machine now. Make another standby, and set synchronous_standby_names again.")
    except (Stop, psycopg.Error, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"failover: {str(error).strip()}")


def _require_that_it_is_gone(primary: str, *, fenced: bool) -> None:
    """A primary that still answers would take writes that nobody ever sees again."""
    if fenced:
        _say("The primary is fenced, you say.")
        return
    for _ in range(_TRIES):
        answer = _ping(primary)
        if answer == Ping.NO_ATTEMPT:
            raise Stop("nobody can be asked under the primary's URL: libpq does not take it. See --primary-url-file.")
        if answer != Ping.NO_RESPONSE:
            raise Stop(
                "the primary answers, even if it lets nobody in. Stop it first, so that it takes no more writes: two "
                "primaries lose what either alone was told. If nobody but you can reach it any more, say --fenced."
            )
        time.sleep(0.2)
    _say("The primary does not answer.")


def _ping(server: str) -> Ping:
    """Ask whether anybody listens there. Passwords and certificates do not matter: who refuses them is alive."""
    target = conninfo.make_conninfo(server, connect_timeout=_CONNECT_S, sslmode="prefer", sslrootcert="")
    return Ping(PGconn.ping(target.encode()))


def _promote(standby: str, *, may_lose: bool) -> None:
    with _connect(standby) as connection:
        if not _value(connection, "SELECT pg_is_in_recovery()"):
            _say("The standby is promoted already.")
            return
        if not may_lose and not _value(connection, _WAS_WAITED_FOR):
            raise Stop(
                "nothing on the standby says that commits waited for it: its cluster_name is not among its "
                "synchronous_standby_names. So it may lack what was acknowledged last. If that must be: --may-lose."
            )
        last = _value(connection, "SELECT pg_last_xact_replay_timestamp()")
        _say(f"The last commit that it has: {last}.")
        began = time.monotonic()
        if not _value(connection, f"SELECT pg_promote(true, {_PROMOTE_S})"):
            raise Stop(f"the standby was told to promote itself and has not within {_PROMOTE_S} s: see its log.")
    _say(f"Promoted in {time.monotonic() - began:.2f} s.")


def _write_with_one_copy(server: str) -> bool:
    """Have a new primary wait for nobody while nobody confirms its commits. Returns whether that is so."""
    with _connect(server) as connection:
        if _value(connection, _IS_WAITED_FOR):
            return False
        if _value(connection, "SELECT current_setting('synchronous_standby_names') <> ''"):
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
            connection.execute("SELECT pg_reload_conf()")
    return True


def _await_writes(service: str, *, within_s: float) -> None:
    began = time.monotonic()
    while True:
        try:
            complaint = "" if _takes_writes(service) else "who answers there is read-only"
        except psycopg.Error as error:
            complaint = str(error).strip()
        if not complaint:
            _say(f"The services' address takes writes, {time.monotonic() - began:.2f} s after it was moved.")
            return
        if time.monotonic() - began > within_s:
            raise Stop(f"the services' address takes no writes after {within_s:.0f} s: {complaint}")
        time.sleep(0.1)


def _takes_writes(service: str) -> bool:
    """Ask as the services' role, which may write to its own schema alone, and wait for a silent server no longer."""
    limit_ms = _CONNECT_S * 1000
    with psycopg.connect(service, connect_timeout=_CONNECT_S, tcp_user_timeout=limit_ms) as connection:
        # For this transaction alone: behind a pooler the session is others' as well.
        connection.execute(f"SET LOCAL statement_timeout = {limit_ms}".encode())
        return _value(connection, "SHOW transaction_read_only") == "off"


def _connect(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_S)


def _value(connection: "psycopg.Connection[tuple[object, ...]]", query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _url(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _say(text: str) -> None:
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, text in (
        ("primary", "of the primary that is lost"),
        ("standby", "of the standby, with a role that may promote it"),
    ):
        parser.add_argument(
            f"--{name}-url-file", type=Path, required=True, metavar="FILE", help=f"the postgresql:// URL {text}"
        )
    parser.add_argument("--service-url-file", type=Path, metavar="FILE", help="the URL that the services use")
    parser.add_argument("--move", metavar="COMMAND", help="what has that address lead to the standby")
    parser.add_argument("--within", type=float, default=60, metavar="SECONDS", help="how long to wait for writes")
    parser.add_argument("--fenced", action="store_true", help="nobody can reach the primary, though it may live")
    parser.add_argument("--may-lose", action="store_true", help="promote a standby that commits did not wait for")
    return parser


if __name__ == "__main__":
    main()
