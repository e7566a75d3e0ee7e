"""What a training job or an inference service installs of Modelstead: logging, watching runs, `ModelResolver`, gRPC
stubs and the `modelstead` command.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelstead.resolver.resolver import ModelResolver as ModelResolver
    from modelstead.runs.run import Run as Run
    from modelstead.runs.run import start_run as start_run
    from modelstead.runs.watching import watch_run as watch_run

__version__ = "0.1.0"

_EXPORTS = {
    "ModelResolver": "modelstead.resolver.resolver",
    "Run": "modelstead.runs.run",
    "start_run": "modelstead.runs.run",
    "watch_run": "modelstead.runs.watching",
}


def __getattr__(name: str) -> Any:
    """Load what is exported when it is first used: the stubs alone must not cost the time of everything else."""
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
