"""What happened to registered models, and who did it: searched by actor, model, kind and time."""

from datetime import UTC, datetime
from typing import Any

from services.gateway.console.api import ApiError
from services.gateway.console.visits import Page, View, Visit, below

_EVENTS_A_PAGE = 50
# A test holds them against what the registry records.
KINDS = (
    "COMMENT_CREATED",
    "COMMENT_DELETED",
    "COMMENT_UPDATED",
    "MODEL_VERSION_CHECK_SET",
    "MODEL_VERSION_CREATED",
    "MODEL_VERSION_DELETED",
    "MODEL_VERSION_TAG_DELETED",
    "MODEL_VERSION_TAG_SET",
    "MODEL_VERSION_TRANSITIONED_STAGE",
    "MODEL_VERSION_UPDATED",
    "PROMOTION_POLICY_SET",
    "REGISTERED_MODEL_ALIAS_DELETED",
    "REGISTERED_MODEL_ALIAS_SET",
    "REGISTERED_MODEL_CREATED",
    "REGISTERED_MODEL_DELETED",
    "REGISTERED_MODEL_PERMISSIONS_SET",
    "REGISTERED_MODEL_RENAMED",
    "REGISTERED_MODEL_TAG_DELETED",
    "REGISTERED_MODEL_TAG_SET",
    "REGISTERED_MODEL_UPDATED",
    "TRANSITION_REQUEST_APPROVED",
    "TRANSITION_REQUEST_CANCELLED",
    "TRANSITION_REQUEST_CREATED",
    "TRANSITION_REQUEST_EXPIRED",
    "TRANSITION_REQUEST_REJECTED",
)
_FIELDS = ("name", "actor", "kind", "from", "to")
_NO_TIME = "A time is a date, or a date and a time of day."


async def _show(visit: Visit) -> Page:
    """Show a page of events. What is wrong with the search is said beside it, and nothing is found then."""
    asked = {name: visit.query.get(name).strip() for name in _FIELDS}
    problems, answer = dict[str, str](), dict[str, Any]()
    times = {name: _time_ms(asked[name], problems, name) for name in ("from", "to")}
    refused = ""
    if not problems:
        try:
            answer = await visit.get(
                "audit/list",
                name=asked["name"] or None,
                actor=asked["actor"] or None,
                kind=asked["kind"] or None,
                from_timestamp=times["from"],
                to_timestamp=times["to"],
                max_results=_EVENTS_A_PAGE,
                page_token=visit.query.get("page_token") or None,
            )
        except ApiError as error:
            if error.status not in (400, 404):
                raise
            refused = error.message
    token = answer.get("next_page_token")
    values = {
        "asked": asked,
        "problems": problems,
        "refused": refused,
        "events": answer.get("events", []),
        "kinds": KINDS,
        "older": token and below("audit", **{name: text or None for name, text in asked.items()}, page_token=token),
        "is_first": not visit.query.has("page_token"),
    }
    return Page(template="audit.html", values=values)


def _time_ms(text: str, problems: dict[str, str], name: str) -> int | None:
    """Return a time of UTC as milliseconds since the Unix epoch. A date alone is its beginning, or as `to` its end."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problems[name] = _NO_TIME
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    is_day = len(text) == len("2026-01-31")
    rest_ms = (24 * 3600 * 1000 if is_day else 60_000 if text.count(":") == 1 else 1000) - 1 if name == "to" else 0
    return int(moment.timestamp() * 1000) + rest_ms


VIEWS = (View(path="audit", get=_show),)
