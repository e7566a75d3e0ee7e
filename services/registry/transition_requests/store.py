"""The SQL of transition requests and approvals: fixed statements, on the driver."""

from collections.abc import Sequence
from typing import Any

from services.common.auth import Caller
from services.common.database import Driver
from services.registry.events.model import By, Subject
from services.registry.transition_requests.model import TransitionRequest

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
