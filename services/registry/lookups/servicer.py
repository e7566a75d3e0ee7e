"""LookupService over gRPC: decode, one call, encode. What many are told is encoded once."""

from collections.abc import AsyncIterator

from google.protobuf.timestamp_pb2 import Timestamp

from modelstead.registry.v1 import lookups_pb2 as pb
from services.common.codec import encode, encode_once
from services.common.rpc.call import Call
from services.registry.lookups.model import ModelState, Selector
from services.registry.lookups.service import Lookups
from services.registry.lookups.watches import Watches


class LookupServicer:
    """Serves the methods of modelstead.registry.v1.LookupService."""

    def __init__(self, lookups: Lookups, watches: Watches) -> None:
        self._lookups = lookups
        self._watches = watches

    async def ResolveModel(self, request: pb.ResolveModelRequest, call: Call) -> bytes:
        found = await self._lookups.resolve(
            request.name,
            Selector(request.alias, request.stage, request.version),
            min_revision=request.min_revision,
            strict=request.strict,
        )
        return encode_once(pb.ResolveModelResponse, found)

    async def WatchModels(self, request: pb.WatchModelsRequest, call: Call) -> AsyncIterator[bytes]:
        async for update in self._watches.watch(request.names, request.resume_token):
            head = pb.WatchModelsResponse(resume_token=update.resume_token).SerializeToString()
            # Messages put behind each other are one message.
            yield head + _told(update.state)


def _told(state: ModelState | None) -> bytes:
    return encode_once(pb.WatchModelsResponse, state, _change) if state is not None else b""


def _change(message_class: type[pb.WatchModelsResponse], state: ModelState) -> pb.WatchModelsResponse:
    change = message_class(model=encode(pb.ModelState, state))
    if state.change_timestamp is not None:
        change.change_time.CopyFrom(_time(state.change_timestamp))
    return change


def _time(timestamp_ms: int) -> Timestamp:
    time = Timestamp()
    time.FromMilliseconds(timestamp_ms)
    return time
