"""Artifacts as a client of the REST API sees them, and a crowd that uploads until it is told to stop."""

import threading
from collections.abc import Callable, Mapping
from typing import Self

import httpx

_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


class Files:
    """The files of one platform, by path."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._client = httpx.Client(base_url=url, timeout=60, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def put(self, path: str, content: bytes) -> httpx.Response:
        return self._client.put(f"{_ARTIFACTS}/{path}", content=content)

    def get(self, path: str) -> httpx.Response:
        """Return the answer. Raises httpx.RemoteProtocolError if the file was cut off."""
        return self._client.get(f"{_ARTIFACTS}/{path}")

    def list(self, path: str) -> list[str]:
        answer = self._client.get(_ARTIFACTS, params={"path": path})
        answer.raise_for_status()
        return [file["path"] for file in answer.json().get("files", [])]

    def is_stored(self, path: str, content: bytes) -> bool:
        answer = self.get(path)
        return answer.status_code == 200 and answer.content == content


class Uploader(threading.Thread):
    """Uploads to `<folder>/0`, `<folder>/1` … what `content_of` returns, and remembers what was acknowledged."""

    def __init__(self, url: str, folder: str, content_of: Callable[[int], bytes]) -> None:
        super().__init__(daemon=True)
        self._files = Files(url)
        self._folder = folder
        self._content_of = content_of
        self._stopping = threading.Event()
        self.acknowledged: dict[str, bytes] = {}
        self.statuses: set[int] = set()

    def run(self) -> None:
        number = 0
        with self._files:
            while not self._stopping.is_set():
                self._upload(f"{self._folder}/{number}", self._content_of(number))
                number += 1

    def finish(self) -> None:
        self._stopping.set()
        self.join()

    def _upload(self, path: str, content: bytes) -> None:
        try:
            answer = self._files.put(path, content)
        except httpx.TransportError:
            return
        self.statuses.add(answer.status_code)
        if answer.status_code == 200:
            self.acknowledged[path] = content
