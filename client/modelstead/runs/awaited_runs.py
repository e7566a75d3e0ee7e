"""How long the server is asked to wait for runs whose beginning may be on its way in another process's session."""

# Longer than another process takes to come back to a server that was away.
PATIENCE_S = 60.0


class AwaitedRuns:
    """Whether runs that the server does not know are awaited: until nothing was taken for a minute for want of one, and
    from then on not any more, so that a run that nobody begins does not hold up the others.
    """

    def __init__(self) -> None:
        self._missed_at: float | None = None
        self._is_over = False

    def missed(self, now: float) -> None:
        """Note that the server does not know a run."""
        if self._missed_at is None:
            self._missed_at = now

    def went_on(self) -> None:
        """Note that the server has taken something."""
        self._missed_at = None

    def are_awaited(self, now: float) -> bool:
        """Return what to ask of the server now."""
        self._is_over = self._is_over or (self._missed_at is not None and now - self._missed_at > PATIENCE_S)
        return not self._is_over
