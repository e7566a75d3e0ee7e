"""RunWatchService over gRPC: decode, one call, encode."""

from collections.abc import AsyncIterator

from modelstead.tracking.v1 import metrics_pb2
from modelstead.tracking.v1 import run_watches_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.run_watches.model import NewPoints, ToldRun
from services.tracking.run_watches.service import RunWatches


class RunWatchServicer:
    """Serves the methods of modelstead.tracking.v1.RunWatchService."""

    def __init__(self, watches: RunWatches) -> None:
        self._watches = watches

    async def WatchRun(self, request: pb.WatchRunRequest, call: Call) -> AsyncIterator[pb.WatchRunResponse]:
        async for update in self._watches.watch(
            request.run_id,
            metric_keys=request.metric_keys,
            every_point=request.every_point,
            resume_token=request.resume_token,
        ):
            yield pb.WatchRunResponse(
                resume_token=update.resume_token,
                run=_run(update.run) if update.run else None,
                points=_points(update.points) if update.points else None,
            )


def _run(told: ToldRun) -> pb.WatchedRun:
    run = encode(pb.WatchedRun, told.state.info)
    run.params.update(told.state.params)
    run.tags.update(told.state.tags)
    if told.metrics is not None:
        run.metrics.CopyFrom(encode(metrics_pb2.MetricColumns, told.metrics))
    return run


def _points(news: NewPoints) -> pb.WatchedPoints:
    return pb.WatchedPoints(
        key=news.key,
        steps=news.points.steps.tolist(),
        timestamps=news.points.timestamps.tolist(),
        values=news.points.values.tolist(),
        skipped_count=news.skipped_count or None,
        restarted=news.is_restart or None,
    )
