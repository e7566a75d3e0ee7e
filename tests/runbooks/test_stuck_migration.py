"""A migration that somebody keeps waiting: the runbook says who, ends nobody else, and the migration goes on."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.common import migrations
from services.local import waiting
from services.local.postgres import EmbeddedPostgres
from tests.runbooks.platform import TIMEOUT_S, Done
from tests.upgrades import runners, schemas
from tests.upgrades.runners import Session

_RUNBOOK = Path(__file__).parents[2] / "deploy" / "runbooks" / "stuck_migration.py"
_SCHEMA = "tracking"
# The table that its newest migration changes.
_HELD = "metric_points"


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(tmp_path / "postgres") as running:
        yield running


@pytest.mark.slow
def test_who_is_in_the_way_is_named_and_ended_and_nobody_else(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    scripts = schemas.MIGRATIONS[_SCHEMA]
    before, newest = schemas.revisions(scripts)[-2:]
    url = schemas.empty(postgres, _SCHEMA)
    migrations.upgrade(url, schema=_SCHEMA, scripts=scripts, to=before)
    file = tmp_path / "url"
    file.touch(mode=0o600)
    file.write_text(postgres.url())
    quiet = _runbook(file, "look")
    statement = f"SELECT count(*) AS forgotten FROM {_SCHEMA}.{_HELD}"
    with Session(url, statement) as holder, Session(url, "SELECT 1") as bystander:
        runner = runners.start(_SCHEMA, postgres, tmp_path)
        assert waiting.until(lambda: runners.is_waiting_for(url, holder.pid), timeout_s=TIMEOUT_S), runner.last_lines()

        looked = _runbook(file, "look")
        refused = _runbook(file, "end", "--pid", str(bystander.pid))
        assert not runner.ended
        ended = _runbook(file, "end", "--pid", str(holder.pid))

        assert waiting.until(lambda: runner.ended, timeout_s=TIMEOUT_S), runner.last_lines()
        bystander.end()

    assert (quiet.returncode, quiet.stdout) == (0, "No migration waits for anybody.\n"), quiet.stderr
    assert looked.returncode == 1
    assert f"pid {holder.pid} (tracking, somebody's notebook; idle in transaction since 2" in looked.stdout
    assert statement in looked.stdout
    assert refused.returncode == 1
    assert f"--pid {bystander.pid} keeps no migration waiting" in refused.stderr
    assert ended.returncode == 0, ended.stderr
    assert runner.exit_code == 0, runner.last_lines()
    assert migrations.current(url, schema=_SCHEMA) == newest


def _runbook(url_file: Path, *words: str) -> Done:
    return subprocess.run(
        [sys.executable, _RUNBOOK, *words, "--url-file", str(url_file)],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
