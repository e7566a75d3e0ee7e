"""The SQL of data sets and of the links between runs, data sets and logged models."""

import json
from collections.abc import Sequence
from typing import Literal

from sqlalchemy import text

from services.common.database import Tx
from services.tracking.datasets.model import (
    CONTEXT_TAG,
    SUMMARIES_MAX,
    Dataset,
    DatasetInput,
    DatasetSummary,
)

Direction = Literal["input", "output"]

_INSERT_DATASETS = text("""
    INSERT INTO datasets (experiment_id, name, digest, source_type, source, schema, profile)
    SELECT CAST(:experiment_id AS bigint), i.*
    FROM unnest(
        CAST(:names AS text[]), CAST(:digests AS text[]), CAST(:source_types AS text[]), CAST(:sources AS text[]),
        CAST(:schemas AS text[]), CAST(:profiles AS text[])
    ) AS i (name, digest, source_type, source, schema, profile)
    ORDER BY name, digest
    ON CONFLICT DO NOTHING
""")

_INSERT_RUN_DATASETS = text("""
    INSERT INTO run_datasets (run_id, dataset_id, tags)
    SELECT :run_id, d.dataset_id, CAST(i.tags AS jsonb)
    FROM unnest(CAST(:names AS text[]), CAST(:digests AS text[]), CAST(:tags AS text[])) AS i (name, digest, tags)
    JOIN datasets AS d
        ON d.experiment_id = CAST(:experiment_id AS bigint)
        AND d.name = i.name
        AND d.digest = i.digest
    ON CONFLICT DO NOTHING
""")

_INSERT_RUN_MODELS = text("""
    INSERT INTO run_models (run_id, direction, model_id, step)
    SELECT :run_id, :direction, i.*
    FROM unnest(CAST(:model_ids AS text[]), CAST(:steps AS bigint[])) AS i (model_id, step)
    ON CONFLICT (run_id, direction, model_id) DO UPDATE
    SET step = excluded.step
""")

_SELECT_RUN_DATASETS = text("""
    SELECT r.run_id, r.tags, d.name, d.digest, d.source_type, d.source, d.schema, d.profile
    FROM run_datasets AS r
    JOIN datasets AS d USING (dataset_id)
    WHERE r.run_id = ANY(CAST(:run_ids AS text[]))
    ORDER BY r.run_id, d.dataset_id
""")

_SELECT_RUN_MODELS = text("""
    SELECT run_id, model_id, step
    FROM run_models
    WHERE run_id = ANY(CAST(:run_ids AS text[]))
        AND direction = :direction
    ORDER BY run_id, step, model_id
""")

_SELECT_SUMMARIES = text("""
    SELECT DISTINCT d.experiment_id, d.name, d.digest, r.tags ->> :context_tag AS context
    FROM datasets AS d
    JOIN run_datasets AS r USING (dataset_id)
    WHERE d.experiment_id = ANY(CAST(:experiment_ids AS bigint[]))
    ORDER BY d.experiment_id, d.name, d.digest, context
    LIMIT :limit
""")


async def link_datasets(tx: Tx, run_id: str, *, experiment_id: int, inputs: Sequence[DatasetInput]) -> None:
    """Link a run with data sets; a data set or link that exists stays as it is, the first of equals counts."""
    first = {(item.dataset.name, item.dataset.digest): item for item in reversed(inputs)}
    used = [item.dataset for item in first.values()]
    columns = {
        "experiment_id": experiment_id,
        "names": [dataset.name for dataset in used],
        "digests": [dataset.digest for dataset in used],
    }
    details = {
        "source_types": [dataset.source_type for dataset in used],
        "sources": [dataset.source for dataset in used],
        "schemas": [dataset.schema for dataset in used],
        "profiles": [dataset.profile for dataset in used],
    }
    await tx.execute(_INSERT_DATASETS, columns | details)
    tags = [json.dumps(dict(item.tags)) for item in first.values()]
    await tx.execute(_INSERT_RUN_DATASETS, columns | {"run_id": run_id, "tags": tags})


async def link_models(tx: Tx, run_id: str, *, direction: Direction, step_of: dict[str, int]) -> None:
    """Link a run with logged models, given with their steps."""
    columns = {"model_ids": list(step_of), "steps": list(step_of.values())}
    await tx.execute(_INSERT_RUN_MODELS, {"run_id": run_id, "direction": direction, **columns})


async def inputs_of(tx: Tx, run_ids: Sequence[str]) -> dict[str, list[DatasetInput]]:
    """Return the data sets of those of the runs that use any."""
    found: dict[str, list[DatasetInput]] = {}
    for run_id, tags, *dataset in await tx.execute(_SELECT_RUN_DATASETS, {"run_ids": run_ids}):
        fields = dict(zip(Dataset.__slots__, dataset, strict=True))
        found.setdefault(run_id, []).append(DatasetInput(tags=tags, dataset=Dataset(**fields)))
    return found


async def models_of(tx: Tx, run_ids: Sequence[str], *, direction: Direction) -> dict[str, list[tuple[str, int]]]:
    """Return (model id, step) of those of the runs that have any."""
    found: dict[str, list[tuple[str, int]]] = {}
    for run_id, model_id, step in await tx.execute(_SELECT_RUN_MODELS, {"run_ids": run_ids, "direction": direction}):
        found.setdefault(run_id, []).append((model_id, step))
    return found


async def summaries(tx: Tx, experiment_ids: Sequence[int]) -> list[DatasetSummary]:
    """Return the distinct data sets and contexts of experiments, at most 1,000."""
    query = {"experiment_ids": list(experiment_ids), "context_tag": CONTEXT_TAG, "limit": SUMMARIES_MAX}
    return [
        DatasetSummary(**{**row._mapping, "experiment_id": str(row.experiment_id)})
        for row in await tx.execute(_SELECT_SUMMARIES, query)
    ]
