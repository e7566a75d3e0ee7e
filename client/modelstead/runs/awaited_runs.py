"""How long the server is asked to wait for runs whose beginning may be on its way in another process's session."""

# Longer than another process takes to come back to a server that was away.
PATIENCE_S = 60.0


class AwaitedRuns:
    """Whether runs that the server does not know are awaited: until it has answered for a minute that it lacks one, and
    taken nothing. Then they are refused, so that a run that nobody begins does not hold up the others, until it has.
    """

    def __init__(self, *, are_wanted: bool) -> None:
        self._are_wanted = are_wanted
        self._missed_at: float | None = None
        self._is_over = False

    @property
    def are_awaited(self) -> bool:
        """What to ask of the server now."""
        return self._are_wanted and not self._is_over

    @property
    def is_missing(self) -> bool:
        """Whether the last that was heard of the server is that it lacks a run."""
        return self._missed_at is not None

    def missed(self, now: float) -> None:
        """Note that the server lacks a run."""
        if self._missed_at is None:
            self._missed_at = now
        self._is_over = self._is_over or now - self._missed_at > PATIENCE_S

    def failed(self) -> None:
        """Note that the server fails otherwise: so it may for whoever begins the run, and that time does not count."""
        self._missed_at = None

    def went_on(self) -> None:
        """Note that the server has taken something."""
        self._missed_at, self._is_over = None, False
