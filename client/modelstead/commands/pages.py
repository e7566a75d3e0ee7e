"""Lists that the platform gives page by page."""

from collections.abc import Callable

from modelstead.commands.rest import Json

_PAGE_MAX = 1000


def collect(fetch: Callable[[Json], Json], field: str, *, limit: int, page_token: str | None) -> Json:
    """Return an answer that holds under `field` up to `limit` of what pages do, and the token of what follows.

    `fetch` returns the page for a `max_results` and a `page_token`.
    """
    found: list[Json] = []
    while True:
        page = fetch({"max_results": min(limit - len(found), _PAGE_MAX), "page_token": page_token})
        found += page.get(field, [])
        page_token = page.get("next_page_token")
        if not page_token or len(found) >= limit:
            return {field: found, **({"next_page_token": page_token} if page_token else {})}
