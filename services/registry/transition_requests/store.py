"""The SQL of transition requests and approvals: fixed statements on the driver, and a search."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from services.common.auth import Caller
from services.common.database import Driver, Tx
from services.registry.events.model import By, Subject
from services.registry.permissions.store import is_readable
from services.registry.tables import model_versions, registered_models, transition_approvals, transition_requests
from services.registry.transition_requests.model import OPEN, OpenTransitionRequest, TransitionRequest

_INSERT = """
    INSERT INTO transition_requests (
        registered_model_id, version, to_stage, user_id, comment, state, creation_timestamp, last_updated_timestamp,
        expire_timestamp
    )
    VALUES (
        %(registered_model_id)s, %(version)s, %(to_stage)s, %(user_id)s, %(comment)s, 'OPEN', %(now_ms)s, %(now_ms)s,
        %(expire_timestamp)s
    )
    ON CONFLICT (registered_model_id, version, to_stage, user_id) WHERE state = 'OPEN' DO NOTHING
    RETURNING request_id, version, to_stage, user_id, comment, creation_timestamp, last_updated_timestamp
"""

_SELECT_OPEN = """
    SELECT request_id, version, to_stage, user_id, comment, creation_timestamp, last_updated_timestamp
    FROM transition_requests
    WHERE registered_model_id = %(registered_model_id)s
        AND version = %(version)s
        AND state = 'OPEN'
        AND (expire_timestamp IS NULL OR expire_timestamp > %(now_ms)s)
    ORDER BY request_id
"""

_EXPIRE = """
    UPDATE transition_requests
    SET state = 'EXPIRED',
        last_updated_timestamp = %(now_ms)s
    WHERE registered_model_id = %(registered_model_id)s
        AND version = %(version)s
        AND state = 'OPEN'
        AND expire_timestamp <= %(now_ms)s
    RETURNING request_id, version, to_stage, user_id, comment, creation_timestamp, last_updated_timestamp
"""

_CLOSE = """
    UPDATE transition_requests
    SET state = %(state)s,
        last_updated_timestamp = %(now_ms)s
    WHERE request_id = ANY(%(request_ids)s::bigint[])
"""

_CLOSE_FOR = """
    UPDATE transition_requests
    SET state = 'APPROVED',
        last_updated_timestamp = %(now_ms)s
    WHERE registered_model_id = %(registered_model_id)s
        AND version = ANY(%(versions)s::bigint[])
        AND to_stage = %(to_stage)s
        AND state = 'OPEN'
        AND (expire_timestamp IS NULL OR expire_timestamp > %(now_ms)s)
"""

_APPROVE = """
    INSERT INTO transition_approvals (request_id, user_id, groups, creation_timestamp)
    SELECT i.request_id, %(user_id)s, %(groups)s, %(now_ms)s
    FROM unnest(%(request_ids)s::bigint[]) AS i (request_id)
    ON CONFLICT (request_id, user_id) DO UPDATE
    SET groups = excluded.groups,
        creation_timestamp = excluded.creation_timestamp
"""


async def add(
    tx: Driver, model: Subject, version: int, *, target: str, comment: str, expire_timestamp: int | None, by: By
) -> TransitionRequest | None:
    """Insert an open request; return None, and insert nothing, if the caller has one for that version and target."""
    given = {
        **_key(model, version),
        "to_stage": target,
        "user_id": by.actor,
        "comment": comment or None,
        "now_ms": by.now_ms,
        "expire_timestamp": expire_timestamp,
    }
    row = await (await tx.execute(_INSERT, given)).fetchone()
    return _request(row) if row else None


async def open_of(tx: Driver, model: Subject, version: int, *, now_ms: int) -> list[TransitionRequest]:
    """Return the open requests for a version, oldest first."""
    rows = await (await tx.execute(_SELECT_OPEN, {**_key(model, version), "now_ms": now_ms})).fetchall()
    return [_request(row) for row in rows]


async def search(
    tx: Tx, *, name: str | None, caller: Caller, after: int, now_ms: int, limit: int
) -> list[OpenTransitionRequest]:
    """Return up to `limit` open requests with higher numbers than `after` of models that the caller may read, or of the
    one of these that has a name, oldest first, each with who approved it.
    """
    requests, approvals = transition_requests.c, transition_approvals.c
    approved_by = (
        select(func.array_agg(aggregate_order_by(approvals.user_id, approvals.user_id)))
        .where(approvals.request_id == requests.request_id)
        .scalar_subquery()
    )
    query = (
        select(
            requests.request_id,
            registered_models.c.name,
            requests.version,
            model_versions.c.current_stage,
            requests.to_stage,
            requests.user_id,
            requests.comment,
            requests.creation_timestamp,
            requests.expire_timestamp,
            approved_by,
        )
        .select_from(transition_requests.join(model_versions).join(registered_models))
        .where(
            requests.state == OPEN,
            or_(requests.expire_timestamp.is_(None), requests.expire_timestamp > now_ms),
            requests.request_id > after,
            registered_models.c.workspace == "default",
            is_readable(caller),
        )
    )
    if name is not None:
        query = query.where(registered_models.c.name == name)
    rows = (await tx.execute(query.order_by(requests.request_id).limit(limit))).all()
    return [_found(row) for row in rows]


async def expire(tx: Driver, model: Subject, version: int, *, now_ms: int) -> list[TransitionRequest]:
    """Note which requests for a version are past their time, and return them."""
    rows = await (await tx.execute(_EXPIRE, {**_key(model, version), "now_ms": now_ms})).fetchall()
    return [_request(row) for row in rows]


async def close(tx: Driver, request_ids: Sequence[int], *, state: str, now_ms: int) -> None:
    await tx.execute(_CLOSE, {"request_ids": list(request_ids), "state": state, "now_ms": now_ms})


async def close_for(tx: Driver, model: Subject, versions: Sequence[int], *, target: str, now_ms: int) -> None:
    """Note that versions got to a target, as the open requests for it wanted."""
    given = {"registered_model_id": model.registered_model_id, "versions": list(versions), "to_stage": target}
    await tx.execute(_CLOSE_FOR, {**given, "now_ms": now_ms})


async def approve(tx: Driver, request_ids: Sequence[int], caller: Caller, *, now_ms: int) -> None:
    """Note that somebody approves requests, with the groups that he has now."""
    given = {"request_ids": list(request_ids), "user_id": caller.name, "groups": sorted(caller.groups)}
    await tx.execute(_APPROVE, {**given, "now_ms": now_ms})


def _found(row: Sequence[Any]) -> OpenTransitionRequest:
    request_id, name, version, current_stage, to_stage, user_id, comment, creation, expire_timestamp, approved_by = row
    return OpenTransitionRequest(
        id=str(request_id),
        name=name,
        version=str(version),
        current_stage=current_stage,
        to_stage=to_stage,
        user_id=user_id,
        comment=comment,
        creation_timestamp=creation,
        expire_timestamp=expire_timestamp,
        approved_by=approved_by or (),
    )


def _request(row: Sequence[Any]) -> TransitionRequest:
    request_id, version, to_stage, user_id, comment, creation_timestamp, last_updated_timestamp = row
    return TransitionRequest(
        request_id=request_id,
        version=version,
        to_stage=to_stage,
        user_id=user_id,
        comment=comment,
        creation_timestamp=creation_timestamp,
        last_updated_timestamp=last_updated_timestamp,
    )


def _key(model: Subject, version: int) -> dict[str, int]:
    return {"registered_model_id": model.registered_model_id, "version": version}
