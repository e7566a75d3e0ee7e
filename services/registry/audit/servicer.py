"""AuditService over gRPC: decode, one call, encode."""

from modelstead.registry.v1 import audit_pb2 as pb
from services.common.codec import encode
from services.common.rpc.call import Call
from services.registry.audit.model import Question
from services.registry.audit.service import Audit


class AuditServicer:
    """Serves the methods of modelstead.registry.v1.AuditService."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    async def ListEvents(self, request: pb.ListEventsRequest, call: Call) -> pb.ListEventsResponse:
        question = Question(
            name=request.name,
            actor=request.actor,
            kind=request.kind,
            from_timestamp=request.from_timestamp if request.HasField("from_timestamp") else None,
            to_timestamp=request.to_timestamp if request.HasField("to_timestamp") else None,
        )
        found, next_page_token = await self._audit.list(
            question, max_results=request.max_results, page_token=request.page_token
        )
        return pb.ListEventsResponse(
            events=[encode(pb.AuditEvent, entry) for entry in found], next_page_token=next_page_token
        )
