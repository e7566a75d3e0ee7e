"""How much of a session waits to be sent, as far as it is known."""

from modelstead.runs.backlog import _ENTRIES_MAX, Backlog


def test_what_was_sent_waits_no_more() -> None:
    backlog = Backlog()
    backlog.add(1, 10, now_s=100.0)
    backlog.add(2, 30, now_s=105.0)

    assert backlog.after(0, now_s=110.0) == (40, 10.0)
    assert backlog.after(1, now_s=110.0) == (30, 5.0)
    assert backlog.after(2, now_s=110.0) == (0, 0.0)


def test_of_batches_of_one_second_a_part_waits() -> None:
    backlog = Backlog()
    for sequence in range(1, 5):
        backlog.add(sequence, 10, now_s=100.0)

    assert backlog.after(3, now_s=100.5) == (10, 0.5)


def test_a_long_outage_takes_no_more_memory() -> None:
    backlog = Backlog()
    count = 3 * _ENTRIES_MAX
    for sequence in range(1, count + 1):
        backlog.add(sequence, 1, now_s=10.0 * sequence)

    points, age_s = backlog.after(0, now_s=10.0 * count)

    assert len(backlog._entries) <= _ENTRIES_MAX
    assert points == count
    assert age_s == 10.0 * (count - 1)
