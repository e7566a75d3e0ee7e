"""What an examination finds: what was seen, why it matters, what to do."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from modelstead.commands.exits import Exit


class Level(Enum):
    """How bad it is. What could not be looked at is `skipped`."""

    OK = "ok"
    SKIPPED = "skipped"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at; what is well has neither `why` nor `fix`. `code` is how the command ends if this is
    the worst.
    """

    check: str
    level: Level
    seen: str
    why: str = ""
    fix: str = ""
    code: Exit = Exit.FAILED

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to do."""
        return self.level is Level.OK

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        told = asdict(self) | {"level": self.level.value}
        del told["code"]
        return {name: value for name, value in told.items() if value}


def ok(check: str, seen: str) -> Finding:
    """Return that something is well."""
    return Finding(check=check, level=Level.OK, seen=seen)


def skipped(check: str, seen: str) -> Finding:
    """Return that something could not be looked at, which another finding explains."""
    return Finding(check=check, level=Level.SKIPPED, seen=seen)


def warning(check: str, seen: str, *, why: str, fix: str) -> Finding:
    """Return what works now and will not for long, or not well."""
    return Finding(check=check, level=Level.WARNING, seen=seen, why=why, fix=fix)


def problem(check: str, seen: str, *, why: str, fix: str, code: Exit = Exit.FAILED) -> Finding:
    """Return what does not work."""
    return Finding(check=check, level=Level.PROBLEM, seen=seen, why=why, fix=fix, code=code)


def exit_code(findings: Sequence[Finding]) -> Exit:
    """Return how the command ends: by the first problem, as what comes after it may follow from it."""
    return next((finding.code for finding in findings if finding.level is Level.PROBLEM), Exit.DONE)
