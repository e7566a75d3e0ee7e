"""Rules that several resources of this service share and that need no I/O: key lengths, life cycle, URIs."""

from collections.abc import Callable, Iterable

from services.common.errors import InvalidArgument

# Takes the ids of runs of which something was committed; must not raise, nor take long.
Tell = Callable[[Iterable[str]], None]

ACTIVE, DELETED = "active", "deleted"
# By the number of modelstead.tracking.v1.ViewType.
STAGES_OF_VIEW = {0: (ACTIVE,), 1: (ACTIVE,), 2: (DELETED,), 3: (ACTIVE, DELETED)}

KEY_LENGTH_MAX = 250
PAGE_SIZE_MAX = 50_000


def tell_nobody(run_ids: Iterable[str]) -> None:
    """Take note of nothing."""


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 50,000."""
    if not 1 <= max_results <= PAGE_SIZE_MAX:
        problem = "a positive integer" if max_results < 1 else f"at most {PAGE_SIZE_MAX}"
        raise InvalidArgument(f"Invalid value {max_results} for parameter 'max_results' supplied. It must be {problem}")


def join_uri(root: str, *segments: str) -> str:
    """Append path segments to a URI, before its query string if there is one."""
    base, question, query = root.partition("?")
    separator = "" if base.endswith("/") else "/"
    return f"{base}{separator}{'/'.join(segments)}{question}{query}"
