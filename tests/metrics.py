"""Metrics of a platform that runs, as Prometheus reads them."""

from collections.abc import Iterable, Mapping

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from services.common.settings import Address
from services.local import ports, waiting

SERVICES = ("gateway", "tracking", "artifacts", "registry")
# Not where the platform itself listens, which takes its ports later.
_HOST = "127.0.0.2"
_WAIT_S = 60
_OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}


class Scraper:
    """Where each service of a platform serves its metrics; `extra` is for the platform's start."""

    def __init__(self) -> None:
        self._addresses = {service: Address(_HOST, ports.choose(_HOST)) for service in SERVICES}

    @property
    def extra(self) -> Mapping[str, Mapping[str, str]]:
        return {name: {"MODELSTEAD_METRICS_LISTEN": str(address)} for name, address in self._addresses.items()}

    def families(self, service: str) -> list[Metric]:
        """Return what a service exposes."""
        answer = httpx.get(f"http://{self._addresses[service]}/metrics", headers=_OPEN_METRICS, timeout=30)
        answer.raise_for_status()
        return list(text_string_to_metric_families(answer.text))

    def samples(self, service: str, name: str, **labels: str) -> list[Sample]:
        """Return the samples of a series whose labels are, among others, these."""
        families: list[Metric] = []

        def is_told() -> bool:
            families[:] = self.families(service)
            return name in series_of(families)

        # A service that is busy leaves out for once what it has to ask its database, or itself, for.
        waiting.until(is_told, timeout_s=_WAIT_S)
        found = [sample for family in families for sample in family.samples if sample.name == name]
        return [sample for sample in found if labels.items() <= sample.labels.items()]

    def value(self, service: str, name: str, **labels: str) -> float:
        """Return the sum of the samples of a series; 0 if there are none."""
        return sum(sample.value for sample in self.samples(service, name, **labels))


def series_of(families: Iterable[Metric]) -> set[str]:
    """Return the names of the series, also of those that have no sample yet."""
    return {family.name + suffix for family in families for suffix in _SUFFIXES.get(family.type, ("",))}
