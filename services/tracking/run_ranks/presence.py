"""What this process has heard of ranks since it was last written: so that a batch a second of a thousand ranks is not
a thousand rows a second.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from services.common.errors import ResourceExhausted
from services.tracking.run_ranks.model import PERIOD_MS, Rank, Seen

# Some 100 MB. Nobody has so many; who names runs by the million is told to stop.
ENTRIES_MAX = 200_000

Key = tuple[str, int]
"""A run and the number of a rank."""


class Presence:
    """Has one entry for each rank that was heard of, or has logged, since what was heard was last taken."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}

    def heard(self, rank: Rank, run_ids: Iterable[str], *, now: int) -> None:
        """Note that a rank lives, and takes part in these runs. Raises ResourceExhausted."""
        for run_id in run_ids:
            self._check_room(run_id, rank)
            known = self._seen.get((run_id, rank.rank))
            self._seen[run_id, rank.rank] = (
                Seen(rank=rank, heard_timestamp=now) if known is None else replace(known, heard_timestamp=now)
            )

    def logged(self, rank: Rank, run_id: str, *, step: int, timestamp: int) -> None:
        """Note the greatest step and timestamp of points that a rank has logged, if there is room."""
        if len(self._seen) >= ENTRIES_MAX and (run_id, rank.rank) not in self._seen:
            return
        new = Seen(rank=rank, step=step, point_timestamp=timestamp)
        known = self._seen.get((run_id, rank.rank))
        self._seen[run_id, rank.rank] = new if known is None else _merged(known, new)

    def take(self) -> dict[Key, Seen]:
        """Return what was heard, and forget it."""
        seen, self._seen = self._seen, {}
        return seen

    def put_back(self, seen: Mapping[Key, Seen]) -> None:
        """Keep what was taken and could not be written."""
        for key, entry in seen.items():
            newer = self._seen.get(key)
            self._seen[key] = entry if newer is None else _merged(entry, newer)

    def _check_room(self, run_id: str, rank: Rank) -> None:
        if len(self._seen) >= ENTRIES_MAX and (run_id, rank.rank) not in self._seen:
            raise ResourceExhausted(
                f"The server has heard of {ENTRIES_MAX} ranks of runs, and takes in no more for the moment.",
                retry_after_s=PERIOD_MS / 1000,
            )


def _merged(older: Seen, newer: Seen) -> Seen:
    return Seen(
        rank=newer.rank,
        heard_timestamp=older.heard_timestamp if newer.heard_timestamp is None else newer.heard_timestamp,
        step=_greater(older.step, newer.step),
        point_timestamp=_greater(older.point_timestamp, newer.point_timestamp),
    )


def _greater(left: int | None, right: int | None) -> int | None:
    return max((number for number in (left, right) if number is not None), default=None)
