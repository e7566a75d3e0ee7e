"""ExperimentService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import experiments_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.experiments.service import Experiments


class ExperimentServicer:
    """Serves the methods of modelstead.tracking.v1.ExperimentService."""

    def __init__(self, experiments: Experiments) -> None:
        self._experiments = experiments

    async def CreateExperiment(self, request: pb.CreateExperimentRequest, call: Call) -> pb.CreateExperimentResponse:
        experiment_id = await self._experiments.create(
            name=request.name,
            artifact_location=request.artifact_location,
            tags=dict(request.tags),
            caller=call.caller.name,
            request_id=request.request_id,
        )
        return pb.CreateExperimentResponse(experiment_id=experiment_id)

    async def GetExperiment(self, request: pb.GetExperimentRequest, call: Call) -> pb.GetExperimentResponse:
        experiment = await self._experiments.get(request.experiment_id)
        return pb.GetExperimentResponse(experiment=encode(pb.Experiment, experiment))

    async def GetExperimentByName(
        self, request: pb.GetExperimentByNameRequest, call: Call
    ) -> pb.GetExperimentByNameResponse:
        experiment = await self._experiments.get_by_name(request.experiment_name)
        return pb.GetExperimentByNameResponse(experiment=encode(pb.Experiment, experiment))

    async def SearchExperiments(self, request: pb.SearchExperimentsRequest, call: Call) -> pb.SearchExperimentsResponse:
        found, next_page_token = await self._experiments.search(
            view=request.view_type,
            filter_text=request.filter,
            order_by=request.order_by,
            max_results=request.max_results,
            page_token=request.page_token,
        )
        experiments = [encode(pb.Experiment, experiment) for experiment in found]
        return pb.SearchExperimentsResponse(experiments=experiments, next_page_token=next_page_token)

    async def DeleteExperiment(self, request: pb.DeleteExperimentRequest, call: Call) -> pb.DeleteExperimentResponse:
        await self._experiments.delete(request.experiment_id)
        return pb.DeleteExperimentResponse()

    async def RestoreExperiment(self, request: pb.RestoreExperimentRequest, call: Call) -> pb.RestoreExperimentResponse:
        await self._experiments.restore(request.experiment_id)
        return pb.RestoreExperimentResponse()

    async def UpdateExperiment(self, request: pb.UpdateExperimentRequest, call: Call) -> pb.UpdateExperimentResponse:
        await self._experiments.rename(request.experiment_id, name=request.new_name)
        return pb.UpdateExperimentResponse()

    async def SetExperimentTag(self, request: pb.SetExperimentTagRequest, call: Call) -> pb.SetExperimentTagResponse:
        await self._experiments.set_tag(request.experiment_id, key=request.key, value=request.value)
        return pb.SetExperimentTagResponse()

    async def DeleteExperimentTag(
        self, request: pb.DeleteExperimentTagRequest, call: Call
    ) -> pb.DeleteExperimentTagResponse:
        await self._experiments.delete_tag(request.experiment_id, key=request.key)
        return pb.DeleteExperimentTagResponse()
