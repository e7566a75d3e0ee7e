"""What is told of Postgres and its pooler is about series that CloudNativePG exports, scraped under the name asked for.

No operator runs here. The names are those of CloudNativePG 1.30 (docs/src/monitoring.md, config/manager/
default-monitoring.yaml and pkg/management/postgres/webserver/metricserver; of the pooler docs/src/connection_pooling.md
and pkg/management/pgbouncer/metricsserver), of plugin-barman-cloud 0.16 (its page on observability,
internal/cnpgi/instance/metrics.go) and of the kubelet. An alert on any other name would never fire.
"""

import json
import re
from collections.abc import Iterator

import pytest

from tests.deploy import manifests
from tests.deploy.manifests import COMPONENTS, Manifest, Variant, selects

RENDERED = manifests.render(Variant("overlays/production"))
# Postgres, as in production, and its pooler, which production has not.
POOLED = manifests.render(manifests.having("monitoring-pooler"))
DASHBOARDS = sorted(COMPONENTS.glob("monitoring-*/dashboards/*.json"))
JOB = "modelstead-postgres"
POOLER_JOB = "modelstead-pooler"
PLUGIN = "barman_cloud_cloudnative_pg_io"
# The labels of each, besides those that Prometheus adds.
OF_INSTANCES: dict[str, set[str]] = {
    "up": set(),
    "cnpg_backends_total": {"datname", "usename", "application_name", "state"},
    "cnpg_collector_fencing_on": set(),
    "cnpg_collector_last_collection_error": set(),
    "cnpg_collector_pg_wal": {"value"},
    "cnpg_collector_pg_wal_archive_status": {"value"},
    "cnpg_collector_sync_replicas": {"value"},
    "cnpg_collector_up": {"cluster"},
    "cnpg_pg_database_mxid_age": {"datname"},
    "cnpg_pg_database_xid_age": {"datname"},
    "cnpg_pg_replication_in_recovery": set(),
    "cnpg_pg_replication_is_wal_receiver_up": set(),
    "cnpg_pg_replication_lag": set(),
    "cnpg_pg_replication_streaming_replicas": set(),
    "cnpg_pg_settings_setting": {"name"},
    "cnpg_pg_stat_archiver_last_archived_time": set(),
    "cnpg_pg_stat_archiver_last_failed_time": set(),
    "cnpg_pg_stat_archiver_seconds_since_last_archival": set(),
    "cnpg_pg_stat_database_xact_commit": {"datname"},
    f"{PLUGIN}_last_available_backup_timestamp": set(),
}
# Not `cnpg_pgbouncer_up`, which is declared there and set, and is not collected.
OF_POOLERS: dict[str, set[str]] = {
    "up": set(),
    "cnpg_pgbouncer_collection_errors_total": {"collector"},
    "cnpg_pgbouncer_last_collection_error": set(),
    "cnpg_pgbouncer_lists_used_clients": set(),
    "cnpg_pgbouncer_pools_cl_waiting": {"database", "user"},
    "cnpg_pgbouncer_pools_maxwait": {"database", "user"},
    "cnpg_pgbouncer_pools_maxwait_us": {"database", "user"},
    "cnpg_pgbouncer_pools_sv_active": {"database", "user"},
    "cnpg_pgbouncer_pools_sv_idle": {"database", "user"},
    "cnpg_pgbouncer_pools_sv_used": {"database", "user"},
    "cnpg_pgbouncer_stats_total_xact_count": {"database"},
}
EXPORTED = {JOB: OF_INSTANCES, POOLER_JOB: OF_POOLERS}
OF_KUBELETS = {"kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes"}
RECORDED = {"modelstead:postgres_volume_used:ratio"}
SERIES = re.compile(r"\b(up|(?:cnpg|barman|kubelet)_\w+|modelstead:[\w:]+)(\{[^}]*\})?")
GROUPING = re.compile(r"\b(?:sum|max|min|group|count) by \(([^)]*)\)")
AGGREGATION = re.compile(r"\b(?:sum|max|min|group|count|avg|topk) *(?:\(|by|without)")


def _rules() -> list[Manifest]:
    groups = [group for job in EXPORTED for group in POOLED.one("PrometheusRule", f"{job}-alerts")["spec"]["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def _alert(name: str) -> Manifest:
    [alert] = [rule for rule in _rules() if rule.get("alert") == name]
    return alert


def _shown() -> list[str]:
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    return [target["expr"] for board in boards for panel in board["panels"] for target in panel["targets"]]


EXPRESSIONS = [*(rule["expr"] for rule in _rules()), *_shown()]
each_expression = pytest.mark.parametrize("expression", EXPRESSIONS)


def _selectors(expression: str) -> Iterator[tuple[str, dict[str, str]]]:
    for name, braces in SERIES.findall(expression):
        yield name, dict(re.findall(r'(\w+)(?:=~?|!=|!~)"([^"]*)"', braces))


@each_expression
def test_every_series_is_one_that_is_exported(expression: str) -> None:
    selectors = list(_selectors(expression))

    assert selectors
    for name, labels in selectors:
        if name in OF_KUBELETS | RECORDED:
            assert set(labels) <= {"namespace", "persistentvolumeclaim"}
        else:
            # Clusters and Poolers of other people export the same.
            exported = EXPORTED[labels.pop("job")]
            assert name in exported
            assert set(labels) <= exported[name] | {"namespace"}, name


def test_every_series_that_is_known_is_asked_for() -> None:
    asked = {(labels.get("job"), name) for expression in EXPRESSIONS for name, labels in _selectors(expression)}
    exported = {(job, name) for job, names in EXPORTED.items() for name in names}

    assert asked == exported | {(None, name) for name in OF_KUBELETS | RECORDED}


@pytest.mark.parametrize("rule", _rules(), ids=lambda rule: rule.get("alert", rule.get("record")))
def test_installations_are_told_apart(rule: Manifest) -> None:
    groupings = GROUPING.findall(rule["expr"])

    assert len(groupings) == len(AGGREGATION.findall(rule["expr"]))
    assert all("namespace" in grouping.split(", ") for grouping in groupings)


@pytest.mark.parametrize("expression", _shown())
def test_the_dashboard_shows_one_installation(expression: str) -> None:
    assert all(labels["namespace"] == "$namespace" for _, labels in _selectors(expression))


def test_every_alert_says_whom_to_wake_and_where_to_read_on() -> None:
    for alert in [rule for rule in _rules() if "alert" in rule]:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]
        assert "docs/operations.md" in alert["annotations"]["description"]


def test_instances_are_scraped_under_the_name_that_is_asked_for() -> None:
    monitor = RENDERED.one("PodMonitor", "modelstead-postgres")["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]

    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": JOB}]
    assert endpoint["port"] == "metrics"
    assert monitor["selector"]["matchLabels"] == {
        "cnpg.io/cluster": RENDERED.one("Cluster", "postgres")["metadata"]["name"],
        "cnpg.io/podRole": "instance",
    }


def test_a_scraper_is_let_in_to_the_instances() -> None:
    policy = RENDERED.one("NetworkPolicy", "postgres-cluster")["spec"]
    [rule] = [rule for rule in policy["ingress"] if {"protocol": "TCP", "port": 9187} in rule["ports"]]

    assert policy["podSelector"]["matchLabels"] == {"cnpg.io/cluster": "postgres"}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"modelstead/monitoring": "true"}}}]


def test_poolers_are_scraped_under_the_name_that_is_asked_for() -> None:
    pooler = POOLED.one("Pooler", "postgres-pooler")
    monitor = POOLED.one("PodMonitor", "modelstead-pooler")["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]

    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": POOLER_JOB}]
    assert endpoint["port"] == "metrics"
    assert monitor["selector"] == {"matchLabels": {"cnpg.io/poolerName": pooler["metadata"]["name"]}}
    assert selects(monitor["selector"], pooler["spec"]["template"]["metadata"]["labels"])


def test_a_scraper_is_let_in_to_the_poolers() -> None:
    policy = POOLED.one("NetworkPolicy", "postgres-pooler")["spec"]
    [rule] = [rule for rule in policy["ingress"] if {"protocol": "TCP", "port": 9127} in rule["ports"]]

    assert policy["podSelector"] == POOLED.one("PodMonitor", "modelstead-pooler")["spec"]["selector"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"modelstead/monitoring": "true"}}}]


def test_alerts_of_the_pooler_go_by_what_it_is_made_with() -> None:
    pooler = POOLED.one("Pooler", "postgres-pooler")["spec"]
    clients = re.findall(r"/ (\d+) >", _alert("ModelsteadPoolerClientsNearLimit")["expr"])

    assert clients == [pooler["pgbouncer"]["parameters"]["max_client_conn"]]
    assert _alert("ModelsteadPoolerOneInstance")["expr"].endswith(f"< {pooler['instances']}")


def test_without_a_pooler_none_is_missed() -> None:
    without = [
        variant
        for variant in manifests.variants()
        if "monitoring-cnpg" in variant.components and "postgres-pooler" not in variant.components
    ]

    assert without
    for rendered in [RENDERED, *map(manifests.render, without)]:
        assert rendered.one("PrometheusRule", "modelstead-postgres-alerts")
        assert "cnpg_pgbouncer" not in json.dumps(rendered.manifests)


def test_the_volumes_that_are_looked_at_are_those_of_the_cluster() -> None:
    cluster = RENDERED.one("Cluster", "postgres")
    [pattern] = {
        labels["persistentvolumeclaim"]
        for expression in EXPRESSIONS
        for name, labels in _selectors(expression)
        if name in OF_KUBELETS
    }
    # CloudNativePG names a claim after its instance, and that for WAL with `-wal` behind.
    claims = [f"{cluster['metadata']['name']}-{number}{suffix}" for number in (1, 12) for suffix in ("", "-wal")]

    assert cluster["spec"]["walStorage"]
    assert all(re.fullmatch(pattern, claim) for claim in claims)


def test_backups_are_told_by_the_plugin_that_makes_them() -> None:
    [plugin] = RENDERED.one("Cluster", "postgres")["spec"]["plugins"]

    assert re.sub("[.-]", "_", plugin["name"]) == PLUGIN


def test_every_resource_of_the_prometheus_operator_is_selected_by_it() -> None:
    theirs = [m for m in RENDERED.manifests if m["apiVersion"].startswith("monitoring.coreos.com/")]

    assert {m["kind"] for m in theirs} == {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    assert all(m["metadata"]["labels"]["release"] == "kube-prometheus-stack" for m in theirs)


def test_without_the_prometheus_operator_there_is_nothing_of_its() -> None:
    without = [
        variant
        for variant in manifests.variants()
        if variant.name != "overlays/production" and "monitoring" not in variant.components
    ]

    assert any("postgres-cnpg" in variant.components for variant in without)
    for variant in without:
        groups = {manifest["apiVersion"].partition("/")[0] for manifest in manifests.render(variant).manifests}
        assert "monitoring.coreos.com" not in groups, variant
