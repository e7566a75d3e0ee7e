"""What clients say that they have logged and not sent yet: for operators, and nothing depends on it."""

from dataclasses import dataclass
from typing import Any

_POINTS_MAX = 2**53
_AGE_S_MAX = 10 * 365 * 24 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Backlog:
    """About how many points, and for how many milliseconds the oldest has waited."""

    point_count: int = 0
    age_ms: int = 0


class Backlogs:
    """What each session with an open stream has said last."""

    def __init__(self) -> None:
        self._of_session: dict[str, Backlog] = {}

    def told(self, session_id: str, message: Any) -> None:
        """Note what a session says; what is out of bounds counts as the bound."""
        point_count = min(max(0, message.point_count), _POINTS_MAX)
        age_s = min(max(0, message.age.seconds), _AGE_S_MAX)
        if point_count:
            age_ms = 1000 * age_s + max(0, message.age.nanos) // 1_000_000
            self._of_session[session_id] = Backlog(point_count=point_count, age_ms=age_ms)
        else:
            self._of_session.pop(session_id, None)

    def forget(self, session_id: str) -> None:
        """Forget a session, which may be sending elsewhere by now."""
        self._of_session.pop(session_id, None)

    def all(self) -> Backlog:
        """Return the points of all, and the age of the oldest."""
        known = self._of_session.values()
        return Backlog(
            point_count=sum(each.point_count for each in known), age_ms=max((each.age_ms for each in known), default=0)
        )
