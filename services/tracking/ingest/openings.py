"""What takes sessions up, many in one transaction: those of a large job come together, when it begins and whenever a
server has gone.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common.database import Database
from services.common.errors import ServiceError
from services.common.group_commit import GroupCommit, Outcome
from services.tracking.ingest import model, store
from services.tracking.ingest.model import Mark, Session

OPENINGS_A_COMMIT = 500


@dataclass(slots=True)
class Opening:
    """A session that is taken up by a client that knows its batches up to `acknowledged` to be dealt with.

    Once it is committed, `sequence` is the newest batch that is, and `has_rejections` whether some of those that the
    client may not know of were rejected.
    """

    sender: Session
    acknowledged: int
    sequence: int = 0
    has_rejections: bool = False


class Openings:
    """Takes sessions up. `now_ms` returns milliseconds since the Unix epoch."""

    def __init__(self, db: Database, *, now_ms: Callable[[], int]) -> None:
        self._db = db
        self._now_ms = now_ms
        self._group_commit: GroupCommit[Opening] = GroupCommit(
            self._commit,
            weight=lambda _: 1,
            group_weight_max=OPENINGS_A_COMMIT,
            # How many streams there may be bounds what waits.
            waiting_weight_max=sys.maxsize,
            committers=1,
            what="ingest opening",
        )

    async def open(self, sender: Session, acknowledged: int) -> Opening:
        """Take a session up. Raises Conflict if somebody has done so under a newer epoch."""
        opening = Opening(sender, acknowledged)
        await self._group_commit.submit(opening)
        return opening

    async def _commit(self, openings: Sequence[Opening]) -> Sequence[Outcome]:
        now_ms = self._now_ms()
        async with self._db.pipeline() as tx:
            marks = await store.lock(tx, {opening.sender.session_id for opening in openings}, now_ms=now_ms)
            outcomes = [_take_up(opening, marks) for opening in openings]
            await store.advance(tx, marks, now_ms=now_ms)
            known = {
                opening.sender.session_id: opening.acknowledged
                for opening, outcome in zip(openings, outcomes, strict=True)
                if outcome is None
            }
            await store.forget_rejections(tx, known)
            with_rejections = await store.with_rejections(tx, known)
        for opening in openings:
            opening.has_rejections = opening.sender.session_id in with_rejections
        return outcomes


def _take_up(opening: Opening, marks: dict[str, Mark]) -> Outcome:
    """Move the mark of a session on to a new epoch; return why it cannot be taken up."""
    session_id = opening.sender.session_id
    try:
        model.check_epoch(marks[session_id], opening.sender)
    except ServiceError as error:
        return error
    # What a client knows to be acknowledged was, also where the session has been purged since.
    opening.sequence = max(marks[session_id].sequence, opening.acknowledged)
    marks[session_id] = Mark(opening.sender.epoch, opening.sequence)
    return None
