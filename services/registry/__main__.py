"""The registry service: settings → database → services → servicers → gRPC server.

`python -m services.registry` serves; `python -m services.registry migrate` brings the schema up to date and ends.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import uvloop
from google.protobuf.descriptor import ServiceDescriptor

from modelstead.registry.v1 import (
    model_versions_pb2,
    registered_models_pb2,
    registry_webhooks_pb2,
    webhook_deliveries_pb2,
    webhooks_pb2,
)
from services.common import artifact_stores, auth, logs, settings, telemetry
from services.common.database import Database
from services.common.errors import ServiceError
from services.common.pages import PageTokens
from services.common.rpc.pipeline import EveryoneMayEverything, Pipeline
from services.common.rpc.server import Service, serve
from services.registry.aliases.service import Aliases
from services.registry.deliveries.courier import Courier
from services.registry.deliveries.model import Schedule
from services.registry.delivery_logs import retention
from services.registry.delivery_logs.service import DeliveryLogs
from services.registry.delivery_logs.servicer import WebhookDeliveryServicer
from services.registry.events.listener import Listener
from services.registry.model_versions.origins import Origins
from services.registry.model_versions.service import ModelVersions
from services.registry.model_versions.servicer import ModelVersionServicer
from services.registry.registered_models.service import RegisteredModels
from services.registry.registered_models.servicer import RegisteredModelServicer
from services.registry.settings import Settings
from services.registry.tracking import TrackingClient
from services.registry.webhooks.networks import Networks, parse_networks
from services.registry.webhooks.sealing import Sealer
from services.registry.webhooks.sending import Sender
from services.registry.webhooks.service import Webhooks
from services.registry.webhooks.servicer import RegistryWebhookServicer, WebhookServicer

SCHEMA = "registry"
MIGRATIONS = Path(__file__).parent / "migrations"


def main(arguments: list[str]) -> None:
    """Run the service or, given `migrate`, its migrations. Exits 2 with one sentence for a wrong setting."""
    try:
        config = settings.load(Settings, os.environ)
        logs.configure(log_format=config.log_format, log_level=config.log_level)
        if config.migrate_on_start or arguments == ["migrate"]:
            _migrate(config)
        if arguments != ["migrate"]:
            telemetry.start("registry", otlp_endpoint=config.otlp_endpoint, metrics_listen=config.metrics_listen)
            uvloop.run(_serve(config))
    except settings.SettingsError as error:
        sys.exit(_complain(str(error), code=2))
    except ServiceError as error:
        sys.exit(_complain(error.message, code=1))


def _complain(sentence: str, *, code: int) -> int:
    print(f"registry: {sentence}", file=sys.stderr)
    return code


def _migrate(config: Settings) -> None:
    # Alembic costs 15 MB, which only a process that migrates pays.
    from services.common import migrations

    migrations.upgrade(config.database_url, schema=SCHEMA, scripts=MIGRATIONS)


async def _serve(config: Settings) -> None:
    stores = artifact_stores.load(config.artifact_stores)
    db = Database(config.database_url, schema=SCHEMA)
    pages = PageTokens(config.page_token_key.encode())
    tracking = TrackingClient(config.tracking_address)
    models = RegisteredModels(db=db, pages=pages, now_ms=_now_ms)
    versions = ModelVersions(
        db=db,
        pages=pages,
        now_ms=_now_ms,
        origins=Origins(db=db, tracking=tracking, stores=stores),
        tracking=tracking,
    )
    aliases = Aliases(db=db, now_ms=_now_ms)
    networks = Networks(allowed=parse_networks(config.webhook_networks), plain_http=config.webhook_plain_http)
    sealer, sender = Sealer(config.webhook_secret_keys), Sender(networks)
    webhooks = Webhooks(db=db, pages=pages, now_ms=_now_ms, networks=networks, sealer=sealer, sender=sender)
    courier = Courier(db=db, sender=sender, sealer=sealer, schedule=Schedule(retry_s=config.webhook_retry_s))
    listener = Listener(config.database_url)
    listener.subscribe(lambda _: courier.wake())
    listener.start()
    chores = [
        asyncio.create_task(courier.run()),
        asyncio.create_task(retention.run(db, days=config.webhook_log_days, now_ms=_now_ms)),
    ]
    await serve(
        [
            Service(
                _service(registered_models_pb2, "RegisteredModelService"), RegisteredModelServicer(models, aliases)
            ),
            Service(_service(model_versions_pb2, "ModelVersionService"), ModelVersionServicer(versions)),
            Service(_service(webhooks_pb2, "WebhookService"), WebhookServicer(webhooks)),
            Service(_service(registry_webhooks_pb2, "RegistryWebhookService"), RegistryWebhookServicer(webhooks)),
            Service(
                _service(webhook_deliveries_pb2, "WebhookDeliveryService"),
                WebhookDeliveryServicer(DeliveryLogs(db=db, pages=pages)),
            ),
        ],
        listen=config.listen,
        pipeline=Pipeline(
            auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen),
            EveryoneMayEverything(),
        ),
        # What is registered is served also while tracking is away.
        ready=db.is_ready,
        with_reflection=config.reflection,
        drain_notice_s=config.drain_notice_s,
    )
    await listener.close()
    await _end(chores)
    await sender.close()
    await tracking.close()
    await asyncio.shield(db.close())


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _service(module: ModuleType, name: str) -> ServiceDescriptor:
    service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return service


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main(sys.argv[1:])
