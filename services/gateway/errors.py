"""What an error looks like over HTTP: MLflow's status and body for a reason, and the reason of a gRPC status."""

import json
import logging
import math
import uuid
from collections.abc import Mapping
from types import MappingProxyType

import grpc.aio

from services.common.errors import (
    ACCESS_DENIED,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from services.common.rpc import failures
from services.gateway import limits
from services.gateway.replies import HTML, TEXT, Header, Reply

# As MLflow 3.18, exceptions.py; a reason that is not here is 500.
STATUS_OF_REASON: Mapping[str, int] = MappingProxyType(
    {
        "BAD_REQUEST": 400,
        "INVALID_PARAMETER_VALUE": 400,
        "RESOURCE_ALREADY_EXISTS": 400,
        "CUSTOMER_UNAUTHORIZED": 401,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
        "ENDPOINT_NOT_FOUND": 404,
        "NOT_FOUND": 404,
        "RESOURCE_DOES_NOT_EXIST": 404,
        "ABORTED": 409,
        "ALREADY_EXISTS": 409,
        "RESOURCE_CONFLICT": 409,
        "REQUEST_LIMIT_EXCEEDED": 429,
        "RESOURCE_EXHAUSTED": 429,
        "CANCELLED": 499,
        "DATA_LOSS": 500,
        "INTERNAL_ERROR": 500,
        "INVALID_STATE": 500,
        "NOT_IMPLEMENTED": 501,
        "TEMPORARILY_UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504,
    }
)

# (sqlstate, error_class), as MLflow 3.18, error_classification.py; other reasons have neither.
_CLASS_OF_REASON: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "BAD_REQUEST": ("KAM00", "INVALID_PARAMETER_VALUE"),
        "INVALID_PARAMETER_VALUE": ("KAM00", "INVALID_PARAMETER_VALUE"),
        "RESOURCE_ALREADY_EXISTS": ("KAM00", "RESOURCE_ALREADY_EXISTS"),
        "CUSTOMER_UNAUTHORIZED": ("KAM00", "PERMISSION_DENIED"),
        "PERMISSION_DENIED": ("KAM00", "PERMISSION_DENIED"),
        "ENDPOINT_NOT_FOUND": ("KAM00", "RESOURCE_NOT_FOUND"),
        "NOT_FOUND": ("KAM00", "RESOURCE_NOT_FOUND"),
        "RESOURCE_DOES_NOT_EXIST": ("KAM00", "RESOURCE_NOT_FOUND"),
        "FEATURE_DISABLED": ("KAM00", "FEATURE_DISABLED"),
        "INTERNAL_ERROR": ("XXM00", "CLIENT_INTERNAL_ERROR"),
        "INVALID_STATE": ("XXM00", "CLIENT_INTERNAL_ERROR"),
        "TEMPORARILY_UNAVAILABLE": ("XXM00", "CLIENT_INTERNAL_ERROR"),
    }
)

# What a status means that no service of ours gave: it came from the connection, or from grpc itself.
_REASON_OF_CODE: Mapping[grpc.StatusCode, tuple[str, str, float | None]] = MappingProxyType(
    {
        grpc.StatusCode.DEADLINE_EXCEEDED: ("DEADLINE_EXCEEDED", "The service did not answer in time.", None),
        grpc.StatusCode.RESOURCE_EXHAUSTED: ("RESOURCE_EXHAUSTED", "The service is busy; try again.", 1.0),
        grpc.StatusCode.CANCELLED: ("CANCELLED", "The call was cancelled.", None),
        grpc.StatusCode.UNIMPLEMENTED: ("NOT_IMPLEMENTED", "The service does not implement this call.", None),
    }
)

_TOO_LARGE_MARK = "larger than max"

_UNAUTHENTICATED_TEXT = (
    b"You are not authenticated. Please see "
    b"https://www.mlflow.org/docs/latest/auth/index.html#authenticating-to-mlflow on how to authenticate."
)
_NOT_FOUND_TEXT = (
    "The requested URL was not found on the server. "
    "If you entered the URL manually please check your spelling and try again."
)
_METHOD_NOT_ALLOWED_TEXT = "The method is not allowed for the requested URL."

_log = logging.getLogger("modelstead.gateway")


class Unanswered(Unavailable):
    """A connection broke, or there is none: nobody told whether the call was done."""


class BodyTooLarge(InvalidArgument):
    """The request's body exceeds its limit."""


class BodyTooSlow(DeadlineExceeded):
    """The request's body did not arrive in time."""


_STATUS_OF_ERROR: Mapping[type[ServiceError], int] = MappingProxyType({BodyTooLarge: 413, BodyTooSlow: 408})


def overloaded(message: str) -> ResourceExhausted:
    """Return the refusal of what would be too much at once. `message` says of what, and ends without a full stop."""
    return ResourceExhausted(f"{message}; try again.", retry_after_s=limits.OVERLOAD_RETRY_AFTER_S)


def reply_of(error: ServiceError, *, may_ask: bool = True) -> Reply:
    """Return the HTTP answer for an error. `may_ask` lets a browser ask for a name and a password by itself."""
    if error.reason == Unauthenticated.reason:
        challenge = ((b"www-authenticate", b'Basic realm="mlflow"'),) if may_ask else ()
        return Reply(status=401, body=_UNAUTHENTICATED_TEXT, media_type=TEXT, headers=challenge)
    if error.reason == PermissionDenied.reason and error.message == ACCESS_DENIED:
        return Reply(status=403, body=ACCESS_DENIED.encode(), media_type=TEXT)
    status = _STATUS_OF_ERROR.get(type(error)) or STATUS_OF_REASON.get(error.reason, 500)
    return Reply(status=status, body=_body(error), headers=_retry_after(error))


def from_rpc(error: grpc.aio.AioRpcError) -> ServiceError:
    """Return the error that a failed call stands for: the service's own, or what is known of the connection."""
    told = failures.told(error)
    if told is not None:
        return told
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE_MARK in (error.details() or ""):
        return InvalidArgument(
            f"The answer is larger than {limits.ANSWER_BYTES_MAX} bytes; ask for less, as by a smaller max_results."
        )
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unanswered("The service is unavailable; try again.", retry_after_s=1.0)
    if error.code() in _REASON_OF_CODE:
        reason, message, retry_after_s = _REASON_OF_CODE[error.code()]
        return _failure(reason, message, retry_after_s)
    return unexpected("call failed", code=error.code().name, details=error.details())


def unexpected(event: str, **fields: object) -> ServiceError:
    """Log what must not happen, with the exception under way if there is one, and return what the caller may know."""
    error_id = uuid.uuid4().hex
    _log.error(event, exc_info=True, extra={"error_id": error_id, **fields})
    return ServiceError(f"An unexpected error occurred. Its id is {error_id}; the server's log tells more.")


def not_found() -> Reply:
    """Return the answer for a path that nothing serves."""
    return _page(404, "Not Found", _NOT_FOUND_TEXT)


def method_not_allowed(allowed: str) -> Reply:
    """Return the answer for a path that is served with other methods only."""
    return _page(405, "Method Not Allowed", _METHOD_NOT_ALLOWED_TEXT, (b"allow", allowed.encode()))


def _failure(reason: str, message: str, retry_after_s: float | None) -> ServiceError:
    error = ServiceError(message, retry_after_s=retry_after_s)
    error.reason = reason
    return error


def _body(error: ServiceError) -> bytes:
    body = {"error_code": error.reason, "message": error.message}
    if error.reason in _CLASS_OF_REASON:
        body["sqlstate"], body["error_class"] = _CLASS_OF_REASON[error.reason]
    return json.dumps(body).encode()


def _retry_after(error: ServiceError) -> tuple[Header, ...]:
    if error.retry_after_s is None:
        return ()
    return ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))),)


def _page(status: int, title: str, text: str, *headers: Header) -> Reply:
    page = f"<!doctype html>\n<html lang=en>\n<title>{status} {title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n"
    return Reply(status=status, body=page.encode(), media_type=HTML, headers=headers)
