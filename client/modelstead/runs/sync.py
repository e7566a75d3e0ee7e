"""Sends what processes that are gone have left in their spools."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelstead.runs import settings
from modelstead.runs.sender import Sender
from modelstead.spool import sessions
from modelstead.spool.reader import Reader
from modelstead.spool.sessions import Session

_POLL_S = 0.1
# How long a session may get nowhere before the next one is tried.
_STUCK_S = 30.0


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What was done. `rejected_lost` counts which of the rejected batches are not kept, `busy` the sessions that a live
    process writes or sends itself, `elsewhere` those that are left because another host wrote them, by host; `stuck`
    tells which folders have something that cannot be sent, and why.
    """

    sent: int = 0
    batches: int = 0
    rejected: int = 0
    rejected_lost: int = 0
    missing: int = 0
    busy: int = 0
    elsewhere: Counter[str] = dataclasses.field(default_factory=Counter)
    stuck: list[str] = dataclasses.field(default_factory=list)


Progress = Callable[[str, int, int], None]
"""Is told of a session how many batches are acknowledged, of how many."""


def run(
    folder: Path, *, address: str | None, progress: Progress, stuck_s: float = _STUCK_S, other_hosts: bool = False
) -> Outcome:
    """Send each session in a folder whose process is gone, one after another, and remove it. One that cannot be read,
    or not be taken up for want of room, holds up no other.

    address: where to, instead of where the session was logging to.
    other_hosts: also what was written on other hosts. The caller knows that its processes are gone.
    Raises SettingsError.
    """
    outcome = Outcome()

    def leave(path: Path, error: OSError) -> None:
        outcome.stuck.append(f"{path}: {error}")

    try:
        found = sessions.find(folder, unreadable=leave)
    except OSError as error:
        leave(folder, error)
        return outcome
    for session in found:
        try:
            if not session.lock_writer():
                outcome.busy += 1
            elif not (session.info.is_of_this_host or other_hosts):
                outcome.elsewhere[session.info.host] += 1
            elif session.lock_sender():
                _send(session, address, progress, stuck_s, outcome)
            else:
                outcome.busy += 1
        except OSError as error:
            # One that is gone was about to be removed by who has sent it.
            if session.path.exists():
                leave(session.path, error)
        finally:
            session.close()
    return outcome


def _send(session: Session, address: str | None, progress: Progress, stuck_s: float, outcome: Outcome) -> None:
    how = settings.load(address=address or session.info.address, spool_dir=session.path.parent)
    count = _count(session)
    # A run that nobody begins would hold a session up for longer than it may get nowhere.
    sender = Sender(session, how, until_done=True, awaits_runs=False)
    before = moved = sender.acknowledged_sequence
    moved_at = time.monotonic()
    sender.start()
    while sender.is_alive:
        acknowledged = sender.acknowledged_sequence
        progress(session.info.session_id, min(acknowledged - before, count), count)
        if acknowledged > moved:
            moved, moved_at = acknowledged, time.monotonic()
        if time.monotonic() - moved_at > stuck_s:
            break
        sender.join(_POLL_S)
    sender.stop()
    outcome.batches += sender.acknowledged_sequence - before
    outcome.rejected += sender.refused.count
    outcome.rejected_lost += sender.refused.lost_count
    outcome.missing += sender.missing_count
    if sender.is_done:
        progress(session.info.session_id, count, count)
        outcome.sent += 1
    else:
        outcome.stuck.append(f"{session.path}: {sender.trouble or 'nothing was acknowledged'}")


def _count(session: Session) -> int:
    """Return how many batches a session has on the disk after those that are known to be acknowledged."""
    reader = Reader(session.files)
    reader.seek(session.acknowledged())
    count = 0
    while reader.read():
        count += 1
    return count
