"""How a model's fields stand in tables."""

from collections.abc import Iterable, Sequence

from modelstead.commands.rest import Json
from modelstead.commands.screens.cells import Cell, cell

NAME_STYLE = "bold"
NO_STAGE = "None"
_STAGE_STYLES = {"Production": "green", "Staging": "yellow", "Archived": "dim"}
_STAGE_ORDER = {"Production": 0, "Staging": 1, "Archived": 3}


def stage(name: str) -> Cell:
    """Return a stage; a version that was never moved is in none."""
    return cell("" if name == NO_STAGE else name, _STAGE_STYLES.get(name, ""))


def stages(versions: Iterable[Json]) -> Cell:
    """Return in which stages versions are, those that are served first and those that are not any more last."""
    staged = [(one["current_stage"], one["version"]) for one in versions if one["current_stage"] != NO_STAGE]
    staged.sort(key=lambda one: _STAGE_ORDER.get(one[0], 2))
    return cell(" ".join(f"{name}:{version}" for name, version in staged))


def aliases(names: Sequence[str]) -> Cell:
    """Return aliases of a version as they are written in a model's URI."""
    return cell(" ".join(f"@{name}" for name in names), "cyan")


def newest(model: Json) -> str:
    """Return the number of a model's newest version; nothing if it has none."""
    return str(max((int(one["version"]) for one in model.get("latest_versions", ())), default=""))
