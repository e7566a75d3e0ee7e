"""A thread that does one thing when poked, and once for many pokes."""

import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("modelstead.resolver")


class Worker:
    """Runs `work` after each `poke`, at least `interval_s` after it last began. The thread starts with the first."""

    def __init__(self, work: Callable[[], None], *, name: str, interval_s: float = 0.0) -> None:
        self._work = work
        self._name = name
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._poked = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def poke(self) -> None:
        """Have the work done soon; if no thread can be made now, once one can when this is called again."""
        self._poked.set()
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    _log.debug("%s does not begin: %s", self._name, error)
                    return
                self._thread = thread

    def stop(self, *, timeout_s: float) -> bool:
        """Let what is under way end, do what was poked for, and stop. Returns whether that took at most `timeout_s`."""
        with self._lock:
            self._stopping.set()
            thread = self._thread
        self._poked.set()
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            self._poked.wait()
            self._poked.clear()
            stopping = self._stopping.is_set()
            began = time.monotonic()
            try:
                self._work()
            except Exception:  # noqa: BLE001 -- the next time may fare better
                _log.exception("%s failed", self._name)
            self._stopping.wait(max(0.0, began + self._interval_s - time.monotonic()))
