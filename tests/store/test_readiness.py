"""A service is ready when its schema is as new as its code, also if it was started before somebody migrated."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import sqlalchemy
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelstead.tracking.v1 import experiments_pb2, experiments_pb2_grpc
from services.common import database, migrations
from services.common.database import Database, parse_url
from services.common.readiness import Readiness, newest_revision
from services.common.rpc.server import LIVENESS, READINESS
from services.common.settings import Address
from services.local import ports, waiting
from services.local.postgres import EmbeddedPostgres
from services.local.process import LAUNCHED_FOR, Child, Process
from services.registry.__main__ import MIGRATIONS, SCHEMA

HOST = "127.0.0.1"
TIMEOUT_S = 120.0
NEWEST = newest_revision(MIGRATIONS)
BEFORE = f"{int(NEWEST) - 1:04}"
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A Postgres with the roles and with empty schemas."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("readiness")) as running:
        yield running


@pytest.fixture
def url(postgres: EmbeddedPostgres) -> str:
    """The registry's database, without any table."""
    url = postgres.url(SCHEMA)
    _run(url, f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE", superuser=postgres.url())
    _run(url, f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {SCHEMA}", superuser=postgres.url())
    return url


def _run(url: str, statement: str, *, superuser: str | None = None) -> None:
    engine = sqlalchemy.create_engine(parse_url(superuser or url), poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))


async def _is_ready(url: str, **options: object) -> bool:
    db = Database(url, schema=SCHEMA)
    try:
        return await Readiness(db, MIGRATIONS, **options)()  # type: ignore[arg-type]
    finally:
        await db.close()


async def test_without_a_schema_it_is_not_ready(url: str) -> None:
    assert not await _is_ready(url)


async def test_with_the_schema_of_the_release_before_it_is_not_ready(url: str) -> None:
    migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS, to=BEFORE)

    assert migrations.current(url, schema=SCHEMA) == BEFORE
    assert not await _is_ready(url)


async def test_with_its_schema_it_is_ready(url: str) -> None:
    migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS, to=BEFORE)
    migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)

    assert await _is_ready(url)


async def test_with_the_schema_of_the_release_after_it_is_ready_and_leaves_it(url: str) -> None:
    migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)
    _run(url, f"UPDATE {SCHEMA}.alembic_version SET version_num = '9999'")

    migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)

    assert migrations.current(url, schema=SCHEMA) == "9999"
    assert await _is_ready(url)


async def test_without_a_database_it_is_not_ready(url: str) -> None:
    nobody = parse_url(url).set(port=ports.choose(HOST)).render_as_string(hide_password=False)

    assert not await _is_ready(nobody)


async def test_while_calls_have_all_connections_it_is_as_it_was(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_POOL_WAIT_S", 0.2)
    migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)
    db = Database(url, schema=SCHEMA, connections=database.CONNECTIONS_MIN)
    known, unknown = Readiness(db, MIGRATIONS), Readiness(db, MIGRATIONS)
    assert await known()

    async with contextlib.AsyncExitStack() as calls:
        for _ in range(database.CONNECTIONS_MIN):
            await calls.enter_async_context(db.begin())
        assert (await known(), await unknown()) == (True, False)

    assert (await known(), await unknown()) == (True, True)
    await db.close()


async def test_what_it_makes_first_is_made_once_and_when_there_is_a_schema(url: str) -> None:
    made = []

    async def prepare() -> None:
        made.append(1)

    db = Database(url, schema=SCHEMA)
    is_ready = Readiness(db, MIGRATIONS, prepare=prepare)
    assert not await is_ready()
    assert made == []

    migrations.upgrade(url, schema=SCHEMA, scripts=MIGRATIONS)

    assert [await is_ready(), await is_ready()] == [True, True]
    assert made == [1]
    await db.close()


def test_the_command_migrates_as_far_as_it_is_told(postgres: EmbeddedPostgres, url: str, tmp_path: Path) -> None:
    needs = f"this release needs {NEWEST}."
    for arguments, code, said in (
        (["migrate", "--check"], 1, f"registry: The schema is at nothing, and {needs}"),
        (["migrate", "--to", BEFORE], 0, ""),
        (["migrate", "--check"], 1, f"registry: The schema is at {BEFORE}, and {needs}"),
        (["migrate"], 0, ""),
        (["migrate", "--check"], 0, f"registry: the schema is at {NEWEST}, and {needs}"),
        (["migrate", "--to", "9999"], 2, "registry: migrate --to 9999 is not known"),
        (["serve"], 2, "registry: serve is not known"),
    ):
        process = _process(SCHEMA, arguments, postgres, tmp_path, Address(HOST, 1))

        assert waiting.until(lambda running=process: running.ended, timeout_s=TIMEOUT_S)

        assert process.exit_code == code, process.last_lines()
        assert said in process.last_lines()
    assert migrations.current(url, schema=SCHEMA) == NEWEST


def _process(service: str, arguments: list[str], postgres: EmbeddedPostgres, folder: Path, address: Address) -> Process:
    return Process(
        Child(
            name=service,
            argv=[sys.executable, "-m", f"services.{service}", *arguments],
            env={
                **{name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ},
                "MODELSTEAD_DATABASE_URL": postgres.url(service),
                "MODELSTEAD_PAGE_TOKEN_KEY": "k" * 32,
                "MODELSTEAD_LISTEN": str(address),
                LAUNCHED_FOR: str(folder),
            },
            log=folder / f"{service}-{'-'.join(arguments)}.log",
        )
    )


def test_a_service_that_came_first_is_alive_and_serves_once_its_schema_is_there(
    postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    address = Address(HOST, ports.choose(HOST))
    tracking = _process("tracking", [], postgres, tmp_path, address)
    try:
        with grpc.insecure_channel(str(address)) as channel:
            assert waiting.until(lambda: _status(channel, LIVENESS) == SERVING, timeout_s=TIMEOUT_S), (
                tracking.last_lines()
            )
            assert _status(channel, READINESS) != SERVING

            migration = _process("tracking", ["migrate"], postgres, tmp_path, address)
            assert waiting.until(lambda: migration.ended, timeout_s=TIMEOUT_S)

            assert waiting.until(lambda: _status(channel, READINESS) == SERVING, timeout_s=TIMEOUT_S), (
                tracking.last_lines()
            )
            stub = experiments_pb2_grpc.ExperimentServiceStub(channel)
            answer = stub.GetExperiment(experiments_pb2.GetExperimentRequest(experiment_id="0"), timeout=30)
            assert answer.experiment.name == "Default"
    finally:
        tracking.stop()


def _status(channel: grpc.Channel, service: str) -> int:
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    except grpc.RpcError:
        return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    return int(answer.status)
