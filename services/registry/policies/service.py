"""What can be done with promotion policies: one public method is one transaction."""

from collections.abc import Callable
from dataclasses import dataclass

from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.pages import PageTokens
from services.registry import rules
from services.registry.events.model import By, Event, Kind, Subject, change
from services.registry.events.service import record
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import not_found as version_not_found
from services.registry.permissions import service as permissions
from services.registry.policies import model, store
from services.registry.policies.model import Description, Evaluation, PromotionPolicy
from services.registry.promotions import service as promotions
from services.registry.promotions import store as promotions_store
from services.registry.promotions.model import Move
from services.registry.promotions.policy import parse
from services.registry.registered_models import model as registered_models
from services.registry.registered_models import store as models_store

_NEWEST = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class PromotionPolicies:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch. An empty name means the default policy.

    All raise NotFound and InvalidArgument.
    """

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]

    async def set(self, name: str, *, policy_yaml: str, if_revision: int | None, caller: Caller) -> PromotionPolicy:
        """Set a model's policy, or the default. Raises PermissionDenied, Conflict."""
        parse(policy_yaml)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            subject, newest = await _hold(tx, name)
            model.check_revision(name, if_revision, newest)
            return await _replace(tx, subject, newest, policy_yaml=policy_yaml, by=by)

    async def validate(self, name: str, *, policy_yaml: str) -> None:
        """Judge a policy for a model, or as the default, and set nothing."""
        parse(policy_yaml)
        if name:
            async with self.db.reading() as tx:
                await _find(tx, name)

    async def delete(self, name: str, *, caller: Caller) -> None:
        """Delete a model's policy, or the default. Raises PermissionDenied."""
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            subject, newest = await _hold(tx, name)
            if newest is None or newest.policy_yaml is None:
                raise model.not_found(name)
            await _replace(tx, subject, newest, policy_yaml=None, by=by)

    async def get(self, name: str) -> PromotionPolicy:
        """Return a model's own policy, or the default."""
        async with self.db.pipeline(snapshot=True) as tx:
            newest = await store.newest(tx, await _find(tx, name))
        if newest is None or newest.policy_yaml is None:
            raise model.not_found(name)
        return newest

    async def revisions(
        self, name: str, *, max_results: int, page_token: str
    ) -> tuple[list[PromotionPolicy], str | None]:
        """Return a page of the revisions of a policy, newest first, and the token of the next one."""
        model.check_page_size(max_results)
        query = ["promotion-policies", name]
        before = self.pages.decode(page_token, query)[0] if page_token else _NEWEST
        async with self.db.pipeline(snapshot=True) as tx:
            found = await store.revisions(tx, await _find(tx, name), before=before, limit=max_results + 1)
        page = found[:max_results]
        token = self.pages.encode((page[-1].revision,), query) if len(found) > max_results else None
        return page, token

    async def describe(self, name: str, *, caller: Caller) -> Description:
        """Return what applies to a model, or to those without a policy of their own, and whether the caller may change
        it.
        """
        async with self.db.pipeline(snapshot=True) as tx:
            subject = await _find(tx, name)
            own = await store.newest(tx, subject) if subject else None
            default = await store.newest(tx, None)
            policy = await promotions_store.policy_of(tx, subject)
            level = await permissions.level_of(tx, subject or promotions.NO_MODEL, caller)
        origin = model.origin_of(own, default)
        return Description.of(policy, origin=origin, may_change=policy.may_be_changed_by(caller, level))

    async def evaluate(self, name: str, version: str, *, stage: str, caller: Caller) -> Evaluation:
        """Return whether a caller could move a version now, and what is missing."""
        rules.check_name(name)
        number = rules.parse_version(version)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline(snapshot=True) as tx:
            subject = await models_store.find(tx, name)
            found = await versions_store.get_of(tx, subject, number) if subject else None
            if subject is None or found is None:
                raise version_not_found(name, number)
            evidence = await promotions_store.evidence(tx, subject, [number], now_ms=by.now_ms)
            level = await permissions.level_of(tx, subject, caller)
        target = evidence.policy.target_of(stage)
        before = None if target.startswith("@") else found.current_stage
        decision = promotions.judge(Move(version=number, before=before, target=target), evidence, level, by)
        return Evaluation(
            allowed=not decision.missing,
            missing=decision.missing,
            approvals=decision.approvals,
            approvals_required=decision.approvals_required,
        )


async def _hold(tx: Driver, name: str) -> tuple[Subject | None, PromotionPolicy | None]:
    """Keep others from changing a policy, and return its newest revision. Raises NotFound."""
    if name:
        rules.check_name(name)
        subject = await models_store.hold(tx, name)
        if subject is None:
            raise registered_models.not_found(name)
        return subject, await store.newest(tx, subject)
    await store.hold_default(tx)
    return None, await store.newest(tx, None)


async def _find(tx: Driver, name: str) -> Subject | None:
    """Return the model of a name, None for the default. Raises NotFound."""
    if not name:
        return None
    rules.check_name(name)
    subject = await models_store.find(tx, name)
    if subject is None:
        raise registered_models.not_found(name)
    return subject


async def _replace(
    tx: Driver, subject: Subject | None, newest: PromotionPolicy | None, *, policy_yaml: str | None, by: By
) -> PromotionPolicy:
    """Add the next revision of a policy, if its owners so far allow it."""
    if subject is None:
        await promotions.check_default(tx, by)
    else:
        changed = {"promotion_policy": change(newest.policy_yaml if newest else None, policy_yaml)}
        await record(tx, subject, Event(kind=Kind.POLICY_SET, changes=changed), by=by)
    return await store.add(tx, subject, revision=newest.revision + 1 if newest else 1, policy_yaml=policy_yaml, by=by)
