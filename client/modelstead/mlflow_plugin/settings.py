"""What MLflow's own variables mean for what is logged by gRPC: who calls, which authorities are trusted, and what gRPC
cannot do.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

from mlflow.utils.rest_utils import MlflowHostCreds

from modelstead import trust
from modelstead.runs import settings as run_settings
from modelstead.runs.connection import GATEWAY_TLS
from modelstead.runs.settings import Settings, SettingsError

# What `requests`, by which MLflow's own calls go, looks at next.
_OF_REQUESTS = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_log = logging.getLogger("modelstead")


def load(store_uri: str, creds: MlflowHostCreds, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return how to log to a URI: as MLflow's own calls go there, but for what `MODELSTEAD_*` says of files.

    Warns, once in a process, of what gRPC cannot do. Raises SettingsError.
    """
    is_tls = store_uri.startswith(f"{GATEWAY_TLS}://")
    for text in _impossible(creds, is_tls=is_tls):
        _warn(text)
    files = {
        f"{run_settings.PREFIX}CA_FILE": _file(_authorities(creds, environ, is_tls=is_tls), trust.check_authorities),
        f"{run_settings.PREFIX}CLIENT_CERT_FILE": _file(
            ("MLFLOW_TRACKING_CLIENT_CERT_PATH", creds.client_cert_path), trust.check_client_certificate
        ),
    }
    return run_settings.load({**files, **environ}, address=store_uri, **_caller(creds))


def _caller(creds: MlflowHostCreds) -> dict[str, str]:
    """Return who calls. As in MLflow, a name with its password goes before a token."""
    if creds.username and creds.password:
        return {"username": creds.username, "password": creds.password, "token": ""}
    return {"token": creds.token} if creds.token else {}


def _authorities(creds: MlflowHostCreds, environ: Mapping[str, str], *, is_tls: bool) -> tuple[str, str | None]:
    """Return the variable that names what MLflow's own calls trust, and what it says."""
    if creds.server_cert_path or not is_tls:
        return "MLFLOW_TRACKING_SERVER_CERT_PATH", creds.server_cert_path
    found = next((name for name in _OF_REQUESTS if environ.get(name)), _OF_REQUESTS[0])
    return found, environ.get(found)


def _file(named: tuple[str, str | None], check: Callable[[Path], Path]) -> str:
    variable, path = named
    try:
        return str(check(Path(path))) if path else ""
    except trust.TrustError as error:
        raise SettingsError(f"{variable}={path!r} is not valid: {error}") from error


def _impossible(creds: MlflowHostCreds, *, is_tls: bool) -> Iterator[str]:
    if is_tls and creds.ignore_tls_verification:
        yield (
            "MLFLOW_TRACKING_INSECURE_TLS is only for MLflow's own calls: gRPC always checks certificates. "
            "Unless the server's is good, what is logged stays in the spool. MODELSTEAD_CA_FILE can name its authority."
        )
    if creds.auth or creds.aws_sigv4:
        variable = f"MLFLOW_TRACKING_{'AUTH' if creds.auth else 'AWS_SIGV4'}"
        yield (
            f"{variable} is only for MLflow's own calls: what is logged by gRPC carries MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or nothing."
        )


@cache
def _warn(text: str) -> None:
    _log.warning(text)
