"""DatasetService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import datasets_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.datasets.model import ModelOutput, dataset_input
from services.tracking.datasets.service import Datasets


class DatasetServicer:
    """Serves the methods of modelstead.tracking.v1.DatasetService."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    async def LogInputs(self, request: pb.LogInputsRequest, call: Call) -> pb.LogInputsResponse:
        await self._datasets.log_inputs(
            request.run_id,
            datasets=[dataset_input(item) for item in request.datasets],
            model_ids=[item.model_id for item in request.models],
        )
        return pb.LogInputsResponse()

    async def LogOutputs(self, request: pb.LogOutputsRequest, call: Call) -> pb.LogOutputsResponse:
        models = [ModelOutput(model_id=item.model_id, step=item.step) for item in request.models]
        await self._datasets.log_outputs(request.run_id, models=models)
        return pb.LogOutputsResponse()

    async def SearchDatasets(self, request: pb.SearchDatasetsRequest, call: Call) -> pb.SearchDatasetsResponse:
        summaries = await self._datasets.search(request.experiment_ids)
        return pb.SearchDatasetsResponse(
            dataset_summaries=[encode(pb.DatasetSummary, summary) for summary in summaries]
        )
