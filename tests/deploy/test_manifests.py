"""Renders deploy/k8s/base as an operator would and proves that it is valid, restricted and says what the code reads."""

import dataclasses
import importlib
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.common import artifact_stores, settings

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = REPOSITORY / "deploy" / "k8s" / "base"
SERVICES = sorted(path.parent.name for path in (REPOSITORY / "services").glob("*/__main__.py"))
# The oldest with probes, sleeping hooks and policies as used here, and the newest that the validator knows.
KUBERNETES_VERSIONS = ("1.30", kubernetes_validate.latest_version())
LISTENS_ON_ALL = "0.0.0.0:"
DATABASE_OWNERS = sorted(set(SERVICES) - {"gateway"})
PEERS = [
    ("artifacts", "tracking"),
    ("artifacts", "registry"),
    ("registry", "tracking"),
    ("registry", "artifacts"),
]
CALLS = [*(("gateway", backend) for backend in DATABASE_OWNERS), *PEERS]

Manifest = dict[str, Any]


def _render() -> list[Manifest]:
    kubectl = Path(sysconfig.get_path("scripts")) / "kubectl"
    rendered = subprocess.run([kubectl, "kustomize", BASE], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(rendered.stdout))


MANIFESTS = _render()
WORKLOADS = [manifest for manifest in MANIFESTS if manifest["kind"] in ("Deployment", "Job")]
DEPLOYMENTS = [manifest for manifest in WORKLOADS if manifest["kind"] == "Deployment"]


def _name(manifest: Manifest) -> str:
    return f"{manifest['kind']}-{manifest['metadata']['name']}"


def _pod(workload: Manifest) -> Manifest:
    return workload["spec"]["template"]["spec"]


def _containers(workload: Manifest) -> list[Manifest]:
    return [*_pod(workload).get("initContainers", []), *_pod(workload)["containers"]]


def _environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: _value(variable) for variable in container["env"]}


def _value(variable: Manifest) -> str:
    if "valueFrom" not in variable:
        return str(variable["value"])
    [(kind, source)] = variable["valueFrom"].items()
    assert kind == "configMapKeyRef", "secrets are files"
    return str(_one("ConfigMap", source["name"])["data"][source["key"]])


def _service_of(container: Manifest) -> str:
    """`tracking` of `python -m services.tracking migrate`."""
    command = container["command"]
    return command[command.index("-m") + 1].removeprefix("services.")


def _one(kind: str, name: str) -> Manifest:
    [found] = [m for m in MANIFESTS if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


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


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=_name)
def test_manifest_is_valid(manifest: Manifest, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_services_are_found() -> None:
    assert {"tracking", "artifacts", "registry", "gateway"} <= set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_deployed(service: str) -> None:
    assert (BASE / f"{service}.yaml").is_file()

    for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
        assert _one(kind, service)


@pytest.mark.parametrize("workload", WORKLOADS, ids=_name)
def test_every_variable_is_a_setting(workload: Manifest) -> None:
    for container in _containers(workload):
        environment = _environment(container)

        assert set(environment) <= _variables(_service_of(container))


@pytest.mark.parametrize("workload", WORKLOADS, ids=_name)
def test_every_required_setting_is_given(workload: Manifest) -> None:
    for container in _containers(workload):
        given = {name.removesuffix("_FILE") for name in _environment(container)}

        assert _required(_service_of(container)) <= given


@pytest.mark.parametrize("workload", WORKLOADS, ids=_name)
def test_secrets_come_as_mounted_files_only(workload: Manifest) -> None:
    for container in _containers(workload):
        assert "envFrom" not in container
        mounts = [mount["mountPath"] for mount in container["volumeMounts"] if mount["mountPath"] != "/tmp"]
        for name, value in _environment(container).items():
            assert not name.endswith(("_KEY", "_URL")), f"{name} would show in the manifest"
            if name.endswith("_FILE"):
                assert any(value.startswith(f"{mount}/") for mount in mounts), f"{name} is not in a mount"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=_name)
def test_probes_ask_for_different_things(deployment: Manifest) -> None:
    for container in _containers(deployment):
        asked = {
            probe: (container[probe].get("grpc", {}).get("service"), container[probe].get("httpGet", {}).get("path"))
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }

        assert asked["livenessProbe"] != asked["readinessProbe"]
        assert asked["startupProbe"] == asked["livenessProbe"]
        assert "readiness" in asked["readinessProbe"] or "/health" in asked["readinessProbe"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=_name)
def test_ports_agree_with_what_the_process_listens_on(deployment: Manifest) -> None:
    [container] = _containers(deployment)
    environment = _environment(container)
    serving, metrics = (environment[name] for name in ("MODELSTEAD_LISTEN", "MODELSTEAD_METRICS_LISTEN"))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    [service_port] = _one("Service", deployment["metadata"]["name"])["spec"]["ports"]

    assert serving == f"{LISTENS_ON_ALL}{ports[service_port['targetPort']]}"
    assert metrics == f"{LISTENS_ON_ALL}{ports['metrics']}"


def test_gateway_finds_every_backend() -> None:
    [gateway] = _containers(_one("Deployment", "gateway"))

    for backend in set(SERVICES) - {"gateway"}:
        service = _one("Service", backend)["spec"]
        address = _environment(gateway)[f"MODELSTEAD_{backend.upper()}_ADDRESS"]
        assert address == f"{backend}:{_port(backend)}"
        assert service["clusterIP"] == "None", "a gRPC client balances over the replicas that it resolves"


@pytest.mark.parametrize(("service", "peer"), PEERS)
def test_a_service_finds_the_one_that_it_asks(service: str, peer: str) -> None:
    [container] = _containers(_one("Deployment", service))

    assert _environment(container)[f"MODELSTEAD_{peer.upper()}_ADDRESS"] == f"{peer}:{_port(peer)}"


def test_a_version_without_files_is_refused_in_production() -> None:
    [container] = _containers(_one("Deployment", "registry"))

    assert _environment(container)["MODELSTEAD_REQUIRE_SOURCE"] == "true"


@pytest.mark.parametrize("service", ["tracking", "artifacts", "registry"])
def test_the_operators_stores_are_read_from_a_mounted_config_map(service: str, tmp_path: Path) -> None:
    deployment = _one("Deployment", service)
    [container] = _containers(deployment)
    folder, name = _environment(container)["MODELSTEAD_ARTIFACT_STORES"].rsplit("/", 1)

    [mount] = [mount for mount in container["volumeMounts"] if mount["mountPath"] == folder]
    [volume] = [volume for volume in _pod(deployment)["volumes"] if volume["name"] == mount["name"]]
    file = tmp_path / name
    file.write_text(_one("ConfigMap", volume["configMap"]["name"])["data"][name], encoding="utf-8")

    assert artifact_stores.load(file) == artifact_stores.NO_STORES


@pytest.mark.parametrize("workload", WORKLOADS, ids=_name)
def test_pods_meet_the_restricted_standard(workload: Manifest) -> None:
    pod = _pod(workload)

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {kind for volume in pod["volumes"] for kind in set(volume) - {"name"}} <= {"secret", "configMap", "emptyDir"}
    for container in _containers(workload):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=_name)
def test_a_stop_leaves_time_to_drain(deployment: Manifest) -> None:
    [container] = _containers(deployment)
    # The servers end calls under way within 30 s after they have told that they stop.
    drain = container["lifecycle"]["preStop"]["sleep"]["seconds"] + 30
    drain += int(_environment(container)["MODELSTEAD_DRAIN_NOTICE_S"])

    assert _pod(deployment)["terminationGracePeriodSeconds"] > drain


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=_name)
def test_an_upgrade_never_has_less_than_two_replicas(deployment: Manifest) -> None:
    name = deployment["metadata"]["name"]

    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert _one("HorizontalPodAutoscaler", name)["spec"]["minReplicas"] >= 2
    assert _one("PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
    # The autoscaler owns the number: an apply that set it would undo a scale-up under load.
    assert "replicas" not in deployment["spec"]


@pytest.mark.parametrize("workload", WORKLOADS, ids=_name)
def test_selectors_find_their_pods(workload: Manifest) -> None:
    name = {"app.kubernetes.io/name": workload["metadata"]["name"]}

    assert workload["spec"]["template"]["metadata"]["labels"] == name | {"app.kubernetes.io/part-of": "modelstead"}
    if workload["kind"] == "Deployment":
        assert workload["spec"]["selector"]["matchLabels"] == name
        assert _one("Service", workload["metadata"]["name"])["spec"]["selector"] == name
        assert _one("PodDisruptionBudget", workload["metadata"]["name"])["spec"]["selector"]["matchLabels"] == name


def test_traffic_is_denied_unless_listed() -> None:
    deny = _one("NetworkPolicy", "default-deny")["spec"]

    assert deny["podSelector"] == {"matchLabels": {"app.kubernetes.io/part-of": "modelstead"}}
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)


@pytest.mark.parametrize(("caller", "backend"), CALLS)
def test_caller_may_reach_backend_and_backend_lets_it_in(caller: str, backend: str) -> None:
    to_backend = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": backend}}}
    from_caller = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": caller}}}
    egress = _one("NetworkPolicy", caller)["spec"]["egress"]
    ingress = _one("NetworkPolicy", backend)["spec"]["ingress"]

    assert any(to_backend in rule.get("to", []) for rule in egress)
    assert [from_caller] in [rule["from"] for rule in ingress]


@pytest.mark.parametrize("service", DATABASE_OWNERS)
def test_service_and_its_migration_may_reach_the_database(service: str) -> None:
    policy = _one("NetworkPolicy", "database")["spec"]
    [expression] = policy["podSelector"]["matchExpressions"]

    assert {service, f"{service}-migrate"} <= set(expression["values"])


@pytest.mark.parametrize("workload", WORKLOADS, ids=_name)
def test_image_has_the_tag_of_the_kustomization(workload: Manifest) -> None:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))
    [image] = kustomization["images"]

    for container in _containers(workload):
        assert container["image"] == f"{image['name']}:{image['newTag']}"


@pytest.mark.parametrize("service", DATABASE_OWNERS)
def test_job_migrates_the_schema(service: str) -> None:
    [container] = _containers(_one("Job", f"{service}-migrate"))

    assert container["command"] == ["python", "-m", f"services.{service}", "migrate"]


def _port(service: str) -> int:
    return int(_one("Service", service)["spec"]["ports"][0]["port"])
