"""What somebody wants to happen to a version, and what he expects it to be before: rules that need no I/O."""

from dataclasses import dataclass

from services.common.errors import Conflict, InvalidArgument
from services.registry import rules
from services.registry.promotions.model import Policy
from services.registry.transition_requests.model import check_comment

_SHOWN_LENGTH_MAX = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What must hold before a change; None is not asked, and an empty `version` is that there is none."""

    stage: str | None = None
    version: str | None = None

    def check(self) -> None:
        """Raises InvalidArgument for what cannot hold."""
        if self.version:
            rules.parse_version(self.version)

    def check_stage(self, name: str, version: int | None, found: str | None) -> None:
        """Raises Conflict unless a version is in the expected stage."""
        if self.stage is not None and self.stage.lower() != (found or "").lower():
            raise Conflict(
                f"Model Version (name={name}, version={version}) is in stage {found}, not in "
                f"{self.stage[:_SHOWN_LENGTH_MAX]!r} as if_stage expects."
            )

    def check_version(self, name: str, target: str, found: int | None) -> None:
        """Raises Conflict unless the version that is at a target is the expected one."""
        if self.version is None or (int(self.version) if self.version else None) == found:
            return
        what = f"Alias {target[1:]}" if target.startswith("@") else f"Stage {target}"
        raise Conflict(
            f"{what} of model {name} has {_version(found)}, not {_version(self.version)} as if_version expects."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A version is to get to a target: a stage, or `@` and an alias."""

    target: str
    archive: bool = False
    expected: Expected = Expected()
    comment: str = ""

    @classmethod
    def of(
        cls, policy: Policy, text: str, *, archive: bool = False, expected: Expected | None = None, comment: str = ""
    ) -> "Wish":
        """Return a wish for the target that a text names. Raises InvalidArgument."""
        target = policy.target_of(text)
        if archive and target.startswith("@"):
            raise InvalidArgument(
                f"archive_existing_versions is for stages, and {text[:_SHOWN_LENGTH_MAX]} is an alias"
            )
        if archive:
            policy.check_archiving(target, text)
        check_comment(comment)
        expected = expected or Expected()
        expected.check()
        return cls(target=target, archive=archive, expected=expected, comment=comment)

    @property
    def alias(self) -> str | None:
        return self.target[1:] if self.target.startswith("@") else None


def _version(number: int | str | None) -> str:
    return f"version {str(number)[:_SHOWN_LENGTH_MAX]}" if number else "no version"
