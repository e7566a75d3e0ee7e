"""The commands of an operator, run as processes against a platform under test."""

import subprocess
import sys
from pathlib import Path

from tests.stack import Stack

_MODELSTEAD = (sys.executable, "-P", "-c", "from modelstead.cli import main; main()")
_TIMEOUT_S = 240

Done = subprocess.CompletedProcess[str]


def fsck(stack: Stack, *options: str) -> Done:
    return _run("fsck", "--artifacts", stack.artifacts_address, *options)


def sync(folder: Path, *options: str) -> Done:
    """Send what is left in a spool."""
    return _run("sync", str(folder), *options)


def gc(stack: Stack, *options: str) -> Done:
    """Purge all that is deleted."""
    return _run(*gc_arguments(stack), *options)


def start_gc(stack: Stack) -> "subprocess.Popen[str]":
    """Start the same and return the process."""
    command = [*_MODELSTEAD, *gc_arguments(stack)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def gc_arguments(stack: Stack) -> list[str]:
    return ["gc", "--older-than", "0s", "--tracking", stack.grpc_address, "--artifacts", stack.artifacts_address]


def _run(*arguments: str) -> Done:
    return subprocess.run([*_MODELSTEAD, *arguments], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
