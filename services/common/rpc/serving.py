"""A call that is being served: its trace, its log line and counts, and how what goes wrong is told to the peer."""

import asyncio
import logging
import time
import uuid
from types import TracebackType
from typing import Any, Self

from services.common import logs, telemetry, tracing
from services.common.errors import ServiceError
from services.common.rpc.call import abort, metadata_of, request_id_of, status_code
from services.common.rpc.contract import Contract

_log = logging.getLogger("modelstead.rpc")
_lines = logs.Lines(_log)


class Serving:
    """The length of a call, as a block. A class and no generator, for every call pays for it.

    An exception that leaves the block ends the call with its status; one that is no ServiceError is told as an id,
    under which the log has all of it.
    """

    __slots__ = (
        "_context",
        "_contract",
        "_opened",
        "_outcomes",
        "_span",
        "_started",
        "caller_name",
        "metadata",
        "request_id",
    )

    def __init__(self, contract: Contract, outcomes: telemetry.Outcomes, context: Any) -> None:
        self._started = time.perf_counter()
        self._contract = contract
        self._outcomes = outcomes
        self._context = context
        self.metadata = metadata_of(context)
        self.request_id = request_id_of(self.metadata)
        self.caller_name: str | None = None
        self._opened = tracing.serving(contract.full_name, self.metadata)

    async def __aenter__(self) -> Self:
        if self._contract.ends_by_itself:
            telemetry.IN_FLIGHT.inc()
        self._span = self._opened.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        code = "OK"
        try:
            if isinstance(error, ServiceError):
                code = status_code(error).name
                await abort(self._context, error)
            elif isinstance(error, asyncio.CancelledError | GeneratorExit):
                code = "CANCELLED"
            elif error is not None:
                code = "INTERNAL"
                await abort(self._context, self._unexpected(error))
        finally:
            self._opened.__exit__(kind, error, trace)
            self._record(code)
        # Of a call that was ended here, there is nothing left to tell.
        return error is not None and not isinstance(error, asyncio.CancelledError | GeneratorExit)

    def _unexpected(self, error: BaseException) -> ServiceError:
        error_id = uuid.uuid4().hex
        fields = {"method": self._contract.full_name, "error_id": error_id, "id": self.request_id}
        _log.error("unexpected error", exc_info=error, extra=fields)
        return ServiceError(f"An unexpected error occurred. Its id is {error_id}; the server's log tells more.")

    def _record(self, code: str) -> None:
        if self._contract.ends_by_itself:
            telemetry.IN_FLIGHT.dec()
        duration_s = time.perf_counter() - self._started
        self._outcomes.add(code, duration_s, self._span)
        if _log.isEnabledFor(logging.INFO):
            fields = {
                "method": self._contract.full_name,
                "code": code,
                "duration_ms": round(duration_s * 1000, 2),
                "request_id": self.request_id,
                "caller": self.caller_name,
                **tracing.ids(self._span),
            }
            _lines.info("call", fields)
