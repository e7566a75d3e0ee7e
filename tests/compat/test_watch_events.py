"""What models stand at, told by server-sent events on the whole platform: a client that comes back misses nothing."""

import json
import threading
from collections.abc import Iterator

import httpx

from tests.compat.factories import unique
from tests.stack import Stack

API = "/api/2.0/mlflow"


def _new_model(client: httpx.Client) -> str:
    name = unique()
    client.post(f"{API}/registered-models/create", json={"name": name}).raise_for_status()
    for _ in range(2):
        client.post(f"{API}/model-versions/create", json={"name": name, "source": "s3://b/m"}).raise_for_status()
    return name


def _flip(client: httpx.Client, name: str, version: str) -> None:
    alias = {"name": name, "alias": "champion", "version": version}
    client.post(f"{API}/registered-models/alias", json=alias).raise_for_status()


def _events(answer: httpx.Response) -> Iterator[tuple[str, dict]]:  # type: ignore[type-arg]
    """Yield id and data of each event."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            assert fields["event"] == "model"
            yield fields["id"], json.loads(fields["data"])
            fields = {}


def _champion(event: dict) -> str | None:  # type: ignore[type-arg]
    versions = event["model"].get("versions", [])
    return next((version["version"] for version in versions if "champion" in version.get("aliases", [])), None)


def test_a_client_that_comes_back_again_and_again_misses_nothing(stack: Stack) -> None:
    flips, seen, last_id = 60, [], ""
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        names = [_new_model(client), _new_model(client)]

        def flip_all() -> None:
            for number in range(flips):
                _flip(client, names[number % 2], str(1 + number // 2 % 2))

        flipping = threading.Thread(target=flip_all)
        flipping.start()
        final = dict.fromkeys(names, (3 + flips // 2, "2"))
        stood: dict[str, tuple[int, str | None]] = {}
        while stood != final:
            headers = {"Last-Event-ID": last_id} if last_id else {}
            with client.stream("GET", f"{API}/registered-models/watch", params={"names": names}, headers=headers) as a:
                assert a.headers["content-type"] == "text/event-stream"
                for event_id, event in _events(a):
                    last_id = event_id
                    name, revision = event["model"]["name"], event["model"]["revision"]
                    stood[name] = revision, _champion(event)
                    seen.append((name, revision))
                    if len(seen) % 5 == 0 or stood == final:
                        break
        # An event may be here before the answer to what caused it.
        flipping.join()

    for name in names:
        revisions = [revision for of, revision in seen if of == name]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == 3 + flips // 2


def test_a_model_is_resolved(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, timeout=30) as client:
        name = _new_model(client)
        _flip(client, name, "2")

        query = {"name": name, "alias": "champion", "strict": "true"}
        answer = client.get(f"{API}/registered-models/resolve", params=query)

    assert answer.json() == {
        "model_version": {
            "name": name,
            "version": "2",
            "current_stage": "None",
            "source": "s3://b/m",
            "download_uri": "s3://b/m",
            "run_id": "",
            "aliases": ["champion"],
        },
        "revision": 4,
    }
