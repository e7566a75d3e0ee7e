"""Metrics that are read where they are known, at each scrape: from the same place as what a service's status tells."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.common.errors import ServiceError

# A scrape takes no longer for a database that is away.
_READ_S_MAX = 3.0

StateT = TypeVar("StateT")

_log = logging.getLogger("modelstead.figures")


@dataclass(frozen=True, slots=True)
class Figure(Generic[StateT]):
    """One metric. `is_total` is one that only grows, and whose name then ends with `_total`."""

    name: str
    documentation: str
    value: Callable[[StateT], float]
    is_total: bool = False

    def family(self) -> GaugeMetricFamily | CounterMetricFamily:
        """Return it without its value."""
        kind = CounterMetricFamily if self.is_total else GaugeMetricFamily
        return kind(self.name, self.documentation)


class Figures(Collector, Generic[StateT]):
    """Figures of one state, which `read` returns. While it raises a ServiceError they are absent."""

    def __init__(self, read: Callable[[], Awaitable[StateT]], figures: Sequence[Figure[StateT]]) -> None:
        """Made within the running event loop, in which `read` is called; scrapes come in other threads."""
        self._read = read
        self._figures = figures
        self._loop = asyncio.get_running_loop()

    def describe(self) -> Iterable[Metric]:
        return [figure.family() for figure in self._figures]

    def collect(self) -> Iterable[Metric]:
        if self._loop.is_closed():
            return []
        reading = asyncio.run_coroutine_threadsafe(self._answer(), self._loop)
        try:
            state = reading.result(_READ_S_MAX)
        except ServiceError:
            return []
        except NotInTime:
            reading.cancel()
            return []
        except Exception:  # noqa: BLE001 -- what cannot be told must not take all other metrics with it
            _log.exception("figures cannot be told")
            return []
        return [self._told(figure, state) for figure in self._figures]

    async def _answer(self) -> StateT:
        return await self._read()

    def _told(self, figure: Figure[StateT], state: StateT) -> Metric:
        family = figure.family()
        family.add_metric([], figure.value(state))
        return family


def tell(read: Callable[[], Awaitable[StateT]], figures: Sequence[Figure[StateT]]) -> None:
    """Have figures be among the metrics of this process from now on."""
    REGISTRY.register(Figures(read, figures))
