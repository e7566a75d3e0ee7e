"""Autoscalers go by figures that exist, and are slower than what follows from what they do."""

from __future__ import annotations

import re
from typing import Any

import prometheus_client
import pytest
import yaml

from services.common import telemetry
from services.common.rpc import server
from tests.deploy import manifests
from tests.deploy.manifests import COMPONENTS, Rendered, Variant

SERVICES = ("gateway", "tracking", "artifacts", "registry")
RULES = COMPONENTS / "autoscaling-calls" / "prometheus-adapter-values.yaml"
[WITH_CALLS] = [variant for variant in manifests.combinations() if "autoscaling-calls" in variant.components][:1]

each_service = pytest.mark.parametrize("service", SERVICES)


def _autoscaler(rendered: Rendered, service: str) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.one("HorizontalPodAutoscaler", service)["spec"]
    return spec


@each_service
def test_calls_under_way_count_besides_the_processor(service: str) -> None:
    metrics = _autoscaler(manifests.render(WITH_CALLS), service)["metrics"]

    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert metrics[1]["pods"]["metric"]["name"] == telemetry.IN_FLIGHT._name
    assert metrics[1]["pods"]["target"]["type"] == "AverageValue"


def test_the_adapter_serves_a_series_that_pods_export() -> None:
    [rule] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["rules"]["custom"]
    match = re.match(r"\w+", rule["seriesQuery"])

    assert match
    assert prometheus_client.REGISTRY.get_sample_value(match[0]) is not None
    assert rule["resources"]["overrides"] == {
        "namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}
    }  # fmt: skip


@each_service
def test_replicas_come_no_faster_than_callers_spread_and_go_one_by_one(service: str) -> None:
    behavior = _autoscaler(manifests.render(Variant("base")), service)["behavior"]
    [up], [down] = behavior["scaleUp"]["policies"], behavior["scaleDown"]["policies"]

    spread_s = server.CONNECTION_AGE_S
    assert up == {"type": "Pods", "value": 2, "periodSeconds": 120}
    assert down == {"type": "Pods", "value": 1, "periodSeconds": 60}
    # No replica goes before its callers have had the time to come back to where they were.
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] >= spread_s
