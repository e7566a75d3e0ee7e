"""A light load on a platform, which remembers what was acknowledged, and when."""

import threading
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import httpx

from tests import patience
from tests.faults.files import Files

_API = "/api/2.0/mlflow"
_KEY = "m"


class Failure(NamedTuple):
    """A call that was not acknowledged; without a `status` there was no answer."""

    what: str
    status: int | None
    text: str

    @property
    def may_come_again(self) -> bool:
        """Whether a client is not told that the call itself is wrong."""
        return self.status in (None, 429, 503, 504)


class Load:
    """Runs to which steps 0, 1, 2 … are logged, and files, each until it is acknowledged, for as long as a block lasts.

    `failed` are the answers other than 200, and calls without an answer.
    """

    def __init__(
        self, url: str, *, writers: int = 2, uploaders: int = 1, pause_s: float = 0.0, token: str = ""
    ) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._threads = [
            *(threading.Thread(target=self._log_points) for _ in range(writers)),
            *(threading.Thread(target=self._upload, args=(f"load/{number}",)) for number in range(uploaders)),
        ]
        self.points: list[tuple[datetime, str, int]] = []
        self.files: list[tuple[datetime, str]] = []
        self.failed: list[Failure] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def count(self) -> int:
        """How much was acknowledged."""
        return len(self.points) + len(self.files)

    def _log_points(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30, headers=self._headers) as client:
            while (run_id := self._create_run(client)) is None:
                if self._stopping.wait(self._pause_s):
                    return
            step = 0
            while not self._stopping.wait(self._pause_s):
                body = {"run_id": run_id, "key": _KEY, "value": step, "timestamp": step, "step": step}
                if self._post(client, "runs/log-metric", body) is not None:
                    self.points.append((datetime.now(UTC), run_id, step))
                    step += 1

    def _create_run(self, client: httpx.Client) -> str | None:
        created = self._post(client, "runs/create", {"experiment_id": "0"})
        return created["run"]["info"]["run_id"] if created else None

    def _post(self, client: httpx.Client, what: str, body: dict[str, Any]) -> Any:
        try:
            answer = client.post(f"{_API}/{what}", json=body)
        except httpx.TransportError as error:
            self.failed.append(Failure(what, None, repr(error)))
            return None
        if answer.status_code != 200:
            self.failed.append(Failure(what, answer.status_code, answer.text))
            return None
        return answer.json()

    def _upload(self, folder: str) -> None:
        number = 0
        with Files(self._url, self._headers) as files:
            while not self._stopping.wait(self._pause_s):
                path = f"{folder}/{number}"
                try:
                    answer = files.put(path, content_of(path))
                except httpx.TransportError as error:
                    self.failed.append(Failure("PUT", None, repr(error)))
                    continue
                if answer.status_code == 200:
                    self.files.append((datetime.now(UTC), path))
                    number += 1
                else:
                    self.failed.append(Failure("PUT", answer.status_code, answer.text))


def content_of(path: str) -> bytes:
    """Return what is uploaded to a path, which no other path has."""
    return f"{path}\n".encode() * 500


def steps_of(url: str, run_id: str) -> set[int]:
    """Return the steps that a platform has of a run."""
    answer = patience.get(f"{url}{_API}/metrics/get-history", run_id=run_id, metric_key=_KEY)
    if answer.status_code == 404:
        return set()
    answer.raise_for_status()
    return {point["step"] for point in answer.json().get("metrics", [])}


def lost_points(url: str, points: list[tuple[datetime, str, int]]) -> list[tuple[datetime, str, int]]:
    """Return those that a platform does not have."""
    stored = {run_id: steps_of(url, run_id) for run_id in {run_id for _, run_id, _ in points}}
    return [point for point in points if point[2] not in stored[point[1]]]
