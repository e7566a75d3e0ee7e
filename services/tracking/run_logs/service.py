"""What a run logs: parameters, metric points and tags, stored in groups of calls."""

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from services.common.database import Database, Driver
from services.common.errors import InvalidArgument, NotFound, ServiceError
from services.common.group_commit import GroupCommit, Outcome
from services.tracking.metrics import columns
from services.tracking.metrics import model as metrics_model
from services.tracking.metrics import store as metrics_store
from services.tracking.metrics.columns import IntColumn, Points
from services.tracking.rules import ACTIVE, Tell, tell_nobody
from services.tracking.run_logs import model, store
from services.tracking.run_logs.meter import Meter
from services.tracking.run_logs.model import LogEntry

GROUP_ROWS_MAX = 20_000
WAITING_ROWS_MAX = 500_000
# One: what arrives while it commits makes the next group larger, which saves more than a second one overlaps.
COMMITTERS = 1


class RunLogs:
    """Stores log entries. Each is stored whole or not at all, and is committed when `log` returns.

    Entries that arrive together, or while others are being committed, share a transaction. `tell` is told the runs
    after each.
    """

    def __init__(self, db: Database, *, meter: Meter | None = None, tell: Tell = tell_nobody) -> None:
        self._db = db
        self._meter = meter or Meter()
        self._tell = tell
        self._group_commit = GroupCommit(
            self._commit,
            weight=lambda entry: entry.weight,
            group_weight_max=GROUP_ROWS_MAX,
            waiting_weight_max=WAITING_ROWS_MAX,
            committers=COMMITTERS,
            what="log_batch",
        )

    @property
    def waiting_count(self) -> int:
        """How many entries wait for their turn."""
        return self._group_commit.waiting_count

    async def log(self, entry: LogEntry) -> None:
        """Store an entry. Raises NotFound for an unknown run or model; InvalidArgument if the run is deleted or a
        parameter has another value; ResourceExhausted if too much waits to be written.
        """
        await self._group_commit.submit(entry)

    async def log_model(self, run_id: str, model_json: str) -> None:
        """Append a model's description to the run's tag. Raises InvalidArgument, NotFound."""
        model.model_history(None, model_json)
        async with self._db.pipeline() as tx:
            state = await (await store.ask(tx, run_ids=[run_id], params=[], model_ids=[])).answer()
            _check_run(run_id, state.stages)
            previous = await store.tag(tx, run_id, model.MODEL_HISTORY_TAG)
            await store.set_tags(tx, [(run_id, model.MODEL_HISTORY_TAG, model.model_history(previous, model_json))])
        self._tell([run_id])

    async def _commit(self, entries: Sequence[LogEntry]) -> Sequence[Outcome]:
        async with self._db.pipeline() as tx:
            outcomes = await store_entries(tx, entries)
        self._meter.note(entry for entry, outcome in zip(entries, outcomes, strict=True) if outcome is None)
        self._tell(entry.run_id for entry in entries)
        return outcomes


async def store_entries(tx: Driver, entries: Sequence[LogEntry]) -> list[Outcome]:
    """Store entries in an open transaction, each whole or not at all; return None for each, or why it was refused.

    They are stored as if one after the other. Their runs stay locked until the transaction ends.
    """
    # Both questions are on their way before the first answer is waited for.
    question = await store.ask(
        tx,
        run_ids={entry.run_id for entry in entries},
        params=[(entry.run_id, key) for entry in entries for key in entry.params],
        model_ids={model_id for entry in entries for model_id in entry.model_ids},
    )
    new = _append(entries)
    latest = await metrics_store.ask_latest(tx, new) if new else None
    state = await question.answer()
    outcomes, params = _decide(entries, state)
    accepted = [entry for entry, outcome in zip(entries, outcomes, strict=True) if outcome is None]
    if len(accepted) < len(entries):
        new = _append(accepted)
        latest = await metrics_store.ask_latest(tx, new) if new else None
    if new and latest:
        await metrics_store.append(tx, new, latest)
    await _write(tx, accepted, params)
    return outcomes


def _decide(entries: Sequence[LogEntry], state: store.State) -> tuple[list[Outcome], dict[tuple[str, str], str]]:
    """Return the outcome of each entry, in their order, and the parameters to insert."""
    outcomes: list[Outcome] = []
    new_params: dict[tuple[str, str], str] = {}
    known = ChainMap(new_params, state.params)
    for entry in entries:
        logged = {key: known.get((entry.run_id, key)) for key in entry.params}
        outcomes.append(_refusal(entry, state, logged))
        if outcomes[-1] is None:
            new_params.update(
                {(entry.run_id, key): value for key, value in entry.params.items() if logged[key] is None}
            )
    return outcomes, new_params


async def _write(tx: Driver, entries: Sequence[LogEntry], params: dict[tuple[str, str], str]) -> None:
    if params:
        await store.add_params(tx, [(run_id, key, value) for (run_id, key), value in params.items()])
    if points := list(_model_points(entries)):
        await store.add_model_points(tx, points)
    tags = {(entry.run_id, key): value for entry in entries for key, value in entry.tags.items()}
    if tags:
        await store.set_tags(tx, [(run_id, key, value) for (run_id, key), value in tags.items()])
    names = {run_id: value for (run_id, key), value in tags.items() if key == model.RUN_NAME_TAG}
    if names:
        await store.set_names(tx, names)


def _refusal(entry: LogEntry, state: store.State, logged: Mapping[str, str | None]) -> ServiceError | None:
    try:
        _check_run(entry.run_id, state.stages)
    except ServiceError as error:
        return error
    if unknown := entry.model_ids - state.models:
        return NotFound(f"Logged model with ID '{min(unknown)}' not found.")
    changed = [(key, old, entry.params[key]) for key, old in logged.items() if old not in (None, entry.params[key])]
    return model.conflict(entry, changed) if changed else None


def _check_run(run_id: str, stages: dict[str, str]) -> None:
    stage = stages.get(run_id)
    if stage is None:
        raise NotFound(f"Run with id={run_id} not found")
    if stage != ACTIVE:
        raise InvalidArgument(f"The run {run_id} must be in the 'active' state. Current state is {stage}.")


def _append(entries: Iterable[LogEntry]) -> metrics_model.Append | None:
    place_of: dict[tuple[str, str], int] = {}
    places: list[IntColumn] = []
    parts: list[Points] = []
    for entry in entries:
        table, series, run_id = entry.metrics, entry.series, entry.run_id
        if len(table):
            places.append(_places(place_of, run_id, table.keys))
            parts.append(columns.points(table.timestamps, table.steps, table.values))
        if series is not None:
            places.append(np.repeat(_places(place_of, run_id, series.keys), series.counts))
            parts.append(series.points)
    if not places:
        return None
    return metrics_model.group(list(place_of), np.concatenate(places), columns.concatenate(parts))


def _places(place_of: dict[tuple[str, str], int], run_id: str, keys: Sequence[str]) -> IntColumn:
    return np.array([place_of.setdefault((run_id, key), len(place_of)) for key in keys], np.int64)


def _model_points(entries: Iterable[LogEntry]) -> Iterable[store.ModelPoint]:
    for entry in entries:
        table = entry.metrics
        for index, model_id in enumerate(table.model_ids or ()):
            if model_id:
                yield store.ModelPoint(
                    model_id=model_id,
                    run_id=entry.run_id,
                    key=table.keys[index],
                    value=metrics_model.clamped(table.values[index]),
                    timestamp=table.timestamps[index],
                    step=table.steps[index],
                    dataset_name=table.dataset_names[index] if table.dataset_names else None,
                    dataset_digest=table.dataset_digests[index] if table.dataset_digests else None,
                )
