"""The tests of a release pass on the schema of the release after it: those of its stores and use-cases (R27)."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.long_form import IS_LONG
from tests.upgrades import releases, schemas
from tests.upgrades.releases import NoHistory

_TIMEOUT_S = 3600 if IS_LONG else 900
pytestmark = pytest.mark.timeout(_TIMEOUT_S)
# What writes and reads the most of each schema; in the long form all that needs a database.
_TELLING = {
    "tracking": ("tests/store/test_ingest.py", "tests/store/test_run_logs.py"),
    "registry": tuple(f"tests/store/registry/test_{name}.py" for name in ("events", "lookups", "promotion_policies")),
}
_LONG = {"tracking": ("tests/store/test_*.py",), "registry": ("tests/store/registry",)}
# But for what compares a schema with the code's own tables, and for what in that release could fail by itself: by news
# of the test's own changes that came late, by a transaction of autovacuum's, by a machine that is slow.
_LEFT_OUT = (
    "declared_tables",
    "a_version_by_its_number_is_read_once",
    "events_are_read_in_order_once_their_order_is_final",
    "a_change_is_seen_through_the_listener",
)
_CHOICE = ("-k", " and ".join(f"not {name}" for name in _LEFT_OUT))


@pytest.mark.parametrize("schema", _TELLING)
def test_the_suite_of_the_release_before_passes_on_todays_schema(tmp_path: Path, schema: str) -> None:
    try:
        release = releases.before(tmp_path)[schema]
    except NoHistory as error:
        if IS_LONG:
            pytest.fail(f"The release before is not here: {error}.")
        # Today's is then the one before, and the schema is one that follows.
        release = releases.following(tmp_path)[schema]
    else:
        for service, scripts in schemas.MIGRATIONS.items():
            shutil.copytree(scripts / "versions", release.migrations(service) / "versions", dirs_exist_ok=True)

    _run(release.root, schema)


@pytest.mark.skipif(not IS_LONG, reason="in the long form")
@pytest.mark.parametrize("schema", _TELLING)
def test_todays_suite_passes_on_a_schema_that_follows(tmp_path: Path, schema: str) -> None:
    _run(releases.following(tmp_path)[schema].root, schema)


def _run(root: Path, schema: str) -> None:
    """Run a suite where its migrations lead further than its code knows."""
    paths = [path for pattern in (_LONG if IS_LONG else _TELLING)[schema] for path in _found(root, pattern)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *paths]
    done = subprocess.run(
        [*command, *_CHOICE],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'client'}"},
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )

    assert done.returncode == 0, done.stdout[-5000:]
    print(f"{schema} at {root.name}: {done.stdout.splitlines()[-1]}")


def _found(root: Path, pattern: str) -> Sequence[str]:
    return sorted(str(path.relative_to(root)) for path in root.glob(pattern))
