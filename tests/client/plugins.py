"""Makes the entry points of client/pyproject.toml visible, whether or not that distribution is installed."""

import tomllib
from pathlib import Path

_PYPROJECT = Path(__file__).resolve().parents[2] / "client" / "pyproject.toml"


def install(folder: Path) -> Path:
    """Write the metadata of a distribution that has the entry points, and return the folder to put on the path."""
    declared = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    info = folder / "modelstead_plugins-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: modelstead-plugins\nVersion: 0\n", encoding="utf-8")
    lines = []
    for group, entries in declared.items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder
