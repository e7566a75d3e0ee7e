"""Counts the batches that were not stored, by the reason."""

import contextlib
from collections.abc import Iterator

from prometheus_client import Counter

from services.common.errors import ServiceError

REFUSED = Counter(
    "modelstead_batches_refused", "Batches of ingest that were not stored, by MLflow's error code.", ["reason"]
)


def count(reason: str) -> None:
    """Count a batch."""
    REFUSED.labels(reason).inc()


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Count an error that leaves the block as a batch that was refused."""
    try:
        yield
    except ServiceError as error:
        count(error.reason)
        raise
