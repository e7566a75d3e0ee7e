"""What was acknowledged is there after any process was killed, and the platform heals by itself."""

import threading
import time

import httpx
import pytest

from services.local import waiting
from tests import patience
from tests.stack import Stack

_RECOVERY_S = 5.0
_LOG_METRIC = "/api/2.0/mlflow/runs/log-metric"


class _Writer(threading.Thread):
    """Logs steps 0, 1, 2 … to a run of its own, each until it is acknowledged, and remembers those that were."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=url, timeout=10)
        created = self._client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=60)
        self.run_id = created.json()["run"]["info"]["run_id"]
        self.acknowledged: list[int] = []
        self.statuses: set[int] = set()
        self._stopping = threading.Event()

    def run(self) -> None:
        step = 0
        while not self._stopping.is_set():
            if self._log(step):
                self.acknowledged.append(step)
                step += 1

    def finish(self) -> None:
        self._stopping.set()
        self.join()
        self._client.close()

    def _log(self, step: int) -> bool:
        body = {"run_id": self.run_id, "key": "m", "value": step, "timestamp": step, "step": step}
        try:
            answer = self._client.post(_LOG_METRIC, json=body)
        except httpx.TransportError:
            return False
        self.statuses.add(answer.status_code)
        return answer.status_code == 200


def _stored_steps(stack: Stack, run_id: str) -> list[int]:
    answer = patience.get(f"{stack.url}/api/2.0/mlflow/metrics/get-history", run_id=run_id, metric_key="m")
    answer.raise_for_status()
    return [point["step"] for point in answer.json().get("metrics", [])]


def _wait_for(writers: list[_Writer], more: int) -> None:
    goals = [len(writer.acknowledged) + more for writer in writers]
    assert waiting.until(
        lambda: all(len(writer.acknowledged) >= goal for writer, goal in zip(writers, goals, strict=True)),
        timeout_s=60,
    ), "writers made no progress"


@pytest.mark.parametrize("victim", ["tracking", "gateway", "postgres"])
def test_nothing_acknowledged_is_lost_or_doubled_when_a_process_is_killed(own_stack: Stack, victim: str) -> None:
    writers = [_Writer(own_stack.url) for _ in range(4)]
    for writer in writers:
        writer.start()

    for _ in range(3):
        _wait_for(writers, 30)
        _kill_and_restart(own_stack, victim)
    own_stack.wait_until_ready()
    _wait_for(writers, 30)
    for writer in writers:
        writer.finish()

    for writer in writers:
        stored = _stored_steps(own_stack, writer.run_id)
        assert stored == sorted(set(stored)), "a point is stored twice"
        assert set(writer.acknowledged) <= set(stored), "an acknowledged point is lost"
        assert writer.statuses <= {200, 503}, writer.statuses


def _kill_and_restart(stack: Stack, victim: str) -> None:
    if victim == "postgres":
        stack.postgres.kill()
        stack.postgres.start()
    else:
        stack.kill(victim)
        stack.start(victim)


@pytest.mark.alone
def test_database_outage_is_503_with_retry_after_and_heals(own_stack: Stack) -> None:
    url = f"{own_stack.url}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert httpx.get(url, timeout=60).status_code == 200

    own_stack.postgres.kill()
    outage = httpx.get(url, timeout=60)
    own_stack.postgres.start()
    started = time.monotonic()
    healed = waiting.until(lambda: httpx.get(url, timeout=10).status_code == 200, timeout_s=_RECOVERY_S)

    assert outage.status_code == 503
    assert outage.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert int(outage.headers["retry-after"]) >= 1
    assert healed, f"not healed {time.monotonic() - started:.1f} s after the database was back"


def test_sigterm_lets_calls_under_way_end(own_stack: Stack) -> None:
    writers = [_Writer(own_stack.url) for _ in range(4)]
    for writer in writers:
        writer.start()
    _wait_for(writers, 10)

    stopped_by_itself = own_stack.process("tracking").stop()
    exit_code = own_stack.process("tracking").exit_code
    for writer in writers:
        writer.finish()
    own_stack.start("tracking")
    own_stack.wait_until_ready()

    assert stopped_by_itself
    assert exit_code == 0
    for writer in writers:
        assert set(writer.acknowledged) <= set(_stored_steps(own_stack, writer.run_id))
