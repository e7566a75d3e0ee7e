"""The console over HTTP: who gets which page, what its headers forbid, and that no other site can make it act."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.common.auth import AuthKind
from services.gateway import limits
from services.gateway.sessions import COOKIE
from tests.gateway.conftest import API_KEY
from tests.gateway.harness import Platform, platform

pytestmark = pytest.mark.usefixtures("lingering")

OWN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "navigate"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
ELSEWHERE = {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}
STATIC = re.compile(r'(?:href|src)="(/console/static/[^"]+)"')


async def sign_in(platform: Platform, key: str = API_KEY, **fields: str) -> httpx.Response:
    return await platform.client.post("/console/login", data={"key": key, **fields}, headers=OWN)


def cookie_of(answer: httpx.Response) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


@pytest.fixture
async def session(guarded: Platform) -> dict[str, str]:
    """The headers of a browser that alice has signed in with."""
    answer = await sign_in(guarded)
    guarded.client.cookies.clear()
    return {"cookie": cookie_of(answer), **OWN}


@contextlib.contextmanager
def taken_away(tokens_file: Path) -> Iterator[None]:
    """Let nobody in who was let in before, for the length of the block."""
    kept = tokens_file.read_text()
    tokens_file.write_text(f"bob:{'0' * 64}\n")
    try:
        yield
    finally:
        tokens_file.write_text(kept)


async def test_every_page_forbids_what_it_does_not_need(running: Platform) -> None:
    for path in ("/console/", "/console/models", "/console/nothing"):
        headers = (await running.client.get(path)).headers

        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        for part in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'", "script-src 'self';"):
            assert part in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert headers["cross-origin-opener-policy"] == "same-origin"


async def test_pages_have_no_inline_scripts_or_styles(running: Platform) -> None:
    body = (await running.client.get("/console/nothing")).text

    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", body) is None


async def test_static_files_are_kept_for_good_under_an_address_that_changes(running: Platform) -> None:
    addresses = STATIC.findall((await running.client.get("/console/nothing")).text)

    assert len(addresses) >= 2
    for address in addresses:
        answer = await running.client.get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-encoding"] == "gzip"
        plain = await running.client.get(address, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content


async def test_another_releases_address_of_a_file_is_not_kept(running: Platform) -> None:
    answer = await running.client.get("/console/static/0123456789ab/console.css")

    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "console.css/", "", "nothing.css"])
async def test_nothing_but_static_files_is_served_as_such(running: Platform, path: str) -> None:
    answer = await running.raw(
        f"GET /console/static/x/{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode()
    )

    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_a_service_that_is_away_is_told_as_a_page(own: Platform) -> None:
    await own.backend.stop()

    answer = await own.client.get("/console/")

    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert "Not available at the moment" in answer.text


async def test_the_console_without_its_slash_leads_to_it(running: Platform) -> None:
    answer = await running.client.get("/console")

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")


async def test_where_everyone_is_let_in_there_is_no_login(running: Platform) -> None:
    assert (await running.client.get("/console/login")).status_code == 404


async def test_a_stranger_is_sent_to_the_login_and_back(guarded: Platform) -> None:
    answer = await guarded.client.get("/console/models?q=a%20b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=models%3Fq%3Da%2520b")

    page = await guarded.client.get(answer.headers["location"])
    assert 'name="next" value="models?q=a%20b"' in page.text
    signed_in = await sign_in(guarded, next="models?q=a%20b")
    assert signed_in.headers["location"] == "/console/login/check?next=models%3Fq%3Da%2520b"
    checked = await guarded.client.get(signed_in.headers["location"], headers={"cookie": cookie_of(signed_in), **OWN})

    assert (checked.status_code, checked.headers["location"]) == (303, "/console/models?q=a%20b")


async def test_a_wrong_key_is_told_beside_its_field(guarded: Platform) -> None:
    answer = await sign_in(guarded, key="wrong")

    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers
    assert 'aria-invalid="true"' in answer.text
    assert "No caller is known by this key." in answer.text
    assert "wrong" not in answer.text


@pytest.mark.parametrize("path", ["//evil.example", "../../x", "\\evil", "a\r\nset-cookie: x=y", "%0d%0a"])
async def test_a_login_leads_nowhere_but_to_the_console(guarded: Platform, session: dict[str, str], path: str) -> None:
    answer = await guarded.client.get("/console/login/check", params={"next": path}, headers=session)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/console/")
    assert ".." not in answer.headers["location"]
    assert answer.headers.get("set-cookie") is None


async def test_a_session_opens_pages_and_the_api(guarded: Platform, session: dict[str, str]) -> None:
    page = await guarded.client.get("/console/nothing", headers=session)
    assert page.status_code == 404
    assert "alice" in page.text

    answer = await guarded.client.get("/ajax-api/2.0/mlflow/runs/get?run_id=a", headers=session)

    assert answer.status_code == 200
    assert guarded.script.metadata["authorization"] == f"Bearer {API_KEY}"
    assert "cookie" not in guarded.script.metadata


@pytest.mark.parametrize("site", ["cross-site", "same-site", None])
async def test_the_api_takes_no_session_from_pages_of_others(
    guarded: Platform, session: dict[str, str], site: str | None
) -> None:
    headers = {"cookie": session["cookie"]} | ({"sec-fetch-site": site} if site else {})
    body = {"name": "fraud"}

    read = await guarded.client.get("/api/2.0/mlflow/runs/get?run_id=a", headers=headers)
    deleted = await guarded.client.request(
        "DELETE", "/api/2.0/mlflow/registered-models/delete", json=body, headers=headers
    )

    assert (read.status_code, deleted.status_code) == (401, 401)
    assert guarded.script.requests == []


async def test_a_session_changes_things_by_the_api_from_our_own_origin_only(
    guarded: Platform, session: dict[str, str]
) -> None:
    async def delete(origin: str) -> int:
        answer = await guarded.client.request(
            "DELETE",
            "/api/2.0/mlflow/registered-models/delete",
            json={"name": "fraud"},
            headers={**session, "origin": origin},
        )
        return answer.status_code

    assert await delete(guarded.url) == 200
    # Another port of this machine is another's page, whatever the API lets callers with credentials of their own do.
    assert await delete("http://127.0.0.1:1") == 401


@pytest.mark.parametrize("path", ["login", "logout", "policy", "models/a/versions/1/approve", "models/a/policy/delete"])
@pytest.mark.parametrize(
    "headers",
    [
        ELSEWHERE,
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {},
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:1"},
    ],
)
async def test_no_form_of_others_does_anything(
    guarded: Platform, session: dict[str, str], path: str, headers: dict[str, str]
) -> None:
    sent = {"cookie": session["cookie"], **headers}

    answer = await guarded.client.post(f"/console/{path}", data={"key": API_KEY}, headers=sent)

    assert answer.status_code in (303, 403)
    assert answer.headers.get("location", "/console/login") == "/console/login"
    assert "set-cookie" not in answer.headers
    assert guarded.script.requests == []


async def test_no_form_of_others_does_anything_where_everyone_is_let_in(running: Platform) -> None:
    data = {"policy_yaml": "stages: [a]"}

    answer = await running.client.post("/console/policy", data=data, headers={"sec-fetch-site": "cross-site"})

    assert answer.status_code == 403
    assert running.script.requests == []


async def test_a_link_on_another_site_comes_in_by_a_detour_of_our_own(
    guarded: Platform, session: dict[str, str]
) -> None:
    answer = await guarded.client.get("/console/models", headers={"sec-fetch-site": "cross-site"})

    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in answer.text


async def test_signing_out_ends_the_session(guarded: Platform, session: dict[str, str]) -> None:
    answer = await guarded.client.post("/console/logout", content=b"", headers={**session, **FORM})

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}=; ")
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_for_development_a_name_will_do() -> None:
    async with platform(auth=AuthKind.DEV) as trusting:
        page = await trusting.client.get("/console/login")
        nobody = await trusting.client.post("/console/login", data={"name": " "}, headers=OWN)
        known = await trusting.client.post("/console/login", data={"name": "Åsa", "groups": "leads, risk"}, headers=OWN)
        headers = {"cookie": cookie_of(known), **OWN}
        seen = await trusting.client.get("/console/nothing", headers=headers)
        out = await trusting.client.post("/console/logout", content=b"", headers={**headers, **FORM})

    assert "API key" not in page.text
    assert (nobody.status_code, "Say who you are." in nobody.text) == (400, True)
    assert '<span title="leads, risk">Åsa</span>' in seen.text
    assert out.headers["location"] == "/console/"


async def test_a_browser_that_keeps_no_session_is_told(guarded: Platform) -> None:
    answer = await guarded.client.get("/console/login/check?next=models", headers=OWN)

    assert answer.status_code == 200
    assert "Your browser keeps no session" in answer.text


async def test_a_browser_whose_session_is_over_asks_for_no_password_by_itself(
    guarded: Platform, session: dict[str, str]
) -> None:
    path = "/ajax-api/2.0/mlflow/runs/get?run_id=a"
    over = await guarded.client.get(path, headers={"cookie": f"{COOKIE}=over", **OWN})
    client = await guarded.client.get(path)

    assert (over.status_code, "www-authenticate" in over.headers) == (401, False)
    assert (client.status_code, "www-authenticate" in client.headers) == (401, True)


async def test_a_key_that_was_taken_away_ends_its_sessions(
    guarded: Platform, session: dict[str, str], tokens_file: Path
) -> None:
    with taken_away(tokens_file):
        answer = await guarded.client.get("/console/models", headers=session)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/login?next=models")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b"key=a", "headers": {"content-type": "text/plain"}}, 400),
        ({"json": {"key": "a"}}, 400),
        ({"data": {f"f{number}": "x" for number in range(limits.FORM_FIELDS_MAX + 1)}}, 400),
        ({"content": b"key=%ff", "headers": FORM}, 400),
        ({"data": {"key": "a" * (limits.FORM_BYTES_MAX + 1)}}, 413),
    ],
)
async def test_a_form_is_bounded_and_well_formed(guarded: Platform, sent: dict[str, Any], status: int) -> None:
    headers = {**OWN, **sent.pop("headers", {})}

    answer = await guarded.client.post("/console/login", headers=headers, **sent)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")


async def test_pages_answer_to_get_and_their_own_forms_only(running: Platform) -> None:
    assert (await running.client.request("DELETE", "/console/models", headers=OWN)).status_code == 405
    assert (await running.client.post("/console/models", data={}, headers=OWN)).status_code == 405
    assert (await running.client.post("/console/nothing", data={}, headers=OWN)).status_code == 404


async def test_a_host_that_is_not_ours_gets_no_page(running: Platform) -> None:
    answer = await running.client.get("/console/", headers={"host": "rebound.example"})

    assert answer.status_code == 403


async def test_a_form_that_does_not_come_takes_nobodys_turn(tokens_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGES_PER_CALLER_MAX", 1)
    head = "\r\n".join(f"{name}: {value}" for name, value in {"host": "localhost", **OWN, **FORM}.items())

    async with platform(tokens_file=tokens_file) as own:
        _, writer = await asyncio.open_connection("127.0.0.1", own.port)
        writer.write(f"POST /console/login HTTP/1.1\r\n{head}\r\ncontent-length: 1000\r\n\r\nk".encode())
        # Many, as it is not known when the form has begun to be awaited.
        answers = [await own.client.get("/console/login") for _ in range(50)]
        writer.close()

    assert {answer.status_code for answer in answers} == {200}
