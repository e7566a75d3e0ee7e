"""Webhooks in Databricks' words, kept by Databricks' own client."""

import hashlib
import hmac
import json
from collections.abc import Iterator

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError, InvalidParameterValue, ResourceDoesNotExist
from databricks.sdk.service.ml import HttpUrlSpec, JobSpec, RegistryWebhook, RegistryWebhookEvent, RegistryWebhookStatus
from mlflow import MlflowClient

from services.local import waiting
from tests.compat import factories
from tests.compat.deliveries import told
from tests.compat.rest import Rest
from tests.receivers import Answer, Receiver, nobody

pytestmark = pytest.mark.departure("stock has no such API; it is Databricks'")

URL = "https://example.com/hook"
CREATED = RegistryWebhookEvent.MODEL_VERSION_CREATED
MOVED = RegistryWebhookEvent.MODEL_VERSION_TRANSITIONED_STAGE
TO_STAGING = RegistryWebhookEvent.MODEL_VERSION_TRANSITIONED_TO_STAGING


@pytest.fixture(scope="module")
def workspace(base_url: str) -> WorkspaceClient:
    return WorkspaceClient(host=base_url, token="unused", auth_type="pat")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def name(client: MlflowClient) -> str:
    return str(client.create_registered_model(factories.unique()).name)


def _new(
    workspace: WorkspaceClient, name: str | None, url: str = URL, *events: RegistryWebhookEvent
) -> RegistryWebhook:
    spec = HttpUrlSpec(url=url, secret="s3cret", authorization="Bearer b")
    created = workspace.model_registry.create_webhook([*(events or (CREATED,))], model_name=name, http_url_spec=spec)
    assert created.webhook
    return created.webhook


def test_a_life_of_a_webhook(workspace: WorkspaceClient, name: str) -> None:
    api = workspace.model_registry
    made = _new(workspace, name)
    assert made.id
    assert (made.model_name, made.events, made.status) == (name, [CREATED], RegistryWebhookStatus.ACTIVE)
    assert made.http_url_spec
    assert (made.http_url_spec.url, made.http_url_spec.enable_ssl_verification) == (URL, True)
    assert made.creation_timestamp == made.last_updated_timestamp

    changed = api.update_webhook(
        made.id, description="text", status=RegistryWebhookStatus.TEST_MODE, events=[MOVED, TO_STAGING],
        http_url_spec=HttpUrlSpec(url=f"{URL}2", enable_ssl_verification=False),
    ).webhook  # fmt: skip
    assert changed
    assert (changed.description, changed.status) == ("text", RegistryWebhookStatus.TEST_MODE)
    assert changed.events == [MOVED, TO_STAGING]
    assert changed.http_url_spec
    assert (changed.http_url_spec.url, changed.http_url_spec.enable_ssl_verification) == (f"{URL}2", False)
    assert list(api.list_webhooks(model_name=name)) == [changed]

    api.delete_webhook(made.id)
    assert list(api.list_webhooks(model_name=name)) == []
    with pytest.raises(ResourceDoesNotExist, match=f"Webhook with ID {made.id} not found"):
        api.update_webhook(made.id, description="x")


def test_secrets_are_not_shown(workspace: WorkspaceClient, rest: Rest, name: str) -> None:
    _new(workspace, name)

    assert "s3cret" not in rest.call("GET", "registry-webhooks/list", params={"model_name": name}).text
    assert set(rest.get("registry-webhooks/list", model_name=name)["webhooks"][0]["http_url_spec"]) == {
        "url", "enable_ssl_verification",
    }  # fmt: skip


def test_lists_are_of_a_model_of_events_and_in_pages(workspace: WorkspaceClient, name: str, rest: Rest) -> None:
    api = workspace.model_registry
    made = [_new(workspace, name, URL, event) for event in (CREATED, MOVED, TO_STAGING)]

    assert [one.id for one in api.list_webhooks(model_name=name, max_results=1)] == [one.id for one in made[::-1]]
    assert [one.id for one in api.list_webhooks(model_name=name, events=[CREATED, MOVED])] == [made[1].id, made[0].id]
    assert made[0].id not in [one["webhook_id"] for one in rest.get("webhooks", max_results=1000).get("webhooks", [])]


def test_what_is_no_webhook_here_is_refused(workspace: WorkspaceClient, name: str) -> None:
    create = workspace.model_registry.create_webhook

    with pytest.raises(InvalidParameterValue, match="'job_spec' is not supported"):
        create([CREATED], model_name=name, job_spec=JobSpec(job_id="1", access_token="t"))
    with pytest.raises(InvalidParameterValue, match="parameter 'http_url_spec'"):
        create([CREATED], model_name=name)
    with pytest.raises(InvalidParameterValue, match="is for webhooks of all models"):
        _new(workspace, name, URL, RegistryWebhookEvent.REGISTERED_MODEL_CREATED)
    with pytest.raises(InvalidParameterValue, match="non-public IP address"):
        _new(workspace, name, "https://169.254.169.254/latest/meta-data")
    with pytest.raises(InvalidParameterValue, match="'authorization' must be printable ASCII"):
        create([CREATED], http_url_spec=HttpUrlSpec(url=URL, authorization="a\r\nHost: b"))
    with pytest.raises(DatabricksError, match=r"Registered Model with name=.* not found"):
        _new(workspace, factories.unique())


def test_a_test_tells_the_status_and_the_body(workspace: WorkspaceClient, name: str, receiver: Receiver) -> None:
    made = _new(workspace, name, receiver.url)
    receiver.answers = lambda _: Answer(status=418, body=b"teapot")

    result = workspace.model_registry.test_registry_webhook(made.id or "", event=TO_STAGING)

    assert (result.status_code, result.body) == (418, "teapot")
    assert json.loads(receiver.received[0].body)["event"] == TO_STAGING.value


def test_a_test_of_a_receiver_that_is_not_there_is_refused(workspace: WorkspaceClient, name: str) -> None:
    with nobody() as url:
        made = _new(workspace, name, url)

        with pytest.raises(InvalidParameterValue, match=r"could not be tested\. No connection"):
            workspace.model_registry.test_registry_webhook(made.id or "")


@pytest.mark.filterwarnings("ignore:.*deprecated since 2.9.0:FutureWarning")
def test_what_happens_to_the_model_is_told_signed_and_in_order(
    workspace: WorkspaceClient, client: MlflowClient, name: str, receiver: Receiver
) -> None:
    made = _new(workspace, name, receiver.url, CREATED, TO_STAGING, RegistryWebhookEvent.MODEL_VERSION_TAG_SET)
    other = str(client.create_registered_model(factories.unique()).name)
    for model in (other, name):
        client.create_model_version(model, factories.SOURCE)
        client.transition_model_version_stage(model, "1", "Staging")
        client.set_model_version_tag(model, "1", "k", "v")
        client.transition_model_version_stage(model, "1", "Production")

    received = told(receiver, 3)

    bodies = [json.loads(one.body) for one in received]
    assert [body["event"] for body in bodies] == [CREATED.value, TO_STAGING.value, "MODEL_VERSION_TAG_SET"]
    assert {(body["model_name"], body["version"], body["webhook_id"]) for body in bodies} == {(name, "1", made.id)}
    assert (bodies[1]["from_stage"], bodies[1]["to_stage"]) == ("None", "Staging")
    assert bodies[2]["tags"] == [{"key": "k", "value": "v"}]
    for one in received:
        assert one.headers["x-databricks-signature"] == hmac.new(b"s3cret", one.body, hashlib.sha256).hexdigest()
        assert one.headers["authorization"] == "Bearer b"
    assert not waiting.until(lambda: len(told(receiver, 3)) > 3, timeout_s=0.5)


def test_requests_and_comments_are_told(
    workspace: WorkspaceClient, client: MlflowClient, name: str, receiver: Receiver
) -> None:
    events = [
        RegistryWebhookEvent.TRANSITION_REQUEST_CREATED,
        RegistryWebhookEvent.TRANSITION_REQUEST_TO_STAGING_CREATED,
        RegistryWebhookEvent.COMMENT_CREATED,
    ]
    _new(workspace, name, receiver.url, *events)
    client.create_model_version(name, factories.SOURCE)
    workspace.model_registry.create_transition_request(name, "1", "Staging", comment="please")
    workspace.model_registry.create_comment(name, "1", "looks good")

    bodies = [json.loads(one.body) for one in told(receiver, 3)]

    assert [body["event"] for body in bodies] == [event.value for event in events]
    assert [body.get("to_stage") for body in bodies] == ["Staging", "Staging", None]
    assert bodies[2]["comment"] == "looks good"
    assert all(body["text"] for body in bodies)
