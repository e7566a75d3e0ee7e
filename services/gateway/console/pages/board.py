"""The registry's board: models by stages, and the requests that wait for somebody."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.gateway.console.visits import Page, View, Visit

_MODELS_MAX = 50
_REQUESTS_MAX = 200
_SEARCH_LENGTH_MAX = 250


@dataclass(kw_only=True, slots=True)
class _Row:
    """A model: its newest version in each stage, and the aliases and requests of versions that are none of these."""

    model: Mapping[str, Any]
    cells: dict[str, Mapping[str, Any]]
    aliases: dict[str, list[str]] = field(default_factory=dict)
    requests: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def others(self) -> list[str]:
        """The versions that stand in no cell and yet are to be seen, by number."""
        shown = {version["version"] for version in self.cells.values()}
        return sorted((self.aliases.keys() | self.requests.keys()) - shown, key=int)


async def _show(visit: Visit) -> Page:
    text = visit.query.get("q")[:_SEARCH_LENGTH_MAX]
    models, requests, policy = await asyncio.gather(
        visit.get(
            "registered-models/search",
            filter=_filter(text),
            max_results=_MODELS_MAX,
            page_token=visit.query.get("page_token") or None,
        ),
        visit.get("transition-requests/search", max_results=_REQUESTS_MAX),
        visit.get("promotion-policies/describe"),
    )
    waiting = requests.get("requests", [])
    rows = [_row(model, waiting) for model in models.get("registered_models", [])]
    values = {
        "q": text,
        "rows": rows,
        "stages": _stages(policy["stages"], rows),
        "waiting": waiting,
        "watched": list({row.model["name"]: None for row in rows} | {request["name"]: None for request in waiting}),
        "are_more_waiting": "next_page_token" in requests,
        "next_page_token": models.get("next_page_token"),
    }
    return Page(template="board.html", values=values)


def _filter(text: str) -> str | None:
    """Return the filter for names that contain a text; what no filter can say matches any one character."""
    if not text:
        return None
    quote = '"' if "'" in text else "'"
    return f"name ILIKE {quote}%{text.replace(quote, '_')}%{quote}"


def _row(model: Mapping[str, Any], requests: Iterable[Mapping[str, Any]]) -> _Row:
    cells = {version["current_stage"]: version for version in model.get("latest_versions", [])}
    row = _Row(model=model, cells=cells)
    for alias in model.get("aliases", []):
        row.aliases.setdefault(alias["version"], []).append(alias["alias"])
    for request in requests:
        if request["name"] == model["name"]:
            row.requests.setdefault(request["version"], []).append(request)
    return row


def _stages(usual: Sequence[str], rows: Iterable[_Row]) -> list[str]:
    """Return the stages of the default policy in their order, and after them those that only single models have."""
    return list(dict.fromkeys([*usual, *(stage for row in rows for stage in row.cells)]))


VIEWS = (View(path="models", get=_show),)
