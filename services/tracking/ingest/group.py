"""The batches of one transaction: what each is to its session, and what becomes of it. Knows no SQL."""

from collections.abc import Iterator, Sequence

from services.common.errors import ServiceError
from services.tracking.ingest import model, refusals
from services.tracking.ingest.model import Batch, Mark, Rejected, Rejection, Session, Verdict
from services.tracking.run_ranks.model import Rank


class Group:
    """Batches in their order, and the marks of their sessions, which move on with them."""

    def __init__(self, batches: Sequence[Batch], marks: dict[str, Mark]) -> None:
        self.batches = batches
        self.marks = marks
        self.outcomes: dict[int, ServiceError] = {}
        self.rejected: list[tuple[Session, Rejection]] = []
        self.repeated: list[int] = []
        self._next: list[int] = []
        for place, batch in enumerate(batches):
            self._judge(place, batch)

    def name(self, place: int) -> tuple[str, int]:
        """Return the session and the number of a batch."""
        return self.batches[place].session.session_id, self.batches[place].sequence

    def waiting(self) -> list[int]:
        """Return the places of the batches that are to be stored, in their order."""
        return [place for place in self._next if place not in self.outcomes]

    def logged(self) -> Iterator[tuple[Rank, str, tuple[int, int]]]:
        """Yield which ranks have logged to which runs, and the greatest step and timestamp of each batch."""
        for batch in (self.batches[place] for place in self.waiting()):
            if batch.session.rank is not None and (newest := batch.newest):
                yield batch.session.rank, batch.entry.run_id, newest

    def reject(self, place: int, error: ServiceError) -> None:
        """Note that a batch is not stored."""
        rejected = model.rejected(self.batches[place].sequence, error)
        self.outcomes[place] = rejected
        self.rejected.append((self.batches[place].session, rejected.rejection))

    def _judge(self, place: int, batch: Batch) -> None:
        session_id = batch.session.session_id
        try:
            verdict, self.marks[session_id] = model.judge(self.marks[session_id], batch.session, batch.sequence)
        except ServiceError as error:
            self.outcomes[place] = error
            return
        if verdict is Verdict.KNOWN:
            self.repeated.append(place)
            return
        self._next.append(place)
        if batch.refusal is not None:
            self.reject(place, batch.refusal)

    def count_refused(self) -> None:
        """Count the batches that are not stored and were not refused before."""
        for _, rejection in self.rejected:
            refusals.count(rejection.reason)
        for error in self.outcomes.values():
            if not isinstance(error, Rejected):
                refusals.count(error.reason)
