"""How a service comes to have several processes on one address: it checks its settings and becomes their parent.

Each worker is a replica like any other, whose settings its parent has written: it takes its share of what is one amount
for the whole service, and listens beside the others by SO_REUSEPORT.
"""

import dataclasses
import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol

from services.common import settings
from services.common.logs import LogFormat
from services.common.prefork.bounds import WORKERS_MAX
from services.common.secret_files import Secret
from services.common.settings import Address, SettingsError, variable

_PARENT = "services.common.prefork"
_SHARED_ADDRESSES = ("listen", "health_listen")


class PreforkSettings(Protocol):
    """What of a service's settings is about its workers."""

    @property
    def workers(self) -> int: ...
    @property
    def worker(self) -> int | None: ...
    @property
    def listen(self) -> Address: ...
    @property
    def metrics_listen(self) -> Address | None: ...
    @property
    def log_format(self) -> LogFormat: ...


def becomes_parent(config: PreforkSettings) -> bool:
    """Whether this process is not to serve, but to start others that do. Raises SettingsError."""
    if not 1 <= config.workers <= WORKERS_MAX:
        raise SettingsError(f"{variable('workers')}={config.workers} is not valid: expected 1 to {WORKERS_MAX}.")
    return config.workers > 1 and config.worker is None


def shares_port(config: PreforkSettings) -> bool:
    """Whether other workers listen on the same address."""
    return config.workers > 1


def become_parent(config: PreforkSettings, module: str, *, environ: Mapping[str, str]) -> NoReturn:
    """Have this process, which has done what is done once, start workers of a module such as `services.tracking` and
    look after them. It keeps its id. Raises SettingsError.

    By exec: what was imported to come here is given back, and nothing that gRPC has started is forked.
    """
    addresses = {name: getattr(config, name, None) for name in _SHARED_ADDRESSES}
    common = {variable(name): str(_reserve(address, name)) for name, address in addresses.items() if address}
    variables = [common | variables_of(config, number) for number in range(config.workers)]
    for own in variables:
        # A share that is too small for one worker is said by whoever set it, not by the worker.
        settings.load(type(config), {**environ, **own})
    options = ["-P"] if sys.flags.safe_path else []
    log_format = "json" if _logs_json(config.log_format) else "text"
    command = [sys.executable, *options, "-m", _PARENT, module, log_format, json.dumps(variables)]
    os.execve(sys.executable, command, {**environ, **_secrets(config, environ)})  # noqa: S606 - our own module


def variables_of(config: PreforkSettings, number: int) -> dict[str, str]:
    """Return the variables in which a worker's environment differs from that of others and of its parent."""
    own = {variable("worker"): str(number)}
    if hasattr(config, "migrate_on_start"):
        own[variable("migrate_on_start")] = "false"
    if config.metrics_listen is not None and config.metrics_listen.port:
        # Each is scraped by itself, as replicas are.
        metrics = dataclasses.replace(config.metrics_listen, port=config.metrics_listen.port + number)
        own[variable("metrics_listen")] = str(metrics)
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        least = settings.least_share(field)
        if least is not None:
            own[variable(field.name)] = str(max(least, getattr(config, field.name) // config.workers))
    return own


def _secrets(config: Any, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what workers must agree on and nobody has set: they stay out of the command line."""
    keys: Secret | None = getattr(config, "session_keys", None)
    name = variable("session_keys")
    # A file may be written later, and would not be read if the variable were set.
    if keys is None or keys.read() or environ.get(f"{name}_FILE"):
        return {}
    return {name: secrets.token_urlsafe(32)}


def _reserve(listen: Address, name: str) -> Address:
    """Keep the port of a setting for the workers, and return it with its number. Raises SettingsError if it is taken.

    The socket is bound and never listens, so no connection comes to it; it stays open in the parent.
    """
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    address = (listen.host, listen.port)
    try:
        # Workers of another service would let us in beside them.
        with socket.socket(family) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        kept = socket.socket(family)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(address)
    except OSError as error:
        raise SettingsError(
            f"{variable(name)}={listen} cannot be listened on ({error.strerror or error}); is the port taken?"
        ) from error
    kept.set_inheritable(True)
    port: int = kept.getsockname()[1]
    kept.detach()
    return Address(listen.host, port)


def _logs_json(log_format: LogFormat) -> bool:
    return log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not sys.stdout.isatty())
