"""The ASGI application: who may speak, what answers, and one log line, span and count for each request."""

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass

from opentelemetry.trace import Span
from starlette.types import Receive, Scope, Send

from services.common import logs, telemetry, tracing
from services.common.auth import Authenticator
from services.common.errors import ServiceError
from services.gateway import errors, sessions
from services.gateway.admission import Admission
from services.gateway.bodies import ClientGone, Incoming
from services.gateway.calls import StreamBroken
from services.gateway.console.app import Console, Found
from services.gateway.graphql import endpoint
from services.gateway.graphql.endpoint import Endpoint
from services.gateway.hosts import Hosts
from services.gateway.pages import READY_PATH, Page, Pages
from services.gateway.replies import Header, Reply, StreamedReply, send_last_reply, send_reply, send_stream
from services.gateway.requests import Request
from services.gateway.routes import Match, RouteTable
from services.gateway.sessions import Sessions
from services.gateway.transcoding import Transcoder

# Served under any name: probes address a machine, not a site.
_ANY_HOST = frozenset({"/health", READY_PATH, "/version"})
_UNMATCHED = "unmatched"
_TIMED_OUT = 408
_CLIENT_CLOSED = 499

_log = logging.getLogger("modelstead.http")
_lines = logs.Lines(_log)


@dataclass(kw_only=True, slots=True)
class _Exchange:
    """A request under way and what has become of it; `status` is None until the answer has begun."""

    request: Request
    incoming: Incoming
    send: Send
    label: str
    match: Match | None
    page: Page | None
    found: Found | None
    # Whether the client is to make a new connection for its next request, to a gateway that goes on.
    is_last_here: bool
    status: int | None = None
    note: str | None = None

    @property
    def is_watch(self) -> bool:
        return self.match is not None and self.match.route.is_watch

    async def reply(self, reply: Reply | StreamedReply) -> None:
        headers: list[Header] = [(b"x-request-id", self.request.request_id.encode())]
        self.status = reply.status
        if isinstance(reply, Reply) and self._is_last(reply):
            await send_last_reply(self.send, reply, *headers, linger=self.incoming.linger)
            return
        if self.is_last_here:
            headers.append((b"connection", b"close"))
        if isinstance(reply, StreamedReply):
            await send_stream(self.send, reply, *headers)
        else:
            await send_reply(self.send, reply, *headers)

    def _is_last(self, reply: Reply) -> bool:
        """Whether the rest of the request is not worth its reading, or will not come."""
        return not self.incoming.is_over and (self.request.has_long_body or reply.status == _TIMED_OUT)


class Gateway:
    """Serves the gateway's own pages and, for callers it knows, the backends' RPCs."""

    def __init__(
        self,
        *,
        table: RouteTable,
        transcoder: Transcoder,
        pages: Pages,
        graphql: Endpoint,
        console: Console,
        sessions: Sessions,
        hosts: Hosts,
        authenticator: Authenticator,
        admission: Admission,
        watch_admission: Admission,
        root_path: str = "",
    ) -> None:
        self._table = table
        self._transcoder = transcoder
        self._pages = pages
        self._graphql = graphql
        self._console = console
        self._sessions = sessions
        self._hosts = hosts
        self._authenticator = authenticator
        self._admission = admission
        self._watch_admission = watch_admission
        self._outcomes: dict[str, telemetry.Outcomes] = {}
        self._root_path = root_path
        self._is_draining = False

    def drain(self) -> None:
        """Tell that this gateway is about to stop, and with each answer that its connection ends: a request that is
        sent as the server closes one would be lost.
        """
        self._is_draining = True
        self._pages.drain()

    def end_watches(self) -> None:
        """End the answers that have no end of their own."""
        self._transcoder.end_watches()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        started = time.perf_counter()
        request = self._sessions.recognise(Request.of(scope, root_path=self._root_path))
        exchange = self._begin(request, Incoming(receive, caller=request.authorization or ""), send)
        with tracing.serving(exchange.label, exchange.request.trace_headers()) as span:
            try:
                with nullcontext() if exchange.is_watch else telemetry.IN_FLIGHT.track_inprogress():
                    await self._answer(exchange)
            finally:
                if span.is_recording() and exchange.status is not None:
                    span.set_attribute("http.response.status_code", exchange.status)
                self._record(exchange, time.perf_counter() - started, span)

    def _begin(self, request: Request, incoming: Incoming, send: Send) -> _Exchange:
        page = self._pages.find(request.path)
        found = None if page else self._console.find(request.path)
        match = None if page or found else self._table.match(request.method, request.path)
        label = match.route.label if match else _UNMATCHED
        if page is not None:
            label = f"{request.method} {page.label}"
        elif request.path == endpoint.PATH:
            label = f"{request.method} {endpoint.PATH}"
        if found is not None:
            label = f"{request.method} {found.label}"
        return _Exchange(
            request=request,
            incoming=incoming,
            send=send,
            label=label,
            match=match,
            page=page,
            found=found,
            is_last_here=self._is_draining,
        )

    async def _answer(self, exchange: _Exchange) -> None:
        """Answer in any case but one: a stream that breaks leaves its answer without an end, and the server then
        closes the connection, so that no client takes what it got for the whole.
        """
        try:
            await self._answer_or_raise(exchange)
        except ServiceError as error:
            await exchange.reply(errors.reply_of(error, may_ask=not sessions.has_cookie(exchange.request)))
        except ClientGone:
            exchange.status = exchange.status or _CLIENT_CLOSED
            exchange.note = "client gone"
        except StreamBroken as error:
            exchange.note = f"stream broken: {error}"
        except Exception:  # noqa: BLE001 - the boundary: what no one foresaw is logged and told without its details
            failure = errors.unexpected("request failed", route=exchange.label)
            if exchange.status is None:
                await exchange.reply(errors.reply_of(failure))

    async def _answer_or_raise(self, exchange: _Exchange) -> None:
        request = exchange.request
        refusal = None if request.path in _ANY_HOST else self._hosts.refusal(request.method, request.headers)
        if refusal is not None:
            await exchange.reply(refusal)
        elif exchange.page is not None:
            await exchange.reply(await _page(exchange.page, request))
        elif exchange.found is not None:
            await exchange.reply(await self._console.answer(exchange.found, request, exchange.incoming))
        else:
            caller = self._authenticator.authenticate(request.authorization)
            # One whose key is a password has as many credentials as there are user names.
            exchange.incoming.caller = caller.name
            if request.path == endpoint.PATH:
                with self._admission.admit(caller.name):
                    await exchange.reply(await self._graphql.answer(request, exchange.incoming))
                return
            if exchange.match is None:
                await exchange.reply(self._nothing_at(request))
                return
            admission = self._watch_admission if exchange.match.route.is_watch else self._admission
            with admission.admit(caller.name):
                await exchange.reply(await self._transcoder.answer(exchange.match, request, exchange.incoming))

    def _record(self, exchange: _Exchange, duration_s: float, span: Span) -> None:
        outcomes = self._outcomes.get(exchange.label)
        if outcomes is None:
            is_timed = exchange.match is None or exchange.match.route.is_timed
            outcomes = self._outcomes[exchange.label] = telemetry.Outcomes(exchange.label, is_timed=is_timed)
        outcomes.add(str(exchange.status), duration_s, span)
        _log_line(exchange, duration_s, span)

    def _nothing_at(self, request: Request) -> Reply:
        verbs = self._table.verbs(request.path)
        return errors.method_not_allowed(", ".join(sorted(verbs))) if verbs else errors.not_found()


async def _page(page: Page, request: Request) -> Reply:
    if request.method not in page.verbs:
        return errors.method_not_allowed(", ".join(sorted(page.verbs)))
    return await page.answer(request)


def _log_line(exchange: _Exchange, duration_s: float, span: Span) -> None:
    level = logging.DEBUG if exchange.page is not None else logging.INFO
    if _log.isEnabledFor(level):
        fields = {
            "method": exchange.request.method,
            "route": exchange.label.partition(" ")[2] or exchange.label,
            "status": exchange.status,
            "duration_ms": round(duration_s * 1000, 2),
            "request_id": exchange.request.request_id,
            "note": exchange.note,
            **tracing.ids(span),
        }
        if level == logging.INFO:
            _lines.info("request", fields)
        else:
            _log.log(level, "request", extra=fields)
