"""A watcher of a run over gRPC."""

import time
from collections.abc import Callable
from typing import Any

import grpc

from modelstead.tracking.v1 import run_watches_pb2 as pb
from modelstead.tracking.v1 import run_watches_pb2_grpc as pb_grpc
from tests.watching import TIMEOUT_S, Watching


class Watch(Watching[pb.WatchRunResponse]):
    """What a watch of a run tells."""

    def __init__(self, channel: grpc.Channel, run_id: str, **given: Any) -> None:
        request = pb.WatchRunRequest(run_id=run_id, **given)
        call = pb_grpc.RunWatchServiceStub(channel).WatchRun(request, wait_for_ready=True)
        super().__init__(call, resume_token=request.resume_token)

    def until(self, met: Callable[[list[pb.WatchRunResponse]], bool]) -> list[pb.WatchRunResponse]:
        """Return what is told until it is as wanted."""
        told: list[pb.WatchRunResponse] = []
        deadline = time.monotonic() + TIMEOUT_S
        while not met(told):
            assert time.monotonic() < deadline, told
            told.append(self.take())
        return told

    def until_all_is_told(self) -> list[pb.WatchRunResponse]:
        """Return what is told up to the message that all is told."""
        return self.until(lambda told: bool(told) and is_end(told[-1]))[:-1]

    def until_steps(self, key: str, count: int) -> list[int]:
        """Return the steps of so many new points of a metric."""
        return steps(self.until(lambda told: len(steps(told, key)) >= count), key)


def is_end(message: pb.WatchRunResponse) -> bool:
    """Whether a message says that all is told."""
    return not message.HasField("run") and not message.HasField("points")


def steps(told: list[pb.WatchRunResponse], key: str) -> list[int]:
    """Return the steps of a metric's points, as they were told."""
    return [step for message in told if message.points.key == key for step in message.points.steps]
