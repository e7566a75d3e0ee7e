"""Browser sessions: a sealed cookie that stands for the `Authorization` header, on requests of our own pages only.

Nothing is kept of a session here: the cookie holds the header itself, encrypted, so every replica with the keys knows
it, and whoever is no longer let in by the header is no longer let in by the cookie.
"""

import dataclasses
import secrets
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.common.secret_files import Derived, Secret, words_of
from services.gateway.replies import Header
from services.gateway.requests import Request

# `__Host-`: browsers take it only over a secure connection or loopback, for this host alone, and for all its paths.
COOKIE = "__Host-modelstead-session"
_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
# Longer ones make a cookie that browsers do not keep.
AUTHORIZATION_LENGTH_MAX = 2048
_READING = frozenset({"GET", "HEAD"})


class Sessions:
    """Begins sessions, and knows them again. Without `keys` there is one that lasts as long as the process; a secret
    that holds them has commas between them.

    Raises ValueError for what is no key. `now` is the time in seconds since the Unix epoch.
    """

    def __init__(self, keys: Sequence[str] | Secret, *, lifetime_s: int, now: Callable[[], float]) -> None:
        secret = keys if isinstance(keys, Secret) else Secret(",".join(keys))
        own = (secrets.token_urlsafe(32),)
        self._ciphers = Derived(secret, lambda text: ciphers(words_of(text) or own))
        self._lifetime_s = lifetime_s
        self._now = now

    def begin(self, authorization: str) -> Header:
        """Return the header that has a browser hold a session; it ends by itself after its lifetime."""
        assert len(authorization) <= AUTHORIZATION_LENGTH_MAX
        sealed = self._ciphers().encrypt_at_time(authorization.encode(), int(self._now())).decode()
        return (b"set-cookie", f"{COOKIE}={sealed}; {_ATTRIBUTES}; Max-Age={self._lifetime_s}".encode())

    def end(self) -> Header:
        """Return the header that has a browser forget its session."""
        return (b"set-cookie", f"{COOKIE}=; {_ATTRIBUTES}; Max-Age=0".encode())

    def recognise(self, request: Request) -> Request:
        """Return the request as if the browser had sent the session's header itself.

        As it is, if it has credentials of its own, no session, one that is over, or was not sent by a page of ours: in
        that case the cookie counts as none.
        """
        if b"cookie" not in request.headers or b"authorization" in request.headers or not is_own(request):
            return request
        authorization = self._opened(_cookie(request))
        if authorization is None:
            return request
        return dataclasses.replace(request, headers={**request.headers, b"authorization": authorization})

    def _opened(self, sealed: str) -> bytes | None:
        try:
            return self._ciphers().decrypt_at_time(sealed, self._lifetime_s, int(self._now()))
        except (InvalidToken, ValueError):
            # ValueError is what a character has that is none of base64's.
            return None


def ciphers(keys: Sequence[str]) -> MultiFernet:
    """Return what seals under the first of these keys and opens under all. A key is 32 bytes in URL-safe base64.

    Raises ValueError for what is no key.
    """
    return MultiFernet([Fernet(_padded(key)) for key in keys])


def has_cookie(request: Request) -> bool:
    """Whether a browser sent a session, be it over or not its to send."""
    return COOKIE.encode() in request.headers.get(b"cookie", b"")


def is_own(request: Request) -> bool:
    """Whether a browser says that a page of ours sent the request or, of one that only reads, the user himself."""
    site = request.headers.get(b"sec-fetch-site")
    if site == b"none":
        return request.method in _READING
    return site == b"same-origin" and has_own_origin(request)


def has_own_origin(request: Request) -> bool:
    """Whether the request's `Origin`, if it has one, is the host that it addresses."""
    origin = request.header(b"origin")
    if origin is None:
        return True
    try:
        sender = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    return bool(sender) and sender == (request.header(b"host") or "").lower()


def _cookie(request: Request) -> str:
    """Return what the session's cookie holds, whatever others stand before it: http.cookies gives up at the first that
    it does not understand, and any page of the host's domain may have set one.
    """
    pairs = (pair.strip().partition("=") for pair in (request.header(b"cookie") or "").split(";"))
    return next((value for name, _, value in pairs if name == COOKIE), "")


def _padded(key: str) -> str:
    return key + "=" * (-len(key) % 4)
