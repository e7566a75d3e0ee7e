"""Deliveries of events to webhooks: how far one is, and when one that failed is tried again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.common.errors import InvalidArgument, NotFound
from services.registry.events.model import Position
from services.registry.webhooks.outcomes import Failure, Outcome
from services.registry.webhooks.vocabulary import Dialect, Happening

# Statuses of 4xx that a later attempt may not meet.
_PASSING = frozenset({408, 425, 429})
_BACKOFF_DOUBLINGS_MAX = 30


class Status(StrEnum):
    """How far a delivery is; names are those of `modelstead.registry.v1.WebhookDelivery.Status`."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """A delivery as its log shows it. `name` is the model's, `revision` counts the model's changes."""

    position: Position
    delivery_id: str
    webhook_id: str
    event: str
    registered_model_id: int
    name: str
    version: str | None
    revision: int
    status: Status
    attempts: int
    response_status: int | None
    failure: Failure | None
    duration_ms: int | None
    create_time: datetime
    last_attempt_time: datetime | None
    next_attempt_time: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Follower:
    """A webhook to which events after a position are yet to be told."""

    webhook_id: str
    dialect: Dialect
    registered_model_id: int | None
    subscriptions: Sequence[str]
    position: Position


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An event that a webhook is to be told of, under one of its names."""

    delivery_id: str
    webhook_id: str
    position: Position
    event: str
    registered_model_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A delivery that this process, and no other, is to send now. `age_s` counts from when it was queued."""

    delivery_id: str
    claim_id: str
    webhook_id: str
    registered_model_id: int
    event: str
    attempts: int
    age_s: float
    dialect: Dialect
    url: str
    sealed_secret: str = field(repr=False)
    sealed_authorization: str = field(repr=False)
    enable_ssl_verification: bool
    happening: Happening


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What becomes of a delivery after an attempt; `delay_s` is when it is tried again, if it is."""

    status: Status
    delay_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When what failed is tried again: after 1 s, 2 s, 4 s … up to 10 min, each less a random part of up to half, until
    it has been tried for `retry_s`.

    A receiver that asks for more time gets it, up to an hour. What it refuses as such (4xx, but 408, 425 and 429), and
    what the operator does not allow, is tried 8 times only.
    """

    retry_s: float = 86_400.0
    interval_s_max: float = 600.0
    retry_after_s_max: float = 3600.0
    refusals_max: int = 8

    def verdict(self, outcome: Outcome, *, attempts: int, age_s: float, jitter: float) -> Verdict:
        """Return what becomes of a delivery after so many attempts. `jitter` is at least 0 and less than 1."""
        if outcome.failure is None:
            return Verdict(status=Status.DELIVERED)
        is_hopeless = outcome.failure is Failure.GONE or (_is_refusal(outcome) and attempts >= self.refusals_max)
        if is_hopeless or age_s >= self.retry_s:
            return Verdict(status=Status.DEAD)
        interval_s = min(self.interval_s_max, 2.0 ** min(attempts - 1, _BACKOFF_DOUBLINGS_MAX))
        asked_s = min(outcome.retry_after_s or 0.0, self.retry_after_s_max)
        return Verdict(status=Status.PENDING, delay_s=max(interval_s * (1 - jitter / 2), asked_s))


def check_ended(delivery: Delivery) -> None:
    """Raises InvalidArgument for what is still to be sent."""
    if delivery.status is Status.PENDING:
        raise InvalidArgument(f"Delivery {delivery.delivery_id} has not ended: it is sent again by itself.")


def not_found(delivery_id: str, webhook_id: str) -> NotFound:
    """Return the error for a delivery that a webhook does not have."""
    return NotFound(f"Delivery {delivery_id[:300]} of the webhook {webhook_id[:300]} not found.")


def _is_refusal(outcome: Outcome) -> bool:
    status = outcome.response_status
    return outcome.failure is Failure.ADDRESS_REFUSED or (
        status is not None and 400 <= status < 500 and status not in _PASSING
    )
