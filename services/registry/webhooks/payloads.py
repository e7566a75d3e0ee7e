"""What a webhook is sent: bodies and headers, in the words of MLflow 3.18 (webhooks/delivery.py, types.py) and of
Databricks.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from services.registry.events.model import changes
from services.registry.prompts import PROMPT_TAG, TEXT_TAG
from services.registry.webhooks import vocabulary
from services.registry.webhooks.vocabulary import Dialect, Happening

# What marks a prompt to MLflow is not told as one of its tags.
_PROMPT_MARKS = frozenset({PROMPT_TAG, "_mlflow_prompt_type"})
_USER_AGENT = "modelstead-webhooks"

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a webhook is sent, with its secrets opened."""

    webhook_id: str
    dialect: Dialect
    url: str
    secret: str = field(default="", repr=False)
    authorization: str = field(default="", repr=False)
    enable_ssl_verification: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One POST."""

    body: bytes
    headers: Sequence[tuple[str, str]]


def message(target: Target, what: Happening, name: str, *, delivery_id: str, now_s: int) -> Message:
    """Return what a webhook is sent of an event, under one of its names. `now_s` is when, in seconds since the Unix
    epoch; the body is the same whenever it is sent.
    """
    body = (_mlflow_body if target.dialect is Dialect.MLFLOW else _databricks_body)(target, what, name)
    text = json.dumps(body)
    headers = [("Content-Type", "application/json"), ("User-Agent", _USER_AGENT)]
    headers.append(("X-Modelstead-Revision", str(what.revision)))
    if target.dialect is Dialect.MLFLOW:
        headers += [("X-MLflow-Delivery-Id", delivery_id), ("X-MLflow-Timestamp", str(now_s))]
    else:
        headers.append(("X-Modelstead-Delivery-Id", delivery_id))
    if target.authorization:
        headers.append(("Authorization", target.authorization))
    if target.secret:
        headers.append(_signature(target, f"{delivery_id}.{now_s}.", text))
    return Message(body=text.encode(), headers=headers)


def example(name: str, *, now_ms: int) -> Happening:
    """Return an event that has a name, made up, for a test; its values are those of MLflow's own examples."""
    subject = "prompt" if name.startswith("prompt") else "model"
    stage = next((stage for stage in ("Staging", "Archived") if f"_TO_{stage.upper()}" in name), "Production")
    fields = {
        "name": f"example_{subject}",
        "description": f"An example {name.partition('.')[0].lower().replace('_', ' ')}",
        "source": "models:/123",
        "run_id": "abcd1234abcd5678",
        "to_stage": stage,
        "comment": "An example comment",
        "tags.example_key": "example_value",
        "aliases.example_alias": 1,
        **({f"tags.{TEXT_TAG}": "Hello {{name}}!"} if name == "prompt_version.created" else {}),
    }
    return Happening(
        kind=vocabulary.kind_of(name),
        name=f"example_{subject}",
        revision=1,
        actor="example_user",
        creation_timestamp=now_ms,
        version=1,
        changes=changes({"current_stage": "None"}, {"current_stage": stage, **fields}),
    )


def _signature(target: Target, prefix: str, text: str) -> tuple[str, str]:
    if target.dialect is Dialect.MLFLOW:
        digest = hmac.new(target.secret.encode(), (prefix + text).encode(), hashlib.sha256).digest()
        return "X-MLflow-Signature", f"v1,{base64.b64encode(digest).decode()}"
    return "X-Databricks-Signature", hmac.new(target.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _mlflow_body(target: Target, what: Happening, name: str) -> Json:
    entity, _, action = name.partition(".")
    return {
        "entity": entity,
        "action": action,
        "timestamp": datetime.fromtimestamp(what.creation_timestamp / 1000, UTC).isoformat(),
        "data": _DATA[entity](what, action),
    }


def _model(what: Happening, action: str) -> Json:
    fields = what.changes
    return {"name": _to(fields, "name"), "tags": _tags(fields), "description": _to(fields, "description") or ""}


def _prompt(what: Happening, action: str) -> Json:
    data = _model(what, action)
    return data | {"tags": {key: value for key, value in data["tags"].items() if key not in _PROMPT_MARKS}}


def _version(what: Happening, action: str) -> Json:
    fields = what.changes
    return {
        **_numbered(what),
        "source": _to(fields, "source"),
        "run_id": _to(fields, "run_id"),
        "tags": _tags(fields),
        "description": _to(fields, "description"),
    }


def _prompt_version(what: Happening, action: str) -> Json:
    fields = what.changes
    tags = {key: value for key, value in _tags(fields).items() if key not in _PROMPT_MARKS}
    template = tags.pop(TEXT_TAG, None)
    return {**_numbered(what), "template": template, "tags": tags, "description": _to(fields, "description")}


def _prompt_tag(what: Happening, action: str) -> Json:
    return {"name": what.name, **_changed_tag(what, action)}


def _version_tag(what: Happening, action: str) -> Json:
    return {**_numbered(what), **_changed_tag(what, action)}


def _alias(what: Happening, action: str) -> Json:
    data = {"name": what.name, "alias": _key(what, "aliases.")}
    return data | {"version": str(what.version)} if action == "created" else data


def _budget(what: Happening, action: str) -> Json:
    """Return MLflow's own example: nothing here has a budget, and so only a test tells of one."""
    return {
        "budget_policy_id": "bp-abc123",
        "budget_unit": "USD",
        "budget_amount": 100.0,
        "current_spend": 105.5,
        "duration_unit": "MONTHS",
        "duration_value": 1,
        "target_scope": "ENDPOINT",
        "workspace": "default",
        "target_value": "ep-abc123",
        "window_start": 1704067200000,
    }


_DATA: Mapping[str, Callable[[Happening, str], Json]] = MappingProxyType(
    {
        "registered_model": _model,
        "model_version": _version,
        "model_version_tag": _version_tag,
        "model_version_alias": _alias,
        "prompt": _prompt,
        "prompt_version": _prompt_version,
        "prompt_tag": _prompt_tag,
        "prompt_version_tag": _version_tag,
        "prompt_alias": _alias,
        "budget_policy": _budget,
    }
)


def _databricks_body(target: Target, what: Happening, name: str) -> Json:
    fields, kind = what.changes, what.kind
    body: Json = {
        "event": name,
        "webhook_id": target.webhook_id,
        "event_timestamp": what.creation_timestamp,
        "model_name": what.name,
    }
    about = f"registered model '{what.name}' version {what.version}"
    if kind != vocabulary.MODEL_CREATED:
        body["version"] = str(what.version)
    if kind == vocabulary.TRANSITIONED:
        before, after = fields["current_stage"].get("from"), _to(fields, "current_stage")
        body |= {"to_stage": after, "from_stage": before}
        text = f"{about} transitioned from {before} to {after}."
    elif kind == vocabulary.REQUESTED:
        body["to_stage"] = _to(fields, "to_stage")
        text = f"{what.actor} requested that {about} transition to {body['to_stage']}."
    elif kind == vocabulary.COMMENTED:
        body["comment"] = _to(fields, "comment")
        text = f"{what.actor} commented on {about}."
    elif kind == vocabulary.VERSION_TAG_SET:
        tag = _changed_tag(what, "set")
        body["tags"] = [tag]
        text = f"{what.actor} set version tag(s) '{tag['key']}' => '{tag['value']}' for {about}."
    elif kind == vocabulary.VERSION_CREATED:
        text = f"{about} was created by {what.actor}."
    else:
        text = f"registered model '{what.name}' was created by {what.actor}."
    return body | {"text": text.replace("registered", "Registered", 1) if text.startswith("registered") else text}


def _numbered(what: Happening) -> Json:
    return {"name": what.name, "version": str(what.version)}


def _changed_tag(what: Happening, action: str) -> Json:
    key = _key(what, "tags.")
    value = {"value": _to(what.changes, f"tags.{key}")} if action == "set" else {}
    return {"key": key, **value}


def _key(what: Happening, prefix: str) -> str:
    """Return the key of the one tag, or the one alias, that an event is about."""
    return next(name for name in what.changes if name.startswith(prefix)).removeprefix(prefix)


def _tags(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    tags = {name.removeprefix("tags."): _to(fields, name) for name in fields if name.startswith("tags.")}
    return {key: value for key, value in tags.items() if value is not None}


def _to(fields: Mapping[str, Mapping[str, Any]], name: str) -> Any:
    return fields.get(name, {}).get("to")
