"""Releases as code that can be run: this checkout, the one before it, and one that might come after it.

`released.toml` says which is out, and `v<version>` is its tag. Until one is, the release before is, of each service,
what was on the main line before its newest migration; a checkout without that history cannot tell.
"""

import functools
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.upgrades import schemas

REPOSITORY = Path(__file__).resolve().parents[2]
RECORD = REPOSITORY / "released.toml"
NOTHING = "0.0.0"
_PARTS = ("services", "client/modelstead", "tests", "pyproject.toml")

# What any release might add: columns with and without a default, a table, and an index of a table that is in use.
_ADDITIONS: Mapping[str, Sequence[str]] = {
    "tracking": (
        """
op.execute("ALTER TABLE metric_points ADD COLUMN note text")
op.execute("ALTER TABLE runs ADD COLUMN note text NOT NULL DEFAULT ''")
op.execute("CREATE TABLE run_notes (run_id text PRIMARY KEY REFERENCES runs ON DELETE CASCADE, note text)")
""",
        'migrations.build_index("runs_note_idx", "ON runs (note)")',
    ),
    "registry": (
        """
op.execute("ALTER TABLE model_versions ADD COLUMN note text NOT NULL DEFAULT ''")
op.execute("ALTER TABLE events ADD COLUMN note text")
""",
        'migrations.build_index("events_note_idx", "ON events (note)")',
    ),
    "artifacts": (
        'op.execute("ALTER TABLE blobs ADD COLUMN note text, ADD COLUMN read_count bigint NOT NULL DEFAULT 0")',
        'migrations.build_index("artifacts_create_time_idx", "ON artifacts (create_time)")',
    ),
}


class NoHistory(Exception):
    """The checkout does not have the commits that are asked for."""


@dataclass(frozen=True)
class Release:
    """A folder with the sources of a release."""

    name: str
    root: Path

    @property
    def python_path(self) -> str:
        return f"{self.root}:{self.root / 'client'}"

    @property
    def says_that_it_stops(self) -> bool:
        """Whether its services tell their callers before they stop. Those that do not may cut a call off."""
        return (self.root / "services" / "common" / "rpc" / "health.py").exists()

    def migrations(self, service: str) -> Path:
        return self.root / "services" / service / "migrations"


Releases = Mapping[str, Release]
"""By service; for the gateway as well."""


def record() -> dict[str, Any]:
    """What is out: its version, and the migrations that it has."""
    return tomllib.loads(RECORD.read_text(encoding="utf-8"))


def present() -> Releases:
    return _all(Release("this checkout", REPOSITORY))


def following(folder: Path) -> Releases:
    """Make a release that differs from this checkout by its migrations."""
    root = folder / "next"
    for part in _PARTS[:-1]:
        shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / _PARTS[-1], root)
    release = Release("the next one", root)
    for service, additions in _ADDITIONS.items():
        for upgrade in additions:
            schemas.add_migration(release.migrations(service), upgrade)
    return _all(release)


def before(folder: Path) -> Releases:
    """Take the release before this checkout out of git. Raises NoHistory."""
    commits = _commits()
    return {service: _extracted(commit, folder) for service, commit in commits.items()}


def _all(release: Release) -> Releases:
    return dict.fromkeys((*schemas.MIGRATIONS, "gateway"), release)


def _commits() -> dict[str, str]:
    version = record()["version"]
    if version != NOTHING:
        return dict.fromkeys((*schemas.MIGRATIONS, "gateway"), _git("rev-parse", f"v{version}^{{commit}}"))
    found = {service: _before_newest_migration(service) for service in schemas.MIGRATIONS}
    known = [commit for commit in found.values() if commit]
    if not known:
        raise NoHistory("this checkout has no commit from before its newest migrations: it is shallow, or no clone")
    # What has had one migration only is as it was with the others, and so is the gateway.
    newest = max(known, key=lambda commit: int(_git("rev-list", "--count", commit)))
    return {service: found.get(service) or newest for service in (*schemas.MIGRATIONS, "gateway")}


def _before_newest_migration(service: str) -> str | None:
    scripts = schemas.MIGRATIONS[service]
    *earlier, newest = schemas.revisions(scripts)
    if not earlier:
        return None
    pattern = f"{scripts.relative_to(REPOSITORY)}/versions/{newest}_*.py"
    history = ("log", "--first-parent", "--diff-merges=first-parent", "--diff-filter=A", "--no-patch", "--format=%H")
    added = _git(*history, "--", pattern)
    if not added:
        return None
    commit = added.splitlines()[-1]
    parents = _git("log", "-1", "--format=%P", commit).split()
    return parents[0] if parents else None


def _extracted(commit: str, folder: Path) -> Release:
    root = folder / commit[:12]
    if not root.exists():
        root.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit, *_PARTS], cwd=REPOSITORY, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", root], input=archive.stdout, check=True)
    return Release(commit[:12], root)


@functools.cache
def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        raise NoHistory("there is no git here, and the release before comes out of its history") from None
    if done.returncode:
        raise NoHistory(f"git {' '.join(arguments)}: {done.stderr.strip()}; fetch all of the history, and the tags")
    return done.stdout.strip()
