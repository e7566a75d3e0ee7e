"""The SQL of what runs log, for many runs at once; metric points are in services/tracking/metrics/store.py."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from services.common.database import Cursor, Driver

Triple = tuple[str, str, str]

_LOCK_RUNS = """
    SELECT run_id, lifecycle_stage
    FROM runs
    WHERE run_id = ANY(%(run_ids)s::text[])
    ORDER BY run_id
    FOR NO KEY UPDATE
"""

_SELECT_PARAMS = """
    SELECT p.run_id, p.key, p.value
    FROM unnest(%(run_ids)s::text[], %(keys)s::text[]) AS i (run_id, key)
    JOIN run_params AS p
        ON p.run_id = i.run_id
        AND p.key = i.key
"""

_INSERT_PARAMS = """
    INSERT INTO run_params (run_id, key, value)
    SELECT *
    FROM unnest(%(run_ids)s::text[], %(keys)s::text[], %(values)s::text[])
"""

_UPSERT_TAGS = """
    INSERT INTO run_tags (run_id, key, value)
    SELECT *
    FROM unnest(%(run_ids)s::text[], %(keys)s::text[], %(values)s::text[])
    ON CONFLICT (run_id, key) DO UPDATE
    SET value = excluded.value
"""

_SELECT_TAG = "SELECT value FROM run_tags WHERE run_id = %(run_id)s AND key = %(key)s"

_UPDATE_NAMES = """
    UPDATE runs
    SET run_name = i.run_name
    FROM unnest(%(run_ids)s::text[], %(names)s::text[]) AS i (run_id, run_name)
    WHERE runs.run_id = i.run_id
"""

_SELECT_MODELS = """
    SELECT model_id
    FROM logged_models
    WHERE model_id = ANY(%(model_ids)s::text[])
    ORDER BY model_id
    FOR KEY SHARE
"""

_INSERT_MODEL_METRICS = """
    INSERT INTO logged_model_metrics (
        model_id, run_id, key, value, timestamp, step, dataset_name, dataset_digest
    )
    SELECT *
    FROM unnest(
        %(model_ids)s::text[], %(run_ids)s::text[], %(keys)s::text[], %(values)s::float8[],
        %(timestamps)s::bigint[], %(steps)s::bigint[], %(dataset_names)s::text[],
        %(dataset_digests)s::text[]
    )
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPoint:
    """A point of a logged model."""

    model_id: str
    run_id: str
    key: str
    value: float
    timestamp: int
    step: int
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """What decides whether entries may be stored: stages by run id, values by (run id, key), ids of models."""

    stages: dict[str, str]
    params: dict[tuple[str, str], str]
    models: set[str]


@dataclass(frozen=True, slots=True)
class StateQuery:
    """A question for the state, sent but not yet answered."""

    stages: Cursor
    params: Cursor | None
    models: Cursor | None

    async def answer(self) -> State:
        """Wait for the state; from then on the runs are locked."""
        return State(
            stages=dict(await self.stages.fetchall()),
            params={(run_id, key): value for run_id, key, value in await self.params.fetchall()} if self.params else {},
            models={model_id for (model_id,) in await self.models.fetchall()} if self.models else set(),
        )


async def ask(
    tx: Driver, *, run_ids: Collection[str], params: Collection[tuple[str, str]], model_ids: Collection[str]
) -> StateQuery:
    """Ask for the state of runs, of parameters named by (run id, key) and of logged models, and lock the runs, so that
    nobody else logs to them until the transaction ends.

    Everyone locks runs in the order of their ids, so that nobody waits for each other.
    """
    names = {"run_ids": [run_id for run_id, _ in params], "keys": [key for _, key in params]}
    return StateQuery(
        await tx.execute(_LOCK_RUNS, {"run_ids": sorted(run_ids)}),
        await tx.execute(_SELECT_PARAMS, names) if params else None,
        await tx.execute(_SELECT_MODELS, {"model_ids": list(model_ids)}) if model_ids else None,
    )


async def add_params(tx: Driver, triples: Iterable[Triple]) -> None:
    """Insert (run id, key, value); none of them is logged yet."""
    await tx.execute(_INSERT_PARAMS, _columns(triples))


async def set_tags(tx: Driver, triples: Iterable[Triple]) -> None:
    """Set (run id, key, value), over older values; no (run id, key) appears twice."""
    await tx.execute(_UPSERT_TAGS, _columns(triples))


async def tag(tx: Driver, run_id: str, key: str) -> str | None:
    """Return a tag's value."""
    row = await (await tx.execute(_SELECT_TAG, {"run_id": run_id, "key": key})).fetchone()
    return row[0] if row else None


async def set_names(tx: Driver, name_of: dict[str, str]) -> None:
    """Name runs by id."""
    await tx.execute(_UPDATE_NAMES, {"run_ids": list(name_of), "names": list(name_of.values())})


async def add_model_points(tx: Driver, points: Collection[ModelPoint]) -> None:
    """Insert points of logged models; what is stored already stays."""
    columns = {f"{name}s": [getattr(point, name) for point in points] for name in ModelPoint.__slots__}
    await tx.execute(_INSERT_MODEL_METRICS, columns)


def _columns(triples: Iterable[Triple]) -> dict[str, list[str]]:
    run_ids, keys, values = zip(*triples, strict=True)
    return {"run_ids": list(run_ids), "keys": list(keys), "values": list(values)}
