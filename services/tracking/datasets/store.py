"""The SQL of data sets and of the links between runs, data sets and logged models."""

import json
from collections.abc import Sequence
from typing import Literal

from services.common.database import Driver
from services.tracking.datasets.model import (
    CONTEXT_TAG,
    SUMMARIES_MAX,
    DatasetInput,
    DatasetSummary,
)

Direction = Literal["input", "output"]

_INSERT_DATASETS = """
    INSERT INTO datasets (experiment_id, name, digest, source_type, source, schema, profile)
    SELECT %(experiment_id)s::bigint, i.*
    FROM unnest(
        %(names)s::text[], %(digests)s::text[], %(source_types)s::text[], %(sources)s::text[],
        %(schemas)s::text[], %(profiles)s::text[]
    ) AS i (name, digest, source_type, source, schema, profile)
    ORDER BY name, digest
    ON CONFLICT DO NOTHING
"""

_INSERT_RUN_DATASETS = """
    INSERT INTO run_datasets (run_id, dataset_id, tags)
    SELECT %(run_id)s, d.dataset_id, i.tags::jsonb
    FROM unnest(%(names)s::text[], %(digests)s::text[], %(tags)s::text[]) AS i (name, digest, tags)
    JOIN datasets AS d
        ON d.experiment_id = %(experiment_id)s::bigint
        AND d.name = i.name
        AND d.digest = i.digest
    ON CONFLICT DO NOTHING
"""

_INSERT_RUN_MODELS = """
    INSERT INTO run_models (run_id, direction, model_id, step)
    SELECT %(run_id)s, %(direction)s, i.*
    FROM unnest(%(model_ids)s::text[], %(steps)s::bigint[]) AS i (model_id, step)
    ON CONFLICT (run_id, direction, model_id) DO UPDATE
    SET step = excluded.step
"""

_SELECT_SUMMARIES = """
    SELECT DISTINCT d.experiment_id, d.name, d.digest, r.tags ->> %(context_tag)s AS context
    FROM datasets AS d
    JOIN run_datasets AS r USING (dataset_id)
    WHERE d.experiment_id = ANY(%(experiment_ids)s::bigint[])
    ORDER BY d.experiment_id, d.name, d.digest, context
    LIMIT %(limit)s
"""


async def link_datasets(tx: Driver, run_id: str, *, experiment_id: int, inputs: Sequence[DatasetInput]) -> None:
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


async def link_models(tx: Driver, run_id: str, *, direction: Direction, step_of: dict[str, int]) -> None:
    """Link a run with logged models, given with their steps."""
    columns = {"model_ids": list(step_of), "steps": list(step_of.values())}
    await tx.execute(_INSERT_RUN_MODELS, {"run_id": run_id, "direction": direction, **columns})


async def summaries(tx: Driver, experiment_ids: Sequence[int]) -> list[DatasetSummary]:
    """Return the distinct data sets and contexts of experiments, at most 1,000."""
    query = {"experiment_ids": list(experiment_ids), "context_tag": CONTEXT_TAG, "limit": SUMMARIES_MAX}
    rows = await (await tx.execute(_SELECT_SUMMARIES, query)).fetchall()
    return [
        DatasetSummary(experiment_id=str(experiment_id), name=name, digest=digest, context=context)
        for experiment_id, name, digest, context in rows
    ]
