"""Keeps web pages of other origins away: which names the gateway may be addressed by, and from which pages."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from services.common.auth import AuthKind
from services.gateway.replies import TEXT, Reply
from services.gateway.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_ANY = ("*",)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

# As MLflow 3.18, security_utils.py.
_INVALID_HOST = Reply(status=403, body=b"Invalid Host header - possible DNS rebinding attack detected", media_type=TEXT)
_CROSS_ORIGIN = Reply(status=403, body=b"Cross-origin request blocked", media_type=TEXT)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Names, with or without a port, under which the gateway may be addressed; `*` stands for any text."""

    allowed: tuple[str, ...]

    @classmethod
    def of(cls, settings: Settings) -> "Hosts":
        """Return the names that the settings allow: without authentication, by default, only the loopback's.

        A page that rebinds its own name to 127.0.0.1 is of the same origin for a browser, but sends that name.
        """
        if settings.allowed_hosts or settings.auth is not AuthKind.TOKENS:
            return cls((*_LOOPBACK, *settings.allowed_hosts))
        return cls(_ANY)

    def refusal(self, method: str, headers: Mapping[bytes, bytes]) -> Reply | None:
        """Return the answer to a request that must not be served, None for one that may."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._allows(host):
            return _INVALID_HOST
        origin = headers.get(b"origin")
        if origin is None or method in _READING or self._is_ours(origin.decode("latin-1").lower(), host):
            return None
        return _CROSS_ORIGIN

    def _allows(self, host: str) -> bool:
        if self.allowed == _ANY:
            return True
        name = _without_port(host)
        if name in self.allowed:
            # As nearly always, and a hundredth of what a match of patterns costs.
            return True
        return any(fnmatchcase(host, _literal(p)) or fnmatchcase(name, _literal(p)) for p in self.allowed)

    def _is_ours(self, origin: str, host: str) -> bool:
        try:
            sender = urlsplit(origin).netloc
        except ValueError:
            return False
        return sender == host or _without_port(sender) in _LOOPBACK or (self.allowed != _ANY and self._allows(sender))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _literal(pattern: str) -> str:
    return pattern.lower().replace("[", "[[]")
