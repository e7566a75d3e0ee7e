"""What a process shares: its recorders, and what happens to them when it forks and when it ends."""

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from types import FrameType
from typing import Any, Protocol

from modelstead.runs import launch
from modelstead.runs.adoption import Adoption
from modelstead.runs.recorder import Recorder
from modelstead.runs.settings import Settings

_PROGRESS_S = 1.0
# To finish, when told to end while other signals come.
_ATTEMPTS = 100


class Endable(Protocol):
    """A run that this process has begun, and ends if nobody else does."""

    def end(self, status: str = "FINISHED") -> None: ...


class Process:
    """The recorders of this process, one for each way to log, and the runs that it has begun."""

    def __init__(self) -> None:
        self._recorders: dict[Settings, Recorder] = {}
        self._runs: set[Endable] = set()
        self._launched: Counter[tuple[str, str]] = Counter()
        self._adoption: Adoption | None = None
        # What a forked child has of its parent's gRPC: to be neither used nor collected.
        self._abandoned: list[Any] = []
        self._sent_by: str | None = None
        # SIGTERM's handler, which records, may come while its thread holds it.
        self._lock = threading.RLock()
        self._has_exit_thread = False
        self.watches_exit = True

    def recorder(self, settings: Settings) -> Recorder:
        """Return the recorder for these settings."""
        with self._lock:
            self._handle_sigterm()
            if settings not in self._recorders:
                recorder = self._recorders[settings] = Recorder(settings, on_start=self._begin)
                recorder.sent_by = self._sent_by
            return self._recorders[settings]

    def launched(self, launch_id: str, *, experiment: str) -> str:
        """Return the run that the other processes of a launch begin in an experiment when this one begins its next."""
        with self._lock:
            number = self._launched[launch_id, experiment]
            self._launched[launch_id, experiment] += 1
        return launch.run_id(launch_id, experiment=experiment, number=number)

    def own(self, run: Endable) -> None:
        """End this run when the process ends."""
        self._runs.add(run)

    def disown(self, run: Endable) -> None:
        self._runs.discard(run)

    def finish(self, status: str) -> None:
        """End the runs that are not, and wait, within each recorder's bound, until everything is sent. Tells on stderr
        what is not, and where it is.
        """
        for run in list(self._runs):
            run.end(status)
        started = time.monotonic()
        for recorder in [recorder for recorder in self._recorders.values() if recorder.is_used]:
            _finish(recorder, self._adoption, started + recorder.settings.exit_timeout_s)

    def before_fork(self) -> None:
        """Let nobody be within tempfile's first look for its folder, as who adopts may be: a child would find its lock
        taken for ever.
        """
        if self._adoption is not None:
            with contextlib.suppress(OSError):
                tempfile.gettempdir()

    def after_fork_in_parent(self) -> None:
        """From now on there may be children whose sessions this process has to send."""
        if self._adoption is not None and any(recorder.has_sender for recorder in self._recorders.values()):
            self._adoption.watch_children()

    def after_fork_in_child(self) -> None:
        """Keep the recorders that runs hold, but nothing of what they have: no thread, no channel, no session."""
        self._lock = threading.RLock()
        self._has_exit_thread = False
        self._runs = set()
        self._abandoned.append(self._adoption)
        self._adoption = None
        for recorder in self._recorders.values():
            if recorder.has_sender and self._sent_by is None:
                self._sent_by = recorder.session_id
        for recorder in self._recorders.values():
            recorder.sent_by = self._sent_by
            self._abandoned.append(recorder.after_fork_in_child())

    def _begin(self) -> None:
        """Do what is due when this process begins to record, once for all recorders that begin at a time. Raises
        RuntimeError if no thread can be made; then it is to be called again.
        """
        with self._lock:
            if self._adoption is None and self._sent_by is None:
                self._adoption = Adoption(self._recorders.values())
                try:
                    self._adoption.start()
                except RuntimeError:
                    self._adoption = None
                    raise
            self._watch_exit()

    def _watch_exit(self) -> None:
        if self._has_exit_thread or not self.watches_exit:
            return
        self._has_exit_thread = True
        # Not a daemon: the interpreter waits for it, and until it ends threads can be made. At `atexit` none can.
        try:
            threading.Thread(target=self._await_exit, name="modelstead-exit", daemon=False).start()
        except RuntimeError:
            self._has_exit_thread = False
            raise

    def _handle_sigterm(self) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and self.watches_exit and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            # Another interpreter than the main one can set none.
            with contextlib.suppress(ValueError):
                signal.signal(signal.SIGTERM, self._terminate)

    def _await_exit(self) -> None:
        threading.main_thread().join()
        me = threading.current_thread()
        for thread in threading.enumerate():
            if not thread.daemon and thread is not me and thread is not threading.main_thread():
                thread.join()
        self.finish(_how_it_ended())

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """Do what SIGTERM does without a handler, after what is logged was sent. Another one changes nothing: some
        launchers tell a process itself, and then its group.
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            for _ in range(_ATTEMPTS):
                # Handlers of others raise in here, as torch's does for each of its workers that was told as well.
                with contextlib.suppress(Exception):
                    self.finish("KILLED")
                    break
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def _how_it_ended() -> str:
    """Return the status of runs that nobody has ended when the main thread has."""
    # What the interpreter has printed last, in a script as it ended. At a prompt, work goes on after an error.
    error = getattr(sys, "last_value", None)
    if error is None or hasattr(sys, "ps1"):
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _finish(recorder: Recorder, adoption: Adoption | None, deadline: float) -> None:
    recorder.flush(recorder.settings.exit_timeout_s, acknowledged=False)
    recorder.sync()
    if recorder.sent_by is not None:
        return
    is_told = False
    while not recorder.flush(min(_PROGRESS_S, max(0.0, deadline - time.monotonic()))) or _has_children(adoption):
        unsent = recorder.unsent()
        if time.monotonic() >= deadline:
            break
        if unsent and not is_told:
            is_told = True
            _tell(f"sending {unsent.batches} batches to {recorder.settings.address} …")
        if unsent is None:
            time.sleep(0.02)
    unsent = recorder.unsent()
    if unsent:
        trouble = f" ({unsent.trouble})" if unsent.trouble else ""
        _tell(f"{unsent.batches} batches are not sent yet{trouble}. They are in {unsent.path}.")
        _tell(f"To send them: modelstead sync {os.path.dirname(unsent.path)}")  # noqa: PTH120 - it is text
    elif is_told:
        _tell("everything is sent.")
    recorder.close()


def _has_children(adoption: Adoption | None) -> bool:
    return adoption is not None and adoption.has_unsent()


def _tell(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"modelstead: {text}", file=sys.stderr, flush=True)


CURRENT = Process()
"""Of the process that imports this, and of each of its forked children."""

os.register_at_fork(
    before=CURRENT.before_fork,
    after_in_parent=CURRENT.after_fork_in_parent,
    after_in_child=CURRENT.after_fork_in_child,
)
