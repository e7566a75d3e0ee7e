"""A release: moves that happen together or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.common.errors import InvalidArgument
from services.registry.transitions.model import Expected

MOVES_MAX = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleaseMove:
    """One move: a version of a model to a stage, or to `@` and an alias."""

    name: str
    version: str
    stage: str
    expected: Expected
    archive_existing_versions: bool


def check_moves(moves: Sequence[ReleaseMove]) -> None:
    """Raises InvalidArgument unless there are 1 to 100 moves."""
    if not 1 <= len(moves) <= MOVES_MAX:
        raise InvalidArgument(f"A release has 1 to {MOVES_MAX} moves, but 'moves' has {len(moves)}.")
