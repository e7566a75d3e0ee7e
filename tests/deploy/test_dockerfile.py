"""What the Dockerfile promises, as far as it can be read from it; tests/image runs what it makes."""

import re

from tests.deploy import manifests
from tests.deploy.manifests import BASE, REPOSITORY, Variant

TEXT = (REPOSITORY / "deploy" / "Dockerfile").read_text(encoding="utf-8")
STEPS = [line for line in TEXT.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
FINAL = STEPS[max(number for number, step in enumerate(STEPS) if step.startswith("FROM ")) :]


def test_every_stage_is_on_the_base_that_is_given() -> None:
    assert STEPS[0].startswith("ARG BASE=")
    assert {step.split()[1] for step in STEPS if step.startswith("FROM ")} == {"${BASE}"}


def test_what_is_installed_is_locked_by_its_hash() -> None:
    installs = [step for step in STEPS if "pip install" in step]
    locked = [step for step in installs if "--require-hashes" in step]

    assert any("requirements.lock" in step for step in locked)
    assert len(installs) > len(locked)
    assert all("--no-deps" in step and "--no-index" in step for step in installs if step not in locked)


def test_its_user_is_the_manifests() -> None:
    users = {
        f"{workload.pod['securityContext']['runAsUser']}:{workload.pod['securityContext']['runAsGroup']}"
        for workload in manifests.render(Variant("base")).workloads
    }

    assert [step.removeprefix("USER ") for step in FINAL if step.startswith("USER ")] == list(users)


def test_nothing_in_the_final_stage_needs_a_shell() -> None:
    assert not [step for step in FINAL if step.startswith("RUN ")]
    for step in FINAL:
        if step.startswith(("CMD ", "ENTRYPOINT ")):
            assert step.split(" ", 1)[1].startswith("["), step


def test_it_says_what_it_is() -> None:
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", TEXT))

    assert {"title", "description", "licenses", "version", "revision", "created"} <= labels


def test_its_version_is_the_one_that_runs() -> None:
    [version] = re.findall(r'__version__ = "(.*)"', (REPOSITORY / "client/modelstead/__init__.py").read_text())

    assert f"ARG VERSION={version}" in STEPS
    assert f"newTag: {version}\n" in (BASE / "kustomization.yaml").read_text(encoding="utf-8")


def test_nothing_but_what_it_copies_is_sent_to_the_build() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = {
        name for step in STEPS if step.startswith("COPY ") and "--from" not in step for name in step.split()[1:-1]
    }

    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
