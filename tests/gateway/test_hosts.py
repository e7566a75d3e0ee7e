"""Pages of other sites cannot reach the gateway through a visitor's browser."""

from pathlib import Path

import pytest

from services.common.auth import AuthKind
from services.gateway.hosts import Hosts
from services.gateway.settings import Settings


def hosts(auth: str = "none", *allowed: str) -> Hosts:
    return Hosts.of(Settings(auth=AuthKind(auth), tokens_file=Path("t"), allowed_hosts=allowed))


def status(of: Hosts, host: str | None, *, origin: str | None = None, method: str = "POST") -> int | None:
    headers = {name: value.encode() for name, value in ((b"host", host), (b"origin", origin)) if value is not None}
    refusal = of.refusal(method, headers)
    return refusal.status if refusal else None


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "127.0.0.1:8080", "[::1]", "[::1]:8080"])
def test_the_loopback_names_are_always_allowed(host: str) -> None:
    assert status(hosts(), host) is None
    assert status(hosts("tokens", "ml.example.org"), host) is None


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "1"]
)
def test_without_authentication_no_other_name_is(host: str | None) -> None:
    assert status(hosts(), host) == 403


def test_with_tokens_every_name_is() -> None:
    assert status(hosts("tokens"), "anything.example") is None
    assert status(hosts("tokens"), None) is None


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("ml.example.org", "ml.example.org", None),
        ("ml.example.org", "ml.example.org:443", None),
        ("ml.example.org:443", "ml.example.org:80", 403),
        ("*.example.org", "ml.example.org", None),
        ("*.example.org", "example.org.evil", 403),
        ("*", "evil.example", None),
        ("[fd00::*]", "[fd00::1]:80", None),
    ],
)
def test_a_setting_allows_more_names(pattern: str, host: str, expected: int | None) -> None:
    assert status(hosts("none", pattern), host) == expected


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:1", "https://ml.example"]
)
def test_pages_of_the_site_itself_and_of_the_machine_may_write(origin: str) -> None:
    assert status(hosts("tokens"), "ml.example", origin=origin) is None


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://localhost.evil.example", "http://[x"])
def test_pages_of_other_sites_may_not_write(origin: str) -> None:
    assert status(hosts("tokens"), "ml.example", origin=origin) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_pages_of_other_sites_may_ask_and_their_browser_shows_them_nothing(method: str) -> None:
    assert status(hosts("tokens"), "ml.example", origin="http://evil.example", method=method) is None


def test_pages_of_an_allowed_site_may_write() -> None:
    assert status(hosts("tokens", "*.example.org"), "api.example.org", origin="https://ui.example.org") is None
