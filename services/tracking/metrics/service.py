"""What can be asked about metrics: histories and samples."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.common.database import Database, Driver
from services.common.errors import InvalidArgument
from services.common.pages import PageTokens
from services.common.rpc.checks import SEE_DOCS
from services.tracking.metrics import columns, model, places, store
from services.tracking.metrics.columns import Points, sortable
from services.tracking.metrics.model import Metric
from services.tracking.metrics.store import INT64_MAX, INT64_MIN

BLOCK_POINTS = 20_000
READ_POINTS = 65_536
BULK_RUNS_MAX = 100
BULK_POINTS_MAX = 25_000
SAMPLE_POINTS_MAX = 2_500
# What an earlier release has sorted may have numbers below 1.
_BEFORE_ALL = INT64_MIN


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A part of an answer: points of one metric of one run, and the token of the next page after the last part."""

    run_id: str
    key: str
    points: Points
    next_page_token: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """The use-cases. Each yields blocks of at most 20,000 points, so that no answer is held in memory whole."""

    db: Database
    pages: PageTokens
    # Whoever reads and sorts many points has one: a history and a sample at a time, for each may take 200 MB.
    _sorting: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _sampling: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def history(self, *, run_id: str, key: str, max_results: int | None, page_token: str) -> AsyncIterator[Block]:
        """Yield a metric's points by timestamp, step and value; all of them unless `max_results` is given.

        Raises InvalidArgument. An unknown run, or a metric that was never logged, has no points.
        """
        if max_results is not None and max_results < 1:
            raise InvalidArgument(
                f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer."
            )
        query = ["metric-history", run_id, key]
        position = self.pages.decode(page_token, query) if page_token else None
        async with self.db.pipeline(snapshot=True) as tx:
            found = await store.find(tx, [run_id], key)
        left: float = math.inf if max_results is None else max_results
        async for points in _in_blocks(self._in_time_order(found[0], position)) if found else _nothing():
            if not left and position is not None:
                token: str | None = self.pages.encode(position, query)
                yield Block(run_id=run_id, key=key, points=points.take(slice(0, 0)), next_page_token=token)
                return
            taken = points.take(slice(0, int(min(left, len(points)))))
            position = _position(taken, len(taken) - 1)
            left -= len(taken)
            token = self.pages.encode(position, query) if len(taken) < len(points) else None
            yield Block(run_id=run_id, key=key, points=taken, next_page_token=token)
            if token:
                return

    async def read(self, *, run_id: str, key: str) -> AsyncIterator[Points]:
        """Yield all of a metric's points as `history` does, in large parts. An unknown run or metric has none."""
        async with self.db.pipeline(snapshot=True) as tx:
            found = await store.find(tx, [run_id], key)
        for metric in found:
            async for points in self._in_time_order(metric, None):
                yield points

    async def bulk(self, *, run_ids: Sequence[str], key: str, max_results: int) -> AsyncIterator[Block]:
        """Yield the metric's points of several runs by run id, then as `history`, at most 25,000 in all.

        Raises InvalidArgument without a run or a key, or for more than 100 runs.
        """
        if not run_ids:
            raise InvalidArgument("GetMetricHistoryBulk request must specify at least one run_id.")
        _check_run_count("GetMetricHistoryBulk request cannot specify more than", run_ids)
        if not key:
            raise InvalidArgument("GetMetricHistoryBulk request must specify a metric_key.")
        left = min(max_results, BULK_POINTS_MAX)
        async with self.db.pipeline(snapshot=True) as tx:
            found = await store.find(tx, run_ids, key)
        for metric in found:
            async for points in _in_blocks(self._in_time_order(metric, None)):
                if left <= 0:
                    return
                taken = points.take(slice(0, left))
                left -= len(taken)
                yield Block(run_id=metric.run_id, key=key, points=taken)

    async def sample(
        self, *, run_ids: Sequence[str], key: str, start_step: int | None, end_step: int | None, max_results: int
    ) -> AsyncIterator[Block]:
        """Yield an even sample of the metric for each run, in the order asked for: see `model.bucket_starts`.

        Of more points than are sorted at once it is even by their arrival, and of fewer points than asked for if chunks
        hold others than those of the interval. Raises InvalidArgument. An unknown run has no points.
        """
        _check_run_count("GetMetricHistoryBulkInterval request must specify at most", run_ids, hint=f" {SEE_DOCS}")
        _check_interval(start_step, end_step)
        if not 1 <= max_results <= SAMPLE_POINTS_MAX:
            raise InvalidArgument(f"max_results must be between 1 and {SAMPLE_POINTS_MAX}. {SEE_DOCS}")
        bounds = (INT64_MIN, INT64_MAX) if start_step is None or end_step is None else (start_step, end_step)
        async with self.db.pipeline(snapshot=True) as tx:
            found = {metric.run_id: metric for metric in await store.find(tx, run_ids, key)}
            samples = {run_id: await _sampled(tx, metric, bounds, max_results) for run_id, metric in found.items()}
        # Sent when the connection is free again: a slow reader keeps nobody else from the database.
        for run_id in run_ids:
            if run_id in found:
                points = samples[run_id]
                if points is None:
                    points = await self._sampled_in_order(found[run_id], bounds, max_results)
                yield Block(run_id=run_id, key=key, points=points)

    async def _sampled_in_order(self, metric: Metric, bounds: tuple[int, int], buckets: int) -> Points:
        async with _turn(self._sampling, metric):
            async with self.db.pipeline(snapshot=True) as tx:
                points = await store.all_points(tx, metric, step_min=bounds[0], step_max=bounds[1])
            points = (await asyncio.to_thread(points.by_step)).once()
        return points.take(np.array(model.bucket_starts(len(points), buckets), np.intp))

    async def _in_time_order(self, metric: Metric, position: tuple[Any, ...] | None) -> AsyncIterator[Points]:
        """Yield the points after `position` as they are read, some 65,536 at a time; nothing of it is empty."""
        parts = self._stored_parts(metric, position) if metric.in_order else self._sorted_parts(metric, position)
        async for points in parts:
            yield points

    async def _stored_parts(self, metric: Metric, position: tuple[Any, ...] | None) -> AsyncIterator[Points]:
        after_chunk: int | None = _BEFORE_ALL
        while after_chunk is not None:
            points, after_chunk = await self._read(metric, position, after_chunk)
            points = points.once()
            if len(points):
                position = _position(points, len(points) - 1)
                yield points

    async def _sorted_parts(self, metric: Metric, position: tuple[Any, ...] | None) -> AsyncIterator[Points]:
        is_all = False
        while not is_all:
            async with _turn(self._sorting, metric):
                points, is_all = await self._first_sorted(metric, position)
            position = _position(points, len(points) - 1) if len(points) else position
            points = points.once()
            for start in range(0, len(points), READ_POINTS):
                yield points.take(slice(start, start + READ_POINTS))

    async def _first_sorted(self, metric: Metric, position: tuple[Any, ...] | None) -> tuple[Points, bool]:
        """Return the first points after `position`, as many as can be sorted at once, and whether they are all."""
        parts, count = list[Points](), model.SORTED_POINTS_MAX
        after_chunk: int | None = _BEFORE_ALL
        while after_chunk is not None:
            points, after_chunk = await self._read(metric, position, after_chunk)
            parts.append(points)
            if sum(map(len, parts)) > model.SORTED_POINTS_MAX:
                # Half of them, so that there is room for many before they are sorted again.
                count = model.SORTED_POINTS_MAX // 2
                parts = [await asyncio.to_thread(_first_of, parts, count)]
        return await asyncio.to_thread(_first_of, parts, count), count == model.SORTED_POINTS_MAX

    async def _read(
        self, metric: Metric, position: tuple[Any, ...] | None, after_chunk: int
    ) -> tuple[Points, int | None]:
        """Return those after `position` of some 65,536 points, in the order of arrival, and the chunk after which to go
        on; None if it was all.
        """
        timestamp, step = position[:2] if position else (0, INT64_MIN)
        async with self.db.pipeline(snapshot=True) as tx:
            # A chunk that others were merged into meanwhile holds points that were told already.
            points, last_chunk = await store.points_from(
                tx, metric, timestamp, step, after_chunk=after_chunk, limit=READ_POINTS
            )
        return _after(points, position), last_chunk


def _turn(lock: asyncio.Lock, metric: Metric) -> contextlib.AbstractAsyncContextManager[None]:
    return lock if metric.point_count > READ_POINTS else contextlib.nullcontext()


async def _in_blocks(parts: AsyncIterator[Points]) -> AsyncIterator[Points]:
    async for points in parts:
        for start in range(0, len(points), BLOCK_POINTS):
            yield points.take(slice(start, start + BLOCK_POINTS))


async def _nothing() -> AsyncIterator[Points]:
    return
    yield


def _first_of(parts: Sequence[Points], count: int) -> Points:
    return columns.concatenate(parts).by_time().take(slice(0, count))


async def _sampled(tx: Driver, metric: Metric, bounds: tuple[int, int], buckets: int) -> Points | None:
    """Return the sample of a metric in order, or of more points than are sorted: an even one by the order of arrival.
    None if points have to be sorted for it.
    """
    step_min, step_max = bounds
    if metric.in_order and bounds == (INT64_MIN, INT64_MAX):
        return (await places.points_at(tx, metric, model.bucket_starts(metric.point_count, buckets))).distinct()
    if await store.count_points(tx, metric, step_min=step_min, step_max=step_max) > model.SORTED_POINTS_MAX:
        return (await places.sample(tx, metric, buckets, step_min=step_min, step_max=step_max)).by_step()
    return None


def _position(points: Points, place: int) -> tuple[int, int, float, bool]:
    value = float(points.values[place])
    return int(points.timestamps[place]), int(points.steps[place]), 0.0 if value != value else value, value != value


def _after(points: Points, position: tuple[Any, ...] | None) -> Points:
    """Return the points strictly after a position in the order of time."""
    if position is None:
        return points
    values, is_nan = sortable(points.values)
    is_after = np.zeros(len(points), np.bool_)
    for column, bound in reversed(list(zip((points.timestamps, points.steps, values, is_nan), position, strict=True))):
        is_after = (column > bound) | ((column == bound) & is_after)
    return points.take(is_after)


def _check_run_count(complaint: str, run_ids: Sequence[str], *, hint: str = "") -> None:
    if len(run_ids) > BULK_RUNS_MAX:
        raise InvalidArgument(f"{complaint} {BULK_RUNS_MAX} run_ids. Received {len(run_ids)} run_ids.{hint}")


def _check_interval(start_step: int | None, end_step: int | None) -> None:
    if (start_step is None) != (end_step is None):
        raise InvalidArgument("If either start step or end step are specified, both must be specified.")
    if start_step is not None and end_step is not None and start_step > end_step:
        raise InvalidArgument(
            f"end_step must be greater than start_step. Found start_step={start_step} and end_step={end_step}."
        )
