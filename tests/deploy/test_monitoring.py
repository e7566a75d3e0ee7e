"""Alerts, rules and the dashboard are about metrics that the services export, with their labels and buckets."""

import importlib
import json
import re
from collections.abc import Iterator

import prometheus_client
import pytest

from services.common import telemetry
from services.local import waiting
from tests.deploy import manifests
from tests.deploy.manifests import COMPONENTS, Variant, selects
from tests.metrics import Scraper, series_of
from tests.stack import Stack

RENDERED = manifests.render(Variant("overlays/production"))
# What is told of Postgres is CloudNativePG's: test_monitoring_cnpg.py.
RULES = [rule for rule in RENDERED.of("PrometheusRule") if rule["metadata"]["name"] != "modelstead-postgres-alerts"]
DASHBOARD = COMPONENTS / "monitoring" / "dashboards" / "modelstead.json"
SERVICES = {"gateway", "tracking", "artifacts", "registry"}
# Whose import declares metrics.
EXPORTERS = (
    "services.common.database",
    "services.common.group_commit",
    "services.common.telemetry",
    "services.gateway.__main__",
    "services.registry.deliveries.courier",
    "services.registry.lookups.service",
    "services.tracking.ingest.refusals",
    "services.tracking.sealing.service",
)
# What Prometheus adds, and what the client library exports of a process.
ADDED_LABELS = {"namespace", "job", "instance", "le"}
# For whoever asks; the board has what one looks at first.
NOT_SHOWN = {
    f"modelstead_{name}"
    for name in (
        "commits_waiting", "garbage_objects", "hears_of_changes", "model_versions", "objects",
        "objects_bytes", "pending_uploads", "registered_models", "tables_bytes", "unsealed_runs",
        "webhook_pending_deliveries",
    )
}  # fmt: skip
WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
PROMQL = set("sum count max min avg topk by without group and or unless on ignoring offset".split())


def _rules() -> Iterator[dict[str, str]]:
    for manifest in RULES:
        for group in manifest["spec"]["groups"]:
            yield from group["rules"]


def _expressions() -> list[str]:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return [*(rule["expr"] for rule in _rules()), *shown]


def _recorded() -> set[str]:
    """The series that Prometheus makes itself."""
    return {rule["record"] for rule in _rules() if "record" in rule}


def _named() -> set[str]:
    """The series of our code that something goes by."""
    return {name for each in _expressions() for name, _ in _selectors(_without_variables(each))} - _recorded()


def _series() -> dict[str, set[str]]:
    """The labels of every series that our code exports, by its name."""
    for module in EXPORTERS:
        importlib.import_module(module)
    series: dict[str, set[str]] = {}
    for collector in set(prometheus_client.REGISTRY._collector_to_names):
        labels = set(getattr(collector, "_labelnames", ()))
        for name in prometheus_client.REGISTRY._collector_to_names[collector]:
            series[name] = labels
    return series


def _selectors(expression: str) -> Iterator[tuple[str, str]]:
    """Every name of a series in an expression, with what stands in its braces."""
    expression = re.sub(r"\b(?:by|without|on)\s*\([^)]*\)", "", expression)
    for match in re.finditer(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})?", expression):
        is_function = expression[match.end() : match.end() + 1] == "("
        if match[1] not in PROMQL and not is_function and (":" in match[1] or "_" in match[1]):
            yield match[1], match[2] or ""


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The series that the services of a platform that runs expose."""
    scraper = Scraper()
    found: set[str] = set()

    def all_are_found() -> bool:
        for service in SERVICES:
            found.update(series_of(scraper.families(service)))
        return _named() <= found

    with Stack(tmp_path_factory.mktemp("exposed"), extra=scraper.extra):
        # What a service cannot tell within some seconds, a scrape does without.
        waiting.until(all_are_found, timeout_s=60)
    return found


@pytest.mark.parametrize("expression", _expressions())
def test_every_series_is_exposed_by_a_service_that_runs(expression: str, exposed: set[str]) -> None:
    names = {name for name, _ in _selectors(_without_variables(expression))}

    assert names
    assert names <= exposed | _recorded()


def test_every_figure_of_ours_is_shown_or_alerted_on_or_known_not_to_be(exposed: set[str]) -> None:
    used = {name for expression in _expressions() for name, _ in _selectors(_without_variables(expression))}
    ours = {re.sub("_(total|bucket|count|sum)$", "", name) for name in exposed if name.startswith("modelstead_")}

    assert ours - {re.sub("_(total|bucket|count|sum)$", "", name) for name in used} == NOT_SHOWN


@pytest.mark.parametrize("expression", _expressions())
def test_every_label_exists(expression: str) -> None:
    series = _series()
    for name, braces in _selectors(_without_variables(expression)):
        labels = set(re.findall(r"(\w+)\s*[=!]", braces))
        assert labels <= series.get(name, set()) | ADDED_LABELS, name


def _without_variables(expression: str) -> str:
    return re.sub(r"\[[^\]]*\]", "", expression).replace("$job", "job")


def test_the_bound_of_slow_calls_is_a_bucket() -> None:
    bounds = {bound for expression in _expressions() for bound in re.findall(r'le="([^"]*)"', expression)}

    assert bounds
    assert bounds <= {str(float(bucket)) for bucket in telemetry._LATENCY_BUCKETS_S}


def test_alerts_look_at_a_long_window_and_a_short_one() -> None:
    burning = [rule for rule in _rules() if "ratio_rate" in rule["expr"] and "alert" in rule]

    assert len(burning) == 6
    for rule in burning:
        long, short = re.findall(r"ratio_rate(\w+)", rule["expr"])
        assert manifests.seconds(long) == 12 * manifests.seconds(short)
        factors = re.findall(r"> ([\d.]+ \* [\d.]+)", rule["expr"])
        assert len(set(factors)) == 1


def test_every_alert_says_whom_to_wake_and_where_to_read_on() -> None:
    alerts = [rule for rule in _rules() if "alert" in rule]

    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert {"summary", "description"} <= set(alert["annotations"])
    assert len({alert["alert"] for alert in alerts}) == len(alerts)


def test_every_service_is_scraped_under_its_name() -> None:
    [monitor] = RENDERED.of("ServiceMonitor")
    found = [
        service
        for service in RENDERED.of("Service")
        if selects(monitor["spec"]["selector"], service["metadata"].get("labels", {}))
    ]
    [endpoint] = monitor["spec"]["endpoints"]

    assert {service["metadata"]["labels"][monitor["spec"]["jobLabel"]] for service in found} == SERVICES
    assert len(found) == len(SERVICES)
    for service in found:
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_a_scraper_is_let_in() -> None:
    [rule] = RENDERED.one("NetworkPolicy", "metrics")["spec"]["ingress"]

    assert rule["ports"] == [{"protocol": "TCP", "port": "metrics"}]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"modelstead/monitoring": "true"}}}]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("modelstead-dashboards", "modelstead.json"),
        ("modelstead-postgres-dashboards", "modelstead-postgres.json"),
        ("modelstead-pooler-dashboards", "modelstead-pooler.json"),
    ],
)
def test_a_dashboard_is_found_and_its_panels_do_not_overlap(name: str, file: str) -> None:
    # What has a pooler has the others as well.
    config = manifests.render(manifests.having("monitoring-pooler")).one("ConfigMap", name)
    board = json.loads(config["data"][file])
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]

    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
