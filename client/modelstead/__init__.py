"""What a training job or an inference service installs of Modelstead: logging, gRPC stubs, the `modelstead` command."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelstead.runs.run import Run, start_run

__version__ = "0.1.0"
__all__ = ["Run", "start_run"]


def __getattr__(name: str) -> Any:
    # Not before it is asked for: a service, or the command, imports this package for other reasons.
    if name in __all__:
        return getattr(importlib.import_module("modelstead.runs.run"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
