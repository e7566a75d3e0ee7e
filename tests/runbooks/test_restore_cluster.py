"""What restores the database of a cluster: made of the manifests that are there, and as valid as they are."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.manifests import Variant

_RUNBOOK = Path(__file__).parents[2] / "deploy" / "runbooks" / "restore_cluster.py"
_PRODUCTION = Variant("overlays/production")


def _restoring(rendered: list[dict[str, Any]], *options: str) -> "subprocess.CompletedProcess[str]":
    told = yaml.safe_dump_all(rendered)
    return subprocess.run([sys.executable, _RUNBOOK, *options], input=told, capture_output=True, text=True, check=False)


def _cluster(done: "subprocess.CompletedProcess[str]") -> tuple[dict[str, Any], dict[str, Any]]:
    """What the Cluster begins with, and where the backups are that it is restored from."""
    [spec] = [one["spec"] for one in yaml.safe_load_all(done.stdout) if one["kind"] == "Cluster"]
    [source] = spec["externalClusters"]
    return spec["bootstrap"], source["plugin"]["parameters"]


def test_only_the_cluster_and_gc_differ() -> None:
    before = manifests.render(_PRODUCTION).manifests

    done = _restoring(before, "--to", "2026-11-27T20:40:00+01:00", "--archive-as", "again")

    assert done.returncode == 0, done.stderr
    after = list(yaml.safe_load_all(done.stdout))
    changed = [(one["kind"], one["metadata"]["name"]) for one, old in zip(after, before, strict=True) if one != old]
    assert sorted(changed) == [("Cluster", "postgres"), ("CronJob", "gc")]
    [cluster] = [one["spec"] for one in after if one["kind"] == "Cluster"]
    [gc] = [one["spec"] for one in after if one["kind"] == "CronJob"]
    assert gc["suspend"] is True
    assert cluster["bootstrap"] == {
        "recovery": {
            "source": "backups",
            "database": "modelstead",
            "owner": "modelstead",
            "recoveryTarget": {"targetTime": "2026-11-27 19:40:00.000000+00"},
        }
    }
    [archiver], [source] = cluster["plugins"], cluster["externalClusters"]
    assert source["plugin"]["parameters"] == {"barmanObjectName": "postgres-backups", "serverName": "postgres"}
    assert archiver["parameters"] == {"barmanObjectName": "postgres-backups", "serverName": "again"}


def test_a_second_one_restores_what_was_archived_since_the_first() -> None:
    first = _restoring(manifests.render(_PRODUCTION).manifests, "--archive-as", "again")

    second = _restoring(list(yaml.safe_load_all(first.stdout)), "--archive-as", "once-more")

    bootstrap, source = _cluster(second)
    assert bootstrap == {"recovery": {"source": "backups", "database": "modelstead", "owner": "modelstead"}}
    assert source["serverName"] == "again"


def test_the_overlay_is_told_how_to_keep_the_new_name(tmp_path: Path) -> None:
    first = _restoring(manifests.render(_PRODUCTION).manifests, "--archive-as", "again")
    assert "restores what was archived as postgres, and archives as again" in first.stderr
    [patch] = [line for line in first.stderr.splitlines() if line.startswith("  - ")]
    resource = os.path.relpath(manifests.OVERLAYS / "production", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{resource}]\npatches:\n{patch}\n")

    second = _restoring(manifests.kustomize(tmp_path).manifests, "--archive-as", "once-more")

    assert _cluster(second)[1]["serverName"] == "again"


@pytest.mark.parametrize(
    ("kinds", "options", "complaint"),
    [
        ({"Deployment"}, [], "expected one Cluster"),
        ({"Cluster"}, ["--archive-as", "postgres"], "is where the backups are"),
        ({"Cluster"}, ["--to", "2026-11-27T19:40:00"], "invalid"),
    ],
)
def test_what_cannot_be_restored_is_said(kinds: set[str], options: list[str], complaint: str) -> None:
    rendered = [one for one in manifests.render(_PRODUCTION).manifests if one["kind"] in kinds]

    done = _restoring(rendered, *options)

    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
