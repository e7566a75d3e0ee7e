"""When a session says that its process lives, and in which runs it takes part. Knows neither gRPC nor threads."""

from collections.abc import Callable

from modelstead.spool.sessions import Info
from modelstead.tracking.v1 import ingest_pb2 as pb

# As many as the server takes: those that were logged to last.
RUNS_MAX = 100
_KNOWN_MAX = 1000


class Heartbeats:
    """The heartbeats of a session whose process stands for a rank; of any other there are none.

    `is_alive` tells whether the process lives, which may be another one than that which sends. Times are those of a
    monotonic clock, in seconds.
    """

    def __init__(self, info: Info, *, is_alive: Callable[[], bool]) -> None:
        self._is_wanted = info.rank is not None and info.stands_for_rank
        self._is_alive = is_alive
        # In the order in which they were logged to; whether it takes part, as what comes after the end does not count.
        self._runs: dict[str, bool] = {}
        self._period_s = 0.0
        self._due = 0.0

    def opened(self, period_s: float, *, now: float) -> None:
        """Begin a stream: the server wants a heartbeat so often, or none at all if that is 0."""
        self._period_s, self._due = period_s, now

    def sent(self, batch: pb.Batch, *, now: float) -> None:
        """Note a batch that was sent: its process takes part in the run from now on, or does so no more."""
        if not self._is_wanted or not batch.run_id:
            return
        takes_part = not batch.HasField("end") and (batch.HasField("start") or self._runs.get(batch.run_id, True))
        if takes_part and not self._runs.pop(batch.run_id, False):
            self._due = now
        self._runs[batch.run_id] = takes_part
        if len(self._runs) > _KNOWN_MAX:
            del self._runs[next(iter(self._runs))]

    def is_needed(self) -> bool:
        """Whether a stream has to be there for them."""
        return self._period_s > 0 and any(self._runs.values()) and self._is_alive()

    def next(self, now: float) -> pb.Heartbeat | None:
        """Return the heartbeat that is due; None if there is none."""
        if now < self._due or not self.is_needed():
            return None
        self._due = now + self._period_s
        run_ids = [run_id for run_id, takes_part in self._runs.items() if takes_part]
        return pb.Heartbeat(run_ids=run_ids[-RUNS_MAX:])


def rank_of(info: Info) -> pb.Rank | None:
    """Return the rank that a session's points are of."""
    if info.rank is None:
        return None
    return pb.Rank(rank=info.rank, world_size=info.world_size, node=info.node, local_rank=info.local_rank)
