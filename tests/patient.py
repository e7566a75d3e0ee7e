"""A service that is patient with a busy machine: `python -P tests/patient.py services.tracking [ARGUMENT...]`.

Its processes and those it asks may stand still for seconds and nothing fails for that. What judges how soon one that is
away is given up runs services as the product has them. Nothing here is imported but the standard library: the service
may be of another release, and is to hold no more than it does by itself.
"""

import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_PATIENCE_S = 60

DATABASE = {"services.common.database": {"_POOL_WAIT_S": _PATIENCE_S, "_CONNECT_TIMEOUT_S": _PATIENCE_S}}
"""Values of a module, by their names, for those who have a database."""

BOUNDS: Mapping[str, Mapping[str, Any]] = {
    **DATABASE,
    "services.artifacts.availability": {"PROBE_TIMEOUT_S": _PATIENCE_S},
    "services.artifacts.connections": {"CONNECT_TIMEOUT_S": _PATIENCE_S},
    "services.artifacts.owned.registry": {"TIMEOUT_S": _PATIENCE_S},
    "services.artifacts.owned.tracking": {"TIMEOUT_S": _PATIENCE_S},
    "services.registry.artifacts": {"_TIMEOUT_S": _PATIENCE_S},
    "services.registry.tracking": {"_TIMEOUT_S": _PATIENCE_S},
    "services.gateway.limits": {"HEALTH_TIMEOUT_S": _PATIENCE_S},
    # Pings as often as usual, whose answers may take their time.
    "services.common.rpc.peers": {
        "LOOKING": (
            ("grpc.keepalive_time_ms", 1_500),
            ("grpc.keepalive_timeout_ms", _PATIENCE_S * 1000),
            ("grpc.http2.ping_timeout_ms", _PATIENCE_S * 1000),
            ("grpc.http2.max_pings_without_data", 0),
        )
    },
}
"""The same for services."""


def command(argv: Sequence[str]) -> list[str]:
    """Return the command of a patient service for its own, which is `python -P -m services.NAME`.

    With several workers only what becomes their parent is patient.
    """
    return [__file__ if word == "-m" else word for word in argv]


class _Patient(SourceFileLoader):
    """Sets what a module has of its bounds as soon as it has run, before others copy them."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for name, value in BOUNDS[module.__name__].items():
            # A release before may not have it.
            if hasattr(module, name):
                setattr(module, name, value)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name in BOUNDS else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Patient(name, spec.origin)
        return spec


if __name__ == "__main__":
    sys.meta_path.insert(0, _Finder())
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
