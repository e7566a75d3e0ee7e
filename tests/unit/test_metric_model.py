"""Which points are latest, in order, sampled; and that chunks give back what they were given."""

import math
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.tracking.metrics import columns, model, packing
from services.tracking.metrics.columns import Points

_INT64 = st.integers(-(2**63), 2**63 - 1)
_POINT = st.tuples(st.integers(0, 5), st.integers(-3, 3), st.sampled_from([math.nan, -1.0, 0.0, 2.5, math.inf]))


def _points(rows: list[tuple[int, int, float]]) -> Points:
    timestamps, steps, values = zip(*rows, strict=True) if rows else ((), (), ())
    return columns.points(timestamps, steps, values)


def _rows(points: Points) -> list[tuple[int, int, float]]:
    return list(zip(points.timestamps.tolist(), points.steps.tolist(), points.values.tolist(), strict=True))


def _key(row: tuple[int, int, float]) -> tuple[int, int, float, bool]:
    timestamp, step, value = row
    return timestamp, step, 0.0 if math.isnan(value) else value, math.isnan(value)


@given(st.lists(_INT64, min_size=1))
def test_packed_integers_come_back(values: list[int]) -> None:
    column = np.array(values, np.int64)

    assert packing.unpack(packing.pack(column)).tolist() == values


@given(st.lists(_INT64, min_size=1), st.data())
def test_each_packed_integer_can_be_read_by_itself(values: list[int], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    packed = packing.pack(np.array(values, np.int64))
    line = packing.header(packed)
    start = packing.HEADER_BYTES + place * line.width

    [entry] = packing.entries(line, np.array([place]), packed[start : start + line.width]).tolist()

    assert entry == values[place]


def test_integers_that_rise_evenly_take_no_bytes_but_the_header() -> None:
    assert len(packing.pack(np.arange(5, 50_000, 5))) == packing.HEADER_BYTES


def test_chunks_of_the_first_release_are_read() -> None:
    steps = np.array([3, 5, -2, 2**62], np.int64)
    old = zlib.compress(np.diff(steps, prepend=np.int64(0)).astype("<i8").tobytes(), 1)
    values = np.array([1.5, math.nan, 0.1, 2.0])

    points = packing.unpacked(old, old, values.tobytes())

    assert points.steps.tolist() == points.timestamps.tolist() == steps.tolist()
    assert np.array_equal(points.values, values, equal_nan=True)


@given(st.lists(st.floats(width=64) | st.floats(width=32)))
def test_packed_values_come_back(values: list[float]) -> None:
    column = np.array(values, np.float64)

    unpacked = packing.unpack_values(packing.pack_values(column), len(column))

    assert np.array_equal(unpacked, column, equal_nan=True)
    assert np.array_equal(np.signbit(unpacked), np.signbit(column)) or np.isnan(column).any()


@given(st.lists(_POINT, max_size=30))
def test_time_order_is_timestamp_step_value_without_duplicates(rows: list[tuple[int, int, float]]) -> None:
    ordered = _rows(_points(rows).by_time())

    assert [_key(row) for row in ordered] == sorted({_key(row) for row in rows})


@given(st.lists(st.lists(_POINT, min_size=1, max_size=8), min_size=1, max_size=5))
def test_latest_is_what_one_by_one_comparison_gives(batches: list[list[tuple[int, int, float]]]) -> None:
    latest = model.unknown(1)
    expected: tuple[int, int, float] | None = None

    for batch in batches:
        latest = model.extend(latest, model.group([("run", "key")], [0] * len(batch), _points(batch)))
        for timestamp, step, value in batch:
            stored = 0.0 if math.isnan(value) else min(value, model.VALUE_MAX)
            if expected is None or (step, timestamp, stored) > expected:
                expected = (step, timestamp, stored)

    assert (int(latest.steps[0]), int(latest.timestamps[0]), float(latest.values[0])) == expected
    assert latest.point_counts.tolist() == [sum(map(len, batches))]


@given(st.lists(st.lists(_POINT, min_size=1, max_size=8), min_size=1, max_size=5))
def test_in_order_means_that_arrival_time_and_step_order_are_one(batches: list[list[tuple[int, int, float]]]) -> None:
    latest = model.unknown(1)
    arrived: list[Points] = []

    for batch in batches:
        append = model.group([("run", "key")], [0] * len(batch), _points(batch))
        latest = model.extend(latest, append)
        arrived.append(append.of_metric(0))

    if latest.in_order[0]:
        everything = columns.concatenate(arrived)
        assert repr(_rows(everything)) == repr(_rows(everything.by_time())) == repr(_rows(everything.by_step()))


def test_points_that_come_one_after_the_other_are_in_order() -> None:
    first = model.group([("run", "a"), ("run", "b")], [0, 1, 0], _points([(1, 1, 0.5), (9, 9, 1.0), (2, 2, 0.4)]))
    late = model.group([("run", "a"), ("run", "b")], [0, 1], _points([(3, 3, 0.3), (8, 8, 1.0)]))

    latest = model.extend(model.extend(model.unknown(2), first), late)

    assert latest.in_order.tolist() == [True, False]
    assert latest.steps.tolist() == [3, 9]


def _ntile_sample(count: int, buckets: int) -> list[int]:
    """As MLflow 3.18: the first row of each NTILE bucket, and the last row of all."""
    size, larger = divmod(count, buckets)
    rows, place = [], 0
    for bucket in range(min(buckets, count)):
        rows.append(place)
        place += size + (bucket < larger)
    if rows and rows[-1] != count - 1:
        rows = [*rows[:-1], count - 1] if len(rows) >= buckets else [*rows, count - 1]
    return rows


@given(st.integers(0, 5000), st.integers(1, 2500))
def test_sample_takes_the_first_of_each_bucket_and_the_last_of_all(count: int, buckets: int) -> None:
    assert model.bucket_starts(count, buckets) == _ntile_sample(count, buckets)


def test_metrics_that_are_logged_in_step_do_not_all_become_chunks_at_once() -> None:
    # 22 runs of 10 metrics, of which each batch brings 10 points.
    due = model.pending_points_max(np.arange(1, 221)) // 10

    assert 25 <= due.min() <= due.max() <= 51
    _, together = np.unique(due, return_counts=True)
    assert together.max() < 15
