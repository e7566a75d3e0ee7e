"""Embedded Postgres, as whoever runs the tests: root or not."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from services.local import cluster, orphans, waiting
from services.local.data_dir import DataDir
from services.local.errors import LocalError
from services.local.postgres import EmbeddedPostgres
from services.local.process import Process

LAUNCHER = """
import pathlib, sys
from services.local.postgres import EmbeddedPostgres
postgres = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
postgres.start()
print(postgres.pid, flush=True)
sys.stdin.read()
"""


def test_a_service_owns_its_schema_and_nothing_else(postgres: EmbeddedPostgres) -> None:
    url = postgres.url("tracking")

    _execute(url, "CREATE TABLE tracking.kept (a int)")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _execute(url, "CREATE TABLE public.kept (a int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        _execute(url, "CREATE SCHEMA other")
    with pytest.raises(psycopg.OperationalError, match="CONNECT privilege"):
        _execute(url.replace("/modelstead", "/template1"), "SELECT 1")


def test_a_wrong_password_is_refused(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        _execute(f"postgresql://tracking:guess@{postgres.address}/modelstead", "SELECT 1")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data_checksums", "on"),
        ("jit", "off"),
        ("listen_addresses", "127.0.0.1"),
        ("max_connections", "100"),
        ("server_encoding", "UTF8"),
        ("synchronous_commit", "on"),
        ("unix_socket_directories", ""),
    ],
)
def test_the_server_runs_with(shared_postgres: EmbeddedPostgres, setting: str, value: str) -> None:
    assert _value(shared_postgres.url(), f"SHOW {setting}") == value


def test_text_sorts_by_code_point(shared_postgres: EmbeddedPostgres) -> None:
    collation = _value(shared_postgres.url(), "SELECT datcollate FROM pg_database WHERE datname = 'modelstead'")

    assert collation == "C"


def test_passwords_are_readable_by_their_owner_only(postgres: EmbeddedPostgres, data_path: Path) -> None:
    modes = {file.stat().st_mode & 0o777 for file in (data_path / "secrets").iterdir()}

    assert modes == {0o600}
    assert data_path.stat().st_mode & 0o777 == 0o700


def test_a_second_start_finds_the_data_under_the_same_address(postgres: EmbeddedPostgres) -> None:
    url = postgres.url("tracking")
    _execute(url, "CREATE TABLE tracking.kept AS SELECT 7 AS a")

    postgres.stop()
    postgres.start()

    assert postgres.url("tracking") == url
    assert _value(url, "SELECT a FROM tracking.kept") == 7


def test_what_was_committed_survives_a_killed_server(postgres: EmbeddedPostgres) -> None:
    url = postgres.url("tracking")
    _execute(url, "CREATE TABLE tracking.kept AS SELECT 7 AS a")

    with psycopg.connect(url):
        postgres.kill()
        postgres.start()

    assert postgres.url("tracking") == url
    assert _value(url, "SELECT a FROM tracking.kept") == 7


def test_the_server_ends_with_a_launcher_that_was_killed(data_path: Path) -> None:
    launcher = _launch(data_path)

    launcher.kill()
    launcher.communicate()

    assert waiting.until(lambda: not orphans.find_postgres(data_path), timeout_s=60)
    with EmbeddedPostgres(data_path) as postgres:
        assert _value(postgres.url("tracking"), "SELECT 1") == 1


def test_a_start_right_after_a_killed_launcher_works(data_path: Path) -> None:
    launcher = _launch(data_path)

    launcher.kill()
    launcher.communicate()

    with EmbeddedPostgres(data_path) as postgres:
        assert _value(postgres.url("tracking"), "SELECT 1") == 1


def test_a_server_left_running_on_the_folder_is_shut_down(data_path: Path) -> None:
    with EmbeddedPostgres(data_path) as before:
        url = before.url("tracking")
        _execute(url, "CREATE TABLE tracking.kept AS SELECT 7 AS a")
    left = _left_running(data_path)

    with EmbeddedPostgres(data_path) as postgres:
        # What tells whose a process is goes a moment before the process does.
        assert waiting.until(lambda: left.ended, timeout_s=60)
        assert left.exit_code == 0
        assert postgres.url("tracking") == url
        assert _value(url, "SELECT a FROM tracking.kept") == 7


def test_a_lock_file_that_names_a_living_stranger_does_not_stop_the_start(data_path: Path) -> None:
    with EmbeddedPostgres(data_path):
        pass
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lock_file = data_path / "postgres" / "postmaster.pid"
    lock_file.write_text(f"{stranger.pid}\n{data_path / 'postgres'}\n")

    with EmbeddedPostgres(data_path) as postgres:
        assert _value(postgres.url("tracking"), "SELECT 1") == 1

    assert stranger.poll() is None
    stranger.communicate()


def test_a_port_that_was_taken_meanwhile_is_changed(data_path: Path) -> None:
    with EmbeddedPostgres(data_path) as before:
        old = before.address
    with socket.create_server((old.host, old.port)), EmbeddedPostgres(data_path) as postgres:
        assert postgres.address.port != old.port
        assert _value(postgres.url("tracking"), "SELECT 1") == 1


def test_a_creation_that_was_interrupted_is_begun_again(data_path: Path) -> None:
    with DataDir(data_path):
        draft = data_path / "postgres.new"
        draft.mkdir()
        (draft / "PG_VERSION").write_text("18\n")

    with EmbeddedPostgres(data_path) as postgres:
        assert _value(postgres.url("tracking"), "SELECT 1") == 1


def test_lost_passwords_are_replaced(data_path: Path) -> None:
    with EmbeddedPostgres(data_path) as before:
        old = before.url("tracking")
    shutil.rmtree(data_path / "secrets")

    with EmbeddedPostgres(data_path) as postgres:
        assert postgres.url("tracking") != old
        assert _value(postgres.url("tracking"), "SELECT 1") == 1


def test_a_role_of_a_later_release_is_added_to_an_old_folder(data_path: Path) -> None:
    with EmbeddedPostgres(data_path):
        pass

    with DataDir(data_path) as data_dir:
        later = cluster.Cluster(data_dir, roles=("tracking", "registry"))
        server = _serve(later)
        _execute(later.url("registry"), "CREATE TABLE registry.kept (a int)")
        server.stop()


def test_a_folder_of_another_postgres_is_refused_with_what_to_do(data_path: Path) -> None:
    with EmbeddedPostgres(data_path):
        pass
    (data_path / "postgres" / "PG_VERSION").write_text("17\n")

    with pytest.raises(LocalError, match="was made by Postgres 17, and this release brings 18"):
        EmbeddedPostgres(data_path).start()


def test_two_servers_on_one_folder_are_refused(postgres: EmbeddedPostgres, data_path: Path) -> None:
    with pytest.raises(LocalError, match=rf"already runs on {data_path} \(process {os.getpid()}\)"):
        EmbeddedPostgres(data_path).start()


def test_a_setting_in_the_folder_wins(data_path: Path) -> None:
    with EmbeddedPostgres(data_path):
        pass
    with (data_path / "postgres" / "postgresql.conf").open("a") as file:
        file.write("max_connections = 17\n")

    with EmbeddedPostgres(data_path) as postgres:
        assert _value(postgres.url(), "SHOW max_connections") == "17"


def test_a_failed_start_shows_what_postgres_said_and_leaves_nothing(data_path: Path) -> None:
    with EmbeddedPostgres(data_path):
        pass
    with (data_path / "postgres" / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = much\n")

    with pytest.raises(LocalError, match='invalid value for parameter "shared_buffers"'):
        EmbeddedPostgres(data_path).start()

    assert orphans.find_postgres(data_path) == []
    DataDir(data_path).close()


def test_root_without_user_namespaces_is_told_what_to_do(data_path: Path) -> None:
    """In a user namespace that makes us root and allows no further ones."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    namespace = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    start = f"from services.local.postgres import *; EmbeddedPostgres(Path({str(data_path)!r})).start()"

    refused = subprocess.run([*namespace, sys.executable, "-c", start], capture_output=True, text=True, check=False)

    assert "start as an ordinary user, or name a database with --database-url" in refused.stderr


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def _value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _launch(data_path: Path) -> "subprocess.Popen[str]":
    """Start a process that starts a server and returns neither."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, data_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    assert launcher.stdout.readline().strip().isdecimal()
    return launcher


def _left_running(data_path: Path) -> Process:
    """Start a server that whoever locks the folder next knows nothing of."""
    with DataDir(data_path) as data_dir:
        return _serve(cluster.Cluster(data_dir))


def _serve(made: cluster.Cluster) -> Process:
    made.prepare()
    server = Process(made.child())
    assert waiting.until(lambda: made.is_ready(server.pid), timeout_s=60)
    return server
