"""Objects for tests of the registry's use-cases, with only what matters spelled out."""

import itertools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.common.artifact_stores import NO_STORES
from services.common.auth import Asker, Caller
from services.common.database import Database
from services.common.pages import PageTokens
from services.common.secret_files import Secret
from services.registry.activities.model import Activity
from services.registry.activities.service import Activities
from services.registry.aliases.service import Aliases
from services.registry.audit.service import Audit
from services.registry.checks.model import VersionCheck
from services.registry.checks.service import VersionChecks
from services.registry.comments.service import Comments
from services.registry.history.service import History
from services.registry.model_versions.model import Draft, LoggedModel, ModelVersion
from services.registry.model_versions.origins import Origins
from services.registry.model_versions.service import ModelVersions
from services.registry.permissions.granting import Granting
from services.registry.permissions.model import Defaults
from services.registry.policies.model import PromotionPolicy
from services.registry.policies.service import PromotionPolicies
from services.registry.registered_models.model import RegisteredModel
from services.registry.registered_models.service import RegisteredModels
from services.registry.releases.service import Releases
from services.registry.transition_requests.model import TransitionRequest
from services.registry.transition_requests.service import TransitionRequests
from services.registry.transitions.model import Expected

PAGES = PageTokens(Secret("k" * 32))
SOURCE = "s3://bucket/model"
CALLER = Caller(name="tester")
_clock = itertools.count(1)


def new_name() -> str:
    return uuid.uuid4().hex


def now_ms() -> int:
    """A time later than all before."""
    return next(_clock)


@dataclass
class Tracking:
    """Tracking without a network: runs and logged models are what a test says they are."""

    runs: dict[str, str] = field(default_factory=dict)
    models: dict[str, LoggedModel] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    askers: list[Asker] = field(default_factory=list)
    failure: Exception | None = None

    async def run_artifact_uri(self, run_id: str, asker: Asker) -> str | None:
        self._ask(asker)
        return self.runs.get(run_id)

    async def logged_model(self, model_id: str, asker: Asker) -> LoggedModel | None:
        self._ask(asker)
        return self.models.get(model_id)

    async def tag_logged_model(self, model_id: str, tags: Mapping[str, str], asker: Asker) -> None:
        self._ask(asker)
        self.tags.setdefault(model_id, {}).update(tags)

    def _ask(self, asker: Asker) -> None:
        self.askers.append(asker)
        if self.failure is not None:
            raise self.failure


@dataclass(frozen=True, kw_only=True)
class Registry:
    """All use-cases over one database."""

    models: RegisteredModels
    versions: ModelVersions
    aliases: Aliases
    tracking: Tracking
    requests: TransitionRequests
    policies: PromotionPolicies
    checks: VersionChecks
    releases: Releases
    granting: Granting
    comments: Comments
    activities: Activities
    audit: Audit
    history: History

    @classmethod
    def over(
        cls,
        db: Database,
        now_ms: Callable[[], int] = now_ms,
        *,
        defaults: Defaults | None = None,
        changed: Callable[[str], None] = lambda _: None,
    ) -> "Registry":
        tracking = Tracking()
        origins = Origins(db=db, tracking=tracking, stores=NO_STORES, artifacts=None)
        return cls(
            models=RegisteredModels(db=db, pages=PAGES, now_ms=now_ms, changed=changed),
            versions=ModelVersions(db=db, pages=PAGES, now_ms=now_ms, origins=origins, tracking=tracking),
            aliases=Aliases(db=db, now_ms=now_ms),
            tracking=tracking,
            requests=TransitionRequests(db=db, pages=PAGES, now_ms=now_ms),
            policies=PromotionPolicies(db=db, pages=PAGES, now_ms=now_ms),
            checks=VersionChecks(db=db, now_ms=now_ms),
            releases=Releases(db=db, now_ms=now_ms),
            granting=Granting(db=db, now_ms=now_ms, defaults=defaults or Defaults(), changed=changed),
            comments=Comments(db=db, pages=PAGES, now_ms=now_ms),
            activities=Activities(db=db, pages=PAGES),
            audit=Audit(db=db, pages=PAGES),
            history=History(db=db, pages=PAGES),
        )

    async def new_model(self, name: str | None = None, **given: Any) -> str:
        defaults: dict[str, Any] = {"description": "", "tags": {}, "request_id": ""}
        model: RegisteredModel = await self.models.create(name=name or new_name(), caller=CALLER, **defaults | given)
        return model.name

    async def new_version(
        self, name: str, *, asker: Asker | None = None, request_id: str = "", caller: str = CALLER, **given: Any
    ) -> ModelVersion:
        defaults: dict[str, Any] = {
            "source": SOURCE, "run_id": None, "model_id": None, "run_link": "", "description": "", "tags": {},
        }  # fmt: skip
        draft = Draft(name=name, **defaults | given)
        return await self.versions.create(draft, caller=caller, asker=asker or Asker(), request_id=request_id)

    async def transition(
        self,
        name: str,
        version: str,
        stage: str,
        *,
        archive: bool = False,
        caller: Caller = CALLER,
        expected: Expected | None = None,
    ) -> ModelVersion:
        return await self.versions.transition(
            name, version, stage=stage, archive_existing_versions=archive, caller=caller, expected=expected
        )

    async def set_policy(self, name: str, policy_yaml: str, *, caller: Caller = CALLER) -> PromotionPolicy:
        return await self.policies.set(name, policy_yaml=policy_yaml, if_revision=None, caller=caller)

    async def request(self, name: str, version: str, stage: str, *, caller: Caller = CALLER) -> TransitionRequest:
        return await self.requests.create(name, version, stage=stage, comment="", caller=caller)

    async def approve(
        self, name: str, version: str, stage: str, *, caller: Caller, archive: bool = False, comment: str = ""
    ) -> Activity:
        return await self.requests.approve(
            name, version, stage=stage, archive_existing_versions=archive, comment=comment, expected=Expected(),
            caller=caller,
        )  # fmt: skip

    async def check(
        self, name: str, version: str, check: str, state: str = "PASSED", *, caller: Caller = CALLER
    ) -> VersionCheck:
        return await self.checks.set(name, version, check=check, state=state, url="", description="", caller=caller)


async def events_of(db: Database, name: str) -> list[dict[str, Any]]:
    """What was told of the models that ever had a name, in the order of revisions."""
    query = """
        SELECT registered_model_id, name, revision, version, kind, actor, changes
        FROM events
        WHERE registered_model_id IN (SELECT registered_model_id FROM events WHERE name = %(name)s)
        ORDER BY registered_model_id, revision
    """
    async with db.pipeline() as tx:
        cursor = await tx.execute(query, {"name": name})
        rows = await cursor.fetchall()
        names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows]
