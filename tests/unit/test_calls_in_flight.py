"""What an autoscaler goes by: calls count while they are served, if their end is for the server to bring about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import prometheus_client
import pytest

from modelstead.registry.v1 import lookups_pb2
from modelstead.tracking.v1 import ingest_pb2, run_watches_pb2, runs_pb2
from services.common.errors import NotFound
from services.common.program import descriptor
from services.common.rpc import contract
from services.common.rpc.contract import Contract
from services.common.rpc.serving import Serving
from services.common.telemetry import Outcomes


class _Context:
    """As much of a call's context as is asked for."""

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ()

    async def abort(self, *told: Any) -> None:
        return


def _contract(module: Any, service: str, method: str) -> Contract:
    [found] = [each for each in contract.of_service(descriptor(module, service)) if each.name == method]
    return found


def _in_flight() -> float:
    return prometheus_client.REGISTRY.get_sample_value("modelstead_calls_in_flight") or 0.0


async def _counted_while_served(served: Contract, error: Exception | None = None) -> float:
    before = _in_flight()
    async with Serving(served, Outcomes(served.full_name, is_timed=False), _Context()):
        during = _in_flight() - before
        if error is not None:
            raise error
    assert _in_flight() == before
    return during


@pytest.mark.parametrize("error", [None, NotFound("nothing"), RuntimeError("ours")])
async def test_a_call_counts_while_it_is_served_however_it_ends(error: Exception | None) -> None:
    before = _in_flight()

    await _counted_while_served(_contract(runs_pb2, "RunService", "GetRun"), error)

    assert _in_flight() == before


@pytest.mark.parametrize(
    ("served", "expected"),
    [
        (_contract(runs_pb2, "RunService", "GetRun"), 1),
        (_contract(ingest_pb2, "IngestService", "IngestBatch"), 1),
        (_contract(ingest_pb2, "IngestService", "IngestStream"), 0),
        (_contract(run_watches_pb2, "RunWatchService", "WatchRun"), 0),
        (_contract(lookups_pb2, "LookupService", "ResolveModel"), 1),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
async def test_what_lasts_as_long_as_its_caller_likes_does_not_count(served: Contract, expected: int) -> None:
    assert await _counted_while_served(served) == expected
