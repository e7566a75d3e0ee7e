"""The SQL of the ranks of runs, and of the status of runs that follow their ranks.

Who changes a run's status holds the lock on the run, and takes it before any on a rank. What was heard is written under
the locks of the ranks alone. All locks are taken in the order of runs, then ranks.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from services.common.database import Driver
from services.tracking.run_ranks.model import FAILURE_TAG, Progress, RankState, Tally
from services.tracking.run_ranks.presence import Key

_LOCK = """
    SELECT
        r.run_id, r.rank, r.world_size, r.node, r.local_rank, r.state, r.has_started, r.join_timestamp,
        r.last_seen_timestamp, r.end_timestamp, r.last_step, r.last_point_timestamp
    FROM unnest(%(run_ids)s::text[], %(ranks)s::int[]) AS i (run_id, rank)
    JOIN run_ranks AS r
        ON r.run_id = i.run_id
        AND r.rank = i.rank
    ORDER BY r.run_id, r.rank
    FOR NO KEY UPDATE OF r
"""

_INSERT = """
    INSERT INTO run_ranks (
        run_id, rank, world_size, node, local_rank, state, has_started, join_timestamp, last_seen_timestamp,
        end_timestamp, last_step, last_point_timestamp
    )
    SELECT i.*
    FROM unnest(
        %(run_id)s::text[], %(rank)s::int[], %(world_size)s::int[], %(node)s::text[], %(local_rank)s::int[],
        %(state)s::text[], %(has_started)s::boolean[], %(join_timestamp)s::bigint[],
        %(last_seen_timestamp)s::bigint[], %(end_timestamp)s::bigint[], %(last_step)s::bigint[],
        %(last_point_timestamp)s::bigint[]
    ) AS i (run_id, rank)
    JOIN runs
        ON runs.run_id = i.run_id
    ORDER BY i.run_id, i.rank
"""

_ADD = _INSERT + "ON CONFLICT DO NOTHING"

_PUT = (
    _INSERT
    + """
    ON CONFLICT (run_id, rank) DO UPDATE
    SET world_size = excluded.world_size,
        node = excluded.node,
        local_rank = excluded.local_rank,
        state = excluded.state,
        has_started = excluded.has_started,
        join_timestamp = excluded.join_timestamp,
        last_seen_timestamp = excluded.last_seen_timestamp,
        end_timestamp = excluded.end_timestamp,
        last_step = excluded.last_step,
        last_point_timestamp = excluded.last_point_timestamp
"""
)

_CLAIM = "SELECT pg_try_advisory_xact_lock(hashtextextended('modelstead.run_ranks', 0))"

_SELECT_SILENT = """
    SELECT DISTINCT run_id
    FROM run_ranks
    WHERE state = 'RUNNING'
        AND last_seen_timestamp < %(seen_before)s
    ORDER BY run_id
    LIMIT %(limit)s
"""

_LOCK_RUNS = """
    SELECT run_id
    FROM runs
    WHERE run_id = ANY(%(run_ids)s::text[])
    ORDER BY run_id
    FOR NO KEY UPDATE
"""

_LOSE = """
    WITH silent AS (
        SELECT run_id, rank
        FROM run_ranks
        WHERE run_id = ANY(%(run_ids)s::text[])
            AND state = 'RUNNING'
            AND last_seen_timestamp < %(seen_before)s
        ORDER BY run_id, rank
        FOR NO KEY UPDATE
    )
    UPDATE run_ranks AS r
    SET state = 'LOST'
    FROM silent
    WHERE r.run_id = silent.run_id
        AND r.rank = silent.rank
"""

_FOLLOW = """
    UPDATE runs
    SET follows_ranks = true
    WHERE run_id = ANY(%(run_ids)s::text[])
        AND NOT follows_ranks
"""

_SELECT_UNSETTLED = """
    SELECT runs.run_id, bool_or(r.state = 'RUNNING')
    FROM runs
    JOIN run_ranks AS r
        ON r.run_id = runs.run_id
        AND r.has_started
        AND r.state IN ('RUNNING', 'LOST')
    WHERE runs.run_id = ANY(%(run_ids)s::text[])
        AND runs.follows_ranks
        AND runs.status <> 'RUNNING'
    GROUP BY runs.run_id
"""

# As model.tally.
_TALLY = """
    WITH worlds AS MATERIALIZED (
        SELECT DISTINCT ON (r.run_id) r.run_id, runs.status, runs.end_time, r.world_size
        FROM run_ranks AS r
        JOIN runs
            ON runs.run_id = r.run_id
            AND runs.follows_ranks
        WHERE r.run_id = ANY(%(run_ids)s::text[])
            AND r.has_started
        ORDER BY r.run_id, r.join_timestamp DESC, r.rank
    ), starters AS (
        SELECT w.status, w.end_time, r.*, r.state = 'RUNNING' OR r.rank < w.world_size AS is_counted
        FROM worlds AS w
        JOIN run_ranks AS r
            ON r.run_id = w.run_id
            AND r.has_started
    )
    SELECT
        run_id,
        status,
        end_time,
        count(*) FILTER (WHERE is_counted AND state = 'RUNNING'),
        count(*) FILTER (WHERE is_counted AND state = 'FINISHED'),
        count(*) FILTER (WHERE is_counted AND state = 'FAILED'),
        count(*) FILTER (WHERE is_counted AND state = 'KILLED'),
        count(*) FILTER (WHERE is_counted AND state = 'LOST'),
        max(coalesce(end_timestamp, last_seen_timestamp)) FILTER (WHERE is_counted),
        max(last_step)
    FROM starters
    GROUP BY run_id, status, end_time
"""

_SET_STATUSES = """
    UPDATE runs AS r
    SET status = i.status,
        end_time = i.end_time
    FROM unnest(%(run_ids)s::text[], %(statuses)s::text[], %(end_times)s::bigint[]) AS i (run_id, status, end_time)
    WHERE r.run_id = i.run_id
"""

_SET_FAILURES = """
    INSERT INTO run_tags (run_id, key, value)
    SELECT i.run_id, %(key)s, i.value
    FROM unnest(%(run_ids)s::text[], %(failures)s::text[]) AS i (run_id, value)
    WHERE i.value IS NOT NULL
    ON CONFLICT (run_id, key) DO UPDATE
    SET value = excluded.value
"""

_CLEAR_FAILURES = """
    DELETE FROM run_tags AS t
    USING unnest(%(run_ids)s::text[], %(failures)s::text[]) AS i (run_id, value)
    WHERE t.run_id = i.run_id
        AND t.key = %(key)s
        AND i.value IS NULL
"""

# Materialized: the planner expects one rank, and would count all of them again for each.
_PROGRESS = """
    WITH median AS MATERIALIZED (
        SELECT
            percentile_disc(0.5) WITHIN GROUP (ORDER BY last_step) AS step,
            percentile_disc(0.5) WITHIN GROUP (ORDER BY last_point_timestamp) AS point_timestamp
        FROM run_ranks
        WHERE run_id = %(run_id)s
            AND state = 'RUNNING'
    )
    SELECT
        r.rank, r.world_size, r.node, r.local_rank, r.state, r.join_timestamp, r.last_seen_timestamp, r.last_step,
        r.last_point_timestamp,
        CASE
            WHEN r.last_step <= m.step THEN least(m.step::numeric - r.last_step, 9223372036854775807)::bigint
            WHEN r.last_step > m.step THEN 0
        END
    FROM run_ranks AS r
    CROSS JOIN median AS m
    WHERE r.run_id = %(run_id)s
"""

_LIST = (
    _PROGRESS
    + """
        AND r.rank > %(after)s
    ORDER BY r.rank
    LIMIT %(limit)s
"""
)

_STRAGGLERS = (
    _PROGRESS
    + """
        AND r.state = 'RUNNING'
        AND (
            m.step::numeric - r.last_step >= %(steps)s::bigint
            OR m.point_timestamp - r.last_point_timestamp >= %(ms)s::bigint
        )
    ORDER BY r.last_step, r.last_point_timestamp, r.rank
    LIMIT %(limit)s
"""
)

_MEDIAN_STEP = """
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY last_step)
    FROM run_ranks
    WHERE run_id = %(run_id)s
        AND state = 'RUNNING'
"""


async def lock(tx: Driver, keys: Collection[Key]) -> dict[Key, RankState]:
    """Lock ranks until the transaction ends, and return those that there are."""
    given = {"run_ids": [run_id for run_id, _ in keys], "ranks": [rank for _, rank in keys]}
    rows = await (await tx.execute(_LOCK, given)).fetchall()
    return {(row[0], row[1]): RankState(**dict(zip(RankState.__slots__, row[1:], strict=True))) for row in rows}


async def add(tx: Driver, ranks: Mapping[Key, RankState]) -> None:
    """Insert ranks of runs that there are, but for those that somebody else has inserted meanwhile."""
    await tx.execute(_ADD, _columns(ranks))


async def put(tx: Driver, ranks: Mapping[Key, RankState]) -> None:
    """Insert ranks of runs that there are, or change them; those that there are already are locked."""
    await tx.execute(_PUT, _columns(ranks))


async def claim(tx: Driver) -> bool:
    """Be the one that looks for lost ranks until the transaction ends. Returns False if somebody else is."""
    return await (await tx.execute(_CLAIM)).fetchone() == (True,)


async def silent(tx: Driver, *, seen_before: int, limit: int) -> list[str]:
    """Return runs that have ranks which run and were last heard of before a time, by id."""
    rows = await (await tx.execute(_SELECT_SILENT, {"seen_before": seen_before, "limit": limit})).fetchall()
    return [run_id for (run_id,) in rows]


async def lock_runs(tx: Driver, run_ids: Collection[str]) -> None:
    """Lock runs until the transaction ends."""
    await tx.execute(_LOCK_RUNS, {"run_ids": sorted(run_ids)})


async def lose(tx: Driver, run_ids: Collection[str], *, seen_before: int) -> None:
    """Note that ranks of locked runs are lost that were last heard of before a time."""
    await tx.execute(_LOSE, {"run_ids": sorted(run_ids), "seen_before": seen_before})


async def follow(tx: Driver, run_ids: Collection[str]) -> None:
    """Have locked runs follow their ranks."""
    await tx.execute(_FOLLOW, {"run_ids": sorted(run_ids)})


async def unsettled(tx: Driver, run_ids: Collection[str]) -> tuple[list[str], list[str]]:
    """Return, of the runs that have ended by what their ranks did, those of which a rank runs again, and of the others
    those of which ranks were lost.
    """
    rows = await (await tx.execute(_SELECT_UNSETTLED, {"run_ids": list(run_ids)})).fetchall()
    return [run_id for run_id, runs in rows if runs], [run_id for run_id, runs in rows if not runs]


async def tallies(tx: Driver, run_ids: Collection[str]) -> list[tuple[str, tuple[str, int | None], Tally]]:
    """Return those of the runs that follow their ranks: run id, status and end time, ranks."""
    rows = await (await tx.execute(_TALLY, {"run_ids": sorted(run_ids)})).fetchall()
    return [(row[0], (row[1], row[2]), Tally(**dict(zip(Tally.__slots__, row[3:], strict=True)))) for row in rows]


async def set_statuses(tx: Driver, changes: Sequence[tuple[str, str, int | None, str | None]]) -> None:
    """Give locked runs another (run id, status, end time, failure)."""
    run_ids, statuses, end_times, failures = (list(column) for column in zip(*changes, strict=True))
    await tx.execute(_SET_STATUSES, {"run_ids": run_ids, "statuses": statuses, "end_times": end_times})
    await set_failures(tx, list(zip(run_ids, failures, strict=True)))


async def set_failures(tx: Driver, failures: Sequence[tuple[str, str | None]]) -> None:
    """Have locked runs tell by a tag why they failed, or, with None, no more."""
    run_ids, told_of = (list(column) for column in zip(*failures, strict=True))
    told = {"run_ids": run_ids, "failures": told_of, "key": FAILURE_TAG}
    await tx.execute(_SET_FAILURES, told)
    await tx.execute(_CLEAR_FAILURES, told)


async def ranks_of(tx: Driver, run_id: str, *, after: int, limit: int) -> list[Progress]:
    """Return ranks of a run after one, by rank."""
    return _progress(await _fetch(tx, _LIST, {"run_id": run_id, "after": after, "limit": limit}))


async def stragglers(
    tx: Driver, run_id: str, *, steps: int | None, ms: int | None, limit: int
) -> tuple[list[Progress], int | None]:
    """Return running ranks that are behind by so many steps or milliseconds, and the median step."""
    given = {"run_id": run_id, "steps": steps, "ms": ms, "limit": limit}
    found = _progress(await _fetch(tx, _STRAGGLERS, given))
    [(median_step,)] = await _fetch(tx, _MEDIAN_STEP, {"run_id": run_id})
    return found, median_step


async def _fetch(tx: Driver, query: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return await (await tx.execute(query, given)).fetchall()


def _progress(rows: Sequence[tuple[Any, ...]]) -> list[Progress]:
    return [Progress(**dict(zip(Progress.__slots__, row, strict=True))) for row in rows]


def _columns(ranks: Mapping[Key, RankState]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {"run_id": [run_id for run_id, _ in ranks]}
    return columns | {name: [getattr(rank, name) for rank in ranks.values()] for name in RankState.__slots__}
