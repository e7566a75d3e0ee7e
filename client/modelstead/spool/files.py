"""The files of one spool. All that a spool does to a disk goes through `Files`, so that a test can be the disk."""

import contextlib
import errno
import os
from pathlib import Path
from typing import Protocol

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a disk without room answers. The last is a limit on the size of a file."""


class Files(Protocol):
    """A folder of files. All methods raise OSError; what is read of a file that is gone is FileNotFoundError."""

    def names(self) -> list[str]:
        """Return the names of all files, in no order."""

    def size(self, name: str) -> int: ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return at most `length` bytes; fewer only at the end of the file."""

    def append(self, name: str, data: bytes) -> None:
        """Add to the end of a file, which is made if there is none. After an error some of it may be there."""

    def truncate(self, name: str, size: int) -> None: ...

    def sync(self, name: str) -> None:
        """Return once what was appended, and the file's name, survive a loss of power. Raises FileNotFoundError."""

    def replace(self, name: str, data: bytes) -> None:
        """Give a file this content, durably; whatever happens it has the old or the new one, whole."""

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""

    def release(self, name: str) -> None:
        """Nothing more will be appended to this file."""


class DiskFiles:
    """`Files` in a folder of a disk. The files that were appended to stay open until `release`, `remove` or
    `close`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: dict[str, int] = {}
        self._unsynced_names = False

    def names(self) -> list[str]:
        return os.listdir(self._path)  # noqa: PTH208 - names are what is asked for

    def size(self, name: str) -> int:
        return (self._path / name).stat().st_size

    def read(self, name: str, offset: int, length: int) -> bytes:
        with (self._path / name).open("rb", buffering=0) as file:
            file.seek(offset)
            parts = []
            while length > 0 and (part := file.read(length)):
                parts.append(part)
                length -= len(part)
        return b"".join(parts)

    def append(self, name: str, data: bytes) -> None:
        file = self._file(name)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]

    def truncate(self, name: str, size: int) -> None:
        os.truncate(self._path / name, size)

    def sync(self, name: str) -> None:
        file = self._open.get(name)
        if file is None:
            # What was released is opened once more, but not made anew.
            file = os.open(self._path / name, os.O_RDONLY)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)
        else:
            os.fdatasync(file)
        if self._unsynced_names:
            self._sync_names()

    def replace(self, name: str, data: bytes) -> None:
        other = self._path / f"{name}.new"
        try:
            with other.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            other.replace(self._path / name)
        except OSError:
            with contextlib.suppress(OSError):
                other.unlink()
            raise
        self._sync_names()

    def overwrite(self, name: str, data: bytes) -> None:
        """Give a file other content of the same size, durably, for which a disk needs no room. A crash meanwhile may
        leave a mixture of both, and who reads meanwhile may see one. Raises OSError, also if the size differs.
        """
        file = os.open(self._path / name, os.O_WRONLY)
        try:
            if os.fstat(file).st_size != len(data) or os.pwrite(file, data, 0) != len(data):
                raise OSError(errno.ENOSPC, "it does not fit into the place of what is there", name)
            os.fdatasync(file)
        finally:
            os.close(file)

    def remove(self, name: str) -> None:
        self.release(name)
        (self._path / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Release what is held open. In a forked child this takes nothing from the parent."""
        for name in list(self._open):
            self.release(name)

    def _file(self, name: str) -> int:
        if name not in self._open:
            self._open[name] = os.open(self._path / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._unsynced_names = True
        return self._open[name]

    def release(self, name: str) -> None:
        file = self._open.pop(name, None)
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)

    def _sync_names(self) -> None:
        folder = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._unsynced_names = False
