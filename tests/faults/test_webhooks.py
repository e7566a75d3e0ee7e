"""Webhooks lose nothing and keep the order of each model's events, whatever is killed, stopped or slow."""

import json
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.local import waiting
from services.registry.deliveries.courier import IN_FLIGHT_OF_WEBHOOK_MAX, LEASE_S
from tests.receivers import Answer, Received, Receiver
from tests.stack import Stack

_API = "/api/2.0/mlflow/"
_SOURCE = "s3://bucket/model"
_ARRIVAL_S = 60.0


class _Writer(threading.Thread):
    """Creates versions of a model of its own, each until it is acknowledged, and remembers those that were."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__(daemon=True)
        self.name = name
        self.acknowledged: list[int] = []
        self._client = httpx.Client(base_url=url + _API, timeout=10)
        self._client.post("registered-models/create", json={"name": name}, timeout=60).raise_for_status()
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                answer = self._client.post("model-versions/create", json={"name": self.name, "source": _SOURCE})
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                self.acknowledged.append(int(answer.json()["model_version"]["version"]))

    def finish(self) -> None:
        self._stopping.set()
        self.join()
        self._client.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def _post(stack: Stack, path: str, **body: Any) -> dict[str, Any]:
    answer = httpx.post(f"{stack.url}{_API}{path}", json=body, timeout=60)
    answer.raise_for_status()
    result: dict[str, Any] = answer.json()
    return result


def _hook(stack: Stack, receiver: Receiver) -> str:
    event = {"entity": "MODEL_VERSION", "action": "CREATED"}
    return str(_post(stack, "webhooks", name="hook", url=receiver.url, events=[event])["webhook"]["webhook_id"])


def _model(stack: Stack, name: str) -> str:
    _post(stack, "registered-models/create", name=name)
    return name


def _version(stack: Stack, name: str) -> None:
    _post(stack, "model-versions/create", name=name, source=_SOURCE)


def _told(receiver: Receiver) -> dict[str, list[int]]:
    """The versions of each model in the order in which they were first told of."""
    told: dict[str, list[int]] = defaultdict(list)
    for one in list(receiver.received):
        data = json.loads(one.body)["data"]
        if int(data["version"]) not in told[data["name"]]:
            told[data["name"]].append(int(data["version"]))
    return told


def _arrives(receiver: Receiver, expected: dict[str, int], *, timeout_s: float = _ARRIVAL_S) -> None:
    """Wait until so many versions of each model have been told of, then check that their order was kept."""

    def has_come() -> bool:
        told = _told(receiver)
        return all(len(told[name]) >= count for name, count in expected.items())

    waiting.until(has_come, timeout_s=timeout_s)
    told = _told(receiver)
    assert {name: told[name] for name in expected} == {
        name: list(range(1, count + 1)) for name, count in expected.items()
    }


def _statuses(stack: Stack, webhook_id: str) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    query = {"max_results": "1000"}
    answer = httpx.get(f"{stack.url}{_API}webhooks/{webhook_id}/deliveries", params=query, timeout=60).json()
    for delivery in answer.get("deliveries", []):
        counts[delivery["status"]] += 1
    return counts


def test_a_receiver_that_was_down_gets_everything_in_order(own_stack: Stack, receiver: Receiver) -> None:
    webhook_id = _hook(own_stack, receiver)
    names = [_model(own_stack, f"m{number}") for number in range(3)]
    for name in names:
        _version(own_stack, name)
    _arrives(receiver, dict.fromkeys(names, 1))
    # What has come is not answered yet, and would come again.
    assert waiting.until(lambda: _statuses(own_stack, webhook_id) == {"DELIVERED": 3}, timeout_s=_ARRIVAL_S)

    receiver.stop()
    for _ in range(5):
        for name in names:
            _version(own_stack, name)
    assert waiting.until(lambda: _failed(own_stack, webhook_id) == len(names), timeout_s=_ARRIVAL_S)
    receiver.start()

    _arrives(receiver, dict.fromkeys(names, 6))
    assert waiting.until(lambda: _statuses(own_stack, webhook_id) == {"DELIVERED": 18}, timeout_s=_ARRIVAL_S)
    assert len(receiver.received) == 18, "something was sent twice without need"


def _failed(stack: Stack, webhook_id: str) -> int:
    """How many deliveries were tried and wait to be tried again."""
    query = {"status": "PENDING", "max_results": "1000"}
    answer = httpx.get(f"{stack.url}{_API}webhooks/{webhook_id}/deliveries", params=query, timeout=60).json()
    return sum(delivery.get("failure") == "CONNECT_FAILED" for delivery in answer.get("deliveries", []))


def test_nothing_is_lost_when_the_registry_dies_between_commit_and_send(own_stack: Stack, receiver: Receiver) -> None:
    _hook(own_stack, receiver)
    writers = [_Writer(own_stack.url, f"w{number}") for number in range(3)]
    for writer in writers:
        writer.start()

    for _ in range(4):
        _wait_for(writers, 8)
        own_stack.kill("registry")
        own_stack.start("registry")
    own_stack.wait_until_ready()
    for writer in writers:
        writer.finish()

    _arrives_at_least(receiver, {writer.name: writer.acknowledged for writer in writers})


def _wait_for(writers: list[_Writer], more: int) -> None:
    goals = [len(writer.acknowledged) + more for writer in writers]
    assert waiting.until(
        lambda: all(len(writer.acknowledged) >= goal for writer, goal in zip(writers, goals, strict=True)),
        timeout_s=60,
    ), "writers made no progress"


def _arrives_at_least(receiver: Receiver, acknowledged: dict[str, list[int]]) -> None:
    """Wait until all that was acknowledged has been told of; what was not may have been, too."""

    def has_come() -> bool:
        told = _told(receiver)
        return all(set(numbers) <= set(told[name]) for name, numbers in acknowledged.items())

    waiting.until(has_come, timeout_s=_ARRIVAL_S)
    told = _told(receiver)
    for name, numbers in acknowledged.items():
        assert set(numbers) <= set(told[name]), f"not told: {sorted(set(numbers) - set(told[name]))}"
        assert told[name] == sorted(told[name]), "the order was not kept"
        assert told[name] == list(range(1, len(told[name]) + 1)), "there is a gap"


def test_two_replicas_share_the_work_and_one_may_die(own_stack: Stack, receiver: Receiver) -> None:
    # So many that one alone is busy with them until the other, which is ready, has begun to deliver.
    names = [_model(own_stack, f"m{number}") for number in range(16)]
    both_work = threading.Event()

    def hold(_: Received) -> Answer:
        both_work.wait(8)
        return Answer()

    receiver.answers = hold
    webhook_id = _hook(own_stack, receiver)
    own_stack.start_replica("registry")
    for name in names:
        _version(own_stack, name)
    assert waiting.until(lambda: receiver.busiest > IN_FLIGHT_OF_WEBHOOK_MAX, timeout_s=30), "one did it all"
    both_work.set()
    for name in names:
        _version(own_stack, name)
    own_stack.kill("registry-1")
    for name in names:
        _version(own_stack, name)

    _arrives(receiver, dict.fromkeys(names, 3))
    delivered = {"DELIVERED": 3 * len(names)}
    assert waiting.until(lambda: _statuses(own_stack, webhook_id) == delivered, timeout_s=_ARRIVAL_S)


def test_what_a_replica_that_hangs_had_is_taken_over_within_seconds(own_stack: Stack, receiver: Receiver) -> None:
    first = own_stack.process("registry")
    webhook_id = _hook(own_stack, receiver)
    is_made = threading.Event()

    def hang(_: Received) -> Answer:
        # Who made the version has been told so.
        is_made.wait(8)
        first.send(signal.SIGSTOP)
        receiver.answers = lambda _: Answer()
        return Answer()

    receiver.answers = hang
    _version(own_stack, _model(own_stack, "m"))
    is_made.set()
    receiver.wait_for(1)
    try:
        own_stack.start_replica("registry")
        receiver.wait_for(2, timeout_s=LEASE_S + 30)
        first.send(signal.SIGCONT)

        assert waiting.until(lambda: _statuses(own_stack, webhook_id) == {"DELIVERED": 1}, timeout_s=_ARRIVAL_S)
        assert len({one.headers["x-mlflow-delivery-id"] for one in receiver.received}) == 1
    finally:
        first.send(signal.SIGCONT)


def test_a_slow_receiver_does_not_hold_up_another(own_stack: Stack, receiver: Receiver) -> None:
    delay_s = 8
    with Receiver() as slow:
        slow.answers = lambda _: Answer(delay_s=delay_s)
        _hook(own_stack, slow)
        _hook(own_stack, receiver)
        names = [_model(own_stack, f"m{number}") for number in range(10)]
        began = time.monotonic()
        for _ in range(3):
            for name in names:
                _version(own_stack, name)

        # What is brought to the slow one takes a minute.
        _arrives(receiver, dict.fromkeys(names, 3), timeout_s=40)
        begun = len(slow.received)
        assert begun <= IN_FLIGHT_OF_WEBHOOK_MAX * (1 + (time.monotonic() - began) // delay_s)


def test_a_database_that_was_away_loses_nothing(own_stack: Stack, receiver: Receiver) -> None:
    _hook(own_stack, receiver)
    name = _model(own_stack, "m")
    receiver.answers = lambda _: Answer(delay_s=0.3)
    for _ in range(5):
        _version(own_stack, name)
    receiver.wait_for(1)

    own_stack.postgres.kill()
    own_stack.postgres.start()
    own_stack.wait_until_ready()
    _version(own_stack, name)

    _arrives(receiver, {name: 6})


def test_a_registry_that_is_not_to_deliver_leaves_it_to_one_that_is(own_stack: Stack, receiver: Receiver) -> None:
    own_stack.kill("registry")
    own_stack.start("registry", MODELSTEAD_WEBHOOK_DELIVERY="false")
    own_stack.wait_until_ready()
    _hook(own_stack, receiver)
    name = _model(own_stack, "m")
    for _ in range(20):
        _version(own_stack, name)

    own_stack.kill("registry")
    assert not receiver.received
    own_stack.start("registry")
    own_stack.wait_until_ready()

    _arrives(receiver, {name: 20})


def test_a_registry_that_is_told_to_stop_ends_what_it_began(own_stack: Stack, receiver: Receiver) -> None:
    receiver.answers = lambda _: Answer(delay_s=0.5)
    webhook_id = _hook(own_stack, receiver)
    _version(own_stack, _model(own_stack, "m"))
    receiver.wait_for(1)

    stopped_by_itself = own_stack.process("registry").stop()
    exit_code = own_stack.process("registry").exit_code
    own_stack.start("registry")
    own_stack.wait_until_ready()

    assert (stopped_by_itself, exit_code) == (True, 0)
    assert _statuses(own_stack, webhook_id) == {"DELIVERED": 1}
    assert len(receiver.received) == 1
