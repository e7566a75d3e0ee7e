"""Run as a script: ties a program to the life of the process that starts it, then becomes that program.

    python -I -S tether.py PARENT_PID SIGNAL NAMESPACE_UID PROGRAM [ARGUMENT...]

When PARENT_PID dies, however it dies, Linux sends SIGNAL to the program. With a NAMESPACE_UID other than `-`, the
program believes to run as that user, in a user namespace in which nobody else exists: Postgres refuses root, and this
neither adds a user nor changes the owner of a file. A script, and not a function between fork and exec, because it
must also be safe to use from a process that has threads. Standard library only: nothing else is on `sys.path`.
"""

import ctypes
import os
import signal
import sys

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Enter the namespace, tie the knot, become the program. The process id stays the same."""
    parent_pid, death_signal, namespace_uid, *program = arguments
    if namespace_uid != "-":
        _enter_namespace(int(namespace_uid))
    # After the namespace: changing credentials clears the death signal.
    if sys.platform == "linux":
        _die_with(int(parent_pid), signal.Signals(int(death_signal)))
    try:
        os.execv(program[0], program)  # noqa: S606 - that is the purpose
    except OSError as error:
        sys.exit(f"{program[0]} cannot be run: {error.strerror}.")


def _enter_namespace(uid: int) -> None:
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", _CLONE_NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {outer_uid} 1")
        _write("/proc/self/gid_map", f"{uid} {outer_gid} 1")
    except (OSError, AttributeError) as error:
        sys.exit(
            "Postgres runs neither as root nor as a user without a name, and this system refuses the user namespace "
            f"that would hide it ({error}): start as an ordinary user, or name a database with --database-url."
        )


def _die_with(parent_pid: int, death_signal: signal.Signals) -> None:
    _call("prctl", _PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    # The parent may have died before the knot was tied.
    if os.getppid() != parent_pid:
        sys.exit("The process that started this one is gone.")


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[function](*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def _write(path: str, text: str) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.write(file, text.encode("ascii"))
    finally:
        os.close(file)


if __name__ == "__main__":
    main(sys.argv[1:])
