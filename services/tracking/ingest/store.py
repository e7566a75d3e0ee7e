"""The SQL of sessions, of rejections, and of runs that begin and end with a batch.

A transaction locks its sessions first, in the order of their ids, then experiments, then runs, so that nobody waits for
each other.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from services.common.database import Driver
from services.tracking.ingest.model import End, Mark, Rejection, Session

_LOCK = """
    SELECT session_id::text, epoch, acknowledged_sequence
    FROM ingest_sessions
    WHERE session_id = ANY(%(session_ids)s::uuid[])
    ORDER BY session_id
    FOR NO KEY UPDATE
"""

_ADD = """
    INSERT INTO ingest_sessions (session_id, epoch, acknowledged_sequence, active_time)
    SELECT i.session_id, 0, 0, %(now_ms)s
    FROM unnest(%(session_ids)s::uuid[]) AS i (session_id)
    ORDER BY i.session_id
    ON CONFLICT DO NOTHING
"""

_ADVANCE = """
    UPDATE ingest_sessions AS s
    SET epoch = i.epoch,
        acknowledged_sequence = i.sequence,
        active_time = %(now_ms)s
    FROM unnest(
        %(session_ids)s::uuid[], %(epochs)s::bigint[], %(sequences)s::bigint[]
    ) AS i (session_id, epoch, sequence)
    WHERE s.session_id = i.session_id
"""

_ADD_REJECTIONS = """
    INSERT INTO ingest_rejections (session_id, sequence, reason, message)
    SELECT *
    FROM unnest(%(session_ids)s::uuid[], %(sequences)s::bigint[], %(reasons)s::text[], %(messages)s::text[])
"""

_SELECT_REJECTIONS = """
    SELECT r.session_id::text, r.sequence, r.reason, r.message
    FROM unnest(%(session_ids)s::uuid[], %(sequences)s::bigint[]) AS i (session_id, sequence)
    JOIN ingest_rejections AS r
        ON r.session_id = i.session_id
        AND r.sequence = i.sequence
"""

_FORGET_REJECTIONS = """
    DELETE FROM ingest_rejections AS r
    USING unnest(%(session_ids)s::uuid[], %(sequences)s::bigint[]) AS i (session_id, sequence)
    WHERE r.session_id = i.session_id
        AND r.sequence <= i.sequence
"""

_SELECT_WITH_REJECTIONS = """
    SELECT i.session_id::text
    FROM unnest(%(session_ids)s::uuid[]) AS i (session_id)
    WHERE EXISTS (SELECT FROM ingest_rejections AS r WHERE r.session_id = i.session_id)
"""

_SELECT_REJECTIONS_AFTER = """
    SELECT sequence, reason, message
    FROM ingest_rejections
    WHERE session_id = %(session_id)s::uuid
        AND sequence > %(sequence)s
    ORDER BY sequence
    LIMIT %(limit)s
"""

_SELECT_RUNS = "SELECT run_id FROM runs WHERE run_id = ANY(%(run_ids)s::text[])"

_END_RUNS = """
    UPDATE runs AS r
    SET status = i.status,
        end_time = i.end_time,
        follows_ranks = false
    FROM unnest(%(run_ids)s::text[], %(statuses)s::text[], %(end_times)s::bigint[]) AS i (run_id, status, end_time)
    WHERE r.run_id = i.run_id
"""

_PURGE = """
    DELETE FROM ingest_sessions
    WHERE session_id = ANY(ARRAY(
        SELECT session_id
        FROM ingest_sessions
        WHERE active_time < %(active_before)s
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING session_id
"""

Batches = Collection[tuple[str, int]]
"""Names of batches: session id and sequence."""


async def lock(tx: Driver, session_ids: Collection[str], *, now_ms: int) -> dict[str, Mark]:
    """Lock sessions until the transaction ends and return their marks; unknown ones begin."""
    given = {"session_ids": sorted(session_ids)}
    found = await _locked(tx, given)
    if len(found) < len(given["session_ids"]):
        # Somebody else may begin them at the same time: then this waits, and their marks are what he leaves.
        await tx.execute(
            _ADD, {"session_ids": [key for key in given["session_ids"] if key not in found], "now_ms": now_ms}
        )
        found = await _locked(tx, given)
    return found


async def advance(tx: Driver, mark_of: Mapping[str, Mark], *, now_ms: int) -> None:
    """Set the marks of locked sessions."""
    await tx.execute(
        _ADVANCE,
        {
            "session_ids": list(mark_of),
            "epochs": [mark.epoch for mark in mark_of.values()],
            "sequences": [mark.sequence for mark in mark_of.values()],
            "now_ms": now_ms,
        },
    )


async def add_rejections(tx: Driver, rejections: Iterable[tuple[Session, Rejection]]) -> None:
    """Note rejections, at least one."""
    sessions, noted = zip(*rejections, strict=True)
    columns: dict[str, list[Any]] = {"session_ids": [session.session_id for session in sessions]}
    columns |= {
        f"{name}s": [getattr(rejection, name) for rejection in noted] for name in ("sequence", "reason", "message")
    }
    await tx.execute(_ADD_REJECTIONS, columns)


async def rejections_of(tx: Driver, batches: Batches) -> dict[tuple[str, int], Rejection]:
    """Return the rejections of those of the batches that were rejected."""
    given = {"session_ids": [session_id for session_id, _ in batches], "sequences": [number for _, number in batches]}
    rows = await (await tx.execute(_SELECT_REJECTIONS, given)).fetchall()
    return {(_hex(row[0]), row[1]): _rejection(row[1:]) for row in rows}


async def forget_rejections(tx: Driver, known: Mapping[str, int]) -> None:
    """Delete the rejections of sessions up to those batches of which the client knows."""
    await tx.execute(_FORGET_REJECTIONS, {"session_ids": list(known), "sequences": list(known.values())})


async def with_rejections(tx: Driver, session_ids: Collection[str]) -> set[str]:
    """Return those of the sessions that have rejections."""
    rows = await (await tx.execute(_SELECT_WITH_REJECTIONS, {"session_ids": list(session_ids)})).fetchall()
    return {_hex(session_id) for (session_id,) in rows}


async def rejections_after(tx: Driver, session_id: str, sequence: int, *, limit: int) -> list[Rejection]:
    """Return a session's first rejections after a batch, in their order."""
    given = {"session_id": session_id, "sequence": sequence, "limit": limit}
    return [_rejection(row) for row in await (await tx.execute(_SELECT_REJECTIONS_AFTER, given)).fetchall()]


async def existing_runs(tx: Driver, run_ids: Sequence[str]) -> set[str]:
    """Return those of the runs that are there, deleted or not."""
    return {run_id for (run_id,) in await (await tx.execute(_SELECT_RUNS, {"run_ids": list(run_ids)})).fetchall()}


async def end_runs(tx: Driver, end_of: Mapping[str, End]) -> None:
    """End locked runs, by id."""
    await tx.execute(
        _END_RUNS,
        {
            "run_ids": list(end_of),
            "statuses": [end.status for end in end_of.values()],
            "end_times": [end.end_time for end in end_of.values()],
        },
    )


async def purge(tx: Driver, *, active_before: int, limit: int) -> int:
    """Delete up to `limit` sessions that were last used before a time, with their rejections. Returns how many."""
    return len(await (await tx.execute(_PURGE, {"active_before": active_before, "limit": limit})).fetchall())


async def _locked(tx: Driver, given: dict[str, Any]) -> dict[str, Mark]:
    rows = await (await tx.execute(_LOCK, given)).fetchall()
    return {_hex(session_id): Mark(epoch, sequence) for session_id, epoch, sequence in rows}


def _rejection(row: Sequence[Any]) -> Rejection:
    sequence, reason, message = row
    return Rejection(sequence=sequence, reason=reason, message=message)


def _hex(uuid: str) -> str:
    return uuid.replace("-", "")
