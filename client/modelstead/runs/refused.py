"""What the server has refused for good, of one session."""

import base64
import errno
import logging
from collections.abc import Callable, Sequence

from modelstead.spool.reader import Reader
from modelstead.spool.sessions import Session
from modelstead.tracking.v1 import ingest_pb2 as pb

# A server may name another value each time.
_KINDS_MAX = 1000

_Sent = Callable[[int], bytes | None]
"""Returns the batch that is under way as a sequence; None if there is none."""

_log = logging.getLogger("modelstead")


class Refused:
    """Keeps it beside the session, up to a bound, and tells of each kind once. `count` is how many batches it was,
    `lost_count` how many of them are not kept.
    """

    def __init__(self, session: Session) -> None:
        self.count = self.lost_count = 0
        self._session = session
        self._told: set[str] = set()
        self._told_lost_count = 0
        # Why the last one was not kept, and whether no other will be.
        self._why = ""
        self._is_full = False

    def keep(self, rejections: Sequence[pb.Rejection], sent: _Sent) -> None:
        """Keep batches that were rejected, with the reasons; to be called before they are taken for acknowledged. Those
        that another process has sent are read from the spool.
        """
        if not rejections:
            return
        spool = Reader(self._session.files)
        for rejection in rejections:
            self.count += 1
            if self._is_full:
                kept = self._lose(self._why)
            else:
                try:
                    kept = self._keep(rejection, sent(rejection.sequence), spool)
                except OSError as error:
                    self._is_full = error.errno == errno.EFBIG
                    kept = self._lose(str(error))
            told = f"{rejection.reason}: {rejection.message}"
            if told not in self._told and len(self._told) < _KINDS_MAX:
                self._told.add(told)
                _log.error("the server has refused batch %d for good (%s); it is %s", rejection.sequence, told, kept)
        self.tell_lost()

    def tell_lost(self, *, is_last: bool = False) -> None:
        """Tell how many are not kept: each time that these are twice as many, and the last time."""
        if self.lost_count > self._told_lost_count * (1 if is_last else 2):
            self._told_lost_count = self.lost_count
            _log.error(
                "%d of %d batches that the server has refused are counted, and not kept: %s",
                self.lost_count,
                self.count,
                self._why,
            )

    def _keep(self, rejection: pb.Rejection, payload: bytes | None, spool: Reader) -> str:
        if payload is None:
            payload = _read(spool, rejection.sequence)
        entry = {
            "sequence": rejection.sequence,
            "reason": rejection.reason,
            "message": rejection.message,
            "run_id": pb.Batch.FromString(payload).run_id,
            "batch": base64.b64encode(payload).decode(),
        }
        return f"kept in {self._session.keep_rejected(entry)}"

    def _lose(self, why: str) -> str:
        self._why = why
        self.lost_count += 1
        return f"not kept ({why})"


def _read(spool: Reader, sequence: int) -> bytes:
    """Return a batch of the spool, nothing if it is not there. Of one reader later ones are asked for, as a rule."""
    if spool.position == 0 or spool.position >= sequence:
        spool.seek(sequence - 1)
    while (record := spool.peek()) and record.sequence < sequence:
        spool.read()
    return record.payload if record and record.sequence == sequence else b""
