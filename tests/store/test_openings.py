"""Sessions that are taken up together: in few transactions, each as if alone."""

import asyncio
import uuid
from contextlib import AbstractAsyncContextManager

from services.common.database import Database, Driver
from services.common.errors import Conflict
from services.tracking.ingest.model import Session
from services.tracking.ingest.openings import Openings

_SESSIONS = 100


class CountingDatabase(Database):
    """Counts transactions."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.transactions = 0

    def pipeline(self, *, snapshot: bool = False) -> AbstractAsyncContextManager[Driver]:
        self.transactions += 1
        return self._db.pipeline(snapshot=snapshot)


async def test_many_that_come_together_share_transactions(db: Database) -> None:
    counting = CountingDatabase(db)
    openings = Openings(counting, now_ms=lambda: 1)
    sessions = [Session(uuid.uuid4().hex, 1) for _ in range(_SESSIONS)]

    opened = await asyncio.gather(*(openings.open(session, number) for number, session in enumerate(sessions)))

    # What a client knows to be acknowledged was, whatever the database has.
    assert [opening.sequence for opening in opened] == list(range(_SESSIONS))
    assert counting.transactions < _SESSIONS / 10


async def test_of_one_session_that_is_taken_up_twice_at_once_the_older_is_refused(db: Database) -> None:
    openings = Openings(db, now_ms=lambda: 1)
    session_id, other = uuid.uuid4().hex, uuid.uuid4().hex

    first, newer, older, unrelated = await asyncio.gather(
        openings.open(Session(uuid.uuid4().hex, 1), 0),
        openings.open(Session(session_id, 3), 5),
        openings.open(Session(session_id, 2), 5),
        openings.open(Session(other, 1), 7),
        return_exceptions=True,
    )

    assert isinstance(older, Conflict)
    assert not [each for each in (first, newer, unrelated) if isinstance(each, BaseException)]
    assert [each.sequence for each in (newer, unrelated) if not isinstance(each, BaseException)] == [5, 7]
