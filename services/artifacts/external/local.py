"""A folder of this machine, also one of NFS, as a store.

Every path is walked from the root segment by segment, each opened relative to the one before and never through a
symbolic link, so that no link leads out, whoever puts it there and when. The root itself may be a link: the operator
named it.
"""

import contextlib
import errno
import os
import stat as modes
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from services.artifacts.external.files import RESERVED_PREFIX, CannotSign, Replaced, SignedUrl, Stat, blocked
from services.artifacts.trees import Entry, Segments

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a FIFO would wait for its writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRIES_A_STEP = 1000


class RootMissing(OSError):
    """The root of the store is not a folder: not mounted, perhaps."""


class LocalFiles:
    """The files below a folder, which must exist."""

    failures: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, root: Path) -> None:
        self._root = root

    def list(self, path: Segments) -> list[Entry]:
        """Return the files and folders; links and devices are none of ours."""
        with self._existing_folder(path) as folder:
            return [] if folder is None else list(_entries(folder))

    def stat(self, path: Segments) -> Stat | None:
        """Return a regular file that is no link."""
        with self._opened(path) as file:
            return None if file is None else _stat(file)

    def reader(self, path: Segments, stat: Stat) -> "_Reader":
        """Open a file as `stat` found it; it stays the same also if it is replaced then. Raises Replaced."""
        with self._opened(path) as file:
            if file is None or _stat(file) != stat:
                raise Replaced
            return _Reader(os.dup(file), stat)

    def create(self, path: Segments) -> "_Sink":
        """Begin a file under another name in its folder, which is made if need be."""
        try:
            with self._folder(path[:-1], make=True) as folder:
                if _is_folder(path[-1], folder):
                    raise blocked(path)
                return _Sink(os.dup(folder), path)
        except NotADirectoryError:
            raise blocked(path) from None

    def delete(self, path: Segments) -> int:
        """Delete a file or a folder; a link is deleted itself. The root is emptied only."""
        if not path:
            with self._folder(()) as root:
                return _empty(root)
        with self._existing_folder(path[:-1]) as folder:
            return 0 if folder is None else _remove(path[-1], folder)

    def sign(self, path: Segments, *, expires_s: int, for_upload: bool) -> SignedUrl:
        raise CannotSign

    def close(self) -> None:
        return

    @contextlib.contextmanager
    def _folder(self, path: Segments, *, make: bool = False) -> Iterator[int]:
        """Yield the descriptor of a folder. Raises FileNotFoundError, NotADirectoryError (a link, too), RootMissing."""
        folder = self._open_root()
        try:
            for segment in path:
                inner = _open_folder(segment, folder, make=make)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _existing_folder(self, path: Segments) -> Iterator[int | None]:
        with contextlib.ExitStack() as stack:
            folder: int | None = None
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                folder = stack.enter_context(self._folder(path))
            yield folder

    @contextlib.contextmanager
    def _opened(self, path: Segments) -> Iterator[int | None]:
        with self._existing_folder(path[:-1]) as folder:
            file = None if folder is None or not path else _open_file(path[-1], folder)
            try:
                yield file
            finally:
                if file is not None:
                    os.close(file)

    def _open_root(self) -> int:
        try:
            return os.open(self._root, _FOLDER)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RootMissing(error.errno, f"the root of the store is not there: {error.strerror}") from error


class _Reader:
    def __init__(self, file: int, stat: Stat) -> None:
        self._file = file
        self._stat = stat

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)

    def check(self) -> None:
        # Others may have written into the file, which we never do.
        if _stat(self._file) != self._stat:
            raise Replaced

    def close(self) -> None:
        os.close(self._file)


class _Sink:
    """A file under a reserved name; its own name comes to it when all of it is on the disk."""

    def __init__(self, folder: int, path: Segments) -> None:
        """Takes `folder` over and closes it."""
        self._folder = folder
        self._path = path
        self._temporary: str | None = f"{RESERVED_PREFIX}{uuid.uuid4().hex}"
        try:
            # As files are that others make there: the umask of this process decides who may read.
            self._file = os.fdopen(os.open(self._temporary, _NEW_FILE, 0o666, dir_fd=folder), "wb", buffering=0)
        except BaseException:
            os.close(folder)
            raise

    def write(self, data: bytes) -> None:
        remaining = memoryview(data)
        while remaining:
            remaining = remaining[self._file.write(remaining) :]

    def commit(self) -> None:
        assert self._temporary, "committed or aborted before"
        os.fsync(self._file.fileno())
        try:
            os.rename(self._temporary, self._path[-1], src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except IsADirectoryError:
            raise blocked(self._path) from None
        self._temporary = None
        try:
            os.fsync(self._folder)
        finally:
            self._close()

    def abort(self) -> None:
        if not self._temporary:
            return
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder)
        finally:
            self._temporary = None
            self._close()

    def _close(self) -> None:
        self._file.close()
        os.close(self._folder)


def _open_folder(name: str, parent: int, *, make: bool) -> int:
    if make:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
            os.fsync(parent)
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        # What a link is called depends on the file system.
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
        raise


def _open_file(name: str, folder: int) -> int | None:
    try:
        file = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        # A link, a socket.
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            return None
        raise
    if modes.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


def _is_folder(name: str, parent: int) -> bool:
    try:
        return modes.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _stat(file: int) -> Stat:
    found = os.fstat(file)
    version = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
    return Stat(size=found.st_size, etag=version, version=version)


def _entries(folder: int) -> Iterator[Entry]:
    with os.scandir(folder) as found:
        for each in found:
            # A name that is not UTF-8 cannot be told to a client.
            if not _is_text(each.name):
                continue
            if each.is_dir(follow_symlinks=False):
                yield Entry(name=each.name, size=None)
            elif each.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    yield Entry(name=each.name, size=each.stat(follow_symlinks=False).st_size)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _remove(name: str, parent: int) -> int:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not modes.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
            return int(modes.S_ISREG(found.st_mode) and not name.startswith(RESERVED_PREFIX))
        folder = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        return 0
    try:
        count = _empty(folder)
    finally:
        os.close(folder)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)
    return count


def _empty(folder: int) -> int:
    """Delete all in a folder, in steps, as what is deleted changes what the system lists."""
    count = 0
    while True:
        with os.scandir(folder) as found:
            names = [each.name for each in islice(found, _ENTRIES_A_STEP)]
        if not names:
            return count
        count += sum(_remove(name, folder) for name in names)
