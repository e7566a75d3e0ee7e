"""Calls from one of our services to another, on behalf of whoever called the first: channel, metadata, failures."""

import grpc.aio

from services.common import tracing
from services.common.auth import Asker
from services.common.errors import ServiceError, Unavailable
from services.common.rpc import failures
from services.common.settings import Address

# All addresses of a headless service share the load, but for those whose server has told that it stops: a call that
# reached one while it closes its connections would be cancelled.
SERVICE_CONFIG = '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}'

# Where a service has said nothing for 1.5 s, and then does not answer a ping in 1.5 s, its connection is given up: what
# was asked on it can be asked of another replica within the five seconds that callers wait. The time for a keepalive,
# which ends with whatever the system acknowledges, does not find a process that hangs.
LOOKING = (
    ("grpc.keepalive_time_ms", 1_500),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 1_500),
    ("grpc.http2.max_pings_without_data", 0),
)

_RETRY_AFTER_S = 1.0
_OPTIONS = (
    # An answer is as long as what it tells of, such as a run with all its metrics.
    ("grpc.max_receive_message_length", -1),
    # A service that comes back is found within a second or two, not after gRPC's usual two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config", SERVICE_CONFIG),
)


def connect(address: Address) -> grpc.aio.Channel:
    """Return a channel to a service of ours; made within a running event loop."""
    return grpc.aio.insecure_channel(address.target, options=(*_OPTIONS, *LOOKING))


def metadata(asker: Asker) -> tuple[tuple[str, str], ...]:
    """Return what a call carries: the asker's own credentials, which the other service checks itself, and its id."""
    credentials = () if asker.authorization is None else (("authorization", asker.authorization),)
    return (*credentials, ("x-request-id", asker.request_id), *tracing.inject().items())


def failure(error: grpc.aio.AioRpcError, *, service: str) -> ServiceError:
    """Return what a failed call means: what `service` said, with its reason, or that it is away."""
    told = failures.told(error)
    if told is not None:
        return told
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unavailable(f"The {service} service is unavailable; try again.", retry_after_s=_RETRY_AFTER_S)
    return ServiceError(f"The {service} service has failed.")
