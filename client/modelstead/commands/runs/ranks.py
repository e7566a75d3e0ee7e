"""The ranks of a distributed run: how many there are, how they stand, and which of them are not well."""

from collections import Counter
from collections.abc import Sequence

from modelstead.commands import pages
from modelstead.commands.exits import Exit
from modelstead.commands.rest import Json, Rest, RestError
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.tables import Column

_RANKS_MAX = 10_000
_STATES = ("RUNNING", "LOST", "FAILED", "KILLED", "FINISHED")
_BAD = frozenset({"LOST", "FAILED", "KILLED"})
# So many that are not well are shown one by one.
_SHOWN_MAX = 10
COLUMNS = (
    Column(title="rank", is_right=True, style="bold"),
    Column(title="node", width_min=8, rank=1),
    Column(title="state"),
    Column(title="step", is_right=True),
    Column(title="behind", is_right=True),
    Column(title="heard of"),
)


def read(rest: Rest, run_id: str) -> list[Json]:
    """Return the ranks of a run, by rank; none of a run, or a platform, without ranks. Raises RestError."""
    try:
        answer = pages.collect(
            lambda page: rest.get("runs/ranks/list", {"run_id": run_id, **page}),
            "ranks",
            limit=_RANKS_MAX,
            page_token=None,
        )
    except RestError as error:
        if error.code is not Exit.NOT_FOUND:
            raise
        return []
    found: list[Json] = answer["ranks"]
    return found


def summary(ranks: Sequence[Json]) -> Cell:
    """Return how many ranks there are in which state, and which is furthest behind."""
    counts = Counter(str(rank.get("state", "")) for rank in ranks)
    text = ", ".join(f"{counts[state]} {state.lower()}" for state in _STATES if counts[state])
    behind = [(int(rank.get("steps_behind", 0)), int(rank.get("rank", 0))) for rank in ranks]
    steps, slowest = max(behind, key=lambda one: (one[0], -one[1]))
    text += f"; rank {slowest} is {steps} steps behind" if steps else ""
    return cell(text, "red" if any(counts[state] for state in _BAD) else "")


def count(ranks: Sequence[Json]) -> Cell:
    """Return how many ranks of how many are running; nothing where there are none."""
    if not ranks:
        return cell("")
    running = sum(rank.get("state") == "RUNNING" for rank in ranks)
    is_bad = any(rank.get("state") in _BAD for rank in ranks)
    return cell(f"{running}/{max(int(rank.get('world_size', 0)) for rank in ranks)}", "red" if is_bad else "")


def rows(ranks: Sequence[Json], now_ms: int) -> list[list[Cell]]:
    """Return those that are not well, or, of a run that is, those furthest behind: at most ten."""
    worst = sorted(ranks, key=lambda rank: (rank.get("state") not in _BAD, -int(rank.get("steps_behind", 0))))
    shown = [rank for rank in worst if rank.get("state") in _BAD or rank.get("steps_behind")]
    return [_row(rank, now_ms) for rank in shown[:_SHOWN_MAX]]


def _row(rank: Json, now_ms: int) -> list[Cell]:
    state = str(rank.get("state", ""))
    return [
        cell(rank.get("rank", 0)),
        cell(rank.get("node", "")),
        Cell(shown=state.lower(), exact=state, style="red" if state in _BAD else ""),
        cell(rank.get("last_step", "")),
        cell(rank.get("steps_behind", "")),
        moment(rank.get("last_seen_timestamp"), now_ms),
    ]
