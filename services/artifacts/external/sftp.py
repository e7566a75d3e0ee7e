"""A folder of an SSH server as a store, over paramiko.

fsspec's own file system for SFTP shares one channel between threads, which paramiko does not allow, and trusts the key
of any host: hence not that one. SFTP opens files by whole paths only, so links are looked for just before: who can
make links on that server while we look is trusted.
"""

import contextlib
import stat as modes
import uuid
from pathlib import Path, PurePosixPath

import paramiko

from services.artifacts.external.files import RESERVED_PREFIX, CannotSign, Replaced, SignedUrl, Stat, blocked
from services.artifacts.external.ssh import FAILURES, Login, Session, SshConnection
from services.artifacts.trees import Entry, Segments
from services.common.artifact_stores import Store

# What one request can ask for; a read of more is so many requests on their way at once.
_REQUEST_BYTES = 32 * 1024
_PORT = 22


class RootMissing(OSError):
    """The root of the store is not a folder there."""


def open_files(store: Store) -> "SftpFiles":
    """Return the files of a store. Raises SettingsError if a file that its options name is not there."""
    host, _, port = store.root.authority.partition(":")
    login = Login(
        host=host,
        port=int(port or _PORT),
        user=store.options["user"],
        known_hosts=_present(store, "known_hosts_file"),
        key=_present(store, "key_file") if "key_file" in store.options else None,
        key_passphrase=store.secret("key_passphrase_file"),
        password=store.secret("password_file"),
    )
    return SftpFiles(SshConnection(login), "/" + "/".join(store.root.segments))


def _present(store: Store, option: str) -> Path:
    store.secret(option)
    path = store.file(option)
    assert path is not None
    return path


class SftpFiles:
    """The files below a folder, which must exist."""

    failures: tuple[type[Exception], ...] = FAILURES

    def __init__(self, connection: SshConnection, root: str) -> None:
        self._connection = connection
        self._root = PurePosixPath(root)

    def list(self, path: Segments) -> list[Entry]:
        """Return the files and folders; links and devices are none of ours."""
        with self._connection.borrowed() as sftp:
            if not self._is_folder(sftp, path):
                return []
            found = sftp.listdir_attr(self._text(path))
            return [_entry(each) for each in found if modes.S_ISDIR(_mode(each)) or modes.S_ISREG(_mode(each))]

    def stat(self, path: Segments) -> Stat | None:
        """Return a regular file that is no link."""
        with self._connection.borrowed() as sftp:
            return self._stat(sftp, path)

    def reader(self, path: Segments, stat: Stat) -> "_Reader":
        """Open a file as `stat` found it; it stays the same also if it is replaced then. Raises Replaced."""
        with self._connection.kept() as session:
            now = self._stat(session.sftp, path)
            if now is None or now.version != stat.version:
                raise Replaced
            return _Reader(session, session.sftp.open(self._text(path), "rb"), stat)

    def create(self, path: Segments) -> "_Sink":
        """Begin a file under another name in its folder, which is made if need be."""
        with self._connection.kept() as session:
            self._make_folder(session.sftp, path)
            at_path = _lstat(session.sftp, self._text(path))
            if at_path is not None and modes.S_ISDIR(_mode(at_path)):
                raise blocked(path)
            return _Sink(session, self._text(path))

    def delete(self, path: Segments) -> int:
        """Delete a file or a folder; a link is deleted itself. The root is emptied only."""
        with self._connection.borrowed() as sftp:
            if not self._is_folder(sftp, path[:-1]):
                return 0
            return _remove(sftp, self._text(path)) if path else _empty(sftp, self._text(()))

    def sign(self, path: Segments, *, expires_s: int, for_upload: bool) -> SignedUrl:
        raise CannotSign

    def close(self) -> None:
        self._connection.close()

    def _text(self, path: Segments) -> str:
        return str(self._root.joinpath(*path))

    def _is_folder(self, sftp: paramiko.SFTPClient, path: Segments) -> bool:
        """Whether a folder is there, below folders none of which is a link. Raises RootMissing."""
        self._check_root(sftp)
        prefixes = (self._text(path[:depth]) for depth in range(1, len(path) + 1))
        found = (_lstat(sftp, prefix) for prefix in prefixes)
        return all(each is not None and modes.S_ISDIR(_mode(each)) for each in found)

    def _make_folder(self, sftp: paramiko.SFTPClient, file: Segments) -> None:
        self._check_root(sftp)
        for depth in range(1, len(file)):
            folder = self._text(file[:depth])
            if _lstat(sftp, folder) is None:
                # Another writer may be quicker.
                with contextlib.suppress(OSError):
                    sftp.mkdir(folder)
            made = _lstat(sftp, folder)
            if made is None or not modes.S_ISDIR(_mode(made)):
                raise blocked(file)

    def _check_root(self, sftp: paramiko.SFTPClient) -> None:
        try:
            # Here a link is followed, as the operator named it.
            is_folder = modes.S_ISDIR(_mode(sftp.stat(str(self._root))))
        except FileNotFoundError:
            is_folder = False
        if not is_folder:
            raise RootMissing("the root of the store is not there")

    def _stat(self, sftp: paramiko.SFTPClient, path: Segments) -> Stat | None:
        if not path or not self._is_folder(sftp, path[:-1]):
            return None
        found = _lstat(sftp, self._text(path))
        if found is None or not modes.S_ISREG(_mode(found)):
            return None
        # Times here are whole seconds, so an etag made of them could be that of two contents: none is given twice.
        return Stat(size=found.st_size or 0, etag=uuid.uuid4().hex, version=_version(found))


class _Reader:
    def __init__(self, session: Session, file: paramiko.SFTPFile, stat: Stat) -> None:
        self._session = session
        self._file = file
        self._stat = stat
        if _version(file.stat()) != stat.version:
            raise Replaced

    def read(self, offset: int, length: int) -> bytes:
        end = offset + length
        requests = [(start, min(_REQUEST_BYTES, end - start)) for start in range(offset, end, _REQUEST_BYTES)]
        return b"".join(self._file.readv(requests))

    def check(self) -> None:
        # Others may have written into the file, which we never do.
        if _version(self._file.stat()) != self._stat.version:
            raise Replaced

    def close(self) -> None:
        with self._session.given_back():
            self._file.close()


class _Sink:
    """A file under a reserved name; its own name comes to it when the server has all of it."""

    def __init__(self, session: Session, path: str) -> None:
        self._session = session
        self._path = path
        self._temporary = str(PurePosixPath(path).parent / f"{RESERVED_PREFIX}{uuid.uuid4().hex}")
        self._is_open = True
        self._size = 0
        self._file = session.sftp.open(self._temporary, "wxb")
        # Errors of a write are told by the next one, or by the close.
        self._file.set_pipelined(True)

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._size += len(data)

    def commit(self) -> None:
        sftp = self._session.sftp
        self._file.flush()
        _sync(sftp, self._file)
        self._file.close()
        if sftp.lstat(self._temporary).st_size != self._size:
            raise OSError("the server has not kept all that was written")
        sftp.posix_rename(self._temporary, self._path)
        self._is_open = False
        self._session.give_back()

    def abort(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        with self._session.given_back():
            with contextlib.suppress(*FAILURES):
                self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._session.sftp.remove(self._temporary)


def _sync(sftp: paramiko.SFTPClient, file: paramiko.SFTPFile) -> None:
    """Have a file's contents written to the disk, where the server knows how (OpenSSH does)."""
    # paramiko sends its own extensions, as posix-rename@openssh.com, in this very way and has none for this one.
    with contextlib.suppress(OSError):
        sftp._request(paramiko.sftp.CMD_EXTENDED, "fsync@openssh.com", file.handle)  # type: ignore[attr-defined]


def _lstat(sftp: paramiko.SFTPClient, path: str) -> paramiko.SFTPAttributes | None:
    try:
        return sftp.lstat(path)
    except FileNotFoundError:
        return None


def _mode(attributes: paramiko.SFTPAttributes) -> int:
    return attributes.st_mode or 0


def _version(attributes: paramiko.SFTPAttributes) -> tuple[int | None, int | None]:
    return attributes.st_size, attributes.st_mtime


def _entry(attributes: paramiko.SFTPAttributes) -> Entry:
    is_folder = modes.S_ISDIR(_mode(attributes))
    return Entry(name=attributes.filename, size=None if is_folder else attributes.st_size or 0)


def _remove(sftp: paramiko.SFTPClient, path: str) -> int:
    found = _lstat(sftp, path)
    if found is None:
        return 0
    if not modes.S_ISDIR(_mode(found)):
        with contextlib.suppress(FileNotFoundError):
            sftp.remove(path)
        return int(modes.S_ISREG(_mode(found)) and not PurePosixPath(path).name.startswith(RESERVED_PREFIX))
    count = _empty(sftp, path)
    with contextlib.suppress(FileNotFoundError):
        sftp.rmdir(path)
    return count


def _empty(sftp: paramiko.SFTPClient, folder: str) -> int:
    return sum(_remove(sftp, f"{folder}/{name}") for name in sftp.listdir(folder))
