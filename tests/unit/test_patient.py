"""What services in tests are patient with is what the product bounds, and those that are started so have it."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import patient

_SHOWS = """
import sys
from services.artifacts import objects
from services.gateway import backends

print(__name__, sys.argv[1:], objects.PROBE_TIMEOUT_S, dict(backends._OPTIONS)["grpc.http2.ping_timeout_ms"])
"""


@pytest.mark.parametrize("module", patient.BOUNDS)
def test_the_product_has_each_bound(module: str) -> None:
    missing = [name for name in patient.BOUNDS[module] if not hasattr(importlib.import_module(module), name)]

    assert missing == []


def test_a_patient_program_has_the_bounds_also_where_they_are_copied(tmp_path: Path) -> None:
    (tmp_path / "shows.py").write_text(_SHOWS, encoding="utf-8")
    command = patient.command([sys.executable, "-P", "-m", "shows", "migrate"])
    path = os.pathsep.join([str(tmp_path), *sys.path])

    told = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=60
    )

    assert told.stdout == "__main__ ['migrate'] 60 60000\n", told.stderr
