"""Rules that several resources of this service share and that need no I/O: keys, lengths, life cycle, URIs."""

import json
import posixpath
import re

from services.common.errors import InvalidArgument

ACTIVE, DELETED = "active", "deleted"
# By the number of modelstead.tracking.v1.ViewType.
STAGES_OF_VIEW = {0: (ACTIVE,), 1: (ACTIVE,), 2: (DELETED,), 3: (ACTIVE, DELETED)}

KEY_LENGTH_MAX = 250
PAGE_SIZE_MAX = 50_000

_KEY = re.compile(r"[/\w.\- :]*")


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 50,000."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        problem = "a positive integer" if max_results < 1 else f"at most {PAGE_SIZE_MAX}"
        raise InvalidArgument(f"Invalid value {max_results} for parameter 'max_results' supplied. It must be {problem}")


def check_length(what: str, length_max: int, value: str) -> None:
    """Raises InvalidArgument if `value` has more than `length_max` characters."""
    if len(value) > length_max:
        raise InvalidArgument(f"'{what}' exceeds the maximum length of {length_max} characters")


def check_key(key: str, *, path: str) -> None:
    """Raises InvalidArgument unless `key` can name a metric, parameter or tag (as MLflow 3.18, validation.py)."""
    shown = json.dumps(key[:300], separators=(",", ":"))
    if not _KEY.fullmatch(key):
        raise InvalidArgument(
            f"Invalid value {shown} for parameter '{path}' supplied: Names may only contain alphanumerics, "
            "underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
        )
    normal = posixpath.normpath(key)
    if normal != key or normal == "." or normal.startswith(("..", "/")):
        raise InvalidArgument(
            f"Invalid value {shown} for parameter '{path}' supplied: Names may be treated as files in certain cases, "
            f"and must not resolve to other names when treated as such. This name would resolve to {normal!r}"
        )


def join_uri(root: str, *segments: str) -> str:
    """Append path segments to a URI, before its query string if there is one."""
    base, question, query = root.partition("?")
    separator = "" if base.endswith("/") else "/"
    return f"{base}{separator}{'/'.join(segments)}{question}{query}"
