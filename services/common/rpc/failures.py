"""Reads what a service of ours told about a failed call: the other side of call.abort."""

import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from services.common.errors import ServiceError
from services.common.rpc.call import DETAILS_KEY, ERROR_DOMAIN


def told(error: grpc.aio.AioRpcError) -> ServiceError | None:
    """Return the error that the service raised, with its reason; None if the call failed without its doing."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return _parse(value)
    return None


def _parse(details: bytes) -> ServiceError | None:
    try:
        status = status_pb2.Status.FromString(details)
    except DecodeError:
        return None
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_after_s = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
        else:
            detail.Unpack(info)
    if info.domain != ERROR_DOMAIN or not info.reason:
        return None
    failure = ServiceError(status.message, retry_after_s=retry_after_s)
    failure.reason = info.reason
    return failure
