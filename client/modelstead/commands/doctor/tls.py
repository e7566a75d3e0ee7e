"""The certificate that a server shows: whether it is accepted, and for how much longer."""

import socket
import ssl
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from modelstead.commands.doctor import findings
from modelstead.commands.doctor.findings import Finding
from modelstead.commands.exits import Exit
from modelstead.commands.settings import Target

_TIMEOUT_S = 10.0
_DAY_S = 24 * 3600.0
_DAYS_LEFT_MIN = 21
_CHECK = "certificate"
_WHY = "Clients refuse to connect."


def examine(target: Target) -> Iterator[Finding]:
    """Look at the certificate of an https address; of another one there is none."""
    parts = urlsplit(target.url)
    if target.tls is None:
        return
    host, port = parts.hostname or "", parts.port or 443
    try:
        with (
            socket.create_connection((host, port), timeout=_TIMEOUT_S) as plain,
            target.tls.wrap_socket(plain, server_hostname=host) as connection,
        ):
            yield _judged(connection.getpeercert() or {}, host)
    except ssl.SSLCertVerificationError as error:
        fix = "Renew it; with cert-manager: `kubectl describe certificate`."
        if "expired" not in error.verify_message:
            fix = "Serve one for this name, or name its authority in MLFLOW_TRACKING_SERVER_CERT_PATH."
        seen = f"{host}:{port}: {error.verify_message}"
        yield findings.problem(_CHECK, seen, why=_WHY, fix=fix, code=Exit.UNAVAILABLE)
    except ssl.SSLError as error:
        fix = "Use an http address, or an address where TLS is spoken."
        seen = f"{host}:{port} does not speak TLS: {error.reason or error}"
        yield findings.problem(_CHECK, seen, why=_WHY, fix=fix, code=Exit.UNAVAILABLE)
    except OSError as error:
        yield findings.skipped(_CHECK, f"{host}:{port} cannot be connected to: {error}")


def _judged(certificate: object, host: str) -> Finding:
    ends = str(certificate["notAfter"])  # type: ignore[index]
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / _DAY_S
    seen = f"that of {host} is good until {ends}, for {days:.0f} days"
    if days >= _DAYS_LEFT_MIN:
        return findings.ok(_CHECK, seen)
    why = "cert-manager renews a third of its time before the end, so nothing has."
    return findings.warning(_CHECK, seen, why=why, fix="`kubectl describe certificate` says why it is not renewed.")
