"""The base: every service is deployed as its code wants it. What holds for all manifests is in test_variants.py."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from services.common import artifact_stores, settings
from services.common.rpc.health import READINESS
from services.gateway.pages import READY_PATH
from services.local import maintenance
from tests.deploy import manifests
from tests.deploy.manifests import BASE, REPOSITORY, Manifest, Variant, Workload

RENDERED = manifests.render(Variant("base"))
SERVICES = sorted(path.parent.name for path in (REPOSITORY / "services").glob("*/__main__.py"))
DATABASE_OWNERS = sorted(set(SERVICES) - {"gateway"})
DEPLOYMENTS = RENDERED.lasting
LISTENS_ON_ALL = "0.0.0.0:"
PEERS = [
    ("artifacts", "tracking"),
    ("artifacts", "registry"),
    ("registry", "tracking"),
    ("registry", "artifacts"),
]
RUN_SERVICES = [workload for workload in RENDERED.workloads if workload.kind in ("Deployment", "Job")]

each_deployment = pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment.name)
each_service_run = pytest.mark.parametrize("workload", RUN_SERVICES, ids=lambda workload: workload.name)
each_database_owner = pytest.mark.parametrize("service", DATABASE_OWNERS)


def _container(workload: Workload) -> Manifest:
    [container] = workload.containers
    return container


def _environment(workload: Workload) -> dict[str, str]:
    return RENDERED.environment(_container(workload))


def _deployment(service: str) -> Workload:
    return RENDERED.workload("Deployment", service)


def _service_of(workload: Workload) -> str:
    """`tracking` of `python -m services.tracking migrate`."""
    command = _container(workload)["command"]
    return str(command[command.index("-m") + 1]).removeprefix("services.")


def _port(service: str) -> int:
    [port] = [port for port in RENDERED.one("Service", service)["spec"]["ports"] if port["name"] in ("grpc", "http")]
    return int(port["port"])


def _settings_class(service: str) -> Any:
    return importlib.import_module(f"services.{service}.settings").Settings


def _variables(service: str) -> set[str]:
    """Every variable that a service reads, from the fields of its settings."""
    fields = dataclasses.fields(_settings_class(service))
    names = {settings.variable(field.name) for field in fields}
    return names | {f"{settings.variable(field.name)}_FILE" for field in fields if field.metadata.get("secret")}


def _required(service: str) -> set[str]:
    fields = dataclasses.fields(_settings_class(service))
    return {settings.variable(field.name) for field in fields if field.default is dataclasses.MISSING}


def test_services_are_found() -> None:
    assert {"tracking", "artifacts", "registry", "gateway"} <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_deployed(service: str) -> None:
    assert (BASE / f"{service}.yaml").is_file()

    for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
        assert RENDERED.one(kind, service)


@each_service_run
def test_every_variable_is_a_setting(workload: Workload) -> None:
    assert set(_environment(workload)) <= _variables(_service_of(workload))


@each_service_run
def test_every_required_setting_is_given(workload: Workload) -> None:
    given = {name.removesuffix("_FILE") for name in _environment(workload)}

    assert _required(_service_of(workload)) <= given


@each_service_run
def test_a_setting_is_given_in_one_place(workload: Workload) -> None:
    container = _container(workload)
    names = [variable["name"] for variable in container["env"]]
    for source in container["envFrom"]:
        names += RENDERED.one("ConfigMap", source["configMapRef"]["name"])["data"]

    assert len(names) == len(set(names))


@each_deployment
def test_ports_agree_with_what_the_process_listens_on(deployment: Workload) -> None:
    environment = _environment(deployment)
    ports = {port["name"]: port["port"] for port in RENDERED.one("Service", deployment.name)["spec"]["ports"]}

    assert environment["MODELSTEAD_METRICS_LISTEN"] == f"{LISTENS_ON_ALL}{deployment.ports['metrics']}"
    [serving] = set(ports) - {"metrics"}
    assert environment["MODELSTEAD_LISTEN"] == f"{LISTENS_ON_ALL}{deployment.ports[serving]}"


def test_gateway_finds_every_backend() -> None:
    environment = _environment(_deployment("gateway"))

    for backend in DATABASE_OWNERS:
        assert environment[f"MODELSTEAD_{backend.upper()}_ADDRESS"] == f"{backend}:{_port(backend)}"


@each_database_owner
def test_clients_balance_over_replicas_and_proxies_over_an_address(service: str) -> None:
    resolved, proxied = RENDERED.one("Service", service)["spec"], RENDERED.one("Service", f"{service}-proxied")["spec"]

    assert resolved["clusterIP"] == "None"
    assert "clusterIP" not in proxied
    assert proxied["selector"] == resolved["selector"]
    assert proxied["ports"] == [port for port in resolved["ports"] if port["name"] == "grpc"]
    assert proxied["ports"][0]["appProtocol"] == "kubernetes.io/h2c"


@pytest.mark.parametrize(("service", "peer"), PEERS)
def test_a_service_finds_the_one_that_it_asks(service: str, peer: str) -> None:
    address = _environment(_deployment(service))[f"MODELSTEAD_{peer.upper()}_ADDRESS"]

    assert address == f"{peer}:{_port(peer)}"


def test_a_version_without_files_is_refused_in_production() -> None:
    assert _environment(_deployment("registry"))["MODELSTEAD_REQUIRE_SOURCE"] == "true"


@pytest.mark.parametrize("service", ["tracking", "artifacts", "registry"])
def test_the_operators_stores_are_read_from_a_mounted_config_map(service: str, tmp_path: Path) -> None:
    deployment = _deployment(service)
    folder, name = _environment(deployment)["MODELSTEAD_ARTIFACT_STORES"].rsplit("/", 1)

    [mount] = [mount for mount in _container(deployment)["volumeMounts"] if mount["mountPath"] == folder]
    [volume] = [volume for volume in deployment.pod["volumes"] if volume["name"] == mount["name"]]
    file = tmp_path / name
    file.write_text(RENDERED.one("ConfigMap", volume["configMap"]["name"])["data"][name], encoding="utf-8")

    assert artifact_stores.load(file) == artifact_stores.NO_STORES


@each_deployment
def test_startup_asks_what_liveness_asks_and_readiness_more(deployment: Workload) -> None:
    probes = {name: _container(deployment)[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    asked = {name: probe.get("grpc") or probe.get("httpGet") for name, probe in probes.items()}

    assert asked["startupProbe"] == asked["livenessProbe"]
    assert {READINESS, READY_PATH} & set(asked["readinessProbe"].values())


@each_database_owner
def test_probes_come_to_a_port_in_plain_text_that_nobody_else_may_come_to(service: str) -> None:
    deployment = _deployment(service)
    port = deployment.ports["health"]

    assert _environment(deployment)["MODELSTEAD_HEALTH_LISTEN"] == f"{LISTENS_ON_ALL}{port}"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert _container(deployment)[probe]["grpc"]["port"] == port
    opened = [
        port["port"]
        for policy in manifests.render(Variant("overlays/production")).of("NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        for port in rule.get("ports", [])
    ]
    exposed = [each["targetPort"] for each in RENDERED.one("Service", service)["spec"]["ports"]]
    assert not {"health", port} & {*opened, *exposed}


@each_deployment
def test_a_stop_leaves_time_to_drain(deployment: Workload) -> None:
    # The servers end calls under way within 30 s after they have told that they stop.
    drain = _container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"] + 30
    drain += int(_environment(deployment)["MODELSTEAD_DRAIN_NOTICE_S"])

    assert deployment.pod["terminationGracePeriodSeconds"] > drain


@each_deployment
def test_an_upgrade_never_has_less_than_two_replicas(deployment: Workload) -> None:
    assert deployment.manifest["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert RENDERED.one("HorizontalPodAutoscaler", deployment.name)["spec"]["minReplicas"] >= 2


@each_deployment
def test_replicas_spread_over_zones_and_nodes(deployment: Workload) -> None:
    constraints = deployment.pod["topologySpreadConstraints"]

    assert [constraint["topologyKey"] for constraint in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]


@pytest.mark.parametrize("workload", RENDERED.workloads, ids=lambda workload: workload.name)
def test_image_has_the_tag_of_the_kustomization(workload: Workload) -> None:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
    [image] = kustomization["images"]

    assert _container(workload)["image"] == f"{image['name']}:{image['newTag']}"


@each_database_owner
def test_job_migrates_the_schema(service: str) -> None:
    container = _container(RENDERED.workload("Job", f"{service}-migrate"))

    assert container["command"] == ["python", "-m", f"services.{service}", "migrate"]


def test_what_was_deleted_is_purged_every_night() -> None:
    gc = RENDERED.workload("CronJob", "gc")
    environment, arguments = _environment(gc), _container(gc)["command"]
    command = _gc_command()
    variables = {option.envvar for option in command.params}

    assert arguments[:2] == ["modelstead", "gc"]
    assert set(environment) <= variables
    for backend in DATABASE_OWNERS:
        assert environment[f"MODELSTEAD_{backend.upper()}_ADDRESS"] == f"{backend}:{_port(backend)}"
    command.make_context("gc", arguments[2:])


def _gc_command() -> Any:
    application = typer.Typer()
    application.command()(maintenance.gc)
    return typer.main.get_command(application)
