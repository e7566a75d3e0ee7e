"""What the server has refused for good, of one session."""

import base64
import logging

from modelstead.spool.reader import Reader
from modelstead.spool.sessions import Session
from modelstead.tracking.v1 import ingest_pb2 as pb

_log = logging.getLogger("modelstead")


class Refused:
    """Keeps it beside the session's segments, and tells of each kind once. `count` is how many batches it was."""

    def __init__(self, session: Session) -> None:
        self.count = 0
        self._session = session
        self._told: set[str] = set()

    def keep(self, rejection: pb.Rejection) -> None:
        """Keep a batch that was rejected, with the reason."""
        self.count += 1
        found = Reader(self._session.files)
        found.seek(rejection.sequence - 1)
        record = found.peek()
        payload = record.payload if record and record.sequence == rejection.sequence else b""
        entry = {
            "sequence": rejection.sequence,
            "reason": rejection.reason,
            "message": rejection.message,
            "run_id": pb.Batch.FromString(payload).run_id,
            "batch": base64.b64encode(payload).decode(),
        }
        try:
            kept = f"kept in {self._session.keep_rejected(entry)}"
        except OSError as error:
            kept = f"lost ({error})"
        told = f"{rejection.reason}: {rejection.message}"
        if told not in self._told:
            self._told.add(told)
            _log.error("the server has refused batch %d for good (%s); it is %s", rejection.sequence, told, kept)
