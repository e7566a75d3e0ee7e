"""Reads a service's frozen settings dataclass from `MODELSTEAD_*` variables; nothing else touches the environment."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from services.common.secret_files import Secret, words_of

_T = TypeVar("_T")
PREFIX = "MODELSTEAD_"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_DNS = "dns://"
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class SettingsError(Exception):
    """A variable is missing or wrong. The text names it and says what is expected; it is meant for an operator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port; port 0 lets the system choose. `dns_server` is who is asked where the host is, if that is
    not for the system to know.
    """

    host: str
    port: int
    dns_server: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return self.host in _LOOPBACK_HOSTS

    @property
    def target(self) -> str:
        """Under what gRPC connects there: to all addresses that the host has."""
        return f"dns://{self.dns_server}/{self}"

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse `host:port`, `[v6]:port` or `dns://server:port/host:port`. Raises ValueError."""
        server = ""
        if text.startswith(_DNS):
            server, _, text = text.removeprefix(_DNS).partition("/")
        host, colon, port = text.rpartition(":")
        host = host.strip("[]")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("expected host:port, as 127.0.0.1:8081")
        return cls(host, int(port), server)


def variable(field_name: str) -> str:
    """Return the environment variable that sets a field."""
    return PREFIX + field_name.upper()


def secret(*, default: Any = dataclasses.MISSING) -> Any:
    """Declare a field that may also come from a file named by the variable with `_FILE` appended.

    As a `Secret` it is read again when the file changes.
    """
    return dataclasses.field(default=default, metadata={"secret": True})


def shared(default: int, *, least: int) -> Any:
    """Declare a field whose amount is that of all workers of a service together; each has its part, or `least`."""
    return dataclasses.field(default=default, metadata={"least_share": least})


def least_share(field: "dataclasses.Field[Any]") -> int | None:
    """Return the least that a worker has of what is shared; None if it is not."""
    return field.metadata.get("least_share")


def load(cls: type[_T], environ: Mapping[str, str]) -> _T:
    """Build `cls`, a frozen dataclass, from the environment. Raises SettingsError at the first wrong variable."""
    hints = typing.get_type_hints(cls)
    values = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = _value(field, environ, hints[field.name])
        if value is not None:
            values[field.name] = value
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SettingsError(f"{variable(field.name)} is not set, and there is no default for it.")
    return cls(**values)


def _value(field: "dataclasses.Field[Any]", environ: Mapping[str, str], hint: Any) -> Any:
    """Return what the environment sets, None if it does not."""
    name = variable(field.name)
    if text := environ.get(name):
        return _parse(field, text, hint)
    path = environ.get(f"{name}_FILE") if field.metadata.get("secret") else None
    if not path:
        return None
    try:
        read = Secret.of_file(Path(path))
    except OSError as error:
        raise SettingsError(f"{name}_FILE: cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{name}_FILE: {path} is no text in UTF-8.") from None
    return read


def _parse(field: "dataclasses.Field[Any]", text: str, hint: Any) -> Any:
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in hint.__args__ if arm is not type(None))
    try:
        return _convert(text, hint)
    except ValueError as error:
        shown = "<not shown>" if field.metadata.get("secret") else repr(text)
        raise SettingsError(f"{variable(field.name)}={shown} is not valid: {error}.") from error


def _convert(text: str, hint: Any) -> Any:
    if hint is bool:
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError("expected true or false")
        return text.lower() in _TRUE
    if hint is Address:
        return Address.parse(text)
    if isinstance(hint, type) and issubclass(hint, Enum):
        # Members that are numbers are given by their names.
        members = {str(member.name if isinstance(member, int) else member.value): member for member in hint}
        if text not in members:
            raise ValueError(f"expected one of {', '.join(members)}")
        return members[text]
    if typing.get_origin(hint) is tuple:
        return words_of(text)
    return hint(text)
