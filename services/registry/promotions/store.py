"""The SQL of promotion: the evidence on which the policy decides, and policies themselves, which are only added."""

from collections.abc import Sequence
from typing import Any

import orjson

from services.common.auth import Caller
from services.common.database import Driver
from services.registry.events.model import Subject
from services.registry.permissions import store as permissions_store
from services.registry.permissions.model import Level
from services.registry.promotions.model import NO_POLICY, Approval, Evidence, Policy, PostedCheck, Request
from services.registry.promotions.policy import parse

# A model's own policy, where the newest revision has one, otherwise the default.
_POLICY = """
    SELECT coalesce(
        (
            SELECT policy_yaml
            FROM promotion_policies
            WHERE registered_model_id = %(registered_model_id)s
            ORDER BY revision DESC
            LIMIT 1
        ),
        (
            SELECT policy_yaml
            FROM promotion_policies
            WHERE workspace = 'default'
                AND registered_model_id IS NULL
            ORDER BY revision DESC
            LIMIT 1
        )
    )
"""

_OPEN_REQUESTS_AND_CHECKS = """,
    (
        SELECT json_agg(json_build_array(r.request_id, r.version, r.to_stage, r.user_id, (
            SELECT json_agg(
                json_build_array(a.user_id, a.groups, {level})
                ORDER BY a.creation_timestamp, a.user_id
            )
            FROM transition_approvals AS a
            WHERE a.request_id = r.request_id
        )) ORDER BY r.request_id)::text
        FROM transition_requests AS r
        WHERE r.registered_model_id = %(registered_model_id)s
            AND r.version = ANY(%(versions)s::bigint[])
            AND r.state = 'OPEN'
            AND (r.expire_timestamp IS NULL OR r.expire_timestamp > %(now_ms)s)
    ),
    (
        SELECT json_agg(json_build_array(c.version, c."check", c.state, c.user_id, c.groups))::text
        FROM model_version_checks AS c
        WHERE c.registered_model_id = %(registered_model_id)s
            AND c.version = ANY(%(versions)s::bigint[])
    )
"""


async def policy_of(tx: Driver, model: Subject | None) -> Policy:
    """Return the policy that applies to a model, or to models without one of their own."""
    given = {"registered_model_id": model.registered_model_id if model else None}
    (text,) = await _one(tx, _POLICY, given)
    return parse(text) if text is not None else NO_POLICY


async def evidence(tx: Driver, model: Subject, versions: Sequence[int], *, now_ms: int) -> Evidence:
    """Return the policy that applies to a model, with the open requests and the checks of some of its versions."""
    given = {"registered_model_id": model.registered_model_id, "versions": list(versions), "now_ms": now_ms}
    requests_and_checks = _OPEN_REQUESTS_AND_CHECKS.format(level=permissions_store.level("a.user_id", "a.groups"))
    text, requests, checks = await _one(tx, _POLICY + requests_and_checks, given)
    return Evidence(
        policy=parse(text) if text is not None else NO_POLICY,
        requests=[_request(*row) for row in orjson.loads(requests or "[]")],
        checks=[
            PostedCheck(version=version, name=name, state=state, poster=_caller(user_id, groups))
            for version, name, state, user_id, groups in orjson.loads(checks or "[]")
        ],
    )


def _request(request_id: int, version: int, target: str, requester: str, approvals: list[Any] | None) -> Request:
    return Request(
        request_id=request_id,
        version=version,
        target=target,
        requester=requester,
        approvals=tuple(
            Approval(giver=_caller(user_id, groups), level=Level(level)) for user_id, groups, level in approvals or ()
        ),
    )


def _caller(name: str, groups: Sequence[str]) -> Caller:
    return Caller(name=name, groups=frozenset(groups))


async def _one(tx: Driver, query: str, given: dict[str, Any]) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = await (await tx.execute(query, given)).fetchone()
    assert row is not None, "a SELECT of expressions has a row"
    return row
