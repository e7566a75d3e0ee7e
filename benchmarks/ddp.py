"""What logging costs a training with torch: `python -m benchmarks.ddp --python PYTHON`.

PYTHON has torch, mlflow-skinny, grpcio, protobuf and googleapis-common-protos: some 200 MB, so it is not made here. It
runs examples/ddp_training.py, four ranks with forked loaders on the CPU, in turns without logging, and with each rank
and loader logging every step, or each `--log-every`th, through `modelstead://` while tracking and Postgres are killed
one after the other. All points must be there afterwards, once; the difference in steps a second is the cost. Platform
and training share the cores, so what the platform does counts as cost too; unless `--apart` gives the training one core
and the platform the others, as if it were elsewhere. The processor time of the training is told as well, that of its
start and end included.
"""

import argparse
import itertools
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from mlflow import MlflowClient

from tests.client import plugins
from tests.stack import Stack

_ROOT = Path(__file__).resolve().parents[1]
_EXAMPLE = _ROOT / "examples" / "ddp_training.py"
_RANKS = 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ddp", description=__doc__)
    parser.add_argument("--python", required=True, help="an interpreter that has torch and mlflow-skinny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--kill-every", type=float, default=10.0, metavar="SECONDS", help="0: never")
    parser.add_argument("--width", type=int, default=1024, help="of the model: what a step takes")
    parser.add_argument("--log-every", type=int, default=1, metavar="STEPS")
    parser.add_argument("--apart", action="store_true", help="training has a core of its own")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if options.apart:
        # The platform's processes are this one's, and go where it goes.
        os.sched_setaffinity(0, cores[1:])
    costs, cpu_costs = [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder) / "stack", artifact_stores="", is_patient=False) as stack,
    ):
        training = Training(stack, Path(folder), options, cores[:1] if options.apart else cores)
        training.run("warm-up", logging=False)
        for number in range(options.rounds):
            silent = training.run(f"silent {number}", logging=False)
            train = partial(training.run, f"logging {number}", logging=True)
            logging, kills = _under_kills(stack, train, every_s=options.kill_every or None)
            stack.wait_until_ready()
            training.check(f"logging {number}")
            costs.append(1 - logging.steps_a_second / silent.steps_a_second)
            cpu_costs.append(logging.cpu_s / silent.cpu_s - 1)
            print(
                f"{silent.steps_a_second:.2f} steps/s silent, {logging.steps_a_second:.2f} logging: {costs[-1]:.1%} "
                f"less; processor time {silent.cpu_s:.1f} s, {logging.cpu_s:.1f} s: {cpu_costs[-1]:.1%} more; "
                f"killed {kills} times"
            )
    print(
        f"median cost {statistics.median(costs):.1%}, in processor time {statistics.median(cpu_costs):.1%}; "
        "every point there once"
    )
    return 0


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a training was, start and end left out, and the processor time of its processes from start to end."""

    steps_a_second: float
    cpu_s: float


class Training:
    """The example, run with one platform."""

    def __init__(self, stack: Stack, folder: Path, options: argparse.Namespace, cores: list[int]) -> None:
        self._stack = stack
        self._cores = ",".join(map(str, cores))
        self._folder = folder
        self._options = options
        self._plugins = plugins.install(folder / "plugins")

    def run(self, experiment: str, *, logging: bool) -> Speed:
        """Train once."""
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self._plugins), str(_ROOT / "client")]),
            "MLFLOW_TRACKING_URI": "modelstead://" + self._stack.url.removeprefix("http://"),
            "MLFLOW_EXPERIMENT_NAME": experiment,
            "MODELSTEAD_SPOOL_DIR": str(self._folder / "spool"),
            "MODELSTEAD_EXIT_TIMEOUT_S": "60",
            "STEPS": str(self._options.steps),
            "WIDTH": str(self._options.width),
            "LOG_EVERY": str(self._options.log_every if logging else 0),
            "OMP_NUM_THREADS": "1",
        }
        command = ["taskset", "--cpu-list", self._cores, self._options.python, "-P", str(_EXAMPLE)]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        assert process.stdout
        out = process.stdout.read()
        # With those that it has waited for: its ranks, and their loaders.
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"the example has failed: {os.waitstatus_to_exitcode(status)}")
        found = re.search(r"([0-9.]+) steps a second", out)
        if found is None:
            raise SystemExit(f"the example did not tell its speed: {out!r}")
        return Speed(float(found[1]), used.ru_utime + used.ru_stime)

    def check(self, experiment: str) -> None:
        """Raise SystemExit unless every step that a rank or loader logs is there, once."""
        client = MlflowClient(self._stack.url)
        [run] = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
        for rank, what in itertools.product(range(_RANKS), ("loss", "loaded")):
            # In the order of their timestamps; two loaders of a rank take turns, and one may be ahead.
            steps = sorted(point.step for point in client.get_metric_history(run.info.run_id, f"rank_{rank}/{what}"))
            logged = list(range(0, self._options.steps, self._options.log_every))
            if steps != logged:
                raise SystemExit(f"rank {rank}'s {what}: {len(steps)} points, {len({*steps})} steps of {len(logged)}")


def _under_kills(stack: Stack, train: Callable[[], Speed], *, every_s: float | None) -> tuple[Speed, int]:
    """Kill tracking and Postgres in turn while a training runs. Returns what it returned, and how often one was killed.

    The training has the other thread: what a thread has started ends with it.
    """
    with ThreadPoolExecutor(1) as thread:
        training = thread.submit(train)
        for count, victim in enumerate(itertools.cycle(("tracking", "postgres"))):
            wait([training], timeout=every_s)
            if training.done():
                return training.result(), count
            if victim == "postgres":
                stack.postgres.kill()
                stack.postgres.start()
            else:
                stack.kill(victim)
                stack.start(victim)
    raise AssertionError("a cycle has no end")


if __name__ == "__main__":
    sys.exit(main())
