"""What webhooks are told of a test's models, each thing once."""

import json

from services.local import waiting
from tests.receivers import Received, Receiver

_TIMEOUT_S = 60


def delivery_id(one: Received) -> str:
    """The id of a delivery in either dialect; the same each time that it is sent."""
    return one.headers.get("x-mlflow-delivery-id") or one.headers["x-modelstead-delivery-id"]


def told(receiver: Receiver, count: int, *names: str) -> list[Received]:
    """Return what a receiver is told of these models, or of all, once it is so much. Fails if it is not told.

    What is promised is that each delivery comes at least once, and a webhook may be told also of what was committed
    while a transaction was under way that is older than the webhook: so neither repetitions nor other models count.
    """
    waiting.until(lambda: len(_told(receiver, names)) >= count, timeout_s=_TIMEOUT_S)
    found = _told(receiver, names)
    assert len(found) >= count, f"{len(found)} of {count} came"
    return found


def _told(receiver: Receiver, names: tuple[str, ...]) -> list[Received]:
    once: dict[str, Received] = {}
    for one in tuple(receiver.received):
        if not names or _name(one) in names:
            once.setdefault(delivery_id(one), one)
    return list(once.values())


def _name(one: Received) -> str:
    body = json.loads(one.body)
    return str(body["model_name"] if "model_name" in body else body["data"]["name"])
