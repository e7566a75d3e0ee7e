"""The port at which training logs: whether it can be reached, whether HTTP/2 gets through whatever is between, and
messages as large as batches are.
"""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import grpc

from modelstead import trust
from modelstead.commands.doctor import findings
from modelstead.commands.doctor.findings import Finding
from modelstead.commands.exits import Exit
from modelstead.commands.settings import Target

_CHECK = "gRPC"
_TIMEOUT_S = 10.0
# As large as a batch may be.
_MESSAGE_BYTES = 4 * 1024 * 1024
_STATUS = "/modelstead.tracking.v1.TrackingStatusService/GetTrackingStatus"
_WHY = "`modelstead://` addresses, and what logs by gRPC, keep all on the disks of the jobs."
_BETWEEN = "What is between must speak HTTP/2 to both sides: a GRPCRoute, or a Service of its own."

# RFC 9113, sections 3.4, 4.1, 6.5 and 6.7.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS, _PING, _ACK = 4, 6, 1
_MARK = b"modelstd"


def examine(target: Target, published: str) -> Iterator[Finding]:
    """Look at where the gateway says that tracking is; `published` is its answer, which may be nothing."""
    if not published:
        yield findings.warning(
            _CHECK,
            "the gateway does not say where tracking is",
            why=_WHY,
            fix="Set MODELSTEAD_PUBLIC_TRACKING_ADDRESS at the gateway, if jobs are to log by gRPC.",
        )
        return
    host, port, is_tls = _place(target, published)
    where = f"{host}:{port}"
    try:
        roundtrip_s = _ping(target, host, port, is_tls=is_tls)
    except _NoHttp2 as error:
        seen = f"{where} does not speak HTTP/2: {error}"
        yield findings.problem(_CHECK, seen, why=_WHY, fix=_BETWEEN, code=Exit.UNAVAILABLE)
        return
    except OSError as error:
        fix = f"Is {where} right as seen from here, and let through? It is MODELSTEAD_PUBLIC_TRACKING_ADDRESS."
        seen = f"{where} cannot be reached: {error}"
        yield findings.problem(_CHECK, seen, why=_WHY, fix=fix, code=Exit.UNAVAILABLE)
        return
    yield findings.ok(_CHECK, f"{where} speaks HTTP/2 and answers a ping in {1000 * roundtrip_s:.0f} ms")
    yield _called(target, where, is_tls=is_tls)


class _NoHttp2(Exception):
    """The text says what came instead."""


def _place(target: Target, published: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is spoken, as clients understand what the gateway publishes."""
    parts = urlsplit(target.url)
    scheme, separator, rest = published.rpartition("://")
    is_tls = scheme == "grpcs" if separator else parts.scheme == "https"
    found = urlsplit(f"//{rest}")
    return found.hostname or parts.hostname or "", found.port or (443 if is_tls else 80), is_tls


def _ping(target: Target, host: str, port: int, *, is_tls: bool) -> float:
    """Return how long a ping takes. Raises _NoHttp2, OSError."""
    with (
        socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain,
        _secured(plain, target, host) if is_tls else plain as connection,
    ):
        connection.sendall(_PREFACE + _frame(_SETTINGS, b"") + _frame(_PING, _MARK))
        began_s = time.monotonic()
        while time.monotonic() < began_s + _TIMEOUT_S:
            kind, flags, payload = _read_frame(connection)
            if kind == _PING and flags & _ACK and payload == _MARK:
                return time.monotonic() - began_s
    raise _NoHttp2("a ping is not answered")


def _secured(plain: socket.socket, target: Target, host: str) -> ssl.SSLSocket:
    # One of its own: that of the target is shared with requests that speak HTTP/1.1.
    context = trust.context(target.ca_file, target.client_cert_file)
    context.set_alpn_protocols(["h2"])
    connection = context.wrap_socket(plain, server_hostname=host)
    if connection.selected_alpn_protocol() != "h2":
        raise _NoHttp2("its TLS does not offer it (ALPN h2)")
    return connection


def _frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, 0, 0) + payload


def _read_frame(connection: socket.socket) -> tuple[int, int, bytes]:
    head = _read(connection, 9)
    if head.startswith(b"HTTP/1"):
        raise _NoHttp2("it answers with HTTP/1")
    length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
    if length > _MESSAGE_BYTES:
        raise _NoHttp2(f"it answers with {head!r}")
    return kind, flags, _read(connection, length)


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        if not more:
            raise _NoHttp2(f"it closes the connection after {data!r}" if data else "it closes the connection")
        data += more
    return data


def _called(target: Target, where: str, *, is_tls: bool) -> Finding:
    """Call what changes nothing with a message as large as a batch: a field that nobody knows."""
    message = b"\xc2\x3e" + _varint(_MESSAGE_BYTES) + bytes(_MESSAGE_BYTES)
    metadata = (("authorization", target.authorization),) if target.authorization else ()
    options = [("grpc.enable_http_proxy", 0)]
    if is_tls:
        credentials = grpc.ssl_channel_credentials(*trust.channel_arguments(target.ca_file, target.client_cert_file))
        channel = grpc.secure_channel(where, credentials, options=options)
    else:
        channel = grpc.insecure_channel(where, options=options)
    with channel:
        try:
            call: Any = channel.unary_unary(_STATUS)
            call(message, metadata=metadata, timeout=3 * _TIMEOUT_S)
        except grpc.RpcError as error:
            return _refused(where, error)
    return findings.ok("messages", f"{where} takes one of {_MESSAGE_BYTES // 1024**2} MiB, as batches may be")


def _refused(where: str, error: grpc.RpcError) -> Finding:
    code, details = error.code(), (error.details() or "")[:200]
    seen = f"{where} answers a call of tracking with {code.name}: {details}"
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        fix = "Call with a key that may read the platform: --token-file, or MLFLOW_TRACKING_TOKEN."
        return findings.problem("messages", seen, why=_WHY, fix=fix, code=Exit.REFUSED)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        fix = "MODELSTEAD_PUBLIC_TRACKING_ADDRESS must lead to tracking, and no other gRPC server."
        return findings.problem("messages", seen, why=_WHY, fix=fix)
    why = "Batches are up to 4 MiB, and what does not get through is tried again without end."
    fix = "Raise the limit of messages, or of request bodies, in what is between."
    return findings.problem("messages", seen, why=why, fix=fix, code=Exit.UNAVAILABLE)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))
