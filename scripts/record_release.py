"""Records in released.toml what this checkout releases: its version, and the migrations that nobody edits any more.

Run by `make release`, together with what records the contracts. The commit with the record gets the tag `v<version>`.
"""

import hashlib
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
_HEAD = """\
# The release that is out, which every later one must be able to follow without a failed request. Written by
# `make release`; see CONTRIBUTING.md, How to release.
"""


def main(root: Path) -> int:
    """Write the record. Exits 1 if that version, or a later one, is out already."""
    version, released = _version(root), tomllib.loads((root / "released.toml").read_text(encoding="utf-8"))["version"]
    if _parts(version) <= _parts(released):
        print(f"{released} is out, and pyproject.toml says {version}: raise it first.", file=sys.stderr)
        return 1
    (root / "released.toml").write_text(f'{_HEAD}version = "{version}"\n{_migrations(root)}', encoding="utf-8")
    print(f"{version} is recorded. Commit that, and tag the commit: git tag v{version}")
    return 0


def _version(root: Path) -> str:
    version: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    return version


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _migrations(root: Path) -> str:
    lines = []
    for folder in sorted(root.glob("services/*/migrations/versions")):
        lines.append(f"\n[migrations.{folder.parts[-3]}]")
        lines += [f'"{path.name}" = "{_digest(path)}"' for path in sorted(folder.glob("[0-9]*_*.py"))]
    return "\n".join(lines) + "\n"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(REPOSITORY))
