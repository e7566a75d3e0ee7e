"""The way of every call through a server, in order: trace, log line and metrics; errors; metadata and size;
authentication; required fields and text; access; deadline; the servicer.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from services.common import telemetry
from services.common.auth import Authenticator, Caller
from services.common.errors import DeadlineExceeded, Interrupted, InvalidArgument
from services.common.rpc import eager, wire
from services.common.rpc.call import Call
from services.common.rpc.contract import Contract, may_repeat
from services.common.rpc.open_calls import OpenCalls
from services.common.rpc.serving import Serving
from services.common.rpc.wire import Bytes
from services.common.telemetry import Outcomes

MESSAGE_WAIT_S_MAX = 60.0
# While one message comes for which room is kept.
KEPT_ROOM_S_MAX = 15.0
# A job may be silent for long; whether its peer is still there is found out by keepalive.
EXCHANGE_WAIT_S_MAX = 300.0
EXCHANGES_MAX = 8_000
EXCHANGES_PER_CALLER_MAX = 2_048
WATCHES_MAX = 8_000
WATCHES_PER_CALLER_MAX = 2_000
METADATA_BYTES_MAX = 16 * 1024

# What the database has broken off is done again after so long at most, if so little time has passed: where connections
# were lost there are new ones at once, or there is no database.
_PAUSES_S = (0.0, 0.1, 0.2)
_REPEATED_S_MAX = 1.0

# What the handler of a call returns that has been ended with an error: nobody gets it.
_ABORTED = b""

T = TypeVar("T")
# A message, or one in its wire form.
Answer = Message | bytes
UnaryHandler = Callable[[Any, Call], Coroutine[Any, Any, Answer]]
StreamHandler = Callable[[Any, Call], AsyncIterator[Answer]]
# Gets the first message, which the checks have seen, and the contents of the ones after it.
UploadHandler = Callable[[Any, AsyncIterator[Bytes], Call], Awaitable[Message]]
# Gets the first message and the ones after it, which the checks have not seen, and answers while they come.
ExchangeHandler = Callable[[Any, AsyncIterator[Any], Call], AsyncIterator[Message]]


class Authorizer(Protocol):
    """Decides whether a caller may make a call."""

    async def check(self, caller: Caller, contract: Contract, request: Any) -> None:
        """Return if the call is allowed; `request` has been checked as `contract` says. Raises PermissionDenied."""


class Room(Protocol):
    """Holds what calls bring until it is dealt with."""

    def expect(self) -> AbstractContextManager[object]:
        """Keep room, for the block, for what a call is about to bring. Raises ResourceExhausted if there is none."""


class EveryoneMayEverything:
    """Allows every authenticated caller everything."""

    async def check(self, caller: Caller, contract: Contract, request: Any) -> None:
        return


class Pipeline:
    """Wraps servicer methods into gRPC handlers that take and return serialized messages."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._exchanges = OpenCalls(
            "streams",
            calls_max=EXCHANGES_MAX,
            per_caller_max=EXCHANGES_PER_CALLER_MAX,
            ended="The server is stopping; go on with another stream.",
            retry_after_s=0.1,
        )
        self._watches = OpenCalls(
            "watches",
            calls_max=WATCHES_MAX,
            per_caller_max=WATCHES_PER_CALLER_MAX,
            ended="This watch has ended; resume it.",
            spread_s=1.0,
        )

    @property
    def watch_count(self) -> int:
        """How many watches are open."""
        return self._watches.count

    def drain(self) -> None:
        """Let what would not end by itself end with UNAVAILABLE, so that its callers go elsewhere, and take no more:
        streams that go both ways when all that has come is answered, watches within a second.
        """
        self._exchanges.drain()
        self._watches.drain()

    def unary(self, contract: Contract, handler: UnaryHandler) -> Callable[[bytes, Any], Awaitable[bytes]]:
        """Return the handler of a method that answers with one message."""
        outcomes = _outcomes(contract)

        async def serve(body: bytes, context: Any) -> bytes:
            async with Serving(contract, outcomes, context) as serving:
                request, call = await self._admit(contract, serving, body)
                return await _answered(contract, context, lambda: handler(request, call), request)
            return _ABORTED

        return serve

    def weighed(
        self, contract: Contract, handler: UnaryHandler, room: Room
    ) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
        """Return the handler of a method whose one request may be large: it is not read where there is no room for it,
        so that what is refused takes no memory and next to no time.

        The room is kept while the request is read, and free again before `handler` begins, which takes what it needs.
        Callers that are not known get none.
        """
        outcomes = _outcomes(contract)

        async def serve(bodies: AsyncIterator[bytes], context: Any) -> bytes:
            async with Serving(contract, outcomes, context) as serving:
                caller = self._authenticate(serving)
                async with _deadline(context, KEPT_ROOM_S_MAX):
                    with room.expect():
                        request, call = await self._admit(contract, serving, await _only(bodies), caller)
                return await _answered(contract, context, lambda: handler(request, call), request)
            return _ABORTED

        return serve

    def stream(self, contract: Contract, handler: StreamHandler) -> Callable[[bytes, Any], AsyncIterator[bytes]]:
        """Return the handler of a method that answers with a stream of messages."""
        outcomes = _outcomes(contract)

        async def serve(body: bytes, context: Any) -> AsyncIterator[bytes]:
            async with Serving(contract, outcomes, context) as serving:
                request, call = await self._admit(contract, serving, body)
                async with (
                    self._bounded(contract, context, call),
                    contextlib.aclosing(
                        handler(request, call)  # type: ignore[type-var]
                    ) as messages,
                ):
                    async for message in messages:
                        if contract.is_watch:
                            await self._check_still(contract, request, call)
                        yield _wire_form(message)

        return serve

    def upload(
        self, contract: Contract, handler: UploadHandler
    ) -> Callable[[AsyncIterator[bytes], Any], Awaitable[bytes]]:
        """Return the handler of a method that takes contents in a stream of messages and answers with one.

        The stream of a call that is broken off may end like that of one whose caller has said all, before the handler
        is cancelled: what is sent has to show where it ends.
        """
        outcomes = _outcomes(contract)

        async def serve(bodies: AsyncIterator[bytes], context: Any) -> bytes:
            async with Serving(contract, outcomes, context) as serving, _deadline(context, contract.deadline_s):
                arriving = _arriving(bodies)
                # A call without a message lacks what is required, as an empty message does.
                request, call = await self._admit(contract, serving, await anext(arriving, b""))
                following = (_contents(contract, body) async for body in arriving)
                return _wire_form(await handler(request, following, call))
            return _ABORTED

        return serve

    def exchange(
        self, contract: Contract, handler: ExchangeHandler
    ) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        """Return the handler of a method that takes a stream of messages and answers with one, side by side."""
        outcomes = _outcomes(contract)

        async def serve(bodies: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            async with Serving(contract, outcomes, context) as serving, _deadline(context, contract.deadline_s):
                self._exchanges.check_open()
                arriving = self._exchanges.arriving(bodies, wait_s=EXCHANGE_WAIT_S_MAX)
                request, call = await self._admit(contract, serving, await anext(arriving, b""))
                following = (_parse(contract, body) async for body in arriving)
                with self._exchanges.admit(call.caller.name):
                    async with contextlib.aclosing(
                        handler(request, following, call)  # type: ignore[type-var]
                    ) as messages:
                        async for message in messages:
                            yield _wire_form(message)
                self._exchanges.check_open()

        return serve

    async def _admit(
        self, contract: Contract, serving: Serving, body: bytes, caller: Caller | None = None
    ) -> tuple[Message, Call]:
        caller = caller or self._authenticate(serving)
        request = _parse(contract, body)
        contract.check(request)
        try:
            await self._authorizer.check(caller, contract, request)
        except Interrupted:
            await _again(lambda: self._authorizer.check(caller, contract, request))
        authorization = serving.metadata.get("authorization")
        return request, Call(caller=caller, request_id=serving.request_id, authorization=authorization)

    def _authenticate(self, serving: Serving) -> Caller:
        metadata = serving.metadata
        if sum(map(len, metadata)) + sum(map(len, metadata.values())) > METADATA_BYTES_MAX:
            raise InvalidArgument(f"The call's metadata exceeds {METADATA_BYTES_MAX} bytes.")
        caller = self._authenticator.authenticate(metadata.get("authorization"))
        serving.caller_name = caller.name
        return caller

    async def _check_still(self, contract: Contract, request: Any, call: Call) -> None:
        """Hold a watch, before each message, against what its caller may by now; one that lives tells of it now and
        then. Raises Unauthenticated, PermissionDenied.
        """
        caller = self._authenticator.authenticate(call.authorization)
        await self._authorizer.check(caller, contract, request)

    @contextlib.asynccontextmanager
    async def _bounded(self, contract: Contract, context: Any, call: Call) -> AsyncIterator[None]:
        if not contract.is_watch:
            async with _deadline(context, contract.deadline_s):
                yield
            return
        # So that those who came together do not all come back together.
        age_s = contract.deadline_s * random.uniform(0.9, 1.1)  # noqa: S311 -- spreads load, keeps no secret
        with telemetry.WATCHES.labels(contract.full_name).track_inprogress(), self._watches.admit(call.caller.name):
            async with self._watches.bounded(age_s, late=self._watches.end), _deadline(context, None):
                yield


async def _answered(
    contract: Contract, context: Any, handle: Callable[[], Coroutine[Any, Any, Answer]], request: Message
) -> bytes:
    """Return the answer of a handler, which is run again if the database has broken it off and it may be."""
    try:
        answer = await eager.within(lambda: _deadline(context, contract.deadline_s), handle())
    except Interrupted:
        if not may_repeat(contract.retry, request):
            raise
        async with _deadline(context, contract.deadline_s):
            answer = await _again(handle)
    return _wire_form(answer)


async def _again(work: Callable[[], Awaitable[T]]) -> T:
    """Do again what was interrupted, more than once if need be. Raises Interrupted if that does not help."""
    until = time.monotonic() + _REPEATED_S_MAX
    for pause_s in _PAUSES_S:
        await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 -- spreads load, keeps no secret
        try:
            return await work()
        except Interrupted:
            if time.monotonic() > until:
                raise
    return await work()


async def _only(bodies: AsyncIterator[bytes]) -> bytes:
    """Return the one message that comes. Read to its end, for a stream that is not keeps its last message for long."""
    body = await anext(bodies, b"")
    async for _ in bodies:
        raise InvalidArgument("The call takes one message.")
    return body


async def _arriving(bodies: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(MESSAGE_WAIT_S_MAX):
                body = await anext(bodies, None)
        except TimeoutError:
            raise DeadlineExceeded(f"No message came for {MESSAGE_WAIT_S_MAX:.0f} s.") from None
        if body is None:
            return
        yield body


def _outcomes(contract: Contract) -> Outcomes:
    return Outcomes(contract.full_name, is_timed=contract.is_timed)


def _wire_form(answer: Answer) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


def _parse(contract: Contract, body: bytes) -> Message:
    try:
        return contract.request_class.FromString(body)
    except DecodeError:
        raise InvalidArgument(f"The request is not a well-formed {contract.request_class.__name__} message.") from None


def _contents(contract: Contract, body: bytes) -> Bytes:
    field = contract.contents
    assert field is not None, "streams requests"
    found = wire.contents(body, field.number)
    if found is None:
        found = getattr(_parse(contract, body), field.name).data
    return found


@contextlib.asynccontextmanager
async def _deadline(context: Any, limit_s: float | None) -> AsyncIterator[None]:
    """End the block at the deadline that the caller set, or when the limit is over."""
    bounds = [bound for bound in (context.time_remaining(), limit_s) if bound is not None]
    bound_s = min(bounds, default=None)
    try:
        async with asyncio.timeout(bound_s):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"The call was not answered within {bound_s or 0:.1f} s.") from None
