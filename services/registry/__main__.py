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
    activities_pb2,
    audit_pb2,
    comments_pb2,
    history_pb2,
    model_versions_pb2,
    permissions_pb2,
    registered_models_pb2,
)
from services.common import artifact_stores, auth, logs, settings, telemetry
from services.common.database import Database
from services.common.errors import ServiceError
from services.common.pages import PageTokens
from services.common.rpc.pipeline import Pipeline
from services.common.rpc.server import Service, serve
from services.registry.activities.service import Activities
from services.registry.activities.servicer import ActivityServicer
from services.registry.aliases.service import Aliases
from services.registry.audit.service import Audit
from services.registry.audit.servicer import AuditServicer
from services.registry.comments.service import Comments
from services.registry.comments.servicer import CommentServicer
from services.registry.events.listener import Listener
from services.registry.history.service import History
from services.registry.history.servicer import HistoryServicer
from services.registry.model_versions.origins import Origins
from services.registry.model_versions.service import ModelVersions
from services.registry.model_versions.servicer import ModelVersionServicer
from services.registry.permissions import store as permissions_store
from services.registry.permissions.authorizer import Authorizer
from services.registry.permissions.granting import Granting
from services.registry.permissions.model import Defaults
from services.registry.permissions.servicer import RegisteredModelPermissionServicer
from services.registry.registered_models.service import RegisteredModels
from services.registry.registered_models.servicer import RegisteredModelServicer
from services.registry.settings import Settings
from services.registry.tracking import TrackingClient

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
    defaults = Defaults(level=config.default_permission, admin_group=config.admin_group)
    db = Database(config.database_url, schema=SCHEMA, parameters=permissions_store.parameters(defaults))
    pages = PageTokens(config.page_token_key.encode())
    tracking = TrackingClient(config.tracking_address)
    listener = Listener(config.database_url)
    authorizer = Authorizer(db, defaults, hears=lambda: listener.hears)
    listener.subscribe(authorizer.forget)
    models = RegisteredModels(db=db, pages=pages, now_ms=_now_ms, changed=authorizer.forget)
    versions = ModelVersions(
        db=db,
        pages=pages,
        now_ms=_now_ms,
        origins=Origins(db=db, tracking=tracking, stores=stores),
        tracking=tracking,
    )
    aliases = Aliases(db=db, now_ms=_now_ms)
    granting = Granting(db=db, now_ms=_now_ms, defaults=defaults, changed=authorizer.forget)
    comments = Comments(db=db, pages=pages, now_ms=_now_ms)
    listener.start()
    await serve(
        [
            Service(
                _service(registered_models_pb2, "RegisteredModelService"), RegisteredModelServicer(models, aliases)
            ),
            Service(_service(model_versions_pb2, "ModelVersionService"), ModelVersionServicer(versions)),
            Service(
                _service(permissions_pb2, "RegisteredModelPermissionService"),
                RegisteredModelPermissionServicer(granting),
            ),
            Service(_service(comments_pb2, "CommentService"), CommentServicer(comments)),
            Service(_service(activities_pb2, "ActivityService"), ActivityServicer(Activities(db=db, pages=pages))),
            Service(_service(audit_pb2, "AuditService"), AuditServicer(Audit(db=db, pages=pages))),
            Service(_service(history_pb2, "HistoryService"), HistoryServicer(History(db=db))),
        ],
        listen=config.listen,
        pipeline=Pipeline(
            auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=config.listen),
            authorizer,
        ),
        # What is registered is served also while tracking is away.
        ready=db.is_ready,
        with_reflection=config.reflection,
        drain_notice_s=config.drain_notice_s,
    )
    await listener.close()
    await tracking.close()
    await asyncio.shield(db.close())


def _service(module: ModuleType, name: str) -> ServiceDescriptor:
    service: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return service


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    main(sys.argv[1:])
