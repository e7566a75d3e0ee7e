"""The registry service: settings → database → services → servicers → gRPC server.

`python -m services.registry` serves; `python -m services.registry migrate` brings the schema up to date and ends.
"""

import asyncio
import os
import sys
from pathlib import Path

from modelstead.registry.v1 import (
    checks_pb2,
    comments_pb2,
    lookups_pb2,
    model_versions_pb2,
    permissions_pb2,
    policies_pb2,
    registered_models_pb2,
    releases_pb2,
    transition_requests_pb2,
)
from services.common import artifact_stores, auth, program
from services.common.database import Database
from services.common.pages import PageTokens
from services.common.program import descriptor, now_ms
from services.common.rpc.pipeline import Pipeline
from services.common.rpc.server import Service, serve
from services.registry.aliases.service import Aliases
from services.registry.artifacts import ArtifactsClient
from services.registry.checks.service import VersionChecks
from services.registry.checks.servicer import VersionCheckServicer
from services.registry.comments.service import Comments
from services.registry.comments.servicer import CommentServicer
from services.registry.events.listener import Listener
from services.registry.lookups.service import Lookups
from services.registry.lookups.servicer import LookupServicer
from services.registry.lookups.watches import Watches
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
from services.registry.tracking import TrackingClient
from services.registry.transition_requests.service import TransitionRequests
from services.registry.transition_requests.servicer import TransitionRequestServicer

SCHEMA = "registry"
MIGRATIONS = Path(__file__).parent / "migrations"


def main(arguments: list[str]) -> None:
    """Run the service or, given `migrate`, its migrations. Exits 2 with one sentence for a wrong setting."""
    program.run(
        arguments, environ=os.environ, schema=SCHEMA, migrations=MIGRATIONS, settings_class=Settings, serve=_serve
    )


async def _serve(config: Settings) -> None:
    stores = artifact_stores.load(config.artifact_stores)
    defaults = Defaults(level=config.default_permission, admin_group=config.admin_group)
    db = Database(config.database_url, schema=SCHEMA, parameters=permissions_store.parameters(defaults))
    pages = PageTokens(config.page_token_key.encode())
    tracking = TrackingClient(config.tracking_address)
    artifacts = ArtifactsClient(config.artifacts_address)
    listener = Listener(config.database_url)
    authorizer = Authorizer(db, defaults, hears=lambda: listener.hears)
    listener.subscribe(authorizer.forget)
    models = RegisteredModels(db=db, pages=pages, now_ms=now_ms, changed=authorizer.forget)
    versions = ModelVersions(
        db=db,
        pages=pages,
        now_ms=now_ms,
        origins=Origins(
            db=db, tracking=tracking, stores=stores, artifacts=artifacts if config.require_source else None
        ),
        tracking=tracking,
    )
    aliases = Aliases(db=db, now_ms=now_ms)
    granting = Granting(db=db, now_ms=now_ms, defaults=defaults, changed=authorizer.forget)
    lookups = Lookups(db, listener)
    watches = Watches(lookups.states, listener)
    listener.start()
    await serve(
        [
            Service(
                descriptor(registered_models_pb2, "RegisteredModelService"),
                RegisteredModelServicer(models, aliases, lookups),
            ),
            Service(descriptor(model_versions_pb2, "ModelVersionService"), ModelVersionServicer(versions)),
            Service(
                descriptor(transition_requests_pb2, "TransitionRequestService"),
                TransitionRequestServicer(TransitionRequests(db=db, now_ms=now_ms)),
            ),
            Service(
                descriptor(policies_pb2, "PromotionPolicyService"),
                PromotionPolicyServicer(PromotionPolicies(db=db, pages=pages, now_ms=now_ms)),
            ),
            Service(
                descriptor(checks_pb2, "VersionCheckService"),
                VersionCheckServicer(VersionChecks(db=db, now_ms=now_ms)),
            ),
            Service(descriptor(releases_pb2, "ReleaseService"), ReleaseServicer(Releases(db=db, now_ms=now_ms))),
            Service(
                descriptor(permissions_pb2, "RegisteredModelPermissionService"),
                RegisteredModelPermissionServicer(granting),
            ),
            Service(
                descriptor(comments_pb2, "CommentService"),
                CommentServicer(Comments(db=db, pages=pages, now_ms=now_ms)),
            ),
            Service(descriptor(lookups_pb2, "LookupService"), LookupServicer(lookups, watches)),
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
    await artifacts.close()
    await asyncio.shield(db.close())


if __name__ == "__main__":
    main(sys.argv[1:])
