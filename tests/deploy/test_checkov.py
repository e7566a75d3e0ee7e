"""checkov finds nothing in what is rendered, nor in the Dockerfile, but what deploy/checkov.yaml says why."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.manifests import REPOSITORY, Manifest

CONFIG = REPOSITORY / "deploy" / "checkov.yaml"
CHECKOV = REPOSITORY / ".venv-deploy" / "bin" / "checkov"
TIMEOUT_S = 800

# It takes half a minute, most of it to start; minutes on a machine that is busy.
pytestmark = pytest.mark.timeout(TIMEOUT_S + 60)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What checkov says, by what it looked at. One start, as it takes longer than all that it does then."""
    folder = tmp_path_factory.mktemp("checkov")
    (folder / "ours.yaml").write_text(yaml.safe_dump_all(_different()), encoding="utf-8")
    (folder / "Dockerfile").write_bytes((REPOSITORY / "deploy" / "Dockerfile").read_bytes())
    (folder / "bad.yaml").write_text(BAD, encoding="utf-8")
    return {report["check_type"]: report for report in _run(folder)}


def _different() -> list[Manifest]:
    """Every manifest of every variant that has a namespace, but of those that are equal one."""
    rendered = [manifests.render(variant) for variant in manifests.variants() if variant.has_policies]
    different = {manifests.without_names(manifest): manifest for r in rendered for manifest in r.manifests}
    return list(different.values())


# What must be found, so that it is known to look.
BAD = """
apiVersion: v1
kind: Pod
metadata:
  name: bad
  namespace: bad
spec:
  hostNetwork: true
  containers:
    - name: bad
      image: bad:1
      securityContext:
        privileged: true
"""


def _run(folder: Path) -> list[dict[str, Any]]:
    assert CHECKOV.exists(), "checkov has an environment of its own: make .venv-deploy/.ready"
    command = [CHECKOV, "--config-file", CONFIG, "--directory", folder, "--output", "json"]
    frameworks = ["--framework", "kubernetes", "dockerfile"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "BC_SKIP_MAPPING": "TRUE"}
    done = subprocess.run(
        [*command, *frameworks], check=False, capture_output=True, text=True, env=environment, timeout=TIMEOUT_S
    )
    assert done.returncode in (0, 1), done.stderr
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def test_checkov_finds_nothing(reports: dict[str, Any]) -> None:
    found = [check for report in reports.values() for check in report["results"]["failed_checks"]]

    assert [f"{c['check_id']} {c['check_name']}: {c['resource']}" for c in found if ".bad." not in c["resource"]] == []


def test_checkov_looks_at_all_of_it(reports: dict[str, Any]) -> None:
    kubernetes = reports["kubernetes"]
    found = {check["check_id"] for check in kubernetes["results"]["failed_checks"]}

    assert {"CKV_K8S_16", "CKV_K8S_19"} <= found
    assert kubernetes["summary"]["parsing_errors"] == 0
    assert kubernetes["summary"]["resource_count"] > 100
    assert reports["dockerfile"]["summary"]["resource_count"] > 0


def test_every_exception_has_its_reason() -> None:
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    skipped = [number for number, line in enumerate(lines) if line.startswith("  - CKV")]

    assert len(skipped) == len(yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["skip-check"])
    assert all(lines[number - 1].startswith("  # ") for number in skipped)
