"""Where a version is, and what is asked for it: readings that several commands make."""

from typing import Any

from modelstead.commands.exits import Exit
from modelstead.commands.rest import Rest, RestError

ALIAS_MARK = "@"


def get_version(rest: Rest, name: str, version: str) -> dict[str, Any]:
    """Return a version. Raises RestError."""
    found: dict[str, Any] = rest.get("model-versions/get", {"name": name, "version": version})["model_version"]
    return found


def is_at(rest: Rest, name: str, version: str, stage: str) -> bool:
    """Return whether a version is in a stage, or `@alias` points at it. Raises RestError if there is none."""
    found = get_version(rest, name, version)
    if not stage.startswith(ALIAS_MARK):
        return bool(found.get("current_stage", "").lower() == stage.lower())
    try:
        pointed = rest.get("registered-models/alias", {"name": name, "alias": stage.removeprefix(ALIAS_MARK)})
    except RestError as error:
        # MLflow says 400 for an alias that there is not.
        if error.code is Exit.NOT_FOUND or error.reason == "INVALID_PARAMETER_VALUE":
            return False
        raise
    return bool(pointed["model_version"]["version"] == str(int(version)))


def open_requests(rest: Rest, name: str, version: str, stage: str | None = None) -> list[dict[str, Any]]:
    """Return the open requests for a version, oldest first; of one stage if given. Raises RestError."""
    found = rest.get("transition-requests/list", {"name": name, "version": version}).get("requests", [])
    return [one for one in found if stage is None or str(one.get("to_stage", "")).lower() == stage.lower()]
