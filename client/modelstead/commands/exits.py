"""The exit codes of `modelstead model`, which pipelines branch on (docs/promoting-from-ci.md)."""

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    CONFLICT = 4
    NOT_FOUND = 5
    PENDING = 6
    UNAVAILABLE = 7


class CommandError(Exception):
    """A command ends without having done what it was asked for."""

    def __init__(self, message: str, code: Exit) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


_EXIT_OF_STATUS = {
    401: Exit.REFUSED,
    403: Exit.REFUSED,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    429: Exit.UNAVAILABLE,
    502: Exit.UNAVAILABLE,
    503: Exit.UNAVAILABLE,
    504: Exit.UNAVAILABLE,
}
_EXIT_OF_REASON = {"RESOURCE_ALREADY_EXISTS": Exit.CONFLICT}


def of_answer(status: int, reason: str) -> Exit:
    """Return the exit code for an HTTP status and MLflow's `error_code`."""
    return _EXIT_OF_REASON.get(reason) or _EXIT_OF_STATUS.get(status, Exit.FAILED)
