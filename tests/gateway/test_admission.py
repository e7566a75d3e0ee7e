"""So many requests are answered at once, and no caller has all of them."""

import contextlib

import pytest

from services.common.errors import ResourceExhausted
from services.gateway.admission import Admission


def admitted(admission: Admission, *callers: str) -> int:
    """How many of these requests are let in while the ones before are under way."""
    count = 0
    with contextlib.ExitStack() as stack, contextlib.suppress(ResourceExhausted):
        for caller in callers:
            stack.enter_context(admission.admit(caller))
            count += 1
    return count


def test_there_is_a_bound_on_all_requests() -> None:
    assert admitted(Admission(requests_max=2, per_caller_max=2), "a", "b", "c") == 2


def test_there_is_a_bound_on_a_callers_requests() -> None:
    assert admitted(Admission(requests_max=9, per_caller_max=2), "a", "a", "a") == 2


def test_others_have_room_when_a_caller_has_none() -> None:
    assert admitted(Admission(requests_max=9, per_caller_max=2), "a", "a", "b", "b") == 4


def test_a_request_that_ended_makes_room() -> None:
    admission = Admission(requests_max=1, per_caller_max=1)

    assert [admitted(admission, "a") for _ in range(3)] == [1, 1, 1]


def test_a_request_that_failed_makes_room() -> None:
    admission = Admission(requests_max=1, per_caller_max=1)
    with contextlib.suppress(KeyError), admission.admit("a"):
        raise KeyError

    assert admitted(admission, "a") == 1


def test_a_refusal_says_when_to_come_back() -> None:
    with pytest.raises(ResourceExhausted) as caught, Admission(requests_max=0, per_caller_max=0).admit("a"):
        pass

    assert caught.value.retry_after_s == 1.0
