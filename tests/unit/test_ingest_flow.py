"""Room for batches: what is under way, and what is about to be read."""

import pytest

from services.common.errors import ResourceExhausted
from services.tracking.ingest.flow import Budget


def _settled(budget: Budget, size: int, *, count: int) -> None:
    for _ in range(count):
        budget.take(size)
        budget.give_back(size)


def test_room_for_what_is_about_to_be_read_is_as_much_as_batches_have_taken() -> None:
    budget = Budget(1000)
    _settled(budget, 400, count=100)

    with budget.expect(), budget.expect():
        assert 700 < budget.taken_bytes <= 800
        with pytest.raises(ResourceExhausted):
            budget.expect()

    assert budget.taken_bytes == 0


def test_what_is_expected_is_no_room_for_a_batch() -> None:
    budget = Budget(1000)
    _settled(budget, 600, count=100)

    with budget.expect(), pytest.raises(ResourceExhausted):
        budget.take(600)
    budget.take(600)

    assert budget.taken_bytes == 600


def test_the_first_batch_is_always_read() -> None:
    budget = Budget(1)

    with budget.expect():
        pass
    budget.take(1000)

    with pytest.raises(ResourceExhausted):
        budget.expect()
