"""IngestService over gRPC: decode, one call, encode."""

from collections.abc import AsyncIterator

from modelstead.tracking.v1 import ingest_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.tracking.ingest.service import Ingest, Progress


class IngestServicer:
    """Serves the methods of modelstead.tracking.v1.IngestService."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    async def IngestBatch(self, request: pb.IngestBatchRequest, call: Call) -> pb.IngestBatchResponse:
        answer = await self._ingest.one(request.session, request.batch, caller=call.caller.name)
        return encode(pb.IngestBatchResponse, answer)

    async def IngestStream(
        self, opening: pb.IngestStreamRequest, following: AsyncIterator[pb.IngestStreamRequest], call: Call
    ) -> AsyncIterator[pb.IngestStreamResponse]:
        async for progress in self._ingest.stream(opening, following, caller=call.caller.name):
            yield _encoded(progress)

    async def ForgetSessions(self, request: pb.ForgetSessionsRequest, call: Call) -> pb.ForgetSessionsResponse:
        return pb.ForgetSessionsResponse(session_count=await self._ingest.purge())


def _encoded(progress: Progress) -> pb.IngestStreamResponse:
    response = encode(pb.IngestStreamResponse, progress)
    if progress.pause_s:
        response.pause.FromMilliseconds(int(progress.pause_s * 1000))
    if progress.heartbeat_period_s:
        response.heartbeat_period.FromMilliseconds(int(progress.heartbeat_period_s * 1000))
    return response
