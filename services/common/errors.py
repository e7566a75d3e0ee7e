"""The one family of errors that a service raises; the pipeline and the gateway translate it, nothing else does."""

# As MLflow 3.18 says it, basic_auth_app.py.
ACCESS_DENIED = "Permission denied"


class ServiceError(Exception):
    """A failure that the caller may read.

    `reason` is MLflow's `error_code`: the gateway derives the HTTP status from it, the pipeline the gRPC status.
    `retry_after_s` tells a caller when to come back, in seconds, where that is known.
    """

    reason = "INTERNAL_ERROR"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class InvalidArgument(ServiceError):
    """The request is malformed or not allowed in the resource's state; the same request will fail again."""

    reason = "INVALID_PARAMETER_VALUE"


class NotFound(ServiceError):
    """What the request names does not exist."""

    reason = "RESOURCE_DOES_NOT_EXIST"


class AlreadyExists(ServiceError):
    """What the request would create exists."""

    reason = "RESOURCE_ALREADY_EXISTS"


class Unauthenticated(ServiceError):
    """The caller's credentials are missing or wrong."""

    reason = "UNAUTHENTICATED"


class Conflict(ServiceError):
    """The resource is not, or not any more, in the state that the request expects."""

    reason = "RESOURCE_CONFLICT"


class PermissionDenied(ServiceError):
    """The caller is known and may not do this; `ACCESS_DENIED` where the reason is only that nobody granted it."""

    reason = "PERMISSION_DENIED"


class ResourceExhausted(ServiceError):
    """The server has no room for the request now."""

    reason = "RESOURCE_EXHAUSTED"


class Unavailable(ServiceError):
    """Something that the server depends on is away; the same request may succeed later."""

    reason = "TEMPORARILY_UNAVAILABLE"


class Interrupted(Unavailable):
    """The database broke off what was under way; done again at once it may well succeed, if it may be done twice."""


class DeadlineExceeded(ServiceError):
    """The time that the caller gave, or the server's bound, ran out before the work was done."""

    reason = "DEADLINE_EXCEEDED"


class NotImplemented_(ServiceError):  # noqa: N801 -- without the underscore it is Python's own
    """What the request asks for cannot be done as this server is set up."""

    reason = "NOT_IMPLEMENTED"


class DataLoss(ServiceError):
    """What is stored is not what was stored once."""

    reason = "DATA_LOSS"
