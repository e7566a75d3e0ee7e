"""Training jobs that end in many ways: `python -m tests.client.jobs JOB ADDRESS SPOOL`. Each prints its run's id first.

Steps 0 … 199 of `m` are logged by the process itself, those of `m0`, `m1` … by its children. The first thread of the
name that is in REFUSED_THREAD cannot be made. RUN_ID is a run that another process begins.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from modelstead.runs.run import Run, start_run

STEPS = 200
CHILDREN = 3


def main() -> None:
    name, address, spool = sys.argv[1:]
    refused = _refuse_once(os.environ.get("REFUSED_THREAD", ""))
    timeout_s = float(os.environ.get("EXIT_TIMEOUT_S", "60"))
    run = start_run(address, run_id=os.environ.get("RUN_ID"), spool_dir=Path(spool), exit_timeout_s=timeout_s)
    print(run.run_id, flush=True)
    JOBS[name](run)
    assert "REFUSED_THREAD" not in os.environ or refused.wait(60)


def _refuse_once(name: str) -> threading.Event:
    begin, refused = threading.Thread.start, threading.Event()

    def start(thread: threading.Thread) -> None:
        if thread.name == name and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        begin(thread)

    threading.Thread.start = start  # type: ignore[method-assign]
    return refused


def _log(run: Run, key: str = "m") -> None:
    for step in range(STEPS):
        run.log({key: step / 2}, step=step)


def _returns(run: Run) -> None:
    _log(run)


def _exits(run: Run) -> None:
    _log(run)
    sys.exit(3)


def _raises(run: Run) -> None:
    with run:
        _log(run)
        raise ValueError("training has failed")


def _raises_past_nobody(run: Run) -> None:
    _log(run)
    raise ValueError("training has failed")


def _raises_at_a_prompt(run: Run) -> None:
    """As a notebook does, which goes on after an error."""
    sys.ps1 = ">>> "
    _raises_past_nobody(run)


def _is_interrupted(run: Run) -> None:
    _log(run)
    # Whoever started this process may have had it ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def _os_exit(run: Run) -> None:
    _log(run)
    run.flush(60, acknowledged=False)
    os._exit(0)


def _waits_for_a_signal(run: Run) -> None:
    _log(run)
    print("ready", flush=True)
    while True:
        signal.pause()


def _waits_with_a_handler_that_raises(run: Run) -> None:
    """As torch has one, which raises when a data loader's worker is gone."""

    def fail(number: int, frame: object) -> None:
        raise RuntimeError("DataLoader worker is killed by signal: Terminated.")

    signal.signal(signal.SIGUSR1, fail)
    _waits_for_a_signal(run)


def _waits_while_a_thread_logs(run: Run) -> None:
    thread = threading.Thread(target=_log, args=(run,))
    thread.start()
    thread.join()
    print("ready", flush=True)
    while True:
        signal.pause()


def _logs_until_killed(run: Run) -> None:
    """Prints each step after `log` has returned, and when that was."""
    step = 0
    while True:
        run.log({"m": float(step)}, step=step)
        print(step, time.monotonic_ns(), flush=True)
        step += 1
        time.sleep(0.0005)


def _logs_until_told(run: Run) -> None:
    """Logs until SIGTERM, then prints how many steps that were."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: told.set())
    step = 0
    while not told.is_set():
        run.log({"m": float(step)}, step=step)
        step += 1
        time.sleep(0.0005)
    print(step, flush=True)


def _fills_the_disk(run: Run) -> None:
    """Logs more than 16 MB hold, waits for a line on stdin, logs a little more, and prints what was dropped."""
    run.log_params({"kept": "yes"})
    values = {f"metric {number}": 0.5 for number in range(100)}
    longest_ns = count = 0
    for step in range(12_000):
        began = time.perf_counter_ns()
        run.log(values, step=step)
        longest_ns = max(longest_ns, time.perf_counter_ns() - began)
        count += len(values)
        if step % 1000 == 0:
            run.flush(60, acknowledged=False)
    run.flush(60, acknowledged=False)
    print("full", flush=True)
    sys.stdin.readline()
    run.flush(60)
    _log(run, "after")
    run.flush(60)
    recorder = run._recorder
    assert recorder._writer
    print(count, recorder.dropped_points + recorder._writer.dropped_points, longest_ns / 1e6, flush=True)


def _threads(run: Run) -> None:
    threads = [threading.Thread(target=_log, args=(run, f"m{number}")) for number in range(CHILDREN)]
    for thread in threads:
        thread.start()
    _log(run)


def _be_child(run: Run, key: str, is_sent_by_parent: bool, is_to_flush: bool) -> None:
    _log(run, key)
    # gRPC that was used before a fork hangs in the child, with some releases of it always and with others at times.
    # Whether it was is a matter of milliseconds, unless the parent has seen to it.
    assert run._recorder.sent_by is not None or not is_sent_by_parent
    if is_to_flush:
        # Its start and its points are acknowledged one right after the other, and then nothing more is.
        assert run.flush(60)
        # What comes first is not held back by whoever sends it, but what follows.
        run.log({"last": 1.0})
        assert run.flush(60)


def _children(run: Run, method: str, *, is_sent_by_parent: bool = False, is_to_flush: bool = False) -> None:
    context = multiprocessing.get_context(method)
    # Some of it is still in memory when the children begin.
    _log(run, "before")
    children = [
        context.Process(target=_be_child, args=(run, f"m{number}", is_sent_by_parent, is_to_flush))
        for number in range(CHILDREN)
    ]
    for child in children:
        child.start()
    _log(run)
    for child in children:
        child.join()
        assert child.exitcode == 0


def _forks(run: Run) -> None:
    _children(run, "fork")


def _forks_after_having_sent(run: Run) -> None:
    run.log({"first": 1.0})
    assert run.flush(60)
    _children(run, "fork", is_sent_by_parent=True)


def _forks_and_flushes(run: Run) -> None:
    """Children that wait until the server has what they logged, of which their parent hears."""
    run.log({"first": 1.0})
    assert run.flush(60)
    _children(run, "fork", is_sent_by_parent=True, is_to_flush=True)


def _spawns(run: Run) -> None:
    run.log({"first": 1.0})
    assert run.flush(60)
    _children(run, "spawn")


def _has_loaders_that_end_with_it(run: Run) -> None:
    """As forked DataLoader workers: daemons that log, and wait for work for as long as the job runs."""
    run.log({"first": 1.0})
    assert run.flush(60)
    context = multiprocessing.get_context("fork")
    logged = [context.Event() for _ in range(CHILDREN)]

    def load(number: int) -> None:
        _log(run, f"m{number}")
        run.flush(60, acknowledged=False)
        logged[number].set()
        time.sleep(600)

    for number in range(CHILDREN):
        context.Process(target=load, args=(number,), daemon=True).start()
    _log(run)
    for event in logged:
        assert event.wait(60)


def _forks_by_hand(run: Run) -> None:
    """Children that end with `os._exit`, as soon as what they logged is on the disk."""
    run.log({"first": 1.0})
    assert run.flush(60)
    pids = []
    for number in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            _log(run, f"m{number}")
            run.flush(60, acknowledged=False)
            os._exit(0)
        pids.append(pid)
    _log(run)
    for pid in pids:
        os.waitpid(pid, 0)


JOBS: dict[str, Callable[[Run], None]] = {
    "returns": _returns,
    "exits": _exits,
    "raises": _raises,
    "raises-past-nobody": _raises_past_nobody,
    "raises-at-a-prompt": _raises_at_a_prompt,
    "is-interrupted": _is_interrupted,
    "os-exit": _os_exit,
    "waits": _waits_for_a_signal,
    "waits-with-a-handler-that-raises": _waits_with_a_handler_that_raises,
    "waits-while-a-thread-logs": _waits_while_a_thread_logs,
    "logs-until-killed": _logs_until_killed,
    "logs-until-told": _logs_until_told,
    "fills-the-disk": _fills_the_disk,
    "threads": _threads,
    "forks": _forks,
    "forks-after-having-sent": _forks_after_having_sent,
    "forks-and-flushes": _forks_and_flushes,
    "spawns": _spawns,
    "loaders": _has_loaders_that_end_with_it,
    "forks-by-hand": _forks_by_hand,
}

if __name__ == "__main__":
    main()
