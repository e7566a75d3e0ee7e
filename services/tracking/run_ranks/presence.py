"""What this process has heard of ranks since it was last written: so that a batch a second of a thousand ranks is not
a thousand rows a second.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from services.tracking.run_ranks.model import Rank, Seen

Key = tuple[str, int]
"""A run and the number of a rank."""


class Presence:
    """Has one entry for each rank that was heard of, or has logged, since what was heard was last taken."""

    def __init__(self) -> None:
        self._seen: dict[Key, Seen] = {}

    def heard(self, rank: Rank, run_ids: Iterable[str], *, now: int) -> None:
        """Note that a rank lives, and takes part in these runs."""
        for run_id in run_ids:
            known = self._seen.get((run_id, rank.rank))
            self._seen[run_id, rank.rank] = (
                Seen(rank=rank, heard_timestamp=now) if known is None else replace(known, heard_timestamp=now)
            )

    def logged(self, rank: Rank, run_id: str, *, step: int, timestamp: int) -> None:
        """Note the greatest step and timestamp of points that a rank has logged."""
        known = self._seen.get((run_id, rank.rank)) or Seen(rank=rank, step=step, point_timestamp=timestamp)
        self._seen[run_id, rank.rank] = replace(
            known,
            step=step if known.step is None else max(step, known.step),
            point_timestamp=timestamp if known.point_timestamp is None else max(timestamp, known.point_timestamp),
        )

    def take(self) -> dict[Key, Seen]:
        """Return what was heard, and forget it."""
        seen, self._seen = self._seen, {}
        return seen

    def put_back(self, seen: Mapping[Key, Seen]) -> None:
        """Keep what was taken and could not be written."""
        newer, self._seen = self._seen, dict(seen)
        for (run_id, _), entry in newer.items():
            if entry.heard_timestamp is not None:
                self.heard(entry.rank, [run_id], now=entry.heard_timestamp)
            if entry.step is not None and entry.point_timestamp is not None:
                self.logged(entry.rank, run_id, step=entry.step, timestamp=entry.point_timestamp)
