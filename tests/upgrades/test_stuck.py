"""A migration whose table somebody holds lets everybody else pass, says whom it waits for, and ends once it may."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from services.common import migrations
from services.common.errors import Unavailable
from services.local import waiting
from services.local.postgres import EmbeddedPostgres
from services.local.process import Process
from tests.upgrades import runners, schemas
from tests.upgrades.releases import REPOSITORY
from tests.upgrades.runners import Session

SCHEMA = "tracking"
SCRIPTS = schemas.MIGRATIONS[SCHEMA]
NEWEST = schemas.revisions(SCRIPTS)[-1]
# The table that the newest migration changes.
HELD = "metric_points"
BEFORE = schemas.revisions(SCRIPTS)[-2]
MODELSTEAD = (sys.executable, "-P", "-c", "from modelstead.cli import main; main()")
OPERATIONS = REPOSITORY / "docs" / "operations.md"
TIMEOUT_S = 120
READS = 50


@pytest.fixture
def url(postgres: EmbeddedPostgres) -> str:
    """The schema of the release before."""
    url = schemas.empty(postgres, SCHEMA)
    migrations.upgrade(url, schema=SCHEMA, scripts=SCRIPTS, to=BEFORE)
    return url


def test_readers_pass_it_and_it_says_whom_it_waits_for(postgres: EmbeddedPostgres, url: str, tmp_path: Path) -> None:
    with Session(url, f"SELECT count(*) AS forgotten FROM {SCHEMA}.{HELD}") as holder:
        runner = runners.start(SCHEMA, postgres, tmp_path)
        assert waiting.until(lambda: runners.is_waiting_for(url, holder.pid), timeout_s=TIMEOUT_S), runner.last_lines()
        for _ in range(READS):
            # Past the migration, and past whoever waits behind it.
            assert runners.query(url, f"SELECT count(*) FROM {SCHEMA}.{HELD}") == 0
        assert _says(runner, f"pid {holder.pid} (tracking, somebody's notebook; idle in transaction since 2")
        assert _says(runner, "SELECT count(*) AS forgotten")
        assert not runner.ended

        holder.end()

        assert waiting.until(lambda: runner.ended, timeout_s=TIMEOUT_S), runner.last_lines()
    assert runner.exit_code == 0, runner.last_lines()
    assert migrations.current(url, schema=SCHEMA) == NEWEST


def test_of_two_runners_one_works_and_the_other_waits_and_says_so(
    postgres: EmbeddedPostgres, url: str, tmp_path: Path
) -> None:
    with Session(url, f"SELECT count(*) FROM {SCHEMA}.{HELD}") as holder:
        first = runners.start(SCHEMA, postgres, tmp_path, name="first")
        assert waiting.until(lambda: runners.is_waiting_for(url, holder.pid), timeout_s=TIMEOUT_S), first.last_lines()

        second = runners.start(SCHEMA, postgres, tmp_path, name="second")

        assert _says(second, "(tracking, modelstead migrate; ")
        assert not first.ended
        assert not second.ended
        holder.end()
        assert waiting.until(lambda: first.ended and second.ended, timeout_s=TIMEOUT_S)
    assert (first.exit_code, second.exit_code) == (0, 0), first.last_lines() + second.last_lines()
    in_two = schemas.catalog(url, SCHEMA).shape()
    migrations.upgrade(schemas.empty(postgres, SCHEMA), schema=SCHEMA, scripts=SCRIPTS)
    assert in_two == schemas.catalog(url, SCHEMA).shape()


def test_a_runner_that_dies_while_it_waits_leaves_the_turn_to_the_next(
    postgres: EmbeddedPostgres, url: str, tmp_path: Path
) -> None:
    with Session(url, f"SELECT count(*) FROM {SCHEMA}.{HELD}") as holder:
        first = runners.start(SCHEMA, postgres, tmp_path, name="first")
        assert waiting.until(lambda: runners.is_waiting_for(url, holder.pid), timeout_s=TIMEOUT_S), first.last_lines()
        first.kill()
    second = runners.start(SCHEMA, postgres, tmp_path, name="second")

    assert waiting.until(lambda: second.ended, timeout_s=TIMEOUT_S)
    assert second.exit_code == 0, second.last_lines()
    assert migrations.current(url, schema=SCHEMA) == NEWEST


def test_what_the_operations_manual_says_ends_who_is_in_the_way(
    postgres: EmbeddedPostgres, url: str, tmp_path: Path
) -> None:
    [command] = re.findall(r'^kubectl .* psql modelstead --command "(.*)"$', OPERATIONS.read_text(), re.MULTILINE)
    with Session(url, f"SELECT count(*) FROM {SCHEMA}.{HELD}") as holder:
        runner = runners.start(SCHEMA, postgres, tmp_path)
        assert _says(runner, f"pid {holder.pid} (")

        schemas.execute(postgres.url(), command.replace("4711", str(holder.pid)))

        assert waiting.until(lambda: runner.ended, timeout_s=TIMEOUT_S), runner.last_lines()
    assert runner.exit_code == 0, runner.last_lines()


def test_modelstead_migrate_says_it_as_well(postgres: EmbeddedPostgres, url: str, tmp_path: Path) -> None:
    said = tmp_path / "said"
    arguments = ["migrate", "--data-dir", str(tmp_path / "platform"), "--database-url", postgres.url()]
    with Session(url, f"SELECT count(*) FROM {SCHEMA}.{HELD}") as holder, said.open("w") as out:
        command = subprocess.Popen([*MODELSTEAD, *arguments], stdout=out, stderr=subprocess.STDOUT)
        assert waiting.until(lambda: f"pid {holder.pid} (" in said.read_text(), timeout_s=TIMEOUT_S), said.read_text()

        holder.end()

        assert command.wait(TIMEOUT_S) == 0, said.read_text()
    assert migrations.current(url, schema=SCHEMA) == NEWEST


def test_one_that_never_may_gives_up_and_names_the_session(url: str) -> None:
    with (
        Session(url, f"SELECT count(*) FROM {SCHEMA}.{HELD}") as holder,
        pytest.raises(Unavailable, match="found no moment in which its tables were free") as given_up,
    ):
        migrations.upgrade(url, schema=SCHEMA, scripts=SCRIPTS, lock_wait_max_s=5)

    assert f"pid {holder.pid} (tracking, somebody's notebook" in given_up.value.message
    assert migrations.current(url, schema=SCHEMA) == BEFORE


def test_an_index_that_was_left_unfinished_is_built_anew_while_others_write(url: str, tmp_path: Path) -> None:
    migrations.upgrade(url, schema=SCHEMA, scripts=SCRIPTS)
    upgrade = f'migrations.build_index("values_idx", "ON {HELD} (value)")'
    scripts = schemas.followed(SCRIPTS, tmp_path, upgrade)
    # As a runner leaves it that is killed while it builds.
    with pytest.raises(psycopg.errors.UniqueViolation):
        _build_index_that_fails(url)
    assert "INVALID" in "".join(schemas.catalog(url, SCHEMA).shape())
    row = "(metric_id, timestamp, step, value) VALUES (1, 1, 1, 1)"
    with (
        Session(url, f"INSERT INTO {SCHEMA}.{HELD} {row}") as writer,
        ThreadPoolExecutor(2) as pool,
    ):
        runs = [pool.submit(migrations.upgrade, url, schema=SCHEMA, scripts=scripts) for _ in range(2)]
        assert waiting.until(lambda: runners.is_waiting_for(url, writer.pid), timeout_s=TIMEOUT_S)
        # It waits for the transaction before it, and nobody for it.
        schemas.execute(url, f"INSERT INTO {SCHEMA}.{HELD} {row}")
        writer.end()

        assert [run.result(timeout=TIMEOUT_S) for run in runs] == [None, None]

    index = schemas.catalog(url, SCHEMA).indexes[f"{HELD}.values_idx"]
    assert index.definition == f"CREATE INDEX values_idx ON {SCHEMA}.{HELD} USING btree (value)"


def _build_index_that_fails(url: str) -> None:
    schemas.execute(url, f"INSERT INTO {SCHEMA}.{HELD} SELECT 1, 1, 1, 1 FROM generate_series(1, 2)")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {SCHEMA}")
        connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY values_idx ON {HELD} (value)")


def _says(runner: Process, words: str) -> bool:
    return waiting.until(lambda: words in runner.last_lines(), timeout_s=TIMEOUT_S)
