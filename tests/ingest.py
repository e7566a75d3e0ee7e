"""Batches as a client sends them, and what of them is stored."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelstead.tracking.v1 import ingest_pb2 as pb

Row = tuple[str, float, int, int]
"""A point: key, value, timestamp, step."""


def new_id() -> str:
    return uuid.uuid4().hex


def session(session_id: str | None = None, *, epoch: int = 1) -> pb.Session:
    return pb.Session(session_id=session_id or new_id(), epoch=epoch)


def columns(rows: Sequence[Row]) -> pb.PointColumns:
    """Return points as columns: by metric, and each metric's in the order given."""
    keys = list(dict.fromkeys(key for key, *_ in rows))
    ordered = [row for key in keys for row in rows if row[0] == key]
    return pb.PointColumns(
        keys=keys,
        counts=[sum(row[0] == key for row in rows) for key in keys],
        steps=np.array([row[3] for row in ordered], "<i8").tobytes(),
        timestamps=np.array([row[2] for row in ordered], "<i8").tobytes(),
        values=np.array([row[1] for row in ordered], "<f8").tobytes(),
    )


def batch(sequence: int, run_id: str, rows: Sequence[Row] = (), **fields: Any) -> pb.Batch:
    """Return a batch; `fields` are its other fields."""
    points = columns(rows) if rows else None
    return pb.Batch(sequence=sequence, run_id=run_id, points=points, **fields)


def opening(sender: pb.Session, *, acknowledged: int = 0, awaits_runs: bool = False) -> pb.IngestStreamRequest:
    return pb.IngestStreamRequest(open=sender, acknowledged_sequence=acknowledged, awaits_runs=awaits_runs)


def bringing(brought: pb.Batch, *more: pb.Batch) -> pb.IngestStreamRequest:
    return pb.IngestStreamRequest(batch=brought, more_batches=more)


def series(key: str, first: int, count: int) -> list[Row]:
    """Return points of consecutive steps, of which no two are equal."""
    return [(key, float(step), 1_000 + step, step) for step in range(first, first + count)]


def starting(**fields: Any) -> Mapping[str, pb.StartRun]:
    return {"start": pb.StartRun(**fields)}
