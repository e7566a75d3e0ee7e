"""What may be a key or a name, and how long a text may be: MLflow's rules, alike in all services."""

import json
import posixpath
import re

from services.common.errors import InvalidArgument

_KEY = re.compile(r"[/\w.\- :]*")
_SHOWN_LENGTH_MAX = 300


def check_length(what: str, length_max: int, value: str) -> None:
    """Raises InvalidArgument if `value` has more than `length_max` characters."""
    if len(value) > length_max:
        raise InvalidArgument(f"'{what}' exceeds the maximum length of {length_max} characters")


def check_key(key: str, *, path: str) -> None:
    """Raises InvalidArgument unless `key` can name a metric, parameter or tag (as MLflow 3.18, validation.py)."""
    if not _KEY.fullmatch(key):
        raise InvalidArgument(
            f"Invalid value {_shown(key)} for parameter '{path}' supplied: Names may only contain alphanumerics, "
            "underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
        )
    check_file_name(key, path=path)


def check_file_name(name: str, *, path: str) -> None:
    """Raises InvalidArgument for what would be another name if it were taken for that of a file."""
    normal = posixpath.normpath(name)
    if normal != name or normal == "." or normal.startswith(("..", "/")):
        raise InvalidArgument(
            f"Invalid value {_shown(name)} for parameter '{path}' supplied: Names may be treated as files in certain "
            f"cases, and must not resolve to other names when treated as such. This name would resolve to {normal!r}"
        )


def _shown(text: str) -> str:
    return json.dumps(text[:_SHOWN_LENGTH_MAX], separators=(",", ":"))
