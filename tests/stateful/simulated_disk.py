"""A disk in memory on which a seeded simulation can run out of room, fail, kill the writer and cut the power."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from random import Random


class Killed(Exception):
    """The process ended here, in the middle of what it did."""


@dataclass
class _File:
    """`data` is what a process sees; of it `durable` bytes survive a loss of power, if the name does."""

    data: bytes = b""
    durable: int = 0
    is_named: bool = False


class SimulatedFiles:
    """`modelstead.spool.files.Files` whose every call may be the last of its process.

    `capacity` bounds all files together; past it an append stops midway with ENOSPC. Before each call that changes
    something, the process dies with `kill_chance`, and a sync fails with `failure_chance`. `meanwhile` is what somebody
    else does between two calls of a reader.
    """

    def __init__(self, random: Random, *, capacity: int, kill_chance: float = 0.0, failure_chance: float = 0.0) -> None:
        self._random = random
        self._files: dict[str, _File] = {}
        self.capacity = capacity
        self.kill_chance = kill_chance
        self.failure_chance = failure_chance
        self.meanwhile: Callable[[], None] | None = None

    def names(self) -> list[str]:
        names = list(self._files)
        self._pass_time()
        self._random.shuffle(names)
        return names

    def size(self, name: str) -> int:
        self._pass_time()
        return len(self._file(name).data)

    def read(self, name: str, offset: int, length: int) -> bytes:
        data = self._file(name).data[offset : offset + length]
        self._pass_time()
        return data

    def append(self, name: str, data: bytes) -> None:
        if self._dies():
            self._add(name, data[: self._random.randint(0, len(data))])
            raise Killed
        room = self.capacity - self.used
        self._add(name, data[:room] if room > 0 else b"")
        if len(data) > room:
            raise OSError(errno.ENOSPC, "no space")

    def truncate(self, name: str, size: int) -> None:
        if self._dies():
            raise Killed
        file = self._file(name)
        if self._random.random() < self.failure_chance:
            raise OSError(errno.EIO, "simulated")
        file.data = file.data[:size]
        file.durable = min(file.durable, size)

    def sync(self, name: str) -> None:
        file = self._file(name)
        if self._dies():
            raise Killed
        if self._random.random() < self.failure_chance:
            raise OSError(errno.EIO, "simulated")
        file.durable = len(file.data)
        for other in self._files.values():
            other.is_named = True

    def replace(self, name: str, data: bytes) -> None:
        if self._dies():
            raise Killed
        self._files[name] = _File(data, len(data), is_named=True)

    def remove(self, name: str) -> None:
        if self._dies():
            raise Killed
        self._files.pop(name, None)

    def release(self, name: str) -> None:
        pass

    @property
    def used(self) -> int:
        return sum(len(file.data) for file in self._files.values())

    def cut_power(self) -> None:
        """Lose what was not synced: of each file any part of the tail, or junk in its place, and any name."""
        for name, file in list(self._files.items()):
            if not file.is_named and self._random.random() < 0.5:
                del self._files[name]
                continue
            kept = self._random.randint(file.durable, len(file.data))
            lost = len(file.data) - kept
            junk = bytes(lost) if self._random.random() < 0.5 else b""
            file.data = file.data[:kept] + junk

    def heal(self) -> None:
        """From now on nothing fails and there is room."""
        self.kill_chance = self.failure_chance = 0.0
        self.meanwhile = None
        self.capacity = 1 << 40

    def _add(self, name: str, data: bytes) -> None:
        file = self._files.setdefault(name, _File())
        file.data += data

    def _file(self, name: str) -> _File:
        if name not in self._files:
            raise FileNotFoundError(errno.ENOENT, name)
        return self._files[name]

    def _pass_time(self) -> None:
        other, self.meanwhile = self.meanwhile, None
        if other and self._random.random() < 0.3:
            other()
        self.meanwhile = other

    def _dies(self) -> bool:
        return self._random.random() < self.kill_chance
