"""`python -m services.common.prefork MODULE LOG_FORMAT VARIABLES`: what a service becomes that is to have workers.

VARIABLES is a JSON list with, for each worker, the variables in which its environment differs. `launch` starts this.
"""

import contextlib
import ctypes
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

from services.common.prefork.parent import AWAITED, Parent

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the workers until a signal, and return what to exit with."""
    module, log_format, text = arguments
    variables: list[Mapping[str, str]] = json.loads(text)
    # Before the first child, so that no signal is lost. Children get back the mask that was there.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    tie = functools.partial(_tie, ctypes.CDLL(None), os.getpid(), mask)
    command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), "-m", module]

    def start(number: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(  # noqa: S603 - our own module
            command,
            env={**os.environ, **variables[number]},
            stdin=subprocess.DEVNULL,
            # This process has one thread, so that code of ours may run between fork and exec.
            preexec_fn=tie,
            # Ctrl-C reaches every process of the terminal's group; workers are told by their parent, once.
            process_group=0,
        )

    say = _as_json if log_format == "json" else _as_text
    return Parent(start, count=len(variables), say=functools.partial(say, module)).run()


def _tie(libc: ctypes.CDLL, parent: int, mask: set[int | signal.Signals]) -> None:
    """Have a worker die with its parent, so that nobody is left to hold the port. Runs in the worker."""
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _as_json(module: str, level: str, message: str, **fields: object) -> None:
    now = time.time()
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03}+00:00"
    _print(json.dumps({"time": stamp, "level": level, "logger": module, "message": message, **fields}))


def _as_text(module: str, level: str, message: str, **fields: object) -> None:
    words = " ".join(f"{name}={value}" for name, value in fields.items())
    _print(f"{time.strftime('%H:%M:%S')} {level:7} {message} {words}")


def _print(line: str) -> None:
    # At once, as workers write to the same place. Where nobody reads any more, workers are looked after all the same.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
