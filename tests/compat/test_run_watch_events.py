"""A run told by server-sent events on the whole platform: a client that comes back is told each point once."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.stack import Stack

API = "/api/2.0/mlflow"
_STEPS = 200


def _post(client: httpx.Client, path: str, **body: Any) -> Any:
    answer = client.post(f"{API}/{path}", json=body)
    answer.raise_for_status()
    return answer.json()


def _events(answer: httpx.Response) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield id, type and data of each event."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            yield fields["id"], fields["event"], json.loads(fields["data"])
            fields = {}


def test_a_client_that_comes_back_again_and_again_is_told_each_point_once(stack: Stack) -> None:
    steps: list[int] = []
    statuses, last_id = [""], ""
    # Ends after what logs, whatever happens here: nobody is left to call a client that is closed.
    with httpx.Client(base_url=stack.url, timeout=60) as client, ThreadPoolExecutor(1) as logging:
        run_id = _post(client, "runs/create", experiment_id="0", run_name="told")["run"]["info"]["run_id"]

        def log_all() -> None:
            for step in range(_STEPS):
                _post(client, "runs/log-metric", run_id=run_id, key="m", value=step / 2, timestamp=step, step=step)
            _post(client, "runs/update", run_id=run_id, status="FINISHED", end_time=9)

        logged = logging.submit(log_all)
        while len(steps) < _STEPS or statuses[-1] != "FINISHED":
            headers = {"Last-Event-ID": last_id} if last_id else {}
            with client.stream("GET", f"{API}/runs/watch", params={"run_id": run_id}, headers=headers) as answer:
                assert answer.headers["content-type"] == "text/event-stream"
                for count, (event_id, kind, data) in enumerate(_events(answer)):
                    last_id = event_id
                    if kind == "run":
                        statuses.append(data["run"]["status"])
                    else:
                        assert data["points"]["key"] == "m"
                        assert data["points"]["values"] == [step / 2 for step in data["points"]["steps"]]
                        steps += data["points"]["steps"]
                    if count == 3 or (len(steps) >= _STEPS and statuses[-1] == "FINISHED"):
                        break
        logged.result()

    assert steps == list(range(_STEPS))
    assert statuses[1:] == ["RUNNING", "FINISHED"]


def test_events_have_the_json_of_mlflow(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        run_id = _post(client, "runs/create", experiment_id="0", run_name="told", start_time=7)["run"]["info"]["run_id"]
        _post(client, "runs/log-metric", run_id=run_id, key="m", value="NaN", timestamp=2**53 + 1, step=-1)
        _post(client, "runs/log-parameter", run_id=run_id, key="p", value="x")
        query = {"run_id": run_id, "metric_keys": ["m", "other"]}

        with client.stream("GET", f"{API}/runs/watch", params=query) as answer:
            events = _events(answer)
            told = [next(events)[1:], next(events)[1:]]

    assert told == [
        (
            "run",
            {
                "run": {
                    "run_id": run_id,
                    "experiment_id": "0",
                    "run_name": "told",
                    "user_id": "",
                    "status": "RUNNING",
                    "start_time": 7,
                    "lifecycle_stage": "active",
                    "metrics": [{"key": "m", "value": "NaN", "timestamp": 2**53 + 1, "step": -1}],
                    "params": [{"key": "p", "value": "x"}],
                    "tags": [{"key": "mlflow.runName", "value": "told"}],
                }
            },
        ),
        ("points", {"points": {"key": "m", "steps": [-1], "timestamps": [2**53 + 1], "values": ["NaN"]}}),
    ]


def test_what_cannot_be_watched_is_an_answer_of_its_own(stack: Stack) -> None:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        answer = client.get(f"{API}/runs/watch", params={"run_id": "none"})

    assert answer.status_code == 404
    told = answer.json()
    assert (told["error_code"], told["message"]) == ("RESOURCE_DOES_NOT_EXIST", "Run with id=none not found")
