"""What can be asked about metrics: histories and samples."""

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.common.database import Database, Driver
from services.common.errors import InvalidArgument
from services.common.pages import PageTokens
from services.common.rpc.checks import SEE_DOCS
from services.tracking.metrics import model, places, store
from services.tracking.metrics.columns import Points, sortable
from services.tracking.metrics.model import Metric
from services.tracking.metrics.store import INT64_MIN

BLOCK_POINTS = 20_000
READ_POINTS = 65_536
BULK_RUNS_MAX = 100
BULK_POINTS_MAX = 25_000
SAMPLE_POINTS_MAX = 2_500


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

        Raises InvalidArgument. An unknown run has no points.
        """
        _check_run_count("GetMetricHistoryBulkInterval request must specify at most", run_ids, hint=f" {SEE_DOCS}")
        _check_interval(start_step, end_step)
        if not 1 <= max_results <= SAMPLE_POINTS_MAX:
            raise InvalidArgument(f"max_results must be between 1 and {SAMPLE_POINTS_MAX}. {SEE_DOCS}")
        async with self.db.pipeline(snapshot=True) as tx:
            found = {metric.run_id: metric for metric in await store.find(tx, run_ids, key)}
            blocks = [
                Block(
                    run_id=run_id,
                    key=key,
                    points=await _sampled(tx, found[run_id], start_step, end_step, max_results),
                )
                for run_id in run_ids
                if run_id in found
            ]
        # Sent when the connection is free again: a slow reader keeps nobody else from the database.
        for block in blocks:
            yield block

    async def _in_time_order(self, metric: Metric, position: tuple[Any, ...] | None) -> AsyncIterator[Points]:
        """Yield the points after `position` as they are read, some 65,536 at a time; nothing of it is empty."""
        if not metric.in_order:
            async with self.db.pipeline(snapshot=True) as tx:
                points = _after((await store.all_points(tx, metric)).by_time().once(), position)
            for start in range(0, len(points), READ_POINTS):
                yield points.take(slice(start, start + READ_POINTS))
            return
        # What an earlier release has sorted may have numbers below 1.
        after_chunk: int | None = INT64_MIN
        while after_chunk is not None:
            timestamp, step = position[:2] if position else (0, INT64_MIN)
            async with self.db.pipeline(snapshot=True) as tx:
                # A chunk that others were merged into meanwhile holds points that were told already.
                points, after_chunk = await store.points_from(
                    tx, metric, timestamp, step, after_chunk=after_chunk, limit=READ_POINTS
                )
            points = _after(points, position).once()
            if len(points):
                position = _position(points, len(points) - 1)
                yield points


async def _in_blocks(parts: AsyncIterator[Points]) -> AsyncIterator[Points]:
    async for points in parts:
        for start in range(0, len(points), BLOCK_POINTS):
            yield points.take(slice(start, start + BLOCK_POINTS))


async def _nothing() -> AsyncIterator[Points]:
    return
    yield


async def _sampled(tx: Driver, metric: Metric, start_step: int | None, end_step: int | None, buckets: int) -> Points:
    if start_step is not None and end_step is not None:
        points = (await store.all_points(tx, metric, step_min=start_step, step_max=end_step)).by_step().once()
    elif metric.in_order:
        sample = await places.points_at(tx, metric, model.bucket_starts(metric.point_count, buckets))
        return sample.distinct()
    else:
        points = (await store.all_points(tx, metric)).by_step().once()
    return points.take(np.array(model.bucket_starts(len(points), buckets), np.intp))


def _position(points: Points, place: int) -> tuple[int, int, float, bool]:
    value = float(points.values[place])
    return int(points.timestamps[place]), int(points.steps[place]), 0.0 if value != value else value, value != value


def _after(points: Points, position: tuple[Any, ...] | None) -> Points:
    """Return the points strictly after a position; `points` are in the order of time."""
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
