"""Where the platform is and who is calling, from MLflow's own variables: the one place that reads the environment."""

import base64
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from modelstead import trust
from modelstead.commands.exits import CommandError, Exit


@dataclass(frozen=True, kw_only=True)
class Target:
    """The platform's address without a slash at its end, the `Authorization` header, and what its TLS is judged by."""

    url: str
    authorization: str | None = field(repr=False)
    tls: ssl.SSLContext | None
    # What else speaks TLS makes its own of these: authorities instead of the system's, and what the client shows.
    ca_file: Path | None = None
    client_cert_file: Path | None = None


def target(uri: str | None, token_file: Path | None) -> Target:
    """Return what MLFLOW_TRACKING_URI, _TOKEN, _USERNAME, _PASSWORD, _SERVER_CERT_PATH and _CLIENT_CERT_PATH say,
    options first. As in MLflow, a user name goes before a token. Raises CommandError.
    """
    given = uri or os.environ.get("MLFLOW_TRACKING_URI") or ""
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = f" and not {parts.scheme}://…" if parts.scheme else ""
        raise CommandError(f"--uri or MLFLOW_TRACKING_URI must be an http or https address{shown}.", Exit.USAGE)
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
    where = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    is_tls = parts.scheme == "https"
    ca_file = _file("MLFLOW_TRACKING_SERVER_CERT_PATH", trust.check_authorities) if is_tls else None
    client_cert_file = _file("MLFLOW_TRACKING_CLIENT_CERT_PATH", trust.check_client_certificate) if is_tls else None
    return Target(
        url=where,
        authorization=_authorization(token_file, user, password),
        tls=trust.context(ca_file, client_cert_file) if is_tls else None,
        ca_file=ca_file,
        client_cert_file=client_cert_file,
    )


def experiment() -> str | None:
    """Return the experiment that MLFLOW_EXPERIMENT_ID or else MLFLOW_EXPERIMENT_NAME says."""
    return os.environ.get("MLFLOW_EXPERIMENT_ID") or os.environ.get("MLFLOW_EXPERIMENT_NAME") or None


def _authorization(token_file: Path | None, user: str | None, password: str | None) -> str | None:
    if token_file:
        try:
            return f"Bearer {token_file.read_text(encoding='utf-8').strip()}"
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"--token-file {token_file} cannot be read: {error}", Exit.USAGE) from error
    if user is not None and password is not None:
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return f"Bearer {token}" if token else None


def _file(variable: str, check: Callable[[Path], Path]) -> Path | None:
    """Return the file that a variable names. Raises CommandError if it is not what it is for."""
    named = os.environ.get(variable)
    try:
        return check(Path(named)) if named else None
    except trust.TrustError as error:
        raise CommandError(f"{variable}={named!r} is not valid: {error}.", Exit.USAGE) from error
