"""What the machine does while a run goes on: CPU, memory, disk, network and NVIDIA's GPUs, under MLflow's names.

psutil measures it, which `modelstead[system]` brings; GPUs are there if pynvml is (`nvidia-ml-py`).
"""

import importlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from modelstead.runs.settings import Settings

PREFIX = "system/"

_log = logging.getLogger("modelstead")

Source = Callable[[], Mapping[str, float]]
"""Measures some metrics."""


class SystemMetrics:
    """A thread that measures every `interval_s` seconds and calls `log` with the values and how often it has before."""

    def __init__(self, log: Callable[[dict[str, float], int], None], *, prefix: str, interval_s: float) -> None:
        self._log = log
        self._prefix = prefix
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelstead-system", daemon=True)

    def start(self) -> None:
        """Raises RuntimeError if the interpreter is ending."""
        self._thread.start()

    def stop(self) -> None:
        """Log nothing any more."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            sources = list(_sources())
            number = 0
            while not self._stopping.wait(self._interval_s):
                values = {name: value for source in sources for name, value in source().items()}
                if self._stopping.is_set():
                    return
                self._log({self._prefix + name: float(value) for name, value in values.items()}, number)
                number += 1
        except ModuleNotFoundError as error:
            _log.warning("no system metrics: %s. They need: pip install 'modelstead[system]'", error)
        except Exception:  # noqa: BLE001 - the boundary of a thread: training goes on without them
            _log.exception("system metrics have stopped")


def prefix(how: Settings) -> str | None:
    """Return what the names begin with; None if another process of this node measures.

    Each node of a distributed run has names of its own.
    """
    if how.rank is None:
        return PREFIX
    if (how.rank if how.local_rank is None else how.local_rank) != 0:
        return None
    node = re.sub(r"[^\w.\-]", "_", how.node).strip(".")
    return f"{PREFIX}{node}/" if node and how.world_size > 1 else PREFIX


def _sources() -> Iterator[Source]:
    """Yield what can be measured here. Raises ModuleNotFoundError without psutil."""
    psutil = importlib.import_module("psutil")
    # The first call only begins to measure.
    psutil.cpu_percent()
    yield lambda: _machine(psutil)
    yield lambda: _disk(psutil)
    yield _network(psutil)
    if gpus := _gpus():
        yield gpus


def _machine(psutil: Any) -> dict[str, float]:
    memory = psutil.virtual_memory()
    return {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": round(memory.used / 1e6, 1),
        "system_memory_usage_percentage": round(memory.used / memory.total * 100, 1),
    }


def _disk(psutil: Any) -> dict[str, float]:
    disk = psutil.disk_usage(os.sep)
    return {
        "disk_usage_percentage": disk.percent,
        "disk_usage_megabytes": round(disk.used / 1e6, 1),
        "disk_available_megabytes": round(disk.free / 1e6, 1),
    }


def _network(psutil: Any) -> Source:
    """Return what measures the traffic from now on."""
    first = psutil.net_io_counters()

    def measure() -> dict[str, float]:
        now = psutil.net_io_counters()
        return {
            "network_receive_megabytes": (now.bytes_recv - first.bytes_recv) / 1e6,
            "network_transmit_megabytes": (now.bytes_sent - first.bytes_sent) / 1e6,
        }

    return measure if first else dict


def _gpus() -> Source | None:
    """Return what measures NVIDIA's GPUs; None if there are none that can be asked."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except Exception as error:  # noqa: BLE001 - of a library that is not there, or has no driver
        _log.debug("no metrics of GPUs: %s", error)
        return None

    def measure() -> dict[str, float]:
        found: dict[str, float] = {}
        for index, gpu in enumerate(gpus):
            try:
                found |= {f"gpu_{index}_{name}": round(value, 1) for name, value in _gpu(nvml, gpu).items()}
            except nvml.NVMLError as error:
                _log.debug("GPU %d was not measured: %s", index, error)
        return found

    return measure


def _gpu(nvml: Any, gpu: Any) -> dict[str, float]:
    memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
    milliwatts, limit = nvml.nvmlDeviceGetPowerUsage(gpu), nvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
    return {
        "memory_usage_percentage": memory.used / memory.total * 100,
        "memory_usage_megabytes": memory.used / 1e6,
        "utilization_percentage": nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
        "power_usage_watts": milliwatts / 1000,
        "power_usage_percentage": milliwatts / limit * 100,
    }
