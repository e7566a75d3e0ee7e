"""What is logged again and again is sent together, and what somebody waits for at once."""

from modelstead.runs.backlog import Backlog
from modelstead.runs.bursts import Bursts

EVERY_S = 0.5


class _Sender:
    """Spools one batch after another, and sends those that need not wait."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.bursts = Bursts(self.backlog, interval_s=EVERY_S)
        self.sent = 0

    def spool(self, now: float) -> None:
        self.backlog.add(self.backlog.newest_sequence + 1, 1, now_s=now)

    def send(self, now: float) -> int:
        """Return how many batches go now."""
        before = self.sent
        while self.sent < self.backlog.newest_sequence and self.bursts.wait_s(self.sent, now) == 0:
            self.sent += 1
            self.bursts.sent(self.sent, now)
        return self.sent - before


def test_after_a_pause_a_batch_goes_at_once_and_what_follows_in_one_burst() -> None:
    sender = _Sender()
    sent = []
    for tenth in range(60):
        sender.spool(tenth * EVERY_S / 10)
        sent.append(sender.send(tenth * EVERY_S / 10))

    assert sum(sent) > 40
    assert [index for index, count in enumerate(sent) if count] == [0, 10, 20, 30, 40, 50]
    assert sent[10:20] == [10, *[0] * 9]


def test_it_is_told_how_long_to_wait() -> None:
    sender = _Sender()
    sender.spool(5.0)
    assert sender.send(5.0) == 1
    before = sender.bursts.wait_s(sender.sent, 5.1)

    sender.spool(5.1)

    assert before == sender.bursts.wait_s(sender.sent, 5.1) == 5.0 + EVERY_S - 5.1
    assert sender.bursts.wait_s(sender.sent, 5.0 + EVERY_S) == 0.0


def test_what_somebody_waits_for_goes_at_once_and_what_comes_after_it_does_not() -> None:
    sender = _Sender()
    for _ in range(4):
        sender.spool(0.0)
        sender.send(0.0)
    assert sender.sent == 1

    sender.bursts.hurry(3)

    assert sender.send(0.0) == 2
    assert sender.bursts.wait_s(sender.sent, 0.0) == EVERY_S


def test_a_new_stream_sends_again_what_was_sent_without_waiting() -> None:
    sender = _Sender()
    sender.spool(0.0)
    assert sender.bursts.wait_s(sender.sent, 0.0) == 0.0
    # Before its turn came.
    for _ in range(2):
        sender.spool(0.0)
    sender.sent = 3
    sender.bursts.sent(3, 0.0)

    sender.sent = 1

    assert sender.send(0.0) == 2


def test_what_another_process_writes_is_looked_for_so_often_and_sent_at_once_if_somebody_waits() -> None:
    bursts = Bursts(None, interval_s=EVERY_S)
    bursts.sent(7, 1.0)
    assert bursts.wait_s(7, 1.0) == 0.0

    bursts.caught_up(2.0)

    assert bursts.wait_s(7, 2.25) == EVERY_S - 0.25
    assert bursts.wait_s(7, 2.0 + EVERY_S) == 0.0
    bursts.caught_up(3.0)
    bursts.hurry_all()
    assert bursts.wait_s(7, 3.0) == 0.0
