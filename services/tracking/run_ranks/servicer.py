"""RunRankService over gRPC: decode, one call, encode."""

from modelstead.tracking.v1 import run_ranks_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.run_ranks.service import RunRanks


class RunRankServicer:
    """Serves the methods of modelstead.tracking.v1.RunRankService."""

    def __init__(self, run_ranks: RunRanks) -> None:
        self._run_ranks = run_ranks

    async def ListRunRanks(self, request: pb.ListRunRanksRequest, call: Call) -> pb.ListRunRanksResponse:
        found, next_page_token = await self._run_ranks.ranks(
            request.run_id, max_results=request.max_results, page_token=request.page_token
        )
        return pb.ListRunRanksResponse(
            ranks=[encode(pb.RunRank, rank) for rank in found], next_page_token=next_page_token
        )

    async def FindStragglers(self, request: pb.FindStragglersRequest, call: Call) -> pb.FindStragglersResponse:
        found, median_step = await self._run_ranks.stragglers(
            request.run_id,
            min_steps_behind=request.min_steps_behind if request.HasField("min_steps_behind") else None,
            min_ms_behind=request.min_ms_behind if request.HasField("min_ms_behind") else None,
        )
        return pb.FindStragglersResponse(ranks=[encode(pb.RunRank, rank) for rank in found], median_step=median_step)

    async def SummarizeRanks(self, request: pb.SummarizeRanksRequest, call: Call) -> pb.SummarizeRanksResponse:
        found = await self._run_ranks.summary(
            request.run_id,
            key=request.metric_key,
            start_step=request.start_step if request.HasField("start_step") else None,
            end_step=request.end_step if request.HasField("end_step") else None,
            max_results=request.max_results,
        )
        return pb.SummarizeRanksResponse(steps=[encode(pb.RankSummary, step) for step in found])
