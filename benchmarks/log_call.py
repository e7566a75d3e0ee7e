"""What `Run.log` costs the training loop, with the server up, away, and silent: `python -m benchmarks.log_call`.

Calls of 1 and of 20 metrics, one in 200 ms and one in 50 ms as training steps make them (after the longer pause a
thread is to be woken), one a millisecond, and as fast as they go; the processor time of the whole process by call, its
pauses and its sending included; by how much it grew, and how long its end took, for which it has 2 s. `up` needs
MODELSTEAD_ADDRESS; `dead` is a port at which nobody listens, `silent` one that accepts and never answers.
"""

import argparse
import itertools
import multiprocessing
import os
import resource
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from modelstead.runs.process import CURRENT
from modelstead.runs.run import Run, start_run

EXIT_TIMEOUT_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    seconds = parser.parse_args().seconds
    print("server   metrics     pace   p50 µs   p99 µs  p99.9 µs  max ms   CPU µs   + MB exit s")
    spawning = multiprocessing.get_context("spawn")
    with _silent() as silent, _dead() as dead:
        servers = {"dead": dead, "silent": silent}
        if address := os.environ.get("MODELSTEAD_ADDRESS"):
            servers = {"up": address, **servers}
        for name, metrics, pace_s in itertools.product(servers, (1, 20), (0.2, 0.05, 0.001, 0.0)):
            with tempfile.TemporaryDirectory() as folder:
                process = spawning.Process(
                    target=_measure, args=(name, servers[name], metrics, pace_s, seconds, folder)
                )
                process.start()
                process.join()


def _measure(name: str, address: str, metrics: int, pace_s: float, seconds: float, folder: str) -> None:
    run = start_run(address, spool_dir=folder, exit_timeout_s=EXIT_TIMEOUT_S, experiment="log-call")
    values = {f"metric_{index}": 0.5 + index for index in range(metrics)}
    before, cpu_before_s = _rss_mb(), time.process_time()
    spent = _spent(run, values, pace_s, seconds)
    grown, cpu_us = _rss_mb() - before, (time.process_time() - cpu_before_s) / len(spent) * 1e6
    spent.sort()
    p50, p99, p999 = (spent[int(len(spent) * share)] / 1000 for share in (0.5, 0.99, 0.999))
    pace = f"{pace_s * 1000:.0f} ms" if pace_s else f"{len(spent) / seconds / 1000:.0f}k/s"
    started = time.monotonic()
    # What is not sent is not of interest here.
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        CURRENT.finish("FINISHED")
    exit_s = time.monotonic() - started
    print(
        f"{name:8} {metrics:7} {pace:>8} {p50:8.1f} {p99:8.1f} {p999:9.1f} "
        f"{spent[-1] / 1e6:7.2f} {cpu_us:8.1f} {grown:6.1f} {exit_s:6.2f}",
        flush=True,
    )
    os._exit(0)


def _spent(run: Run, values: dict[str, float], pace_s: float, seconds: float) -> list[int]:
    """Return the nanoseconds of each call."""
    spent = []
    end = time.monotonic() + seconds
    step = 0
    while time.monotonic() < end:
        began = time.perf_counter_ns()
        run.log(values, step=step)
        spent.append(time.perf_counter_ns() - began)
        step += 1
        if pace_s:
            time.sleep(pace_s)
    return spent


@contextmanager
def _silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def _dead() -> Iterator[str]:
    """A port that is taken, so that nobody else listens there, and at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def _rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
