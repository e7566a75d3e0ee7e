"""What an object store would cost as the place of chunks that nobody has read for long: a simulation of that tier.

Sealed chunks are copied, as they are stored, from Postgres into the object store, and read from both: one after the
other, and by several readers, as one who opens a run with many metrics does. The platform does not do this.
"""

import io
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg

from tests.s3 import S3

KeyT = TypeVar("KeyT")

_CHUNKS = 200
_READERS = 8
_SELECT_SAMPLE = """
    SELECT
        metric_id,
        chunk_id,
        point_count,
        steps || timestamps || point_values
    FROM tracking.metric_chunks
    ORDER BY point_count DESC, metric_id, chunk_id
    LIMIT %s
"""
_SELECT_ONE = """
    SELECT steps || timestamps || point_values
    FROM tracking.metric_chunks
    WHERE metric_id = %s
        AND chunk_id = %s
"""
_SELECT_SHARE = """
    SELECT
        sum(octet_length(steps) + octet_length(timestamps) + octet_length(point_values)),
        pg_total_relation_size('tracking.metric_chunks') + pg_total_relation_size('tracking.metric_points')
            + pg_total_relation_size('tracking.metrics')
    FROM tracking.metric_chunks
"""


def compare(url: str, s3: S3) -> str:
    """Return, as a sentence each, how large chunks are, how much of the tables they are, and how reading compares."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(_SELECT_SAMPLE, [_CHUNKS]).fetchall()
        [[chunk_bytes, table_bytes]] = connection.execute(_SELECT_SHARE).fetchall()
        keys = [(row[0], row[1]) for row in rows]
        table = _times(keys, lambda key: connection.execute(_SELECT_ONE, key).fetchone())
    client, bucket = s3.client(), s3.make_bucket()
    names = [f"{metric_id}/{chunk_id}" for metric_id, chunk_id in keys]
    for name, (_, _, _, contents) in zip(names, rows, strict=True):
        client.put_object(bucket_name=bucket, object_name=name, data=io.BytesIO(contents), length=len(contents))

    def get(name: str) -> bytes:
        with client.get_object(bucket_name=bucket, object_name=name) as answer:
            return bytes(answer.read())

    store = _times(names, get)
    began = time.perf_counter()
    with ThreadPoolExecutor(_READERS) as pool:
        byte_count = sum(map(len, pool.map(get, names)))
    together_s = time.perf_counter() - began
    points = sum(row[2] for row in rows)
    size = f"{points / len(rows):,.0f} points and {byte_count / len(rows):,.0f} bytes each, of the largest {len(rows)}"
    many = f"{len(names) / together_s:,.0f} a second from the object store, {points / together_s / 1e6:.1f} M points/s"
    return (
        f"Chunks: {size}; their contents are {chunk_bytes / table_bytes:.0%} of the tables of metrics.\n"
        f"Reading one: {table:.2f} ms from Postgres, {store:.2f} ms from the object store; {_READERS} readers: {many}."
    )


def _times(keys: Sequence[KeyT], read: Callable[[KeyT], object]) -> float:
    """Return how many milliseconds a read takes, in the median."""
    took_s = []
    for key in keys:
        began = time.perf_counter()
        assert read(key)
        took_s.append(time.perf_counter() - began)
    return 1000 * statistics.median(took_s)
