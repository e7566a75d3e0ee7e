"""MetricService over gRPC: decode, one call, encode."""

from collections.abc import AsyncIterator

from modelstead.tracking.v1 import metrics_pb2 as pb
from services.common.rpc.call import Call
from services.tracking.metrics.service import BULK_POINTS_MAX, SAMPLE_POINTS_MAX, Block, Metrics
from services.tracking.run_logs import model as logs_model
from services.tracking.run_logs.service import RunLogs


class MetricServicer:
    """Serves the methods of modelstead.tracking.v1.MetricService."""

    def __init__(self, metrics: Metrics, run_logs: RunLogs) -> None:
        self._metrics = metrics
        self._run_logs = run_logs

    async def LogMetric(self, request: pb.LogMetricRequest, call: Call) -> pb.LogMetricResponse:
        await self._run_logs.log(logs_model.metric_entry(request.run_id, request))
        return pb.LogMetricResponse()

    async def GetMetricHistory(
        self, request: pb.GetMetricHistoryRequest, call: Call
    ) -> AsyncIterator[pb.GetMetricHistoryResponse]:
        max_results = request.max_results if request.HasField("max_results") else None
        async for block in self._metrics.history(
            run_id=request.run_id, key=request.metric_key, max_results=max_results, page_token=request.page_token
        ):
            yield pb.GetMetricHistoryResponse(metrics=_columns(block, None), next_page_token=block.next_page_token)

    async def GetMetricHistoryBulk(
        self, request: pb.GetMetricHistoryBulkRequest, call: Call
    ) -> AsyncIterator[pb.GetMetricHistoryBulkResponse]:
        max_results = request.max_results if request.HasField("max_results") else BULK_POINTS_MAX
        async for block in self._metrics.bulk(run_ids=request.run_id, key=request.metric_key, max_results=max_results):
            yield pb.GetMetricHistoryBulkResponse(metrics=_columns(block, block.run_id))
        # MLflow prints this list also when it is empty, so it is set.
        yield pb.GetMetricHistoryBulkResponse(metrics=pb.MetricColumns())

    async def GetMetricHistoryBulkInterval(
        self, request: pb.GetMetricHistoryBulkIntervalRequest, call: Call
    ) -> AsyncIterator[pb.GetMetricHistoryBulkIntervalResponse]:
        async for block in self._metrics.sample(
            run_ids=request.run_ids,
            key=request.metric_key,
            start_step=request.start_step if request.HasField("start_step") else None,
            end_step=request.end_step if request.HasField("end_step") else None,
            max_results=request.max_results if request.HasField("max_results") else SAMPLE_POINTS_MAX,
        ):
            yield pb.GetMetricHistoryBulkIntervalResponse(metrics=_columns(block, block.run_id))

    async def ReadMetricHistory(
        self, request: pb.ReadMetricHistoryRequest, call: Call
    ) -> AsyncIterator[pb.ReadMetricHistoryResponse]:
        async for points in self._metrics.read(run_id=request.run_id, key=request.metric_key):
            yield pb.ReadMetricHistoryResponse(
                steps=points.steps.astype("<i8", copy=False).tobytes(),
                timestamps=points.timestamps.astype("<i8", copy=False).tobytes(),
                values=points.values.astype("<f8", copy=False).tobytes(),
            )


def _columns(block: Block, run_id: str | None) -> pb.MetricColumns | None:
    if not len(block.points):
        return None
    return pb.MetricColumns(
        key=[block.key],
        value=block.points.values.tolist(),
        timestamp=block.points.timestamps.tolist(),
        step=block.points.steps.tolist(),
        run_id=[run_id] if run_id else None,
    )
