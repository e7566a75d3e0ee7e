"""`python -m benchmarks.echo ADDRESS`: a gRPC server whose one method answers nothing, as fast as grpc.aio can.

It has the settings of our servers and none of what surrounds a call there.
"""

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio
import uvloop

from services.common import garbage
from services.common.rpc.server import OPTIONS

SERVICE, METHOD = "benchmarks.Echo", "Echo"
PATH = f"/{SERVICE}/{METHOD}"


async def _answer(body: bytes, context: Any) -> bytes:
    return b""


async def _serve(address: str) -> None:
    server = grpc.aio.server(options=OPTIONS)
    handlers = {METHOD: grpc.unary_unary_rpc_method_handler(_answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_insecure_port(address)
    garbage.collect_seldom()
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
