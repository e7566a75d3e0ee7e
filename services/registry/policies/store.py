"""The SQL of policies as they are kept: they are added and read, and nothing else."""

from collections.abc import Mapping
from typing import Any

from services.common.database import Driver
from services.registry.events.model import By, Subject
from services.registry.policies.model import PromotionPolicy

# Setters of the default take turns; those of a model's policy do under the model's row.
_TAKE_TURNS = "SELECT pg_advisory_xact_lock(hashtext('promotion_policies'))"

_SELECT = """
    SELECT revision, policy_yaml, set_by, set_timestamp
    FROM promotion_policies
    WHERE workspace = 'default'
        AND registered_model_id IS NOT DISTINCT FROM %(registered_model_id)s
        AND revision < %(before)s
    ORDER BY revision DESC
    LIMIT %(limit)s
"""

_INSERT = """
    INSERT INTO promotion_policies (registered_model_id, revision, policy_yaml, set_by, set_timestamp)
    VALUES (%(registered_model_id)s, %(revision)s, %(policy_yaml)s, %(set_by)s, %(now_ms)s)
"""

_NEWEST = 2**63 - 1


async def hold_default(tx: Driver) -> None:
    """Keep others from changing the default until the transaction ends."""
    await tx.execute(_TAKE_TURNS)


async def newest(tx: Driver, model: Subject | None) -> PromotionPolicy | None:
    """Return the newest revision of a model's policy or of the default, which may say that it was deleted."""
    found = await revisions(tx, model, before=_NEWEST, limit=1)
    return found[0] if found else None


async def revisions(tx: Driver, model: Subject | None, *, before: int, limit: int) -> list[PromotionPolicy]:
    """Return up to `limit` revisions below `before`, newest first."""
    rows = await (await tx.execute(_SELECT, {**_key(model), "before": before, "limit": limit})).fetchall()
    name = model.name if model else None
    return [
        PromotionPolicy(name=name, revision=revision, policy_yaml=policy_yaml, set_by=set_by, set_timestamp=at)
        for revision, policy_yaml, set_by, at in rows
    ]


async def add(tx: Driver, model: Subject | None, *, revision: int, policy_yaml: str | None, by: By) -> PromotionPolicy:
    """Add the next revision, without a policy where it is deleted."""
    given = {**_key(model), "revision": revision, "policy_yaml": policy_yaml, "set_by": by.actor, "now_ms": by.now_ms}
    await tx.execute(_INSERT, given)
    return PromotionPolicy(
        name=model.name if model else None,
        revision=revision,
        policy_yaml=policy_yaml,
        set_by=by.actor,
        set_timestamp=by.now_ms,
    )


def _key(model: Subject | None) -> Mapping[str, Any]:
    return {"registered_model_id": model.registered_model_id if model else None}
