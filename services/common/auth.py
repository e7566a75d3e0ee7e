"""Tells who is calling. Three providers: `none` (everyone is anonymous), `tokens` (a file of named API keys) and `dev`
(callers are who they say they are).

Users, roles and grants will hang on `Caller` and on the access stage of the pipeline, not here.
"""

import base64
import hashlib
import logging
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from services.common.errors import Unauthenticated
from services.common.settings import Address, SettingsError

_HEADER_LENGTH_MAX = 8192

_log = logging.getLogger("modelstead.auth")


class AuthKind(Enum):
    """How callers are known."""

    NONE = "none"
    TOKENS = "tokens"
    DEV = "dev"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who is calling; `name` is what logs, idempotency keys and grants know them by."""

    name: str
    groups: frozenset[str] = frozenset()


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


class TrustingAuthentication:
    """Takes callers for whom they say they are: the user name of HTTP Basic, with the groups as its password, or
    `Bearer <name>:<groups>`; groups are separated by commas. Who says nothing is anonymous.
    """

    def authenticate(self, authorization: str | None) -> Caller:
        name, _, groups = (_credentials_of(authorization) or "").partition(":")
        return Caller(name=name, groups=_groups_of(groups)) if name else ANONYMOUS


class TokenFile:
    """Knows callers by API keys: lines `name:sha256 in hex` or `name:group,group:sha256 in hex`, `#` starts a comment.

    A key is taken as `Bearer <key>` or as the password of HTTP Basic with any user name. The file is read again
    when its time or size changes, so that a mounted secret can be rotated; a file that has become unreadable or
    malformed keeps the last good keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._current_stamp()
        self._callers = _read_keys(path)

    def authenticate(self, authorization: str | None) -> Caller:
        key = _key_of(authorization)
        if key is None:
            raise Unauthenticated("You are not authenticated.")
        self._reload_if_changed()
        caller = self._callers.get(hashlib.sha256(key.encode()).hexdigest())
        if caller is None:
            raise Unauthenticated("You are not authenticated.")
        return caller

    def _current_stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _reload_if_changed(self) -> None:
        stamp = self._current_stamp()
        if stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._callers = _read_keys(self._path)
        except SettingsError as error:
            _log.error("the file of tokens that was changed is not valid, the one before stays in use: %s", error)


def authenticator(kind: AuthKind, *, tokens_file: Path | None, listen: Address) -> Authenticator:
    """Build the provider that the settings name. Raises SettingsError, also for `none` and `dev` beyond loopback."""
    if kind is AuthKind.TOKENS:
        if tokens_file is None:
            raise SettingsError("MODELSTEAD_TOKENS_FILE is not set, but MODELSTEAD_AUTH=tokens needs it.")
        return TokenFile(tokens_file)
    if not listen.is_loopback:
        raise SettingsError(
            f"MODELSTEAD_AUTH={kind.value} is refused with MODELSTEAD_LISTEN={listen}: without authentication only a "
            "loopback address may be listened on. Set MODELSTEAD_AUTH=tokens and MODELSTEAD_TOKENS_FILE."
        )
    return TrustingAuthentication() if kind is AuthKind.DEV else NoAuthentication()


def _read_keys(path: Path) -> dict[str, Caller]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"MODELSTEAD_TOKENS_FILE: cannot read {path}.") from error
    callers: dict[str, Caller] = {}
    for number, line in enumerate(lines, 1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        who, _, digest = entry.rpartition(":")
        name, _, groups = who.partition(":")
        if not name or len(digest) != 64 or not _is_hex(digest):
            raise SettingsError(f"MODELSTEAD_TOKENS_FILE: line {number} is not `name:sha256 in hex`.")
        callers[digest.lower()] = Caller(name=name, groups=_groups_of(groups))
    return callers


def _groups_of(text: str) -> frozenset[str]:
    return frozenset(group for item in text.split(",") if (group := item.strip()))


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdefABCDEF" for character in text)


def _key_of(authorization: str | None) -> str | None:
    """Return the API key: a bearer's token, or the password of HTTP Basic."""
    credentials = _credentials_of(authorization)
    if credentials is None or _is_bearer(authorization):
        return credentials
    return credentials.partition(":")[2] or None


def _credentials_of(authorization: str | None) -> str | None:
    """Return what a header tells: a bearer's token as it is, `user:password` of HTTP Basic."""
    if authorization is None or len(authorization) > _HEADER_LENGTH_MAX:
        return None
    scheme, _, credentials = authorization.partition(" ")
    if _is_bearer(authorization):
        return credentials.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:
        # Of base64, of UTF-8, or of a character that is not ASCII.
        return None


def _is_bearer(authorization: str | None) -> bool:
    return authorization is not None and authorization.partition(" ")[0].lower() == "bearer"
