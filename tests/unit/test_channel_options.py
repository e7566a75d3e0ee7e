"""gRPC takes a channel option that it does not know in silence: each name that we give it must be one that it has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc._cython import cygrpc

from services.common.rpc import server

_ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"grpc\.[a-z0-9_.]+")


def _options() -> Iterator[tuple[str, str]]:
    """Yield each name of an option in our code, and where it stands."""
    for folder in ("services", "client/modelstead", "tests", "benchmarks"):
        for path in (_ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant):
                    name = node.elts[0].value
                    if isinstance(name, str) and _NAME.fullmatch(name):
                        yield name, path.relative_to(_ROOT).as_posix()


@pytest.fixture(scope="module")
def known() -> bytes:
    return Path(cygrpc.__file__).read_bytes()


@pytest.mark.parametrize(("name", "path"), sorted(set(_options())))
def test_grpc_has_each_option_that_we_set(known: bytes, name: str, path: str) -> None:
    assert name.encode() + b"\0" in known, f"{path} sets {name}"


def test_the_server_lets_its_clients_ask_whether_it_is_there() -> None:
    options = dict(server.OPTIONS)

    assert options["grpc.http2.min_ping_interval_without_data_ms"] < options["grpc.keepalive_time_ms"]
