"""The alerts as Prometheus evaluates them, by its own `promtool`: what fires, for which installation, what it says."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import manifests

ROOT = Path(__file__).parents[2]
PROMTOOL = ROOT / ".cache" / "promtool"
# What has a pooler has everything else that is alerted on.
RULES = manifests.render(manifests.having("monitoring-pooler"))
CASES = sorted(Path(__file__).parent.glob("*alerts.test.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the rules stand as Prometheus' operator hands them on."""
    folder = tmp_path_factory.mktemp("alerts")
    groups = [group for manifest in RULES.of("PrometheusRule") for group in manifest["spec"]["groups"]]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    return folder


def _promtool(*arguments: str | Path) -> None:
    result = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_rules_are_valid(folder: Path) -> None:
    _promtool("check", "rules", folder / "rules.yaml")


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.name)
def test_alerts_fire_for_the_installation_in_trouble_and_no_other(folder: Path, cases: Path) -> None:
    (folder / cases.name).write_bytes(cases.read_bytes())

    _promtool("test", "rules", folder / cases.name)


@pytest.mark.parametrize("of", ["postgres", "pooler"])
def test_every_alert_of_what_others_export_is_tried_firing_and_quiet(of: str) -> None:
    """Those that nobody tries are no alerts yet: a metric's name that is wrong looks as if all were well."""
    [cases] = [path for path in CASES if path.name.startswith(of)]
    tried = [case for test in yaml.safe_load(cases.read_bytes())["tests"] for case in test["alert_rule_test"]]
    rules = RULES.one("PrometheusRule", f"modelstead-{of}-alerts")
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}

    assert {case["alertname"] for case in tried if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in tried if not case["exp_alerts"]} == alerts
