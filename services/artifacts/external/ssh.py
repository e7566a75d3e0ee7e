"""One SSH connection to a server that the operator named, and the SFTP sessions in it."""

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

CONNECT_TIMEOUT_S = 5.0
# For each answer of the server.
ANSWER_TIMEOUT_S = 10.0
_KEEPALIVE_S = 30

FAILURES: tuple[type[Exception], ...] = (OSError, EOFError, paramiko.SSHException)


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Where to connect and as whom. The host's key must stand in `known_hosts`."""

    host: str
    port: int
    user: str
    known_hosts: Path
    key: Path | None = None
    key_passphrase: str | None = None
    password: str | None = None


class SshConnection:
    """Connects when it is first used, and anew when the connection is lost. Safe for threads.

    paramiko's SFTP sessions are not, so each is used by one at a time. OpenSSH allows ten in a connection.
    """

    def __init__(self, login: Login) -> None:
        self._login = login
        self._lock = threading.Lock()
        self._client: paramiko.SSHClient | None = None
        self._idle: deque[paramiko.SFTPClient] = deque()

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[paramiko.SFTPClient]:
        """Lend a session for one call."""
        session = self._take()
        with session.given_back():
            yield session.sftp

    @contextlib.contextmanager
    def kept(self) -> Iterator["Session"]:
        """Lend a session that the caller gives back later; an error that is raised here closes it."""
        session = self._take()
        try:
            yield session
        except BaseException:
            session.drop()
            raise

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._disconnect()

    def give_back(self, sftp: paramiko.SFTPClient) -> None:
        """Take a session back that works."""
        with self._lock:
            channel = sftp.get_channel()
            if channel is not None and self._is_current(channel):
                self._idle.append(sftp)
                return
        sftp.close()

    def _take(self) -> "Session":
        with self._lock:
            client = self._connected()
            if self._idle:
                return Session(self, self._idle.popleft())
        sftp = client.open_sftp()
        channel = sftp.get_channel()
        assert channel is not None
        channel.settimeout(ANSWER_TIMEOUT_S)
        return Session(self, sftp)

    def _connected(self) -> paramiko.SSHClient:
        transport = self._client.get_transport() if self._client else None
        if self._client is not None and transport is not None and transport.is_active():
            return self._client
        self._disconnect()
        self._client = _connect(self._login)
        return self._client

    def _is_current(self, channel: paramiko.Channel) -> bool:
        transport = self._client.get_transport() if self._client else None
        return channel.get_transport() is transport and not channel.closed

    def _disconnect(self) -> None:
        self._idle.clear()
        if self._client is not None:
            self._client.close()
            self._client = None


class Session:
    """An SFTP session in one caller's hands."""

    def __init__(self, connection: SshConnection, sftp: paramiko.SFTPClient) -> None:
        self.sftp = sftp
        self._connection = connection

    @contextlib.contextmanager
    def given_back(self) -> Iterator[None]:
        """Give the session back at the end; after an error it is closed instead, as its state is not known."""
        try:
            yield
        except TimeoutError:
            # Nothing came for so long that all of the connection is taken for lost.
            self._connection.close()
            raise
        except BaseException:
            self.drop()
            raise
        self.give_back()

    def give_back(self) -> None:
        """Let others use the session, which works."""
        self._connection.give_back(self.sftp)

    def drop(self) -> None:
        """Close the session."""
        with contextlib.suppress(*FAILURES):
            self.sftp.close()


def _connect(login: Login) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.load_host_keys(str(login.known_hosts))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            login.host,
            port=login.port,
            username=login.user,
            password=login.password,
            key_filename=str(login.key) if login.key else None,
            passphrase=login.key_passphrase,
            timeout=CONNECT_TIMEOUT_S,
            banner_timeout=CONNECT_TIMEOUT_S,
            auth_timeout=CONNECT_TIMEOUT_S,
            channel_timeout=CONNECT_TIMEOUT_S,
            # Only what the operator's file names, nothing that lies about on this machine.
            allow_agent=False,
            look_for_keys=False,
        )
    except BaseException:
        client.close()
        raise
    transport = client.get_transport()
    assert transport is not None
    transport.set_keepalive(_KEEPALIVE_S)
    return client
