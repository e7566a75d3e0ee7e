"""Open requests to move versions."""

from modelstead.commands import pages
from modelstead.commands.rest import Json, Rest

_REQUESTS_MAX = 10_000


def search(rest: Rest, name: str | None = None) -> list[Json]:
    """Return the open requests of one model or of all, the oldest first and at most 10,000. Raises RestError."""
    answer = pages.collect(
        lambda page: rest.get("transition-requests/search", {"name": name, **page}),
        "requests",
        limit=_REQUESTS_MAX,
        page_token=None,
    )
    found: list[Json] = answer["requests"]
    return found
