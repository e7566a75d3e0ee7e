"""When a delivery that failed is tried again, and when it is given up."""

from typing import Any

import pytest

from services.registry.deliveries.model import Schedule, Status, Verdict
from services.registry.webhooks.outcomes import Failure, Outcome, failure_of

DAY_S = 86_400


def _verdict(status: int | None = 500, **given: Any) -> Verdict:
    failure = given.pop("failure", None) or (failure_of(status) if status else Failure.CONNECT_FAILED)
    outcome = Outcome(
        duration_ms=1, response_status=status, failure=failure, retry_after_s=given.pop("retry_after_s", None)
    )
    return Schedule().verdict(outcome, **{"attempts": 1, "age_s": 0.0, "jitter": 0.0} | given)


def _delay_s(*of: Any, **given: Any) -> float:
    delay_s = _verdict(*of, **given).delay_s
    assert delay_s is not None
    return delay_s


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert _verdict(status) == Verdict(status=Status.DELIVERED)


@pytest.mark.parametrize("status", [None, 199, 301, 307, 400, 401, 404, 408, 425, 429, 500, 503])
def test_everything_else_is_tried_again(status: int | None) -> None:
    assert _verdict(status) == Verdict(status=Status.PENDING, delay_s=1.0)


def test_intervals_double_up_to_ten_minutes() -> None:
    assert [_delay_s(attempts=attempts) for attempts in (1, 2, 3, 10, 11, 1000)] == [1, 2, 4, 512, 600, 600]


def test_jitter_takes_up_to_half() -> None:
    assert _delay_s(attempts=4, jitter=0.999) == pytest.approx(4, abs=0.01)
    assert _delay_s(attempts=4, jitter=0.5) == 6


def test_a_receiver_that_asks_for_time_gets_it_up_to_an_hour() -> None:
    assert _delay_s(503, retry_after_s=30) == 30
    assert _delay_s(429, retry_after_s=0.1) == 1
    assert _delay_s(503, retry_after_s=10 * DAY_S) == 3600


def test_what_has_been_tried_for_a_day_is_given_up() -> None:
    assert _verdict(500, attempts=150, age_s=DAY_S - 1).status is Status.PENDING
    assert _verdict(500, attempts=150, age_s=DAY_S) == Verdict(status=Status.DEAD)
    assert _verdict(200, age_s=2 * DAY_S).status is Status.DELIVERED


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_is_refused_as_such_is_given_up_after_eight_attempts(status: int) -> None:
    assert _verdict(status, attempts=7).status is Status.PENDING
    assert _verdict(status, attempts=8).status is Status.DEAD


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 302])
def test_what_may_pass_is_not_given_up_for_that(status: int) -> None:
    assert _verdict(status, attempts=8).status is Status.PENDING


def test_an_address_that_is_not_allowed_is_given_up_after_eight_attempts() -> None:
    assert _verdict(None, failure=Failure.ADDRESS_REFUSED, attempts=8).status is Status.DEAD
    assert _verdict(None, failure=Failure.NAME_UNRESOLVED, attempts=8).status is Status.PENDING


def test_gone_is_given_up_at_once() -> None:
    assert _verdict(410).status is Status.DEAD
