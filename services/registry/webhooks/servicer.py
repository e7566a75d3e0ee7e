"""WebhookService and RegistryWebhookService over gRPC: decode, one call, encode."""

from collections.abc import Iterable

from modelstead.registry.v1 import registry_webhooks_pb2 as registry_pb
from modelstead.registry.v1 import webhooks_pb2 as pb
from services.common.codec import encode
from services.common.errors import InvalidArgument
from services.common.rpc.call import Call
from services.registry.webhooks import model
from services.registry.webhooks.model import Status, Wanted
from services.registry.webhooks.service import Webhooks
from services.registry.webhooks.vocabulary import Dialect


class WebhookServicer:
    """Serves the methods of modelstead.registry.v1.WebhookService."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def CreateWebhook(self, request: pb.CreateWebhookRequest, call: Call) -> pb.CreateWebhookResponse:
        wanted = Wanted(
            name=request.name,
            description=request.description,
            url=request.url,
            subscriptions=_names(request.events),
            secret=request.secret,
            status=_status(request.status),
        )
        webhook = await self._webhooks.create(
            wanted, dialect=Dialect.MLFLOW, model_name="", caller=call.caller, request_id=request.request_id
        )
        return pb.CreateWebhookResponse(webhook=encode(pb.Webhook, webhook))

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, call: Call) -> pb.ListWebhooksResponse:
        found, next_page_token = await self._webhooks.list(
            dialect=Dialect.MLFLOW,
            model_name="",
            events=(),
            max_results=request.max_results,
            page_token=request.page_token,
            caller=call.caller,
        )
        webhooks = [encode(pb.Webhook, webhook) for webhook in found]
        return pb.ListWebhooksResponse(webhooks=webhooks, next_page_token=next_page_token)

    async def GetWebhook(self, request: pb.GetWebhookRequest, call: Call) -> pb.GetWebhookResponse:
        webhook = await self._webhooks.get(request.webhook_id, dialect=Dialect.MLFLOW, caller=call.caller)
        return pb.GetWebhookResponse(webhook=encode(pb.Webhook, webhook))

    async def UpdateWebhook(self, request: pb.UpdateWebhookRequest, call: Call) -> pb.UpdateWebhookResponse:
        wanted = Wanted(
            name=request.name or None,
            description=request.description if request.HasField("description") else None,
            url=request.url or None,
            subscriptions=_names(request.events) or None,
            secret=request.secret if request.HasField("secret") else None,
            status=_status(request.status),
        )
        webhook = await self._webhooks.update(request.webhook_id, wanted, dialect=Dialect.MLFLOW, caller=call.caller)
        return pb.UpdateWebhookResponse(webhook=encode(pb.Webhook, webhook))

    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, call: Call) -> pb.DeleteWebhookResponse:
        await self._webhooks.delete(request.webhook_id, dialect=Dialect.MLFLOW, caller=call.caller)
        return pb.DeleteWebhookResponse()

    async def TestWebhook(self, request: pb.TestWebhookRequest, call: Call) -> pb.TestWebhookResponse:
        event = _name(request.event) if request.HasField("event") else None
        outcome = await self._webhooks.test(request.webhook_id, event=event, dialect=Dialect.MLFLOW, caller=call.caller)
        return pb.TestWebhookResponse(result=encode(pb.WebhookTestResult, model.result_of(outcome)))


class RegistryWebhookServicer:
    """Serves the methods of modelstead.registry.v1.RegistryWebhookService."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def CreateRegistryWebhook(
        self, request: registry_pb.CreateRegistryWebhookRequest, call: Call
    ) -> registry_pb.CreateRegistryWebhookResponse:
        webhook = await self._webhooks.create(
            _wanted(request, is_new=True),
            dialect=Dialect.DATABRICKS,
            model_name=request.model_name,
            caller=call.caller,
            request_id=request.request_id,
        )
        return registry_pb.CreateRegistryWebhookResponse(webhook=encode(registry_pb.RegistryWebhook, webhook))

    async def ListRegistryWebhooks(
        self, request: registry_pb.ListRegistryWebhooksRequest, call: Call
    ) -> registry_pb.ListRegistryWebhooksResponse:
        found, next_page_token = await self._webhooks.list(
            dialect=Dialect.DATABRICKS,
            model_name=request.model_name,
            events=_registry_names(request.events),
            max_results=request.max_results,
            page_token=request.page_token,
            caller=call.caller,
        )
        webhooks = [encode(registry_pb.RegistryWebhook, webhook) for webhook in found]
        return registry_pb.ListRegistryWebhooksResponse(webhooks=webhooks, next_page_token=next_page_token)

    async def UpdateRegistryWebhook(
        self, request: registry_pb.UpdateRegistryWebhookRequest, call: Call
    ) -> registry_pb.UpdateRegistryWebhookResponse:
        webhook = await self._webhooks.update(
            request.id, _wanted(request, is_new=False), dialect=Dialect.DATABRICKS, caller=call.caller
        )
        return registry_pb.UpdateRegistryWebhookResponse(webhook=encode(registry_pb.RegistryWebhook, webhook))

    async def DeleteRegistryWebhook(
        self, request: registry_pb.DeleteRegistryWebhookRequest, call: Call
    ) -> registry_pb.DeleteRegistryWebhookResponse:
        await self._webhooks.delete(request.id, dialect=Dialect.DATABRICKS, caller=call.caller)
        return registry_pb.DeleteRegistryWebhookResponse()

    async def TestRegistryWebhook(
        self, request: registry_pb.TestRegistryWebhookRequest, call: Call
    ) -> registry_pb.TestRegistryWebhookResponse:
        event = _registry_name(request.event) if request.event else None
        outcome = await self._webhooks.test_for_answer(
            request.id, event=event, dialect=Dialect.DATABRICKS, caller=call.caller
        )
        return registry_pb.TestRegistryWebhookResponse(status_code=outcome.response_status, body=outcome.text)


def _names(events: Iterable[pb.WebhookEvent]) -> list[str]:
    return [_name(event) for event in events]


def _name(event: pb.WebhookEvent) -> str:
    entity, action = pb.WebhookEvent.Entity.Name(event.entity), pb.WebhookEvent.Action.Name(event.action)
    return f"{entity}.{action}".lower()


def _registry_names(events: Iterable[registry_pb.RegistryWebhook.Event.ValueType]) -> list[str]:
    return [_registry_name(event) for event in events]


def _registry_name(event: registry_pb.RegistryWebhook.Event.ValueType) -> str:
    return registry_pb.RegistryWebhook.Event.Name(event)


def _status(number: pb.Webhook.Status.ValueType) -> Status | None:
    return Status(pb.Webhook.Status.Name(number)) if number else None


def _registry_status(number: registry_pb.RegistryWebhook.Status.ValueType) -> Status | None:
    return Status(registry_pb.RegistryWebhook.Status.Name(number)) if number else None


def _wanted(
    request: registry_pb.CreateRegistryWebhookRequest | registry_pb.UpdateRegistryWebhookRequest, *, is_new: bool
) -> Wanted:
    """Return what a webhook of Databricks' shall have. Raises InvalidArgument for what is no webhook here."""
    if request.HasField("job_spec"):
        raise InvalidArgument("'job_spec' is not supported: there are no jobs here. Use 'http_url_spec'.")
    if is_new and not request.HasField("http_url_spec"):
        raise InvalidArgument("Missing value for required parameter 'http_url_spec'.")
    spec = request.http_url_spec
    names = _registry_names(request.events)
    return Wanted(
        description=request.description if request.HasField("description") else None,
        url=spec.url if request.HasField("http_url_spec") else None,
        subscriptions=names if is_new else names or None,
        secret=spec.secret if spec.HasField("secret") else None,
        authorization=spec.authorization if spec.HasField("authorization") else None,
        enable_ssl_verification=spec.enable_ssl_verification if spec.HasField("enable_ssl_verification") else None,
        status=_registry_status(request.status),
    )
