"""How long runs are awaited that the server lacks."""

from modelstead.runs.awaited_runs import PATIENCE_S, AwaitedRuns


def test_runs_are_awaited_for_a_minute_in_which_nothing_is_taken() -> None:
    runs = AwaitedRuns(are_wanted=True)

    runs.missed(0.0)
    runs.missed(PATIENCE_S)
    first = runs.are_awaited
    runs.missed(PATIENCE_S + 1)

    assert first
    assert not runs.are_awaited


def test_what_is_taken_begins_it_anew() -> None:
    runs = AwaitedRuns(are_wanted=True)

    runs.missed(0.0)
    runs.missed(PATIENCE_S + 1)
    runs.went_on()
    runs.missed(PATIENCE_S + 2)

    assert runs.are_awaited
    assert runs.is_missing


def test_a_time_in_which_the_server_is_away_does_not_count() -> None:
    runs = AwaitedRuns(are_wanted=True)

    runs.missed(0.0)
    runs.failed()
    runs.missed(2 * PATIENCE_S)

    assert runs.are_awaited


def test_runs_are_not_awaited_unless_that_is_wanted() -> None:
    assert not AwaitedRuns(are_wanted=False).are_awaited
