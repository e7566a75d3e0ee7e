"""Rules that several resources of this service share and that need no I/O (as MLflow 3.18, validation.py)."""

import re

from services.common.errors import InvalidArgument
from services.common.keys import check_file_name, check_key, check_length

NO_STAGE, STAGING, PRODUCTION, ARCHIVED = "None", "Staging", "Production", "Archived"
STAGES = (NO_STAGE, STAGING, PRODUCTION, ARCHIVED)
LATEST = "latest"

NAME_LENGTH_MAX = 256
ALIAS_LENGTH_MAX = 255
TAG_KEY_LENGTH_MAX = 250
TAG_VALUE_LENGTH_MAX = 100_000
DESCRIPTION_LENGTH_MAX = 100_000
VERSION_MAX = 2**63 - 1

_ALIAS = re.compile(r"[\w\-]*")
_VERSION_ALIAS = re.compile(r"[vV]\d+")
_VERSION_DIGITS_MAX = 100


def check_name(name: str) -> None:
    """Raises InvalidArgument for what cannot name a registered model."""
    if not name.strip():
        raise InvalidArgument("Missing value for required parameter 'name'.")
    if "/" in name or ":" in name:
        raise InvalidArgument(f"Invalid model name '{name[:300]}'. Names cannot contain '/' or ':'.")
    check_file_name(name, path="name")
    check_length("name", NAME_LENGTH_MAX, name)


def check_new_name(name: str) -> None:
    """Raises InvalidArgument for what a registered model cannot be renamed to."""
    if not name.strip():
        raise InvalidArgument("Missing value for required parameter 'new_name'.")
    check_name(name)


def check_description(description: str | None) -> None:
    """Raises InvalidArgument for a long description."""
    check_length("description", DESCRIPTION_LENGTH_MAX, description or "")


def check_tag_key(key: str) -> None:
    """Raises InvalidArgument for what cannot be the key of a tag."""
    check_key(key, path="key")


def check_tag(key: str, value: str) -> None:
    """Raises InvalidArgument for a malformed or long tag."""
    check_tag_key(key)
    check_length("key", TAG_KEY_LENGTH_MAX, key)
    check_length("value", TAG_VALUE_LENGTH_MAX, value)


def check_alias(alias: str) -> None:
    """Raises InvalidArgument for what cannot name an alias."""
    if not _ALIAS.fullmatch(alias):
        raise InvalidArgument(
            f"Invalid alias name: '{alias[:300]}'. Names may only contain alphanumerics, underscores (_), and "
            "dashes (-)."
        )
    check_length("Registered model alias name", ALIAS_LENGTH_MAX, alias)


def check_new_alias(alias: str) -> None:
    """Raises InvalidArgument for what cannot name an alias, or would be taken for something else."""
    check_alias(alias)
    if alias.lower() == LATEST:
        raise InvalidArgument("'latest' alias name (case insensitive) is reserved.")
    if _VERSION_ALIAS.fullmatch(alias):
        raise InvalidArgument(f"Version alias name '{alias}' is reserved.")


def parse_version(text: str) -> int:
    """Return the number that a text names, which no version need have. Raises InvalidArgument."""
    try:
        return int(text if len(text) <= _VERSION_DIGITS_MAX else "")
    except ValueError:
        raise InvalidArgument(f"Parameter 'version' must be an integer, got '{text[:300]}'.") from None
