"""The files of MLflow's web UI as the gateway serves them: found in a wheel, kept as long as is right, safe."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway.ui import wheel
from services.gateway.ui.pages import Compressed
from tests.gateway.harness import Platform, platform

SCRIPT = "export const a = 'ä';\n" * 100


@pytest.fixture(scope="session")
def ui_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wheel(tmp_path_factory.mktemp("wheel"), "3.18.0")


def make_wheel(folder: Path, version: str) -> Path:
    """Lay out what matters of MLflow's wheel, installed in a folder."""
    metadata = folder / f"mlflow-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: mlflow\nVersion: {version}\n")
    build = folder / "mlflow" / "server" / "js" / "build"
    (build / "static" / "js").mkdir(parents=True)
    (build / "index.html").write_text("<!doctype html><title>MLflow</title>")
    (build / "favicon.ico").write_bytes(b"icon")
    (build / "static" / "js" / "main.0123abcd.js").write_text(SCRIPT, encoding="utf-8")
    (folder / "mlflow" / "__init__.py").write_text("raise AssertionError('imported')")
    return folder


@pytest.fixture(scope="session")
async def served(ui_folder: Path) -> AsyncIterator[Platform]:
    async with platform(ui_folder=ui_folder) as running:
        yield running


async def test_the_ui_is_the_first_page(served: Platform) -> None:
    response = await served.client.get("/")

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>MLflow</title>" in response.text


async def test_without_it_the_first_page_says_how_to_add_it(running: Platform) -> None:
    response = await running.client.get("/")

    assert "modelstead ui install" in response.text
    assert (await running.client.get("/static-files/index.html")).status_code == 404


async def test_what_can_change_is_asked_for_again(served: Platform) -> None:
    for path in ("/", "/static-files/favicon.ico"):
        first = await served.client.get(path)
        again = await served.client.get(path, headers={"if-none-match": first.headers["etag"]})
        other = await served.client.get(path, headers={"if-none-match": 'W/"other"'})

        assert first.headers["cache-control"] == "no-cache"
        assert (again.status_code, again.content, other.status_code) == (304, b"", 200)
        assert again.headers["etag"] == first.headers["etag"]


async def test_what_its_name_tells_is_kept_for_good(served: Platform) -> None:
    response = await served.client.get("/static-files/static/js/main.0123abcd.js")

    assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_text_is_compressed_for_those_who_can_read_it(served: Platform) -> None:
    path = "/static-files/static/js/main.0123abcd.js"
    packed = await served.client.get(path, headers={"accept-encoding": "gzip, br"})
    plain = await served.client.get(path, headers={"accept-encoding": "identity"})
    icon = await served.client.get("/static-files/favicon.ico")

    assert (packed.headers["content-encoding"], packed.text) == ("gzip", SCRIPT)
    assert int(packed.headers["content-length"]) < len(SCRIPT) / 10
    assert "content-encoding" not in plain.headers
    assert plain.text == SCRIPT
    assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in icon.headers


async def test_a_head_has_the_headers_and_no_body(served: Platform) -> None:
    response = await served.client.head("/static-files/favicon.ico")

    assert (response.status_code, response.content, response.headers["content-length"]) == (200, b"", "4")


async def test_scripts_come_from_files_of_this_server_only(served: Platform) -> None:
    for path in ("/", "/static-files/static/js/main.0123abcd.js"):
        headers = (await served.client.get(path)).headers
        policy = dict(each.split(" ", 1) for each in headers["content-security-policy"].split("; "))

        assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'")
        assert (policy["frame-ancestors"], policy["base-uri"]) == ("'self'", "'none'")
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")


@pytest.mark.parametrize(
    "path",
    [
        "/static-files/",
        "/static-files/nothing.js",
        "/static-files/../../../../__init__.py",
        "/static-files/..%2f..%2f..%2f..%2f__init__.py",
        "/static-files//etc/passwd",
        "/static-files/static/js",
    ],
)
async def test_nothing_else_is_a_file(served: Platform, path: str) -> None:
    answer = await served.raw(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_it_is_open_to_get_and_head_under_its_own_names_only(served: Platform) -> None:
    posted = await served.client.post("/static-files/favicon.ico")
    misnamed = await served.client.get("/", headers={"host": "elsewhere.example"})

    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
    assert misnamed.status_code == 403


async def test_pages_of_what_is_not_there_are_empty(served: Platform, running: Platform) -> None:
    path = "/ajax-api/3.0/mlflow/traces/search"

    assert (await served.client.post(path, json={})).json() == {"traces": []}
    assert (await served.client.get(path)).status_code == 405
    # Clients are told that there are no traces, rather than none.
    assert (await served.client.post("/api/3.0/mlflow/traces/search", json={})).status_code == 404
    assert (await running.client.post(path, json={})).status_code == 404


async def test_a_prefix_is_taken_off_or_was(ui_folder: Path) -> None:
    async with platform(ui_folder=ui_folder, root_path="/ml/flow") as own:
        for prefix in ("/ml/flow", ""):
            assert "MLflow" in (await own.client.get(f"{prefix}/")).text
            assert (await own.client.get(f"{prefix}/health")).text == "OK"
            run = await own.client.get(f"{prefix}/ajax-api/2.0/mlflow/runs/get?run_id=a")
            assert run.json()["run"]["info"]["run_id"] == "a"
        bare = await own.client.get("/ml/flow")
        other = await own.client.get("/ml/flower")

    assert (bare.status_code, bare.headers["location"]) == (308, "/ml/flow/")
    assert other.status_code == 404


def test_pages_of_another_version_are_not_served(tmp_path: Path) -> None:
    folder = make_wheel(tmp_path / "new", "3.18.1")

    found = wheel.find_pages(folder)

    assert found == folder / "mlflow" / "server" / "js" / "build"
    old = wheel.find_pages(make_wheel(tmp_path / "old", "3.17.2"))
    assert old is None or not old.is_relative_to(tmp_path)


async def test_what_is_held_compressed_is_bounded(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths:
        path.write_bytes(path.name.encode() * 50)
    compressed = Compressed(bytes_max=60)

    bodies = [await compressed.read(path) for path in (*paths, *paths)]

    assert [gzip.decompress(body) for body in bodies] == [path.read_bytes() for path in (*paths, *paths)]
    assert sum(map(len, compressed._held.values())) <= 60
