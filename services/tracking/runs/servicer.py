"""RunService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import runs_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.run_logs import model as logs_model
from services.tracking.run_logs.service import RunLogs
from services.tracking.runs.service import Runs


class RunServicer:
    """Serves the methods of modelstead.tracking.v1.RunService."""

    def __init__(self, runs: Runs, run_logs: RunLogs) -> None:
        self._runs = runs
        self._run_logs = run_logs

    async def CreateRun(self, request: pb.CreateRunRequest, call: Call) -> pb.CreateRunResponse:
        run = await self._runs.create(
            experiment_id=request.experiment_id,
            user_id=request.user_id,
            run_name=request.run_name,
            start_time=request.start_time,
            tags=dict(request.tags),
            caller=call.caller.name,
            request_id=request.request_id,
        )
        return pb.CreateRunResponse(run=encode(pb.Run, run))

    async def GetRun(self, request: pb.GetRunRequest, call: Call) -> pb.GetRunResponse:
        run = await self._runs.get(request.run_id)
        return pb.GetRunResponse(run=encode(pb.Run, run))

    async def UpdateRun(self, request: pb.UpdateRunRequest, call: Call) -> pb.UpdateRunResponse:
        info = await self._runs.update(
            request.run_id,
            status=pb.RunInfo.Status.Name(request.status) if request.HasField("status") else None,
            end_time=request.end_time if request.HasField("end_time") else None,
            run_name=request.run_name,
        )
        return pb.UpdateRunResponse(run_info=encode(pb.RunInfo, info))

    async def DeleteRun(self, request: pb.DeleteRunRequest, call: Call) -> pb.DeleteRunResponse:
        await self._runs.delete(request.run_id)
        return pb.DeleteRunResponse()

    async def RestoreRun(self, request: pb.RestoreRunRequest, call: Call) -> pb.RestoreRunResponse:
        await self._runs.restore(request.run_id)
        return pb.RestoreRunResponse()

    async def DeleteRuns(self, request: pb.DeleteRunsRequest, call: Call) -> pb.DeleteRunsResponse:
        runs_deleted = await self._runs.delete_many(
            request.experiment_id, max_timestamp=request.max_timestamp_millis, max_runs=request.max_runs
        )
        return pb.DeleteRunsResponse(runs_deleted=runs_deleted)

    async def RestoreRuns(self, request: pb.RestoreRunsRequest, call: Call) -> pb.RestoreRunsResponse:
        runs_restored = await self._runs.restore_many(
            request.experiment_id, min_timestamp=request.min_timestamp_millis, max_runs=request.max_runs
        )
        return pb.RestoreRunsResponse(runs_restored=runs_restored)

    async def SearchRuns(self, request: pb.SearchRunsRequest, call: Call) -> pb.SearchRunsResponse:
        found, next_page_token = await self._runs.search(
            experiment_ids=request.experiment_ids,
            filter_text=request.filter,
            view=request.run_view_type,
            order_by=request.order_by,
            max_results=request.max_results,
            page_token=request.page_token,
        )
        return pb.SearchRunsResponse(runs=[encode(pb.Run, run) for run in found], next_page_token=next_page_token)

    async def SetTag(self, request: pb.SetTagRequest, call: Call) -> pb.SetTagResponse:
        await self._run_logs.log(logs_model.tag_entry(request.run_id, request))
        return pb.SetTagResponse()

    async def DeleteTag(self, request: pb.DeleteTagRequest, call: Call) -> pb.DeleteTagResponse:
        await self._runs.delete_tag(request.run_id, key=request.key)
        return pb.DeleteTagResponse()

    async def LogParam(self, request: pb.LogParamRequest, call: Call) -> pb.LogParamResponse:
        await self._run_logs.log(logs_model.param_entry(request.run_id, request))
        return pb.LogParamResponse()

    async def LogBatch(self, request: pb.LogBatchRequest, call: Call) -> pb.LogBatchResponse:
        entry = logs_model.batch_entry(request.run_id, request.metrics, request.params, request.tags)
        await self._run_logs.log(entry)
        return pb.LogBatchResponse()

    async def LogModel(self, request: pb.LogModelRequest, call: Call) -> pb.LogModelResponse:
        await self._run_logs.log_model(request.run_id, request.model_json)
        return pb.LogModelResponse()
