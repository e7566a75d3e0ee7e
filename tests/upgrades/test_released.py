"""What is out is recorded, and its migrations stay as they were."""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.upgrades import releases, schemas
from tests.upgrades.releases import REPOSITORY


def _edited(root: Path) -> list[str]:
    """Return the migrations of a release that are not as it has them."""
    recorded = tomllib.loads((root / "released.toml").read_text(encoding="utf-8")).get("migrations", {})
    return [
        f"{service}/{name}"
        for service, digests in recorded.items()
        for name, digest in digests.items()
        if _digest(root / "services" / service / "migrations" / "versions" / name) != digest
    ]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def test_migrations_that_are_out_are_as_they_were() -> None:
    assert _edited(REPOSITORY) == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The part of this checkout that a release records, before any was out."""
    for service, scripts in schemas.MIGRATIONS.items():
        shutil.copytree(scripts, tmp_path / "services" / service / "migrations")
    for name in ("pyproject.toml", "scripts/record_release.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "released.toml").write_text(f'version = "{releases.NOTHING}"\n', encoding="utf-8")
    return tmp_path


def _release(checkout: Path) -> int:
    return subprocess.run([sys.executable, checkout / "scripts" / "record_release.py"], check=False).returncode


def test_a_migration_that_is_edited_after_its_release_is_found(checkout: Path) -> None:
    assert _release(checkout) == 0
    assert _edited(checkout) == []

    with (checkout / "services/registry/migrations/versions/0001_registry.py").open("a") as migration:
        migration.write("\n")
    (checkout / "services/tracking/migrations/versions/0002_purge_time.py").unlink()

    assert _edited(checkout) == ["registry/0001_registry.py", "tracking/0002_purge_time.py"]


def test_a_version_is_released_once(checkout: Path) -> None:
    assert _release(checkout) == 0

    assert _release(checkout) == 1
