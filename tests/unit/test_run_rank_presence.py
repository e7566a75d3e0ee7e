"""What is heard of ranks is kept until it is written, and is bounded."""

import pytest

from services.common.errors import ResourceExhausted
from services.tracking.run_ranks import presence
from services.tracking.run_ranks.model import Rank, Seen
from services.tracking.run_ranks.presence import Presence

_RANK = Rank(rank=3, world_size=4, node="n", local_rank=None)
_KEY = ("run", 3)


def test_newest_sign_of_life_and_greatest_step_are_kept_until_they_are_taken() -> None:
    heard = Presence()
    heard.logged(_RANK, "run", step=5, timestamp=50)
    heard.heard(_RANK, ["run"], now=100)
    heard.heard(_RANK, ["run"], now=101)
    heard.logged(_RANK, "run", step=4, timestamp=60)

    assert heard.take() == {_KEY: Seen(rank=_RANK, heard_timestamp=101, step=5, point_timestamp=60)}
    assert heard.take() == {}


def test_what_could_not_be_written_is_kept_beside_what_came_meanwhile() -> None:
    heard = Presence()
    heard.heard(_RANK, ["run", "other"], now=100)
    heard.logged(_RANK, "run", step=9, timestamp=90)
    taken = heard.take()
    heard.logged(_RANK, "run", step=8, timestamp=95)
    heard.heard(_RANK, ["other"], now=200)

    heard.put_back(taken)

    assert heard.take() == {
        _KEY: Seen(rank=_RANK, heard_timestamp=100, step=9, point_timestamp=95),
        ("other", 3): Seen(rank=_RANK, heard_timestamp=200),
    }


def test_who_names_too_many_runs_is_refused_and_others_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "ENTRIES_MAX", 2)
    heard = Presence()
    heard.heard(_RANK, ["run", "other"], now=1)

    with pytest.raises(ResourceExhausted, match="has heard of 2 ranks"):
        heard.heard(_RANK, ["third"], now=2)
    heard.logged(_RANK, "third", step=1, timestamp=1)
    heard.heard(_RANK, ["run"], now=3)

    assert {key: seen.heard_timestamp for key, seen in heard.take().items()} == {_KEY: 3, ("other", 3): 1}
