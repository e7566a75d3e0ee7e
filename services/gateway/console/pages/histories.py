"""What happened to a model, change by change, and what it was at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.gateway.console import diffs
from services.gateway.console.api import ApiError
from services.gateway.console.visits import Page, View, Visit

_EVENTS_MAX = 50
# A revision that is not reached yet is the present.
_NEWEST = 2**62
_WHEN = "Say a time as 2026-11-27T16:30, in UTC, or the number of a revision."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Change:
    """How a field changed: short texts side by side, long ones by lines."""

    field: str
    before: str | None
    after: str | None

    @property
    def lines(self) -> list[diffs.Line]:
        texts = (self.before or "", self.after or "")
        return diffs.lines(*texts) if any("\n" in text for text in texts) else []


async def _history(visit: Visit) -> Page:
    name = visit.variables["name"]
    filters = {key: visit.query.get(key) for key in ("actor", "kind")}
    values: dict[str, Any] = {"name": name, "filters": filters, "problem": "", "activities": [], "events": []}
    try:
        answer = await visit.get(
            "audit/list",
            name=name,
            actor=filters["actor"] or None,
            kind=filters["kind"] or None,
            max_results=_EVENTS_MAX,
            page_token=visit.query.get("page_token") or None,
        )
    except ApiError as error:
        if error.status == 403:
            return await _activities(visit, values)
        if error.status != 400:
            raise
        shown = {**values, "problem": error.message, "next_page_token": None}
        return Page(template="history.html", values=shown, status=400)
    values["events"] = [(event, _changes(event)) for event in answer.get("events", [])]
    return Page(template="history.html", values={**values, "next_page_token": answer.get("next_page_token")})


async def _activities(visit: Visit, values: Mapping[str, Any]) -> Page:
    """Show less to who does not manage the model, and so may not read all that happened."""
    answer = await visit.get(
        "activities/list",
        name=visit.variables["name"],
        max_results=_EVENTS_MAX,
        page_token=visit.query.get("page_token") or None,
    )
    shown = {**values, "activities": answer.get("activities", []), "next_page_token": answer.get("next_page_token")}
    return Page(template="history.html", values=shown)


def _changes(event: Mapping[str, Any]) -> list[_Change]:
    return [
        _Change(field=change["field"], before=change.get("before"), after=change.get("after"))
        for change in event.get("changes", [])
    ]


async def _as_of(visit: Visit) -> Page:
    name, at, revision = visit.variables["name"], visit.query.get("at"), visit.query.get("revision")
    values: dict[str, Any] = {"name": name, "at": at, "revision": revision, "problem": "", "then": None, "now": {}}
    try:
        when = _moment(at, revision)
    except ValueError:
        return Page(template="as_of.html", values={**values, "problem": _WHEN}, status=400)
    if when is None:
        return Page(template="as_of.html", values=values)
    try:
        then = await visit.get("registered-models/as-of", name=name, **when)
    except ApiError as error:
        return Page(template="as_of.html", values={**values, "problem": error.message}, status=error.status)
    return Page(template="as_of.html", values={**values, "then": then, "now": await _versions_now(visit, name)})


async def _versions_now(visit: Visit, name: str) -> dict[str, Any]:
    """Return the versions of the model that has a name now, by number; none if it is gone."""
    try:
        now = await visit.get("registered-models/as-of", name=name, revision=_NEWEST)
    except ApiError:
        return {}
    return {version["version"]: version for version in now.get("model_versions", [])}


def _moment(at: str, revision: str) -> dict[str, int] | None:
    """Return the API's arguments for a time or a revision; None if neither is given. Raises ValueError."""
    if revision:
        return {"revision": int(revision)}
    if not at:
        return None
    moment = datetime.fromisoformat(at)
    return {"timestamp": int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)}


VIEWS = (
    View(path="models/{name}/history", get=_history),
    View(path="models/{name}/as-of", get=_as_of),
)
