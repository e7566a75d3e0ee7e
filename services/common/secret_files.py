"""Secrets that change while a process runs: files that are read again once somebody has written them."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

_T = TypeVar("_T")
_Stamp = tuple[int, int, int]

_log = logging.getLogger("modelstead.secrets")


class Secret:
    """A text that nobody prints. One from a file is read again when the file is another one or has changed.

    While the file is away, empty or no text, the last one stays.
    """

    def __init__(self, text: str, *, path: Path | None = None) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._text = text

    @classmethod
    def of(cls, text: "str | Secret") -> "Secret":
        """Return a secret as it is, and of a text one that never changes."""
        return text if isinstance(text, Secret) else cls(text)

    @classmethod
    def of_file(cls, path: Path) -> "Secret":
        """Return what stands in a file, without the white space around it. Raises OSError."""
        # Stamped first: what is written meanwhile is then read again.
        secret = cls("", path=path)
        secret._text = _read(path)
        return secret

    def read(self) -> str:
        """Return the text as it is now."""
        stamp = _stamp(self._path)
        if stamp is not None and stamp != self._stamp:
            assert self._path is not None
            try:
                text = _read(self._path)
            except (OSError, UnicodeDecodeError):
                return self._text
            self._text, self._stamp = text or self._text, stamp
        return self._text

    def lines(self) -> list[str]:
        """Return its lines, without the empty ones, but at least one."""
        return [line.strip() for line in self.read().splitlines() if line.strip()] or [""]


class Derived(Generic[_T]):
    """What is made of a secret, and made again when that changes. Raises ValueError for a first one that is not valid.

    Later a text of which nothing can be made leaves things as they are, and is told in the log once.
    """

    def __init__(self, secret: Secret, make: Callable[[str], _T]) -> None:
        self._secret = secret
        self._make = make
        self._text = secret.read()
        self._made = make(self._text)

    def __call__(self) -> _T:
        text = self._secret.read()
        if text != self._text:
            self._text = text
            try:
                self._made = self._make(text)
            except ValueError:
                _log.error("a secret that was changed is not valid, the one before stays in use")
        return self._made


def read_together(first: Secret, second: Secret) -> tuple[str, str]:
    """Return two secrets that belong together, when their folder is exchanged as a whole: both old or both new."""
    while True:
        pair = first.read(), second.read()
        if first.read() == pair[0]:
            return pair


def words_of(text: str) -> tuple[str, ...]:
    """Return what stands between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _stamp(path: Path | None) -> _Stamp | None:
    """Tell a file from another one, and from itself as it was; None if there is none."""
    if path is None:
        return None
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
