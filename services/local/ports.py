"""TCP ports of this machine: which are free, and who answers."""

import os
import random
import socket
import sys

from services.common.settings import Address
from services.local.errors import LocalError

# Below the range from which systems take the local ends of outgoing connections.
_CHOICE = range(20_000, 30_000)
# File descriptors by port; the oldest is let go when there are more, which is much later than a platform's start.
_CLAIMS: dict[int, int] = {}
_CLAIMS_MAX = 256
_ANSWER_TIMEOUT_S = 2.0


def is_free(address: Address) -> bool:
    """Tell whether a server could listen there now. Raises LocalError if the host is not of this machine."""
    try:
        family, kind, *_, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As servers do: connections that linger after their server has ended do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except socket.gaierror as error:
        raise LocalError(f"{address.host} is no address of this machine: choose another --host.") from error
    except OSError:
        return False
    return True


def choose(host: str) -> int:
    """Return a free port, by chance so that two data folders rarely want the same one.

    It may be listened on only much later, so on Linux nobody else who asks here is given it meanwhile: neither this
    process nor another.
    """
    for port in random.SystemRandom().sample(_CHOICE, 100):
        if is_free(Address(host, port)) and claim(port):
            return port
    raise LocalError(f"No free port between {_CHOICE.start} and {_CHOICE.stop} on {host}.")


def claim(port: int) -> bool:
    """Hold a port that nobody listens on yet against all who ask here, on Linux in other processes too.

    Returns False if somebody holds it, this process included.
    """
    if port in _CLAIMS:
        return False
    held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    if sys.platform == "linux":
        # A name without a file: it is gone with the process, and each network namespace has its own, as of ports.
        try:
            held.bind(f"\0modelstead-port-{port}")
        except OSError:
            held.close()
            return False
    _CLAIMS[port] = held.detach()
    if len(_CLAIMS) > _CLAIMS_MAX:
        os.close(_CLAIMS.pop(next(iter(_CLAIMS))))
    return True


def answers_ok(address: Address, path: str) -> bool:
    """Tell whether `GET path` is answered there with status 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((address.host, address.port), timeout=_ANSWER_TIMEOUT_S) as connection:
            connection.sendall(request.encode("ascii"))
            status_line = connection.makefile("rb").readline(1024)
    except OSError:
        return False
    return status_line.split(b" ")[1:2] == [b"200"]
