"""What a servicer knows of the call it serves besides the request, and how a failure is told to the peer."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from services.common.auth import Asker, Caller
from services.common.errors import ServiceError

ERROR_DOMAIN = "modelstead"
DETAILS_KEY = "grpc-status-details-bin"
# Peers bound metadata to 8 KiB; the text stands in the details, a short form of it in the status.
_DETAILS_LENGTH_MAX = 4000
_STATUS_LENGTH_MAX = 500

_STATUS_OF_REASON = {
    "INVALID_PARAMETER_VALUE": grpc.StatusCode.INVALID_ARGUMENT,
    "RESOURCE_DOES_NOT_EXIST": grpc.StatusCode.NOT_FOUND,
    "RESOURCE_ALREADY_EXISTS": grpc.StatusCode.ALREADY_EXISTS,
    "RESOURCE_CONFLICT": grpc.StatusCode.ABORTED,
    "UNAUTHENTICATED": grpc.StatusCode.UNAUTHENTICATED,
    "PERMISSION_DENIED": grpc.StatusCode.PERMISSION_DENIED,
    "RESOURCE_EXHAUSTED": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "TEMPORARILY_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "NOT_IMPLEMENTED": grpc.StatusCode.UNIMPLEMENTED,
    "DATA_LOSS": grpc.StatusCode.DATA_LOSS,
    "INTERNAL_ERROR": grpc.StatusCode.INTERNAL,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One call: who makes it and under which id it appears in logs.

    `authorization` is the caller's header, to be passed on where another service is asked on the caller's behalf.
    """

    caller: Caller
    request_id: str
    authorization: str | None = field(default=None, repr=False)

    @property
    def asker(self) -> Asker:
        """On whose behalf the servicer asks other services."""
        return Asker(authorization=self.authorization, request_id=self.request_id)


def metadata_of(context: Any) -> Mapping[str, str]:
    """Return a call's text metadata; of a repeated key the last value counts."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def request_id_of(metadata: Mapping[str, str]) -> str:
    """Return the caller's id for the call if it is short and plain, else a new one."""
    given = metadata.get("x-request-id", "")
    return given if 0 < len(given) <= 128 and given.isascii() and given.isprintable() else os.urandom(16).hex()


def status_code(error: ServiceError) -> grpc.StatusCode:
    """Return the gRPC status that stands for an error's reason."""
    return _STATUS_OF_REASON[error.reason]


async def abort(context: Any, error: ServiceError) -> None:
    """End the call with the error's status, and with its reason and its full text as details.

    Returns then: what gRPC raises it raises again by itself, once the handler has returned. It keeps that with the
    context, and so would keep all frames that it had passed, and what was in them, until garbage is collected: of a
    server that refuses what it has no room for, all that it has refused.
    """
    message = error.message[:_DETAILS_LENGTH_MAX]
    code = status_code(error)
    status = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    _attach(status, info)
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        _attach(status, error_details_pb2.RetryInfo(retry_delay=delay))
    try:
        await context.abort(code, message[:_STATUS_LENGTH_MAX], ((DETAILS_KEY, status.SerializeToString()),))
    except grpc.aio.AbortError as aborted:
        aborted.__traceback__ = aborted.__context__ = None


def _attach(status: status_pb2.Status, detail: Any) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)
