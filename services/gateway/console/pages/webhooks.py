"""Webhooks of both vocabularies: what each was sent, what was given up, sending it again, and trying one out."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.gateway.console.api import ApiError
from services.gateway.console.visits import Page, Redirect, View, Visit, below

_WEBHOOKS_MAX = 1000
_DELIVERIES_A_PAGE = 50
_STATUSES = ("PENDING", "DELIVERED", "DEAD")
_TIMES = ("create_time", "last_attempt_time", "next_attempt_time")
_NO_VOCABULARY = "There is no such vocabulary of webhooks."
_NO_WEBHOOK = "There is no such webhook."


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """A webhook of either vocabulary, as it is shown."""

    vocabulary: str
    id: str
    name: str
    url: str
    events: list[str]
    model_name: str
    description: str
    status: str
    creation_timestamp: int


async def _list(visit: Visit) -> Page:
    mlflow, databricks = await asyncio.gather(_of_mlflow(visit), _of_databricks(visit))
    webhooks = sorted([*mlflow, *databricks], key=lambda webhook: -webhook.creation_timestamp)
    return Page(template="webhooks.html", values={"webhooks": webhooks})


async def _show(visit: Visit) -> Page:
    return await _page(visit)


async def _test(visit: Visit) -> Page:
    """Have an example sent, and show what came back."""
    vocabulary, webhook_id = visit.variables["vocabulary"], visit.variables["webhook_id"]
    try:
        if vocabulary == "databricks":
            answer = await visit.call("POST", "registry-webhooks/test", id=webhook_id)
            result = {"response_status": answer["status_code"], "response_body": answer.get("body", "")}
        else:
            result = (await visit.call("POST", f"webhooks/{webhook_id}/test"))["result"]
    except ApiError as error:
        if error.status != 400:
            raise
        result = {"error_message": error.message}
    return await _page(visit, result=result)


async def _redeliver(visit: Visit) -> Redirect:
    names = visit.variables
    await visit.call("POST", f"webhooks/{names['webhook_id']}/deliveries/{names['delivery_id']}/redeliver")
    return Redirect(below("webhooks", names["vocabulary"], names["webhook_id"], sent=names["delivery_id"]))


async def _back(visit: Visit) -> Redirect:
    """Lead who reloads the answer to a form back to the webhook."""
    return Redirect(below("webhooks", visit.variables["vocabulary"], visit.variables["webhook_id"]))


async def _page(visit: Visit, *, result: Mapping[str, Any] | None = None) -> Page:
    status = visit.query.get("status")
    webhook, answer = await asyncio.gather(
        _webhook(visit),
        visit.get(
            f"webhooks/{visit.variables['webhook_id']}/deliveries",
            status=status or None,
            max_results=_DELIVERIES_A_PAGE,
            page_token=visit.query.get("page_token") or None,
        ),
    )
    values = {
        "webhook": webhook,
        "deliveries": [_delivery(delivery) for delivery in answer.get("deliveries", [])],
        "next_page_token": answer.get("next_page_token"),
        "status": status,
        "statuses": _STATUSES,
        "sent": visit.query.get("sent"),
        "result": result,
    }
    return Page(template="webhook.html", values=values)


async def _webhook(visit: Visit) -> Webhook:
    vocabulary, webhook_id = visit.variables["vocabulary"], visit.variables["webhook_id"]
    if vocabulary == "mlflow":
        return _from_mlflow((await visit.get(f"webhooks/{webhook_id}"))["webhook"])
    if vocabulary != "databricks":
        raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", _NO_VOCABULARY)
    # That vocabulary has no call for one of them.
    found = next((webhook for webhook in await _of_databricks(visit) if webhook.id == webhook_id), None)
    if found is None:
        raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", _NO_WEBHOOK)
    return found


async def _of_mlflow(visit: Visit) -> list[Webhook]:
    answer = await visit.get("webhooks", max_results=_WEBHOOKS_MAX)
    return [_from_mlflow(webhook) for webhook in answer.get("webhooks", [])]


async def _of_databricks(visit: Visit) -> list[Webhook]:
    answer = await visit.get("registry-webhooks/list", max_results=_WEBHOOKS_MAX)
    return [
        Webhook(
            vocabulary="databricks",
            id=webhook["id"],
            name="",
            url=webhook["http_url_spec"]["url"],
            events=webhook["events"],
            model_name=webhook.get("model_name", ""),
            description=webhook.get("description", ""),
            status=webhook["status"],
            creation_timestamp=webhook["creation_timestamp"],
        )
        for webhook in answer.get("webhooks", [])
    ]


def _from_mlflow(webhook: Mapping[str, Any]) -> Webhook:
    return Webhook(
        vocabulary="mlflow",
        id=webhook["webhook_id"],
        name=webhook["name"],
        url=webhook["url"],
        events=[f"{event['entity']}.{event['action']}".lower() for event in webhook["events"]],
        model_name="",
        description=webhook.get("description", ""),
        status=webhook["status"],
        creation_timestamp=webhook["creation_timestamp"],
    )


def _delivery(delivery: Mapping[str, Any]) -> dict[str, Any]:
    """Return a delivery with its times in milliseconds since the Unix epoch, as templates take them."""
    times = {
        name: int(datetime.fromisoformat(delivery[name]).timestamp() * 1000) if name in delivery else None
        for name in _TIMES
    }
    return {**delivery, **times}


VIEWS = (
    View(path="webhooks", get=_list),
    View(path="webhooks/{vocabulary}/{webhook_id}", get=_show),
    View(path="webhooks/{vocabulary}/{webhook_id}/test", get=_back, post=_test),
    View(
        path="webhooks/{vocabulary}/{webhook_id}/deliveries/{delivery_id}/redeliver",
        get=_back,
        post=_redeliver,
    ),
)
