"""A migration that is killed anywhere is finished by the next runner, and several runners do it once (R27)."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from services.common import migrations
from services.local.postgres import EmbeddedPostgres
from tests.long_form import IS_LONG
from tests.upgrades import dying, schemas
from tests.upgrades.schemas import catalog

_TIMEOUT_S = 900
pytestmark = pytest.mark.timeout(_TIMEOUT_S)


def _deaths(url: str, schema: str, scripts: Path) -> list[dict[str, Any]]:
    """Let runners die at each statement in turn; the last came to its end."""
    command = [sys.executable, "-m", "tests.upgrades.dying", url, schema, str(scripts)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"before"')]


def _shapes(url: str, schema: str, scripts: Path) -> dict[str | None, list[str]]:
    """Migrate in good order, and return what the schema is at each revision."""
    shapes: dict[str | None, list[str]] = {None: []}
    for revision in schemas.revisions(scripts):
        migrations.upgrade(url, schema=schema, scripts=scripts, to=revision)
        shapes[revision] = catalog(url, schema).shape()
    return shapes


@pytest.mark.parametrize("schema", schemas.MIGRATIONS)
def test_killed_at_each_statement_it_is_at_a_revision_and_goes_on(postgres: EmbeddedPostgres, schema: str) -> None:
    scripts = schemas.MIGRATIONS[schema]
    in_good_order = _shapes(schemas.empty(postgres, schema), schema, scripts)
    revisions = schemas.revisions(scripts)
    url = schemas.empty(postgres, schema)
    # The short form begins with the newest migration.
    due = revisions if IS_LONG else revisions[-1:]
    if len(revisions) > len(due):
        migrations.upgrade(url, schema=schema, scripts=scripts, to=revisions[-2])

    *deaths, end = _deaths(url, schema, scripts)

    for death in deaths:
        assert death["shape"] == in_good_order[death["revision"]], death["before"]
    assert (end["revision"], end["shape"]) == (revisions[-1], in_good_order[revisions[-1]])
    # Each statement of each migration; and after it that its revision is kept, and the commit.
    died_before = Counter(" ".join(death["before"].split()[:1]) for death in deaths)
    assert died_before["CREATE"] >= _count(scripts, due, "CREATE")
    assert died_before["ALTER"] == _count(scripts, due, "ALTER")
    assert died_before["COMMIT"] > len(due)
    print(f"{schema}: {len(deaths)} runners, {dict(died_before)}")


def _count(scripts: Path, revisions: Sequence[str], word: str) -> int:
    """How many statements of some migrations begin with a word."""
    paths = [path for revision in revisions for path in (scripts / "versions").glob(f"{revision}_*.py")]
    return sum(line.startswith(word) for path in paths for line in path.read_text(encoding="utf-8").splitlines())


def test_statements_end_at_semicolons_and_nowhere_else() -> None:
    text = "CREATE TABLE a (b text DEFAULT 'x;''y'); -- c; d\nCREATE INDEX \"e;f\" ON a (b); $$;$$ /* ; */;"

    assert dying.statements(text) == [
        "CREATE TABLE a (b text DEFAULT 'x;''y')",
        '-- c; d\nCREATE INDEX "e;f" ON a (b)',
        "$$;$$ /* ; */",
    ]


def test_an_index_that_is_built_concurrently_is_finished_as_well(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    url = schemas.empty(postgres, "artifacts")
    migrations.upgrade(url, schema="artifacts", scripts=schemas.MIGRATIONS["artifacts"])
    upgrade = 'migrations.build_index("sizes", "ON blobs (size)")'
    scripts = schemas.followed(schemas.MIGRATIONS["artifacts"], tmp_path, upgrade)

    *deaths, end = _deaths(url, "artifacts", scripts)

    assert [death["before"] for death in deaths if death["before"].startswith("CREATE INDEX CONCURRENTLY")]
    assert end["revision"] == schemas.revisions(scripts)[-1]
    assert "CREATE INDEX sizes ON artifacts.blobs USING btree (size)" in "\n".join(end["shape"])


def test_a_migration_that_cannot_be_begun_again_is_found(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    url = schemas.empty(postgres, "artifacts")
    migrations.upgrade(url, schema="artifacts", scripts=schemas.MIGRATIONS["artifacts"])
    # What comes before the index is committed before it, and the revision is not.
    upgrade = """
op.execute("ALTER TABLE blobs ADD COLUMN mark text")
migrations.build_index("marks", "ON blobs (mark)")
"""
    scripts = schemas.followed(schemas.MIGRATIONS["artifacts"], tmp_path, upgrade)

    with pytest.raises(AssertionError, match="a runner failed"):
        _deaths(url, "artifacts", scripts)
