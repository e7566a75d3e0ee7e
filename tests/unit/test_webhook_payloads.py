"""What webhooks are sent is what MLflow and Databricks send: bodies, headers, signatures."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from mlflow.entities.webhook import VALID_ENTITY_ACTIONS, WebhookEvent
from mlflow.webhooks.types import get_example_payload_for_event

from services.registry.webhooks import payloads, vocabulary
from services.registry.webhooks.payloads import Target
from services.registry.webhooks.vocabulary import Dialect, Happening

MLFLOW_EVENTS = [f"{entity}.{action}" for entity, actions in vocabulary.MLFLOW_ACTIONS.items() for action in actions]


def _target(dialect: Dialect, **given: Any) -> Target:
    return Target(webhook_id="w", dialect=dialect, url="https://example.com", **given)


def _happening(kind: str, **given: Any) -> Happening:
    defaults: dict[str, Any] = {
        "name": "m", "revision": 7, "actor": "ada", "creation_timestamp": 1_589_859_029_343, "version": 8,
    }  # fmt: skip
    return Happening(kind=kind, **defaults | given)


def _body(dialect: Dialect, what: Happening, name: str) -> dict[str, Any]:
    message = payloads.message(_target(dialect), what, name, delivery_id="d", now_s=1)
    body: dict[str, Any] = json.loads(message.body)
    return body


def test_the_events_are_mlflows() -> None:
    assert sorted(MLFLOW_EVENTS) == sorted(
        f"{entity.value}.{action.value}" for entity, actions in VALID_ENTITY_ACTIONS.items() for action in actions
    )


@pytest.mark.parametrize("name", MLFLOW_EVENTS)
def test_examples_are_mlflows(name: str) -> None:
    body = _body(Dialect.MLFLOW, payloads.example(name, now_ms=1500), name)

    assert body == {
        "entity": name.partition(".")[0],
        "action": name.partition(".")[2],
        "timestamp": "1970-01-01T00:00:01.500000+00:00",
        "data": get_example_payload_for_event(WebhookEvent.from_str(name)),  # type: ignore[arg-type]
    }


def test_a_delivery_in_mlflows_words_is_signed_as_mlflow_signs() -> None:
    target = _target(Dialect.MLFLOW, secret="s3cret", authorization="Bearer b")
    what = _happening("MODEL_VERSION_TAG_SET", changes={"tags.k": {"to": "ü"}})

    message = payloads.message(target, what, "model_version_tag.set", delivery_id="d", now_s=99)

    headers = dict(message.headers)
    signed = hmac.new(b"s3cret", b"d.99." + message.body, hashlib.sha256).digest()
    assert headers == {
        "Content-Type": "application/json",
        "User-Agent": "modelstead-webhooks",
        "X-Modelstead-Revision": "7",
        "X-MLflow-Delivery-Id": "d",
        "X-MLflow-Timestamp": "99",
        "X-MLflow-Signature": f"v1,{base64.b64encode(signed).decode()}",
        "Authorization": "Bearer b",
    }


def test_a_delivery_in_databricks_words_is_signed_as_databricks_signs() -> None:
    what = _happening("MODEL_VERSION_CREATED")

    message = payloads.message(
        _target(Dialect.DATABRICKS, secret="s"), what, "MODEL_VERSION_CREATED", delivery_id="d", now_s=1
    )

    assert dict(message.headers) == {
        "Content-Type": "application/json",
        "User-Agent": "modelstead-webhooks",
        "X-Modelstead-Revision": "7",
        "X-Modelstead-Delivery-Id": "d",
        "X-Databricks-Signature": hmac.new(b"s", message.body, hashlib.sha256).hexdigest(),
    }


def test_without_a_secret_nothing_is_signed() -> None:
    message = payloads.message(
        _target(Dialect.MLFLOW), _happening("MODEL_VERSION_CREATED"), "model_version.created", delivery_id="d", now_s=1
    )

    assert not [name for name, _ in message.headers if "Signature" in name]


def test_a_move_in_databricks_words() -> None:
    what = _happening(
        "MODEL_VERSION_TRANSITIONED_STAGE", changes={"current_stage": {"from": "None", "to": "Production"}}
    )

    assert _body(Dialect.DATABRICKS, what, "MODEL_VERSION_TRANSITIONED_STAGE") == {
        "event": "MODEL_VERSION_TRANSITIONED_STAGE",
        "webhook_id": "w",
        "event_timestamp": 1_589_859_029_343,
        "model_name": "m",
        "version": "8",
        "to_stage": "Production",
        "from_stage": "None",
        "text": "Registered model 'm' version 8 transitioned from None to Production.",
    }


def test_a_tag_and_a_comment_in_databricks_words() -> None:
    tag = _body(Dialect.DATABRICKS, _happening("MODEL_VERSION_TAG_SET", changes={"tags.k": {"to": "v"}}), "any")
    comment = _body(Dialect.DATABRICKS, _happening("COMMENT_CREATED", changes={"comment": {"to": "fine"}}), "any")

    assert tag["tags"] == [{"key": "k", "value": "v"}]
    assert tag["text"] == "ada set version tag(s) 'k' => 'v' for registered model 'm' version 8."
    assert comment["comment"] == "fine"
    assert comment["text"] == "ada commented on registered model 'm' version 8."


def test_a_prompt_is_told_without_what_marks_it() -> None:
    tags = {
        "tags.mlflow.prompt.is_prompt": {"to": "true"},
        "tags.mlflow.prompt.text": {"to": "Hi"},
        "tags.a": {"to": "1"},
    }
    what = _happening("MODEL_VERSION_CREATED", changes=tags)

    assert _body(Dialect.MLFLOW, what, "prompt_version.created")["data"] == {
        "name": "m", "version": "8", "template": "Hi", "tags": {"a": "1"}, "description": None,
    }  # fmt: skip


_PROMPT = {"tags.mlflow.prompt.is_prompt": {"to": "true"}}


@pytest.mark.parametrize(
    ("kind", "changes", "of_prompt", "mlflow", "databricks"),
    [
        ("REGISTERED_MODEL_CREATED", {}, False, ["registered_model.created"], ["REGISTERED_MODEL_CREATED"]),
        ("REGISTERED_MODEL_CREATED", _PROMPT, False, ["prompt.created"], []),
        ("MODEL_VERSION_CREATED", {}, False, ["model_version.created"], ["MODEL_VERSION_CREATED"]),
        ("MODEL_VERSION_CREATED", _PROMPT, True, ["prompt_version.created"], []),
        ("REGISTERED_MODEL_TAG_SET", {}, False, [], []),
        ("REGISTERED_MODEL_TAG_SET", {}, True, ["prompt_tag.set"], []),
        ("REGISTERED_MODEL_TAG_DELETED", {}, True, ["prompt_tag.deleted"], []),
        ("MODEL_VERSION_TAG_SET", {}, False, ["model_version_tag.set"], ["MODEL_VERSION_TAG_SET"]),
        ("MODEL_VERSION_TAG_SET", {}, True, ["prompt_version_tag.set"], []),
        ("MODEL_VERSION_TAG_DELETED", {}, False, ["model_version_tag.deleted"], []),
        ("REGISTERED_MODEL_ALIAS_SET", {}, False, ["model_version_alias.created"], []),
        ("REGISTERED_MODEL_ALIAS_DELETED", {}, True, ["prompt_alias.deleted"], []),
        (
            "MODEL_VERSION_TRANSITIONED_STAGE", {"current_stage": {"to": "Staging"}}, False, [],
            ["MODEL_VERSION_TRANSITIONED_STAGE", "MODEL_VERSION_TRANSITIONED_TO_STAGING"],
        ),
        (
            "MODEL_VERSION_TRANSITIONED_STAGE", {"current_stage": {"to": "canary"}}, False, [],
            ["MODEL_VERSION_TRANSITIONED_STAGE"],
        ),
        (
            "TRANSITION_REQUEST_CREATED", {"to_stage": {"to": "Archived"}}, False, [],
            ["TRANSITION_REQUEST_CREATED", "TRANSITION_REQUEST_TO_ARCHIVED_CREATED"],
        ),
        ("COMMENT_CREATED", {}, False, [], ["COMMENT_CREATED"]),
        ("REGISTERED_MODEL_RENAMED", {}, False, [], []),
        ("POLICY_SET", {}, False, [], []),
    ],
)  # fmt: skip
def test_events_are_called_what_each_dialect_calls_them(
    kind: str, changes: dict[str, Any], of_prompt: bool, mlflow: list[str], databricks: list[str]
) -> None:
    what = _happening(kind, changes=changes)

    assert list(vocabulary.names_of(what, Dialect.MLFLOW, of_prompt=of_prompt)) == mlflow
    assert list(vocabulary.names_of(what, Dialect.DATABRICKS, of_prompt=of_prompt)) == databricks
