"""What can come of one attempt to send something."""

from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """What was wrong; names are those of `modelstead.registry.v1.WebhookDelivery.Failure`."""

    NAME_UNRESOLVED = "NAME_UNRESOLVED"
    ADDRESS_REFUSED = "ADDRESS_REFUSED"
    CONNECT_FAILED = "CONNECT_FAILED"
    TLS_FAILED = "TLS_FAILED"
    TIMED_OUT = "TIMED_OUT"
    BROKEN_OFF = "BROKEN_OFF"
    REDIRECTED = "REDIRECTED"
    BAD_STATUS = "BAD_STATUS"
    GONE = "GONE"
    WEBHOOK_DISABLED = "WEBHOOK_DISABLED"
    SECRET_UNREADABLE = "SECRET_UNREADABLE"  # noqa: S105 -- the name of a failure
    INTERNAL = "INTERNAL"


SENTENCES = {
    Failure.NAME_UNRESOLVED: "The host of the URL has no address.",
    Failure.ADDRESS_REFUSED: "The host of the URL has an address that the operator does not allow.",
    Failure.CONNECT_FAILED: "No connection to the host of the URL could be made.",
    Failure.TLS_FAILED: "TLS failed: the certificate of the host of the URL is not valid for it, or it speaks no TLS.",
    Failure.TIMED_OUT: "The receiver did not answer in time.",
    Failure.BROKEN_OFF: "The receiver broke the connection off, or did not speak HTTP.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of an attempt: an answer, or a failure without one, or an answer that is none of success.

    `body` is the beginning of the answer, `retry_after_s` what its header asks for.
    """

    duration_ms: int
    response_status: int | None = None
    failure: Failure | None = None
    body: bytes = b""
    retry_after_s: float | None = None

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace").replace("\0", "\ufffd")


def failure_of(status: int) -> Failure | None:
    """Return what is wrong with an answer of a status; None for success."""
    if 200 <= status < 300:
        return None
    if status == 410:
        return Failure.GONE
    return Failure.REDIRECTED if 300 <= status < 400 else Failure.BAD_STATUS
