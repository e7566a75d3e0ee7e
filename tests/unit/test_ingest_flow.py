"""Room for batches: what is under way, and what is about to be read."""

import contextlib

import pytest

from services.common.errors import ResourceExhausted
from services.tracking.ingest.flow import Budget
from services.tracking.ingest.model import BATCH_BYTES_MAX

MIB = 1024 * 1024


def _settled(budget: Budget, size: int, *, count: int) -> None:
    for _ in range(count):
        budget.take(size)
        budget.give_back(size)


def test_room_for_what_is_about_to_be_read_is_as_much_as_batches_have_taken() -> None:
    budget = Budget(10 * MIB)
    _settled(budget, 4 * MIB, count=100)

    with budget.expect(), budget.expect():
        assert 7 * MIB < budget.taken_bytes <= 8 * MIB
        with pytest.raises(ResourceExhausted):
            budget.expect()

    assert budget.taken_bytes == 0


def test_what_is_expected_is_no_room_for_a_batch() -> None:
    budget = Budget(6 * MIB)
    _settled(budget, 3 * MIB, count=100)

    with budget.expect(), pytest.raises(ResourceExhausted):
        budget.take(4 * MIB)
    budget.take(4 * MIB)

    assert budget.taken_bytes == 4 * MIB


def test_small_batches_do_not_make_room_for_any_number_of_large_ones() -> None:
    budget = Budget(10 * MIB)
    _settled(budget, 100, count=1000)

    for _ in range(100):
        with contextlib.suppress(ResourceExhausted):
            budget.expect()

    assert budget.taken_bytes <= 10 * MIB
    with pytest.raises(ResourceExhausted):
        budget.expect()


def test_one_large_batch_that_is_refused_again_and_again_shuts_nobody_out() -> None:
    budget = Budget(32 * MIB)
    for _ in range(100):
        budget.take(20 * MIB)
        budget.give_back(20 * MIB)

    with budget.expect():
        assert budget.taken_bytes <= BATCH_BYTES_MAX


def test_the_first_batch_is_always_read() -> None:
    budget = Budget(1)

    with budget.expect():
        pass
    budget.take(1000)

    with pytest.raises(ResourceExhausted):
        budget.expect()
