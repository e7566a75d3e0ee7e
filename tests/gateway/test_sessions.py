"""The session's cookie: when it stands for credentials, and that nobody else's page can use it."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest

from services.common.secret_files import Secret
from services.gateway import sessions
from services.gateway.requests import Request
from services.gateway.sessions import COOKIE, Sessions

KEYS = tuple(secrets.token_urlsafe(32) for _ in range(3))
LIFETIME_S = 3600
OWN = {"sec-fetch-site": "same-origin"}


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def request(method: str = "GET", **headers: str) -> Request:
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return Request(method=method, path="/", query=b"", headers={b"host": b"ml.example", **given}, request_id="r")


def begun(known: Sessions, authorization: str = "Bearer key") -> str:
    """The `Cookie` header of who has signed in."""
    _, header = known.begin(authorization)
    return header.decode().partition(";")[0]


def let_in(known: Sessions, cookie: str, method: str = "GET", **headers: str) -> str | None:
    return known.recognise(request(method, cookie=cookie, **headers)).authorization


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock: Clock) -> Sessions:
    return Sessions(KEYS[:1], lifetime_s=LIFETIME_S, now=clock)


def test_a_session_stands_for_the_credentials_that_it_began_with(known: Sessions) -> None:
    assert let_in(known, f"theme=dark; {begun(known)}; x=1", sec_fetch_site="same-origin") == "Bearer key"


@pytest.mark.parametrize("other", ['theme={"a":1}', "flag", "n[]=1", "name=é", "=", "", 'quoted="a b"', f"x{COOKIE}=1"])
def test_cookies_of_others_do_not_hide_it(known: Sessions, other: str) -> None:
    assert let_in(known, f"{other}; {begun(known)}; {other}", sec_fetch_site="same-origin") == "Bearer key"


def test_the_cookie_tells_nothing_of_what_is_in_it(known: Sessions) -> None:
    name, header = known.begin("Bearer key")

    assert name == b"set-cookie"
    value, *attributes = header.decode().split("; ")
    assert value.startswith(f"{COOKIE}=")
    assert "key" not in value
    assert set(attributes) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict", f"Max-Age={LIFETIME_S}"}
    assert COOKIE.startswith("__Host-")
    assert begun(known) != begun(known)


def test_a_session_ends_by_itself(known: Sessions, clock: Clock) -> None:
    cookie = begun(known)

    clock.now += LIFETIME_S
    assert let_in(known, cookie, sec_fetch_site="same-origin") == "Bearer key"
    clock.now += 1

    assert let_in(known, cookie, sec_fetch_site="same-origin") is None


def test_keys_are_rotated_without_signing_anybody_out(clock: Clock) -> None:
    before, during, after = (
        Sessions(keys, lifetime_s=LIFETIME_S, now=clock) for keys in (KEYS[:1], (KEYS[1], KEYS[0]), KEYS[1:2])
    )

    old = begun(before)
    assert let_in(during, old, sec_fetch_site="same-origin") == "Bearer key"
    assert let_in(after, begun(during), sec_fetch_site="same-origin") == "Bearer key"
    assert let_in(after, old, sec_fetch_site="same-origin") is None


def test_keys_that_a_file_has_are_read_again(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEYS[0])
    known = Sessions(Secret.of_file(file), lifetime_s=LIFETIME_S, now=clock)
    old = begun(known)

    file.write_text(f"{KEYS[1]},{KEYS[0]}")

    assert let_in(known, old, sec_fetch_site="same-origin") == "Bearer key"
    assert let_in(Sessions(KEYS[1:2], lifetime_s=LIFETIME_S, now=clock), begun(known), sec_fetch_site="same-origin")


@pytest.mark.parametrize("sealed", ["", "x", "gAAAAA==", "é", "a" * 5000])
def test_what_was_not_sealed_here_is_no_session(known: Sessions, sealed: str) -> None:
    assert let_in(known, f"{COOKIE}={sealed}", sec_fetch_site="same-origin") is None


def test_one_changed_character_is_no_session(known: Sessions) -> None:
    name, _, sealed = begun(known).partition("=")
    changed = sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:]

    assert let_in(known, f"{name}={changed}", sec_fetch_site="same-origin") is None


def test_credentials_of_the_request_count_more(known: Sessions) -> None:
    seen = known.recognise(request(cookie=begun(known), authorization="Bearer other", **OWN))

    assert seen.authorization == "Bearer other"


@pytest.mark.parametrize(
    ("method", "headers", "is_own"),
    [
        ("GET", {"sec_fetch_site": "same-origin"}, True),
        ("GET", {"sec_fetch_site": "none"}, True),
        ("POST", {"sec_fetch_site": "same-origin", "origin": "https://ml.example"}, True),
        ("POST", {"sec_fetch_site": "same-origin"}, True),
        ("GET", {}, False),
        ("POST", {"origin": "https://ml.example"}, False),
        ("POST", {"sec_fetch_site": "none"}, False),
        ("GET", {"sec_fetch_site": "same-site"}, False),
        ("GET", {"sec_fetch_site": "cross-site"}, False),
        ("POST", {"sec_fetch_site": "cross-site", "origin": "https://ml.example"}, False),
        ("POST", {"sec_fetch_site": "same-origin", "origin": "https://evil.example"}, False),
        ("POST", {"sec_fetch_site": "same-origin", "origin": "https://ml.example:8443"}, False),
        ("POST", {"sec_fetch_site": "same-origin", "origin": "null"}, False),
        ("POST", {"sec_fetch_site": "same-origin", "origin": "http://[broken"}, False),
    ],
)
def test_only_our_own_pages_may_use_a_session(
    known: Sessions, method: str, headers: Mapping[str, str], is_own: bool
) -> None:
    assert let_in(known, begun(known), method, **headers) == ("Bearer key" if is_own else None)


def test_without_keys_sessions_are_those_of_one_process(clock: Clock) -> None:
    one, other = (Sessions((), lifetime_s=LIFETIME_S, now=clock) for _ in range(2))

    assert let_in(one, begun(one), sec_fetch_site="same-origin") == "Bearer key"
    assert let_in(other, begun(one), sec_fetch_site="same-origin") is None


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(ValueError):
        sessions.ciphers(["too-short"])
