"""Log lines on stdout: JSON for machines, plain text on a terminal."""

import asyncio
import functools
import logging
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TextIO

import orjson

# For how long lines that are many wait for each other.
_DEFER_S = 0.02
_RESERVED = frozenset(vars(logging.makeLogRecord({})))
_EXCEPTION = "exception"


class LogFormat(Enum):
    """How log lines look; `auto` is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(Enum):
    """The least level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def configure(
    *,
    log_format: LogFormat,
    log_level: LogLevel,
    stream: TextIO = sys.stdout,
    context: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Send every logger of the process to `stream`. Fields of a line are given as `extra`; `context` returns those that
    each line has that is written at once, such as the trace that it is of.
    """
    _collect_less()
    as_json = log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not stream.isatty())
    handler = _Handler(stream, _JsonFormatter() if as_json else _TextFormatter(), context)
    logging.basicConfig(handlers=[handler], level=log_level.value.upper(), force=True)


class Lines:
    """Writes a logger's lines that are many, one a call. They are the same as the logger's own; where nobody but the
    stream wants them, they are written together a moment later, and made without what `logging` makes of each.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def info(self, message: str, fields: dict[str, Any]) -> None:
        """Write a line at INFO, for which the logger is enabled."""
        handlers = self._logger.root.handlers
        if len(handlers) == 1 and isinstance(handlers[0], _Handler) and not self._logger.handlers:
            handlers[0].defer(self._logger.name, message, fields)
        else:
            self._logger.info(message, extra=fields)


class _Format(logging.Formatter):
    """How a line looks."""

    def line(self, created: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> str:
        """Return a line without its end; `level` is a name of `logging`, and fields that are None are left out."""
        raise NotImplementedError

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in _RESERVED}
        if record.exc_info:
            fields[_EXCEPTION] = self.formatException(record.exc_info)
        return self.line(record.created, record.levelname, record.name, record.getMessage(), fields)


class _JsonFormatter(_Format):
    def line(self, created: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> str:
        line = {
            "time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
            "level": level.lower(),
            "logger": logger,
            "message": message,
            **{name: value for name, value in fields.items() if value is not None},
        }
        return orjson.dumps(line, default=str).decode()


class _TextFormatter(_Format):
    def line(self, created: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> str:
        exception = fields.pop(_EXCEPTION, None)
        text = " ".join([f"{name}={value}" for name, value in fields.items() if value is not None])
        line = f"{_clock(int(created))} {level.lower():7} {message} {text}".rstrip()
        return f"{line}\n{exception}" if exception else line


@functools.lru_cache(maxsize=1)
def _clock(created: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(created))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes records at once, after what was deferred; what was deferred, soon, and at the end of the process."""

    def __init__(self, stream: TextIO, form: _Format, context: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(stream)
        self._context = context
        self.setFormatter(form)
        self._line = form.line
        self._deferred: list[tuple[float, str, str, dict[str, Any]]] = []

    def defer(self, logger: str, message: str, fields: dict[str, Any]) -> None:
        self._deferred.append((time.time(), logger, message, fields))
        if len(self._deferred) == 1:
            try:
                asyncio.get_running_loop().call_later(_DEFER_S, self.flush)
            except RuntimeError:
                self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self.flush()
        # What the line says itself goes before.
        vars(record).update({name: value for name, value in self._context().items() if not hasattr(record, name)})
        super().emit(record)

    def flush(self) -> None:
        deferred, self._deferred = self._deferred, []
        if deferred:
            lines = [
                self._line(created, "INFO", logger, message, fields) for created, logger, message, fields in deferred
            ]
            self.stream.write("\n".join([*lines, ""]))
        super().flush()


def _collect_less() -> None:
    """Have `logging` leave out what no line shows, which took half the time of a line: the caller's place in the code,
    threads and processes (https://docs.python.org/3/howto/logging.html#optimization).
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]
