"""The alerts as Prometheus evaluates them, by its own `promtool`: what fires, for which installation, what it says."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.manifests import Variant

ROOT = Path(__file__).parents[2]
PROMTOOL = ROOT / ".cache" / "promtool"
CASES = sorted(Path(__file__).parent.glob("*alerts.test.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the rules of the production overlay stand as Prometheus' operator hands them on."""
    rules = manifests.render(Variant("overlays/production")).of("PrometheusRule")
    folder = tmp_path_factory.mktemp("alerts")
    groups = [group for manifest in rules for group in manifest["spec"]["groups"]]
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


def test_every_alert_of_postgres_is_tried_firing_and_quiet() -> None:
    """Those that nobody tries are no alerts yet: a metric's name that is wrong looks as if all were well."""
    [postgres] = [path for path in CASES if path.name.startswith("postgres")]
    tried = [case for test in yaml.safe_load(postgres.read_bytes())["tests"] for case in test["alert_rule_test"]]
    rules = manifests.render(Variant("overlays/production")).one("PrometheusRule", "modelstead-postgres-alerts")
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule}

    assert {case["alertname"] for case in tried if case["exp_alerts"]} == alerts
    assert {case["alertname"] for case in tried if not case["exp_alerts"]} == alerts
