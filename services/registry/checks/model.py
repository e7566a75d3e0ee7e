"""A named check of a version, and the rules on it that need no I/O."""

from dataclasses import dataclass

from services.common.errors import InvalidArgument
from services.common.keys import check_length
from services.registry.promotions.policy import CHECKS_MAX, check_check_name

URL_LENGTH_MAX = 2048
DESCRIPTION_LENGTH_MAX = 1000
STATES = ("PENDING", "PASSED", "FAILED")
_SCHEMES = ("http://", "https://")


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionCheck:
    """What was posted last under a name; the time is in milliseconds since the Unix epoch."""

    check: str
    state: str
    url: str | None
    description: str | None
    user_id: str
    last_updated_timestamp: int

    def validate(self) -> None:
        """Raises InvalidArgument for what cannot be posted."""
        check_check_name(self.check)
        if self.state not in STATES:
            raise InvalidArgument(
                f"Invalid value {self.state!r} for parameter 'state' supplied: it is one of {', '.join(STATES)}"
            )
        check_length("url", URL_LENGTH_MAX, self.url or "")
        if self.url and not self.url.lower().startswith(_SCHEMES):
            raise InvalidArgument("Invalid value for parameter 'url' supplied: it starts with http:// or https://")
        check_length("description", DESCRIPTION_LENGTH_MAX, self.description or "")


def too_many(name: str, version: int) -> InvalidArgument:
    """Return the error for one check more than a version can have."""
    return InvalidArgument(f"Model Version (name={name}, version={version}) has {CHECKS_MAX} checks, the most.")
