"""What stands in tables."""

from dataclasses import dataclass
from typing import Any

from modelstead.commands.screens import texts


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What stands in one place: on a terminal `shown`, in a pipe `exact`."""

    shown: str
    exact: str
    style: str = ""


def cell(text: object, style: str = "") -> Cell:
    """Return a cell that is the same everywhere."""
    return Cell(shown=str(text), exact=str(text), style=style)


def moment(milliseconds: Any, now_ms: int) -> Cell:
    """Return a time since the epoch, which may be none: how long ago it was or, exactly, when."""
    at_ms = int(milliseconds or 0)
    return Cell(shown=texts.ago(at_ms, now_ms), exact=texts.exact(at_ms))
