"""Every command of docs/operations.md exists, with its options, and is about things that the manifests have."""

import functools
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from modelstead import cli
from tests.deploy import manifests
from tests.deploy.manifests import KUBECTL, KUBERNETES, OVERLAYS, REPOSITORY, Variant

DOCUMENT = REPOSITORY / "docs" / "operations.md"
# By the namespaces that commands name.
OVERLAY_OF = {"modelstead": Variant("overlays/production"), "modelstead-dev": Variant("overlays/dev")}
KINDS = {
    "job": "Job", "cronjob": "CronJob", "deployment": "Deployment", "service": "Service", "cluster": "Cluster",
    "scheduledbackup": "ScheduledBackup",
}  # fmt: skip
KIND_ARCHIVE = ".cache/image/kind.tar"
# CloudNativePG makes it: the Service of a Cluster's primary.
PRIMARY = "postgres-rw"


def _commands() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", _commands())
def test_the_command_is_one_that_works(command: str) -> None:
    words = shlex.split(command)

    CHECKS[words[0]](words[1:])


def _make(arguments: list[str]) -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{arguments[0]}:.* ## ", makefile, re.MULTILINE)


def _skopeo(arguments: list[str]) -> None:
    verb, source, target = arguments
    name = target.removeprefix(f"docker-archive:{KIND_ARCHIVE}:")
    [gateway] = manifests.render(Variant("overlays/dev")).workload("Deployment", "gateway").pod["containers"]

    assert (verb, source) == ("copy", "oci-archive:.cache/image/image.tar")
    assert name == gateway["image"]


def _kind(arguments: list[str]) -> None:
    assert arguments == ["load", "image-archive", KIND_ARCHIVE]


def _create_secrets(arguments: list[str]) -> None:
    files = {word: "/dev/null" for word in arguments if word in ("access-key", "secret-key")}
    told = [files.get(word, word) for word in arguments]
    path = f"{KUBECTL.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [KUBERNETES / "create-secrets.sh", *told, "--print"],
        check=False, capture_output=True, text=True, env={"PATH": path},
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert f"namespace: {arguments[arguments.index('--namespace') + 1]}" in done.stdout
    assert arguments[arguments.index("--namespace") + 1] in OVERLAY_OF


def _modelstead(arguments: list[str]) -> None:
    group = typer.main.get_command(cli.application())
    with group.make_context("modelstead", arguments, resilient_parsing=True) as context:
        name, command, rest = group.resolve_command(context, arguments)  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}

    assert {word for word in rest if word.startswith("--")} <= known, name


def _kubectl(arguments: list[str]) -> None:
    if arguments[0] == "kustomize" or arguments[:2] == ["apply", "-k"]:
        folder = REPOSITORY / arguments[-1]
        assert folder.parent == OVERLAYS
        assert manifests.render(Variant(folder.relative_to(KUBERNETES).as_posix())).manifests
    elif arguments[0] == "label":
        [label] = [word for word in arguments if "=" in word]
        key, _, value = label.partition("=")
        assert f'{key}: "{value}"' in (
            KUBERNETES / "components" / "network-policies" / "platform.yaml"
        ).read_text(encoding="utf-8")  # fmt: skip
    else:
        assert arguments[0] == "-n"
        _check_names(OVERLAY_OF[arguments[1]], arguments[2:])


def _check_names(variant: Variant, arguments: list[str]) -> None:
    rendered = manifests.render(variant)
    words = " ".join(arguments).partition(" -- ")[0].split()
    named = [re.fullmatch(r"(?:--from=)?([a-z]+)/([a-z-]+)", word) for word in words]
    names = {(match[1], match[2]) for match in named if match}
    verb, *rest = words
    if names == {("service", PRIMARY)}:
        assert rendered.one("Cluster", PRIMARY.removesuffix("-rw"))
        # What is done there is done in tests/upgrades/test_stuck.py.
        assert arguments[arguments.index("--") + 1] == "psql"
        return
    if rest[0] == "secret":
        # They are made by a script; what they are for stands in the manifests.
        assert all(f'"{word}"' in json.dumps(rendered.manifests) for word in rest[1:] if not word.startswith("--"))
        return
    if not names and verb in ("delete", "get", "patch") and rest[0] in KINDS:
        names = {(rest[0], word) for word in rest[1:] if re.fullmatch(r"[a-z][a-z-]+", word)}
    for kind, name in names:
        assert rendered.one(KINDS[kind], name)
    assert names or words == ["get", "pods"]
    if "--" in arguments:
        _check_inner(rendered, names, arguments[arguments.index("--") + 1 :])


def _check_inner(rendered: manifests.Rendered, names: set[tuple[str, str]], command: list[str]) -> None:
    [(kind, name)] = names
    [container] = rendered.workload(KINDS[kind], name).containers

    assert command[: len(container["command"])] == container["command"]
    assert command[len(container["command"]) :] == ["migrate", "--check"]


def _runbook(arguments: list[str], *, name: str) -> None:
    """Which options there are says the runbook itself; tests/runbooks runs it."""
    path = REPOSITORY / "deploy" / "runbooks" / name
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    shown = subprocess.run([path, "--help"], check=True, capture_output=True, text=True, env=env).stdout
    known = set(re.findall(r"--[a-z][a-z0-9-]+", shown))

    assert {word for word in arguments if word.startswith("--")} <= known
    assert "--namespace" not in arguments or arguments[arguments.index("--namespace") + 1] in OVERLAY_OF


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": _make,
    "skopeo": _skopeo,
    "kind": _kind,
    "deploy/k8s/create-secrets.sh": _create_secrets,
    "modelstead": _modelstead,
    "kubectl": _kubectl,
    **{
        f"deploy/runbooks/{path.name}": functools.partial(_runbook, name=path.name)
        for path in sorted((REPOSITORY / "deploy" / "runbooks").iterdir())
        if path.is_file()
    },
}


def test_every_runbook_is_linked_and_run_by_a_test() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests" / "runbooks").glob("*.py"))
    names = {path.name for path in (REPOSITORY / "deploy" / "runbooks").iterdir() if path.is_file()}

    assert set(re.findall(r"deploy/runbooks/([a-z_]+\.(?:py|sh))", text)) == names
    assert {name for name in names if name not in tests} == set()


def test_components_that_are_named_exist() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:postgres|external|gateway|tls|otel|monitoring)-[a-z0-9-]+)`", text))
    resources = {m["metadata"]["name"] for variant in OVERLAY_OF.values() for m in manifests.render(variant).manifests}

    assert named
    assert named <= {path.name for path in manifests.COMPONENTS.iterdir()} | resources


def test_alerts_that_are_explained_are_all_that_there_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    explained = re.findall(r"^\| `(Modelstead\w+)(…?)` \|", text, re.MULTILINE)
    # What has a pooler has everything else that is alerted on.
    rules = manifests.render(manifests.having("monitoring-pooler")).of("PrometheusRule")
    alerts = {r["alert"] for rule in rules for g in rule["spec"]["groups"] for r in g["rules"] if "alert" in r}

    left = {a for a in alerts if not any(a == name or (more and a.startswith(name)) for name, more in explained)}
    assert left <= {"ModelsteadOneReplica"}
    assert all(any(a.startswith(name) for a in alerts) for name, _ in explained)


def test_sections_that_alerts_name_exist() -> None:
    headings = re.findall(r"^#+ (.*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    alerts = "".join(path.read_text(encoding="utf-8") for path in manifests.COMPONENTS.glob("*/alerts.yaml"))

    named = set(re.findall(r'docs/operations\.md, "([^"]+)"', alerts))
    assert named
    assert named <= set(headings)
