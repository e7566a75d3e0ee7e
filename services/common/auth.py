"""Tells who is calling. Two providers: `none` (everyone is anonymous) and `tokens` (a file of named API keys).

Users, roles and grants will hang on `Caller` and on the access stage of the pipeline, not here.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from services.common.errors import Unauthenticated
from services.common.settings import Address, SettingsError

_HEADER_LENGTH_MAX = 8192


class AuthKind(Enum):
    """How callers are known."""

    NONE = "none"
    TOKENS = "tokens"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who is calling; `name` is what logs, idempotency keys and, later, grants know them by."""

    name: str


ANONYMOUS = Caller(name="anonymous")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asker:
    """On whose behalf another service is asked: the caller's `Authorization` header, if any, and the id of the call."""

    authorization: str | None = field(default=None, repr=False)
    request_id: str = ""


class Authenticator(Protocol):
    """Turns the `Authorization` header, or its absence, into a caller."""

    def authenticate(self, authorization: str | None) -> Caller:
        """Return the caller. Raises Unauthenticated."""


class NoAuthentication:
    """Takes everyone for anonymous, whatever they send."""

    def authenticate(self, authorization: str | None) -> Caller:
        return ANONYMOUS


class TokenFile:
    """Knows callers by API keys: lines `name:sha256 in hex`, `#` starts a comment.

    A key is taken as `Bearer <key>` or as the password of HTTP Basic with any user name. The file is read again
    when its time or size changes, so that a mounted secret can be rotated; a file that has become unreadable or
    malformed keeps the last good keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._current_stamp()
        self._names = _read_keys(path)

    def authenticate(self, authorization: str | None) -> Caller:
        key = _key_of(authorization)
        if key is None:
            raise Unauthenticated("You are not authenticated.")
        self._reload_if_changed()
        name = self._names.get(hashlib.sha256(key.encode()).hexdigest())
        if name is None:
            raise Unauthenticated("You are not authenticated.")
        return Caller(name=name)

    def _current_stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size

    def _reload_if_changed(self) -> None:
        stamp = self._current_stamp()
        if stamp is None or stamp == self._stamp:
            return
        try:
            self._names = _read_keys(self._path)
        except SettingsError:
            return
        self._stamp = stamp


def authenticator(kind: AuthKind, *, tokens_file: Path | None, listen: Address) -> Authenticator:
    """Build the provider that the settings name. Raises SettingsError, also for `none` beyond loopback."""
    if kind is AuthKind.TOKENS:
        if tokens_file is None:
            raise SettingsError("MODELSTEAD_TOKENS_FILE is not set, but MODELSTEAD_AUTH=tokens needs it.")
        return TokenFile(tokens_file)
    if not listen.is_loopback:
        raise SettingsError(
            f"MODELSTEAD_AUTH=none is refused with MODELSTEAD_LISTEN={listen}: without authentication only a loopback "
            "address may be listened on. Set MODELSTEAD_AUTH=tokens and MODELSTEAD_TOKENS_FILE."
        )
    return NoAuthentication()


def _read_keys(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"MODELSTEAD_TOKENS_FILE: cannot read {path}.") from error
    names: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        name, _, digest = entry.rpartition(":")
        if not name or len(digest) != 64 or not _is_hex(digest):
            raise SettingsError(f"MODELSTEAD_TOKENS_FILE: line {number} is not `name:sha256 in hex`.")
        names[digest.lower()] = name
    return names


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)


def _key_of(authorization: str | None) -> str | None:
    if authorization is None or len(authorization) > _HEADER_LENGTH_MAX:
        return None
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded.partition(":")[2] or None
