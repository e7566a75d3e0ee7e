"""The registry service: settings → database → services → servicers → gRPC server.

`python -m services.registry` serves; `python -m services.registry migrate` brings the schema up to date and ends.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from modelstead.registry.v1 import (
    activities_pb2,
    audit_pb2,
    checks_pb2,
    comments_pb2,
    history_pb2,
    lookups_pb2,
    maintenance_pb2,
    model_versions_pb2,
    permissions_pb2,
    policies_pb2,
    registered_models_pb2,
    registry_webhooks_pb2,
    releases_pb2,
    status_pb2,
    transition_requests_pb2,
    webhook_deliveries_pb2,
    webhooks_pb2,
)
from services.common import artifact_stores, auth, program
from services.common.clock import now_ms
from services.common.database import Database
from services.common.pages import PageTokens
from services.common.prefork import launch
from services.common.program import descriptor
from services.common.readiness import Readiness
from services.common.rpc.contract import WATCH_AGE_S_MAX
from services.common.rpc.pipeline import Pipeline
from services.common.rpc.server import Service, serve
from services.common.status import Process
from services.registry.activities.service import Activities
from services.registry.activities.servicer import ActivityServicer
from services.registry.aliases.service import Aliases
from services.registry.artifacts import ArtifactsClient
from services.registry.audit.service import Audit
from services.registry.audit.servicer import AuditServicer
from services.registry.checks.service import VersionChecks
from services.registry.checks.servicer import VersionCheckServicer
from services.registry.comments.service import Comments
from services.registry.comments.servicer import CommentServicer
from services.registry.deliveries.courier import Courier
from services.registry.deliveries.model import Schedule
from services.registry.delivery_logs import retention
from services.registry.delivery_logs.service import DeliveryLogs
from services.registry.delivery_logs.servicer import WebhookDeliveryServicer
from services.registry.events.listener import Listener
from services.registry.history.service import History
from services.registry.history.servicer import HistoryServicer
from services.registry.lookups.service import Lookups
from services.registry.lookups.servicer import LookupServicer
from services.registry.lookups.watches import Watches
from services.registry.maintenance.service import Maintenance
from services.registry.maintenance.servicer import MaintenanceServicer
from services.registry.model_versions.origins import Origins
from services.registry.model_versions.service import ModelVersions
from services.registry.model_versions.servicer import ModelVersionServicer
from services.registry.permissions import store as permissions_store
from services.registry.permissions.authorizer import Authorizer
from services.registry.permissions.granting import Granting
from services.registry.permissions.model import Defaults
from services.registry.permissions.servicer import RegisteredModelPermissionServicer
from services.registry.policies.service import PromotionPolicies
from services.registry.policies.servicer import PromotionPolicyServicer
from services.registry.registered_models.service import RegisteredModels
from services.registry.registered_models.servicer import RegisteredModelServicer
from services.registry.releases.service import Releases
from services.registry.releases.servicer import ReleaseServicer
from services.registry.settings import Settings
from services.registry.status import figures as status_figures
from services.registry.status.service import Status
from services.registry.status.servicer import RegistryStatusServicer
from services.registry.tracking import TrackingClient
from services.registry.transition_requests.service import TransitionRequests
from services.registry.transition_requests.servicer import TransitionRequestServicer
from services.registry.webhooks.networks import Networks, parse_networks
from services.registry.webhooks.sealing import Sealer
from services.registry.webhooks.sending import Sender
from services.registry.webhooks.service import Webhooks
from services.registry.webhooks.servicer import RegistryWebhookServicer, WebhookServicer

SCHEMA = "registry"
MIGRATIONS = Path(__file__).parent / "migrations"


def main(arguments: list[str]) -> None:
    """Run the service or, given `migrate`, its migrations. Exits 2 with one sentence for a wrong setting."""
    program.run(
        arguments, environ=os.environ, schema=SCHEMA, migrations=MIGRATIONS, settings_class=Settings, serve=_serve
    )


async def _serve(config: Settings) -> None:
    defaults = Defaults(level=config.default_permission, admin_group=config.admin_group)
    db = Database(
        config.database_url,
        schema=SCHEMA,
        connections=config.database_connections,
        parameters=permissions_store.parameters(defaults),
    )
    pages = PageTokens(config.page_token_key)
    listener = Listener(config.database_url)
    authorizer = Authorizer(db, defaults, hears=lambda: listener.hears)
    listener.subscribe(authorizer.forget)
    granting = Granting(db=db, now_ms=now_ms, defaults=defaults, changed=authorizer.forget)
    models = RegisteredModels(db=db, pages=pages, now_ms=now_ms, changed=authorizer.forget)
    lookups = Lookups(db, listener)
    watches = Watches(lookups.states, listener)
    pipeline = Pipeline(
        auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen), authorizer
    )
    status = Status(db, Process.here(), watch_count=lambda: pipeline.watch_count, hears=lambda: listener.hears)
    status_figures.tell(status)
    async with (
        _versions(config, db, pages) as versions,
        _webhook_services(config, db, pages, listener) as webhook_services,
    ):
        listener.start()
        await serve(
            [
                Service(
                    descriptor(registered_models_pb2, "RegisteredModelService"),
                    RegisteredModelServicer(models, Aliases(db=db, now_ms=now_ms), lookups),
                ),
                Service(descriptor(model_versions_pb2, "ModelVersionService"), ModelVersionServicer(versions)),
                Service(descriptor(lookups_pb2, "LookupService"), LookupServicer(lookups, watches)),
                Service(
                    descriptor(permissions_pb2, "RegisteredModelPermissionService"),
                    RegisteredModelPermissionServicer(granting),
                ),
                *_governance_services(config, db, pages),
                *_history_services(db, pages),
                *webhook_services,
                Service(descriptor(status_pb2, "RegistryStatusService"), RegistryStatusServicer(status)),
            ],
            listen=config.listen,
            health_listen=config.health_listen,
            shares_port=launch.shares_port(config),
            pipeline=pipeline,
            # What is registered is served also while tracking is away.
            ready=Readiness(db, MIGRATIONS),
            with_reflection=config.reflection,
            drain_notice_s=config.drain_notice_s,
            connection_age_s=config.connection_age_s,
            # Of a connection that is given up, the watches go on for as long as they would have.
            connection_grace_s=WATCH_AGE_S_MAX,
        )
        await listener.close()
    await asyncio.shield(db.close())


@contextlib.asynccontextmanager
async def _versions(config: Settings, db: Database, pages: PageTokens) -> AsyncIterator[ModelVersions]:
    """Give the use-cases of versions, which ask tracking and artifacts for as long as the block lasts."""
    tracking, artifacts = TrackingClient(config.tracking_address), ArtifactsClient(config.artifacts_address)
    origins = Origins(
        db=db,
        tracking=tracking,
        stores=artifact_stores.load(config.artifact_stores),
        artifacts=artifacts if config.require_source else None,
    )
    try:
        yield ModelVersions(db=db, pages=pages, now_ms=now_ms, origins=origins, tracking=tracking)
    finally:
        await tracking.close()
        await artifacts.close()


def _governance_services(config: Settings, db: Database, pages: PageTokens) -> list[Service]:
    requests = TransitionRequests(db=db, pages=pages, now_ms=now_ms)
    policies = PromotionPolicies(db=db, pages=pages, now_ms=now_ms)
    checks = VersionChecks(db=db, now_ms=now_ms)
    comments = Comments(db=db, pages=pages, now_ms=now_ms)
    maintenance = Maintenance(db=db, sealer=Sealer(config.webhook_secret_keys), now_ms=now_ms)
    return [
        Service(descriptor(transition_requests_pb2, "TransitionRequestService"), TransitionRequestServicer(requests)),
        Service(descriptor(policies_pb2, "PromotionPolicyService"), PromotionPolicyServicer(policies)),
        Service(descriptor(checks_pb2, "VersionCheckService"), VersionCheckServicer(checks)),
        Service(descriptor(releases_pb2, "ReleaseService"), ReleaseServicer(Releases(db=db, now_ms=now_ms))),
        Service(descriptor(comments_pb2, "CommentService"), CommentServicer(comments)),
        Service(descriptor(maintenance_pb2, "MaintenanceService"), MaintenanceServicer(maintenance)),
    ]


def _history_services(db: Database, pages: PageTokens) -> list[Service]:
    activities, audit = Activities(db=db, pages=pages), Audit(db=db, pages=pages)
    return [
        Service(descriptor(activities_pb2, "ActivityService"), ActivityServicer(activities)),
        Service(descriptor(audit_pb2, "AuditService"), AuditServicer(audit)),
        Service(descriptor(history_pb2, "HistoryService"), HistoryServicer(History(db=db, pages=pages))),
    ]


@contextlib.asynccontextmanager
async def _webhook_services(
    config: Settings, db: Database, pages: PageTokens, listener: Listener
) -> AsyncIterator[list[Service]]:
    """Give the services of webhooks, and deliver, unless that is turned off, for as long as the block lasts."""
    networks = Networks(allowed=parse_networks(config.webhook_networks), plain_http=config.webhook_plain_http)
    sealer, sender = Sealer(config.webhook_secret_keys), Sender(networks)
    webhooks = Webhooks(db=db, pages=pages, now_ms=now_ms, networks=networks, sealer=sealer, sender=sender)
    courier = Courier(db=db, sender=sender, sealer=sealer, schedule=Schedule(retry_s=config.webhook_retry_s))
    listener.subscribe(lambda _: courier.wake())
    chores = [asyncio.create_task(retention.run(db, days=config.webhook_log_days, now_ms=now_ms))]
    if config.webhook_delivery:
        chores.append(asyncio.create_task(courier.run()))
    services = [
        Service(descriptor(webhooks_pb2, "WebhookService"), WebhookServicer(webhooks)),
        Service(descriptor(registry_webhooks_pb2, "RegistryWebhookService"), RegistryWebhookServicer(webhooks)),
        Service(
            descriptor(webhook_deliveries_pb2, "WebhookDeliveryService"),
            WebhookDeliveryServicer(DeliveryLogs(db=db, pages=pages)),
        ),
    ]
    try:
        yield services
    finally:
        await _end(chores)
        await sender.close()


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    main(sys.argv[1:])
