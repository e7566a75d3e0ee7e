"""Webhooks in MLflow's words: kept as MLflow keeps them, refused in its words, and told what MLflow tells."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent
from mlflow.exceptions import RestException

from services.local import waiting
from tests.compat import factories, texts
from tests.compat.deliveries import delivery_id, told
from tests.compat.rest import Json, Rest, invalid, not_found
from tests.receivers import Answer, Received, Receiver, nobody

URL = "https://example.com/hook"
CREATED = {"entity": "MODEL_VERSION", "action": "CREATED"}
UNKNOWN = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def made(rest: Rest) -> Iterator[list[str]]:
    """Ids of webhooks that go at the end, so that no test is told of another one's models."""
    ids: list[str] = []
    yield ids
    for webhook_id in ids:
        rest.call("DELETE", f"webhooks/{webhook_id}", json={})


def _create(rest: Rest, made: list[str], **fields: Any) -> Json:
    body = {"name": "hook", "url": URL, "events": [CREATED], **fields}
    webhook: Json = rest.post("webhooks", **body)["webhook"]
    made.append(webhook["webhook_id"])
    return webhook


def test_a_new_webhook_is_told_as_it_is_kept(rest: Rest, made: list[str]) -> None:
    webhook = _create(rest, made, secret="s", description="text")

    assert {key: value for key, value in webhook.items() if not key.endswith("timestamp") and key != "webhook_id"} == {
        "name": "hook",
        "description": "text",
        "url": URL,
        "events": [CREATED],
        "status": "ACTIVE",
    }
    assert webhook["creation_timestamp"] == webhook["last_updated_timestamp"] > 0
    assert rest.get(f"webhooks/{webhook['webhook_id']}") == {"webhook": webhook}


def test_a_webhook_may_begin_disabled(rest: Rest, made: list[str]) -> None:
    assert _create(rest, made, status="DISABLED")["status"] == "DISABLED"


@pytest.mark.parametrize("name", ["", " ", "-a", "a-", "a b", "a/b", "a" * 64, "ä", "a\n"])
def test_a_malformed_name_is_refused(rest: Rest, name: str) -> None:
    refusal = rest.refused_post("webhooks", name=name, url=URL, events=[CREATED])

    malformed = (
        f"Webhook name {name!r} is invalid. It must start and end with a letter or digit, be less than 63 characters "
        "long, and contain only letters, digits, dots (.), underscores (_), and hyphens (-)."
    )
    assert refusal == invalid(malformed if name else texts.missing("name"))


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "9", "a" * 63])
def test_a_well_formed_name_is_taken(rest: Rest, made: list[str], name: str) -> None:
    assert _create(rest, made, name=name)["name"] == name


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("  ", "Webhook URL cannot be empty or just whitespace: '  '"),
        ("ftp://example.com", "Invalid webhook URL scheme: 'ftp'. Allowed schemes are:"),
        ("example.com", "Invalid webhook URL scheme: ''. Allowed schemes are:"),
        ("https://", "Webhook URL must include a hostname: 'https://'"),
    ],
)
def test_a_malformed_url_is_refused(rest: Rest, url: str, text: str) -> None:
    refusal = rest.refused_post("webhooks", name="hook", url=url, events=[CREATED])

    assert (refusal.status, refusal.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refusal.message.startswith(text)


@pytest.mark.departure("stock refuses this only where private addresses are not allowed at all")
def test_a_url_of_a_private_address_is_refused(rest: Rest) -> None:
    refusal = rest.refused_post("webhooks", name="hook", url="https://10.0.0.1/hook", events=[CREATED])

    assert refusal.message.startswith(
        "Webhook URL must not resolve to a non-public IP address. '10.0.0.1' resolves to 10.0.0.1."
    )


def test_an_action_that_an_entity_does_not_have_is_refused(rest: Rest) -> None:
    event = {"entity": "REGISTERED_MODEL", "action": "UPDATED"}

    assert rest.refused_post("webhooks", name="hook", url=URL, events=[event]) == invalid(
        "Invalid action 'updated' for entity 'registered_model'. Valid actions are: ['created']"
    )


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (None, texts.missing("events")),
        ([], "Webhook events must be a non-empty list of WebhookEvent objects: []."),
    ],
)
def test_no_events_are_refused(rest: Rest, events: list[Json] | None, text: str) -> None:
    assert rest.refused_post("webhooks", name="hook", url=URL, events=events) == invalid(text)


@pytest.mark.departure("stock answers 500")
@pytest.mark.parametrize("event", [{}, {"action": "CREATED"}, {"entity": "PROMPT"}, {"entity": "ENTITY_UNSPECIFIED"}])
def test_half_an_event_is_refused(rest: Rest, event: Json) -> None:
    refusal = rest.refused_post("webhooks", name="hook", url=URL, events=[event])

    assert refusal.status == 400


@pytest.mark.departure("stock answers 500 with SQL text")
def test_an_event_given_twice_counts_once(rest: Rest, made: list[str]) -> None:
    hook = _create(rest, made, events=[CREATED, CREATED])
    changed = rest.patch(f"webhooks/{hook['webhook_id']}", events=[CREATED, CREATED])["webhook"]

    assert hook["events"] == changed["events"] == [CREATED]


@pytest.mark.departure("stock takes it, and answers 500 where its database is not SQLite")
@pytest.mark.parametrize(("field", "length"), [("description", 1001), ("url", 2049), ("secret", 1001)])
def test_a_long_text_is_refused_by_name(rest: Rest, field: str, length: int) -> None:
    text = f"{URL}/".ljust(length, "a") if field == "url" else "a" * length
    refusal = rest.refused_post("webhooks", **{"name": "hook", "url": URL, "events": [CREATED], field: text})

    assert refusal == invalid(f"'{field}' exceeds the maximum length of {length - 1} characters")


def test_a_webhook_that_is_not_there(rest: Rest) -> None:
    refusal = not_found(f"Webhook with ID {UNKNOWN} not found.")

    assert rest.refused_get(f"webhooks/{UNKNOWN}") == refusal
    assert rest.refused_patch(f"webhooks/{UNKNOWN}", name="a") == refusal
    assert rest.refused_delete(f"webhooks/{UNKNOWN}", any="") == refusal
    assert rest.refused_post(f"webhooks/{UNKNOWN}/test") == refusal


def test_what_is_given_is_changed_and_the_rest_stays(rest: Rest, made: list[str]) -> None:
    before = _create(rest, made, description="text")
    path = f"webhooks/{before['webhook_id']}"
    other = {"entity": "PROMPT", "action": "CREATED"}

    nothing = rest.patch(path, name="", url="", events=[])["webhook"]
    changed = rest.patch(path, name="b", url=f"{URL}2", events=[other], status="DISABLED", description="")["webhook"]

    unchanging = {"webhook_id", "creation_timestamp"}
    assert {**nothing, "last_updated_timestamp": 0} == {**before, "last_updated_timestamp": 0}
    assert {key: changed[key] for key in unchanging} == {key: before[key] for key in unchanging}
    assert (changed["name"], changed["url"], changed["events"], changed["status"]) == (
        "b", f"{URL}2", [other], "DISABLED",
    )  # fmt: skip
    assert "description" not in changed
    assert changed["last_updated_timestamp"] > before["creation_timestamp"]


def test_a_change_is_checked_as_a_new_webhook_is(rest: Rest, made: list[str]) -> None:
    path = f"webhooks/{_create(rest, made)['webhook_id']}"

    assert rest.refused_patch(path, name="a b").status == 400
    assert rest.refused_patch(path, url="ftp://example.com").status == 400
    assert rest.refused_patch(path, events=[{"entity": "PROMPT", "action": "SET"}]).status == 400


def test_a_deleted_webhook_is_gone(rest: Rest, made: list[str]) -> None:
    path = f"webhooks/{_create(rest, made)['webhook_id']}"

    assert rest.delete(path, any="") == {}
    assert rest.refused_get(path).status == 404


def test_pages_are_of_the_newest_first(rest: Rest, made: list[str]) -> None:
    for number in range(3):
        _create(rest, made, name=f"n{number}")

    first = rest.get("webhooks", max_results=2)
    second = rest.get("webhooks", max_results=1000, page_token=first["next_page_token"])

    ids = [webhook["webhook_id"] for page in (first, second) for webhook in page["webhooks"]]
    assert len(first["webhooks"]) == 2
    assert [webhook_id for webhook_id in ids if webhook_id in made] == made[::-1]
    assert "next_page_token" not in second


@pytest.mark.parametrize("max_results", [-1, 1001])
def test_a_page_has_at_most_a_thousand(rest: Rest, max_results: int) -> None:
    assert rest.refused_get("webhooks", max_results=max_results) == invalid("max_results must be between 1 and 1000.")


def test_the_python_client_keeps_webhooks(client: MlflowClient, made: list[str]) -> None:
    webhook = client.create_webhook("hook", URL, ["model_version.created", "prompt_tag.set"], secret="s")
    made.append(webhook.webhook_id)
    listed = client.list_webhooks(max_results=1000)
    updated = client.update_webhook(webhook.webhook_id, name="other", status="DISABLED")

    assert webhook.webhook_id in [one.webhook_id for one in listed]
    assert client.get_webhook(webhook.webhook_id).name == "other"
    assert (str(updated.status), updated.events) == ("DISABLED", webhook.events)
    client.delete_webhook(webhook.webhook_id)
    with pytest.raises(RestException, match="RESOURCE_DOES_NOT_EXIST: Webhook with ID"):
        client.get_webhook(webhook.webhook_id)


def test_a_test_sends_an_example_and_tells_what_came_back(
    client: MlflowClient, receiver: Receiver, made: list[str]
) -> None:
    webhook = client.create_webhook("hook", receiver.url, ["registered_model.created"], status="DISABLED")
    made.append(webhook.webhook_id)

    first = client.test_webhook(webhook.webhook_id)
    receiver.answers = lambda _: Answer(status=400, body=b"no")
    second = client.test_webhook(webhook.webhook_id, event=WebhookEvent.from_str("model_version.created"))

    assert (first.success, first.response_status, first.response_body) == (True, 200, "ok")
    assert (second.success, second.response_status, second.response_body) == (False, 400, "no")
    assert [json.loads(one.body)["entity"] for one in receiver.received] == ["registered_model", "model_version"]


def test_a_test_of_a_receiver_that_is_not_there_tells_so(client: MlflowClient, made: list[str]) -> None:
    with nobody() as url:
        webhook = client.create_webhook("hook", url, ["registered_model.created"])
        made.append(webhook.webhook_id)

        result = client.test_webhook(webhook.webhook_id)

    assert (result.success, result.response_status) == (False, None)
    assert str(result.error_message).startswith("Failed to test webhook: ")


def test_what_happens_to_a_model_is_told(client: MlflowClient, receiver: Receiver, made: list[str]) -> None:
    events = ["registered_model.created", "model_version.created", "model_version_tag.set", "model_version_tag.deleted",
              "model_version_alias.created", "model_version_alias.deleted"]  # fmt: skip
    made.append(client.create_webhook("hook", receiver.url, events, secret="s3cret").webhook_id)
    name = factories.unique()
    client.create_registered_model(name, tags={"a": "1"}, description="text")
    told(receiver, 1, name)
    client.create_model_version(name, factories.SOURCE, tags={"b": "2"}, description="more")
    told(receiver, 2, name)
    client.set_model_version_tag(name, "1", "c", "3")
    told(receiver, 3, name)
    client.delete_model_version_tag(name, "1", "c")
    told(receiver, 4, name)
    client.set_registered_model_alias(name, "champion", "1")
    told(receiver, 5, name)
    client.delete_registered_model_alias(name, "champion")

    bodies = [json.loads(one.body) for one in told(receiver, 6, name)]

    numbered = {"name": name, "version": "1"}
    assert [f"{body['entity']}.{body['action']}" for body in bodies] == events
    assert [body["data"] for body in bodies] == [
        {"name": name, "tags": {"a": "1"}, "description": "text"},
        {**numbered, "source": factories.SOURCE, "run_id": None, "tags": {"b": "2"}, "description": "more"},
        {**numbered, "key": "c", "value": "3"},
        {**numbered, "key": "c"},
        {**numbered, "alias": "champion"},
        {"name": name, "alias": "champion"},
    ]
    assert {"entity", "action", "timestamp", "data"} == set(bodies[0])


def test_deliveries_are_signed(client: MlflowClient, receiver: Receiver, made: list[str]) -> None:
    webhook = client.create_webhook("hook", receiver.url, ["registered_model.created"], secret="s3cret")
    made.append(webhook.webhook_id)
    name = factories.unique()
    client.create_registered_model(name)

    [one] = told(receiver, 1, name)

    signed = f"{one.headers['x-mlflow-delivery-id']}.{one.headers['x-mlflow-timestamp']}.".encode() + one.body
    signature = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
    assert one.headers["x-mlflow-signature"] == f"v1,{signature}"
    assert one.headers["content-type"] == "application/json"


def test_a_secret_is_removed_by_an_empty_one(
    rest: Rest, client: MlflowClient, receiver: Receiver, made: list[str]
) -> None:
    webhook = client.create_webhook("hook", receiver.url, ["registered_model.created"], secret="s3cret")
    made.append(webhook.webhook_id)
    rest.patch(f"webhooks/{webhook.webhook_id}", secret="")

    client.test_webhook(webhook.webhook_id)

    assert "x-mlflow-signature" not in receiver.received[0].headers


def test_prompts_are_told_as_such(client: MlflowClient, receiver: Receiver, made: list[str]) -> None:
    events = ["prompt.created", "prompt_version.created", "prompt_version_tag.set", "prompt_alias.created"]
    made.append(client.create_webhook("hook", receiver.url, [*events, "registered_model.created"]).webhook_id)
    name = factories.unique("prompt")
    client.register_prompt(name, "Hello {{name}}!", tags={"a": "1"}, commit_message="first")
    told(receiver, 2, name)
    client.set_prompt_version_tag(name, "1", "b", "2")
    told(receiver, 3, name)
    client.set_prompt_alias(name, "best", 1)

    bodies = [json.loads(one.body) for one in told(receiver, 4, name)]

    assert [f"{body['entity']}.{body['action']}" for body in bodies] == events
    assert bodies[1]["data"]["template"] == "Hello {{name}}!"
    assert "mlflow.prompt.is_prompt" not in bodies[0]["data"]["tags"]
    assert bodies[2]["data"] == {"name": name, "version": "1", "key": "b", "value": "2"}


@pytest.mark.departure("stock keeps no log of deliveries")
def test_the_log_tells_of_deliveries_and_sends_again(
    rest: Rest, client: MlflowClient, receiver: Receiver, made: list[str]
) -> None:
    webhook_id = client.create_webhook("hook", receiver.url, ["registered_model.created"]).webhook_id
    made.append(webhook_id)
    names = [factories.unique() for _ in range(3)]
    for name in names:
        client.create_registered_model(name)
    told(receiver, 3, *names)
    assert waiting.until(lambda: len(_of(names, _deliveries(rest, webhook_id, status="DELIVERED"))) == 3, timeout_s=60)
    pages = [rest.get(f"webhooks/{webhook_id}/deliveries", max_results=2)]
    while token := pages[-1].get("next_page_token"):
        pages.append(rest.get(f"webhooks/{webhook_id}/deliveries", max_results=2, page_token=token))
    listed = _of(names, [one for page in pages for one in page["deliveries"]])
    delivery = listed[-1]
    before = _received(receiver, delivery["delivery_id"])

    again = rest.post(f"webhooks/{webhook_id}/deliveries/{delivery['delivery_id']}/redeliver")["delivery"]
    assert waiting.until(lambda: len(_received(receiver, delivery["delivery_id"])) > len(before), timeout_s=60)

    assert [one["name"] for one in listed] == names[::-1]
    assert [len(page["deliveries"]) for page in pages[:-1]] == [2] * (len(pages) - 1)
    assert (delivery["event"], delivery["status"], delivery["response_status"]) == (
        "registered_model.created", "DELIVERED", 200,
    )  # fmt: skip
    # More than one on a machine that stood still for longer than an attempt may take.
    assert delivery["attempts"] >= 1
    assert delivery["create_time"].endswith("Z")
    assert (again["status"], again["delivery_id"]) == ("PENDING", delivery["delivery_id"])
    sent = _received(receiver, delivery["delivery_id"])[-1]
    assert names[0] in sent.body.decode()
    assert sent.body == before[0].body
    assert _deliveries(rest, webhook_id, status="DEAD") == []


def _deliveries(rest: Rest, webhook_id: str, **query: Any) -> list[Json]:
    found: list[Json] = rest.get(f"webhooks/{webhook_id}/deliveries", **query).get("deliveries", [])
    return found


def _of(names: list[str], deliveries: list[Json]) -> list[Json]:
    return [delivery for delivery in deliveries if delivery["name"] in names]


def _received(receiver: Receiver, wanted: str) -> list[Received]:
    return [one for one in tuple(receiver.received) if delivery_id(one) == wanted]


@pytest.mark.departure("stock knows no idempotency keys")
def test_a_webhook_is_created_once_a_key(rest: Rest, made: list[str]) -> None:
    body = {"name": "hook", "url": URL, "events": [CREATED]}
    headers = {"Idempotency-Key": factories.unique()}

    first, second = (rest.call("POST", "webhooks", json=body, headers=headers).json() for _ in range(2))

    made.append(first["webhook"]["webhook_id"])
    assert first == second


@pytest.mark.departure("stock knows no idempotency keys")
def test_another_secret_is_another_request_under_a_key(rest: Rest, made: list[str]) -> None:
    key = factories.unique()

    def create(**secret: str) -> httpx.Response:
        body = {"name": "hook", "url": URL, "events": [CREATED], **secret}
        return rest.call("POST", "webhooks", json=body, headers={"Idempotency-Key": key})

    first, again = (create(secret="a").json() for _ in range(2))
    others = [create(secret="b"), create()]

    made.append(first["webhook"]["webhook_id"])
    assert first == again
    assert {(other.status_code, other.json()["message"]) for other in others} == {
        (400, f"The idempotency key '{key}' was used for another request.")
    }
