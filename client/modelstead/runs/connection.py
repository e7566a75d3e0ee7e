"""Where tracking is and how to talk to it: addresses, credentials, channels, what a failed call told."""

import base64
import json
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import urlsplit

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from modelstead import trust
from modelstead.runs.settings import Settings, SettingsError

GATEWAY, GATEWAY_TLS = "modelstead", "modelstead+tls"
ADDRESSES_PATH = "/api/2.0/modelstead/addresses"

_DISCOVERY_TIMEOUT_S = 5.0
_DISCOVERY_BYTES_MAX = 65536
_MESSAGE_LENGTH_MAX = 200
_DETAILS_KEY = "grpc-status-details-bin"
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 5000),
    # What is sent again is decided by sequences, here.
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # Replicas take turns, but for one that has told that it stops.
    (
        "grpc.service_config",
        '{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}',
    ),
)
_REFUSED = frozenset(
    {
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gRPC server."""

    address: str
    is_tls: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """What a failed call told: MLflow's error code if the server said one, and when to come back."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    retry_after_s: float | None = None

    @property
    def is_refused(self) -> bool:
        """Whether trying again is not likely to help: bad credentials, a server of another kind."""
        return self.code in _REFUSED


class DiscoveryError(Exception):
    """The gateway could not be asked where tracking is, or did not say."""


def gateway_url(address: str) -> str | None:
    """Return the REST address of `modelstead://…`; None for what names a gRPC server. Raises SettingsError."""
    scheme, separator, _ = address.partition("://")
    if not separator or scheme not in (GATEWAY, GATEWAY_TLS):
        return None
    parts = urlsplit(address)
    if not parts.hostname:
        raise SettingsError(f"address={address!r} names no host; expected {scheme}://host:port")
    return f"{'https' if scheme == GATEWAY_TLS else 'http'}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"


def resolve(settings: Settings) -> Endpoint:
    """Return where tracking is; asks the gateway if the address is one. Raises DiscoveryError, SettingsError."""
    url = gateway_url(settings.address)
    if url is not None:
        return _ask(url, settings)
    scheme, separator, rest = settings.address.partition("://")
    if separator and scheme not in ("grpc", "grpcs"):
        raise SettingsError(
            f"address={settings.address!r} is not host:port, grpcs://host:port or modelstead://host:port"
        )
    return Endpoint(rest if separator else settings.address, is_tls=scheme == "grpcs")


def channel(endpoint: Endpoint, settings: Settings) -> grpc.Channel:
    """Return a new channel, which connects when it is used. Raises TrustError."""
    if not endpoint.is_tls:
        return grpc.insecure_channel(endpoint.address, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(*trust.channel_arguments(settings.ca_file, settings.client_cert_file))
    return grpc.secure_channel(endpoint.address, credentials, options=_OPTIONS)


def metadata(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return what each call carries: the credentials, if there are any."""
    if settings.token:
        return (("authorization", f"Bearer {settings.token}"),)
    if settings.username:
        pair = f"{settings.username}:{settings.password}".encode()
        return (("authorization", f"Basic {base64.b64encode(pair).decode()}"),)
    return ()


def failure(error: grpc.RpcError) -> Failure:
    """Return what a failed call told."""
    code = error.code()
    trailers: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()  # type: ignore[assignment]
    for key, value in trailers:
        if key == _DETAILS_KEY:
            return _details(code, value, error.details() or "")
    return Failure(code, (error.details() or code.name)[:_MESSAGE_LENGTH_MAX])


def _ask(url: str, settings: Settings) -> Endpoint:
    request = urllib.request.Request(url + ADDRESSES_PATH)  # noqa: S310 - http or https
    for name, value in metadata(settings):
        # A server that it is sent on to may be somebody else's.
        request.add_unredirected_header(name, value)
    try:
        tls = trust.context(settings.ca_file, settings.client_cert_file) if request.type == "https" else None
        with urllib.request.urlopen(request, timeout=_DISCOVERY_TIMEOUT_S, context=tls) as answer:  # noqa: S310
            address = json.loads(answer.read(_DISCOVERY_BYTES_MAX))["tracking"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        raise DiscoveryError(f"{url} did not tell where tracking is: {error}") from error
    if not isinstance(address, str) or not address:
        raise DiscoveryError(f"{url} does not publish tracking; set MODELSTEAD_PUBLIC_TRACKING_ADDRESS at the gateway")
    parts = urlsplit(url)
    scheme, separator, rest = address.rpartition("://")
    if rest.startswith(":"):
        # The same host, as this client knows it.
        host = parts.hostname or ""
        rest = f"[{host}]{rest}" if ":" in host else f"{host}{rest}"
    return Endpoint(rest, is_tls=scheme == "grpcs" if separator else parts.scheme == "https")


def _details(code: grpc.StatusCode, details: bytes | str, text: str) -> Failure:
    try:
        status = status_pb2.Status.FromString(details if isinstance(details, bytes) else details.encode())
    except DecodeError:
        return Failure(code, text or code.name)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    retry_after_s = None
    for detail in status.details:
        if detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
        else:
            detail.Unpack(info)
    return Failure(code, status.message or text, info.reason, retry_after_s)
