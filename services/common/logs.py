"""Log lines on stdout: JSON for machines, plain text on a terminal."""

import contextlib
import logging
import sys
import time
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TextIO

import orjson

_RESERVED = frozenset(vars(logging.makeLogRecord({})))


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


def configure(*, log_format: LogFormat, log_level: LogLevel, stream: TextIO = sys.stdout) -> None:
    """Send every logger of the process to `stream`. Fields of a line are given as `extra`."""
    _collect_less()
    as_json = log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not stream.isatty())
    handler = _JsonHandler(stream) if as_json else logging.StreamHandler(stream)
    handler.setFormatter(_JsonFormatter() if as_json else _TextFormatter())
    logging.basicConfig(handlers=[handler], level=log_level.value.upper(), force=True)


class Lines:
    """Writes a logger's lines that are many, one a call. They are the same as the logger's own; where nobody but the
    stream wants them, as JSON, they are made without what `logging` makes of each, which is most of their cost.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def info(self, message: str, fields: dict[str, Any]) -> None:
        """Write a line at INFO, for which the logger is enabled."""
        handlers = self._logger.root.handlers
        if len(handlers) == 1 and isinstance(handlers[0], _JsonHandler) and not self._logger.handlers:
            handlers[0].write(_line(time.time(), "info", self._logger.name, message, fields))
        else:
            self._logger.info(message, extra=fields)


class _JsonHandler(logging.StreamHandler[TextIO]):
    def write(self, line: dict[str, Any]) -> None:
        with self.lock or contextlib.nullcontext():
            self.stream.write(f"{_dumps(line)}\n")
            self.stream.flush()


def _line(created: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "time": datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": logger,
        "message": message,
        **{name: value for name, value in fields.items() if value is not None},
    }


def _dumps(line: dict[str, Any]) -> str:
    return orjson.dumps(line, default=str).decode()


def _collect_less() -> None:
    """Have `logging` leave out what no line shows, which took half the time of a line: the caller's place in the code,
    threads and processes (https://docs.python.org/3/howto/logging.html#optimization).
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined]


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _RESERVED and value is not None}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = _line(record.created, record.levelname.lower(), record.name, record.getMessage(), _fields(record))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _dumps(line)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items())
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line
