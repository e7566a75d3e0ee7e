"""Lines that are many are those that `logging` would write, in the order in which they came."""

import asyncio
import io
import logging
from collections.abc import Iterator

import orjson
import pytest
from opentelemetry import trace

from services.common import logs, tracing
from services.common.logs import Lines, LogFormat, LogLevel


@pytest.fixture
def log_format() -> LogFormat:
    return LogFormat.JSON


@pytest.fixture
def stream(log_format: LogFormat) -> Iterator[io.StringIO]:
    """Where a process's log goes; the handlers of the tests come back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    stream = io.StringIO()
    logs.configure(log_format=log_format, log_level=LogLevel.INFO, stream=stream, context=tracing.current_ids)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def _written(stream: io.StringIO) -> list[dict[str, object]]:
    lines = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    # Whatever else goes on in this process has a log too.
    return [line for line in lines if line["logger"] == "modelstead.test"]


def _without_time(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


async def test_a_line_is_as_the_loggers_own(stream: io.StringIO) -> None:
    logger = logging.getLogger("modelstead.test")
    fields = {"code": "OK", "caller": None, "duration_ms": 1.5}

    Lines(logger).info("call", fields)
    logger.info("call", extra=fields)

    deferred, direct = _written(stream)
    assert list(deferred) == list(direct) == ["time", "level", "logger", "message", "code", "duration_ms"]
    assert _without_time([deferred]) == _without_time([direct])


@pytest.mark.parametrize("log_format", [LogFormat.TEXT])
async def test_a_line_of_text_is_as_the_loggers_own(stream: io.StringIO) -> None:
    logger = logging.getLogger("modelstead.test")
    fields = {"code": "OK", "caller": None, "duration_ms": 1.5}

    Lines(logger).info("call", fields)
    logger.info("call", extra=fields)
    try:
        raise ValueError("wrong")
    except ValueError:
        logger.exception("failed", extra={"code": "INTERNAL"})

    deferred, direct, failed, *trace = stream.getvalue().splitlines()
    assert deferred.partition(" ")[2] == direct.partition(" ")[2] == "info    call code=OK duration_ms=1.5"
    assert failed.partition(" ")[2] == "error   failed code=INTERNAL"
    assert (trace[0], trace[-1]) == ("Traceback (most recent call last):", "ValueError: wrong")


async def test_lines_are_written_without_another_one_to_follow(stream: io.StringIO) -> None:
    Lines(logging.getLogger("modelstead.test")).info("call", {"number": 1})
    Lines(logging.getLogger("modelstead.test")).info("call", {"number": 2})

    async with asyncio.timeout(20):
        while len(_written(stream)) < 2:  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0.001)

    assert [line["number"] for line in _written(stream)] == [1, 2]


def test_without_an_event_loop_a_line_is_written_at_once(stream: io.StringIO) -> None:
    Lines(logging.getLogger("modelstead.test")).info("call", {"number": 1})

    assert [line["number"] for line in _written(stream)] == [1]


async def test_what_is_deferred_is_written_at_the_end_of_the_process(stream: io.StringIO) -> None:
    Lines(logging.getLogger("modelstead.test")).info("call", {"number": 1})

    logging.shutdown([lambda: logging.getLogger().handlers[0]])  # type: ignore[list-item]

    assert [line["number"] for line in _written(stream)] == [1]


def test_where_others_listen_too_they_get_it(stream: io.StringIO) -> None:
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)

    Lines(logging.getLogger("modelstead.test")).info("call", {"number": 1})

    assert [vars(record)["number"] for record in records] == [1]
    assert [line["number"] for line in _written(stream)] == [1]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (trace.TraceFlags.SAMPLED, {"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}),
        (trace.TraceFlags.DEFAULT, {}),
    ],
)
def test_a_line_names_the_span_that_it_is_written_in_if_that_is_kept(
    stream: io.StringIO, flags: int, expected: dict[str, str]
) -> None:
    context = trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(flags))

    with trace.use_span(trace.NonRecordingSpan(context)):
        logging.getLogger("modelstead.test").warning("inside")
    logging.getLogger("modelstead.test").warning("outside")

    inside, outside = _written(stream)
    assert {name: inside[name] for name in ("trace_id", "span_id") if name in inside} == expected
    assert not {"trace_id", "span_id"} & set(outside)


def test_what_a_line_says_of_its_span_goes_before_where_it_is_written(stream: io.StringIO) -> None:
    context = trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))

    with trace.use_span(trace.NonRecordingSpan(context)):
        logging.getLogger("modelstead.test").info("call", extra={"trace_id": "mine"})

    assert _written(stream)[0]["trace_id"] == "mine"
