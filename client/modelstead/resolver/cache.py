"""What a resolver knows, kept on disk for the next process: one file for each registry, shared by processes."""

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modelstead.resolver.knowledge import Clock
from modelstead.resolver.model import PINNED_MAX, Freshness, Model, Pinned, ResolvedModel

if sys.platform != "win32":
    import fcntl

FORMAT = 1
_FILE_BYTES_MAX = 64 * 1024 * 1024
_MODELS_MAX = 10_000
_FORGOTTEN_AFTER_S = 30 * 86_400
_LOCK_TRIES, _LOCK_PAUSE_S = 40, 0.05
_FIELDS = ("name", "version", "stage", "source", "download_uri", "run_id")


class CacheError(Exception):
    """The file cannot be read or written, or is not what was written once."""


class Cache:
    """One file: a line with the format and the SHA-256 of the rest, then the models as JSON.

    A write replaces the file as a whole, and keeps what other processes wrote of other models or newer revisions.
    """

    def __init__(self, folder: Path, *, address: str, workspace: str, clock: Clock) -> None:
        slug = re.sub(r"[^A-Za-z0-9.-]+", "_", address)[-60:]
        digest = hashlib.sha256(f"{address}\0{workspace}".encode()).hexdigest()[:16]
        self.path = folder / f"{slug}-{digest}.v{FORMAT}.json"
        self._origin = {"address": address, "workspace": workspace}
        self._clock = clock

    def load(self) -> list[Model]:
        """Return the models of the file, none if there is no file. Raises CacheError."""
        now, now_mono = self._clock.time(), self._clock.monotonic()
        try:
            return [_decode(entry, now - now_mono) for entry in self._read().values()]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CacheError(f"{self.path} is malformed: {error!r}.") from error

    def save(self, models: Iterable[Model]) -> None:
        """Write what is known. Raises CacheError."""
        ahead = self._clock.time() - self._clock.monotonic()
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                entries = self._present()
                for model in models:
                    mine = _encode(model, ahead)
                    entries[model.name] = _merge(mine, entries.get(model.name, mine))
                self._replace(self._bounded(entries))
        except OSError as error:
            raise CacheError(f"{self.path} cannot be written: {error}.") from error

    def _read(self) -> dict[str, Any]:
        try:
            if self.path.stat().st_size > _FILE_BYTES_MAX:
                raise CacheError(f"{self.path} has over {_FILE_BYTES_MAX} bytes.")
            head, _, body = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CacheError(f"{self.path} cannot be read: {error}.") from error
        try:
            header = json.loads(head)
            sound = header["format"] == FORMAT and header["sha256"] == hashlib.sha256(body).hexdigest()
            content = json.loads(body) if sound else {}
        except (KeyError, TypeError, ValueError) as error:
            raise CacheError(f"{self.path} is corrupt: it does not begin as it should.") from error
        if not sound:
            raise CacheError(f"{self.path} is corrupt: its checksum or format is wrong.")
        return {entry["name"]: entry for entry in content["models"]}

    def _present(self) -> dict[str, Any]:
        """Return what the file has, nothing if it is corrupt: then it is replaced."""
        try:
            return self._read()
        except (CacheError, KeyError, TypeError):
            return {}

    def _bounded(self, entries: dict[str, Any]) -> list[Any]:
        oldest = self._clock.time() - _FORGOTTEN_AFTER_S
        kept = [entry for entry in entries.values() if entry["confirmed_time"] > oldest]
        return sorted(kept, key=lambda entry: -float(entry["confirmed_time"]))[:_MODELS_MAX]

    def _replace(self, entries: list[Any]) -> None:
        body = json.dumps({**self._origin, "models": entries}, separators=(",", ":")).encode() + b"\n"
        header = json.dumps({"format": FORMAT, "sha256": hashlib.sha256(body).hexdigest()}).encode()
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(header + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_folder(self.path.parent)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold other writers off, for at most two seconds: a file system without locks must not stop the write.

        Without locks, as on Windows, two processes that write at once may forget what one of them learned.
        """
        if sys.platform == "win32":
            yield
            return
        with self.path.with_suffix(".lock").open("ab") as file:
            for _ in range(_LOCK_TRIES):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    time.sleep(_LOCK_PAUSE_S)
                else:
                    break
            yield


def _sync_folder(folder: Path) -> None:
    """Make a rename last. Not every system lets a folder be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _merge(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Return the newer of two; of one revision, with the pinned versions of both."""
    newer = max(mine, theirs, key=_newness)
    if mine["revision"] != theirs["revision"]:
        return newer
    pinned = {pin["version"]["version"]: pin for pin in (*theirs["pinned"], *mine["pinned"])}
    return {**newer, "pinned": list(pinned.values())[-PINNED_MAX:]}


def _newness(entry: Mapping[str, Any]) -> tuple[int, float]:
    return int(entry["revision"]), float(entry["confirmed_time"])


def _encode(model: Model, ahead_s: float) -> dict[str, Any]:
    """Return a model as JSON; times are of the wall clock, which is `ahead_s` ahead of the monotonic one."""
    return {
        "name": model.name,
        "revision": model.revision,
        "exists": model.exists,
        "latest_version": model.latest_version,
        "confirmed_time": model.freshness.confirmed_at + ahead_s,
        "versions": [_encode_version(version) for version in model.versions],
        "pinned": [
            {
                "version": _encode_version(pin.resolved),
                "revision": pin.revision,
                "confirmed_time": pin.freshness.confirmed_at + ahead_s,
            }
            for pin in model.pinned.values()
            if pin.resolved
        ],
    }


def _encode_version(version: ResolvedModel) -> dict[str, Any]:
    texts = {name: getattr(version, name) for name in _FIELDS}
    return {**texts, "tags": dict(version.tags), "aliases": version.aliases}


def _decode(entry: Mapping[str, Any], ahead_s: float) -> Model:
    revision = int(entry["revision"])
    pins = [
        Pinned(
            _decode_version(pin["version"], int(pin["revision"])),
            int(pin["revision"]),
            Freshness(float(pin["confirmed_time"]) - ahead_s),
        )
        for pin in entry["pinned"]
    ]
    return Model(
        name=str(entry["name"]),
        revision=revision,
        exists=bool(entry["exists"]),
        latest_version=str(entry["latest_version"]),
        versions=tuple(_decode_version(version, revision) for version in entry["versions"]),
        pinned={pin.resolved.version: pin for pin in pins if pin.resolved},
        freshness=Freshness(float(entry["confirmed_time"]) - ahead_s),
    )


def _decode_version(fields: Mapping[str, Any], revision: int) -> ResolvedModel:
    return ResolvedModel(
        name=str(fields["name"]),
        version=str(fields["version"]),
        stage=str(fields["stage"]),
        source=str(fields["source"]),
        download_uri=str(fields["download_uri"]),
        run_id=str(fields["run_id"]),
        tags=MappingProxyType({str(key): str(value) for key, value in fields["tags"].items()}),
        aliases=tuple(str(alias) for alias in fields["aliases"]),
        revision=revision,
    )
