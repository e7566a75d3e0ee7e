"""The alerts as Prometheus evaluates them, by its own `promtool`: what fires, for which installation, what it says."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.manifests import Variant

ROOT = Path(__file__).parents[2]
PROMTOOL = ROOT / ".cache" / "promtool"
CASES = Path(__file__).with_name("alerts.test.yaml")


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


def test_alerts_fire_for_the_installation_in_trouble_and_no_other(folder: Path) -> None:
    (folder / CASES.name).write_bytes(CASES.read_bytes())

    _promtool("test", "rules", folder / CASES.name)
