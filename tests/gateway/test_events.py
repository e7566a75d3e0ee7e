"""A watch is passed on as server-sent events, one for each message, for as long as the client stays."""

import asyncio
import contextlib

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from modelstead.registry.v1 import lookups_pb2 as pb
from modelstead.tracking.v1 import runs_pb2
from services.gateway import dialect
from services.gateway.events import EventEncoder
from tests.gateway.harness import API, WAIT_S, Platform, details, grpc

WATCH = f"{API}/registered-models/watch"
NAMES = {"names": ["a", "b"]}
QUIET = pb.WatchModelsResponse(resume_token="t0")


DATA = '{"model":{"name":"a","revision":7,"exists":true},"change_time":"1970-01-01T00:00:01Z"}'


def update(name: str, token: str) -> pb.WatchModelsResponse:
    return pb.WatchModelsResponse(
        resume_token=token,
        model=pb.ModelState(name=name, revision=7, exists=True),
        change_time=Timestamp(seconds=1),
    )


async def test_each_message_is_an_event(running: Platform) -> None:
    running.script.updates = [QUIET, update("a", "t1"), update("b", "t2")]

    answer = await running.client.get(WATCH, params=NAMES)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == (
        "retry: 1000\n\n"
        ":\n\n"
        'id: t1\nevent: model\ndata: {"model":{"name":"a","revision":7,"exists":true},'
        '"change_time":"1970-01-01T00:00:01Z"}\n\n'
        'id: t2\nevent: model\ndata: {"model":{"name":"b","revision":7,"exists":true},'
        '"change_time":"1970-01-01T00:00:01Z"}\n\n'
    )
    assert running.script.requests == [pb.WatchModelsRequest(names=["a", "b"])]


async def test_the_last_event_id_resumes(running: Platform) -> None:
    running.script.updates = [QUIET]

    await running.client.get(WATCH, params=NAMES, headers={"Last-Event-ID": "t1"})

    assert running.script.requests == [pb.WatchModelsRequest(names=["a", "b"], resume_token="t1")]


async def test_an_event_is_not_held_back(running: Platform) -> None:
    running.script.updates, running.script.hold = [update("a", "t1")], asyncio.Event()

    async with running.client.stream("GET", WATCH, params=NAMES) as answer:
        lines = answer.aiter_lines()
        async with asyncio.timeout(WAIT_S):
            got = [await anext(lines) for _ in range(3)]

    assert got == ["retry: 1000", "", "id: t1"]


async def test_a_watch_ends_when_the_client_goes(running: Platform) -> None:
    running.script.updates, running.script.hold = [QUIET], asyncio.Event()

    async with running.client.stream("GET", WATCH, params=NAMES):
        pass

    await asyncio.wait_for(running.script.cancelled.wait(), WAIT_S)


async def test_a_watch_has_no_deadline_of_a_request(running: Platform) -> None:
    running.script.updates = [QUIET]

    await running.client.get(WATCH, params=NAMES)

    assert running.script.deadline_s is not None
    assert running.script.deadline_s > 3600


async def test_a_refusal_before_the_first_event_is_an_answer(running: Platform) -> None:
    running.script.run_error = (
        grpc.StatusCode.RESOURCE_EXHAUSTED, "", details("RESOURCE_EXHAUSTED", "Too many.", retry_after_s=1)
    )  # fmt: skip

    answer = await running.client.get(WATCH, params=NAMES)

    assert (answer.status_code, answer.json()["message"]) == (429, "Too many.")


async def test_a_watch_that_a_backend_ends_ends_well_whatever_the_reason(running: Platform) -> None:
    running.script.updates = [update("a", "t1")]
    running.script.run_error = (
        grpc.StatusCode.UNAVAILABLE, "", details("TEMPORARILY_UNAVAILABLE", "This watch has ended; resume it.")
    )  # fmt: skip

    answer = await running.client.get(WATCH, params=NAMES)

    assert answer.text.endswith('"1970-01-01T00:00:01Z"}\n\n')


async def test_a_missing_list_is_named(running: Platform) -> None:
    answer = await running.client.get(WATCH)

    assert answer.status_code == 400
    assert "'names'" in answer.json()["message"]


async def test_watches_leave_room_for_requests(own: Platform) -> None:
    own.script.updates, own.script.hold = [QUIET], asyncio.Event()
    limits = httpx.Limits(max_connections=None)
    async with (
        httpx.AsyncClient(base_url=own.url, timeout=60, limits=limits) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        for _ in range(600):
            watch = await stack.enter_async_context(client.stream("GET", WATCH, params=NAMES))
            assert watch.status_code == 200
        hold, own.script.hold = own.script.hold, None
        answer = await own.get_run()
        own.script.hold = hold

    assert answer.status_code == 200


async def test_a_gateway_that_stops_ends_its_watches_well(own: Platform) -> None:
    own.script.updates, own.script.hold = [update("a", "t1")], asyncio.Event()

    async with own.client.stream("GET", WATCH, params=NAMES) as answer:
        lines = answer.aiter_lines()
        async with asyncio.timeout(WAIT_S):
            assert await anext(lines) == "retry: 1000"
            own.gateway.end_watches()
            rest = [line async for line in lines]

    assert rest[-3:] == ["event: model", f"data: {DATA}", ""]
    refused = await own.client.get(WATCH, params=NAMES)
    assert refused.status_code == 503


def test_a_watch_that_cannot_be_resumed_is_refused() -> None:
    method = runs_pb2.DESCRIPTOR.services_by_name["RunService"].methods_by_name["GetRun"]

    with pytest.raises(dialect.DialectError, match="one field must resume it"):
        EventEncoder(method)
