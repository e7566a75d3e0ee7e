"""What holds for everything that an operator may apply: the base, the overlays, and the base with components."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from services.common.rpc.server import LIVENESS, READINESS
from tests.deploy import manifests
from tests.deploy.manifests import COMPONENTS, Manifest, Rendered, Variant, Workload, selects

VARIANTS = manifests.variants()
CLOSED = [variant for variant in VARIANTS if variant.has_policies]
KUBERNETES_VERSIONS = ("1.34", "1.35", "1.36", "1.37")
# Kinds that operators bring, which the validator does not know: tests/deploy/test_custom_resources.py.
CUSTOM_GROUPS = re.compile(r"(cnpg\.io|monitoring\.coreos\.com|gateway\.networking\.k8s\.io|cert-manager\.io)/")
RESTRICTED_VOLUMES = {"configMap", "emptyDir", "secret", "persistentVolumeClaim", "projected", "downwardAPI"}
SECRET_NAMES = re.compile(r"KEY|PASSWORD|SECRET|TOKEN|DATABASE_URL")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
HAVE_A_SELECTOR = ("Service", "PodDisruptionBudget", "NetworkPolicy")

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
each_closed_variant = pytest.mark.parametrize("variant", CLOSED, ids=str)


def test_every_component_is_in_a_combination() -> None:
    used = {name for variant in manifests.combinations() for name in variant.components}

    assert used == {path.name for path in COMPONENTS.iterdir()}


def test_the_last_four_minor_versions_are_validated() -> None:
    newest = int(kubernetes_validate.latest_version().split(".")[1])

    assert [int(version.split(".")[1]) for version in KUBERNETES_VERSIONS] == list(range(newest - 3, newest + 1))


@each_variant
def test_every_manifest_is_valid(variant: Variant) -> None:
    for manifest in manifests.render(variant).manifests:
        if not CUSTOM_GROUPS.search(manifest["apiVersion"]):
            _validate(manifests.without_names(manifest))


@cache
def _validate(text: str) -> None:
    # A quarter of a second each; what differs only by its namespace or by a generated name is looked at once.
    for version in KUBERNETES_VERSIONS:
        kubernetes_validate.validate(json.loads(text), version, strict=True)


@each_variant
def test_pods_meet_the_restricted_standard(variant: Variant) -> None:
    for workload in manifests.render(variant).workloads:
        pod = workload.pod
        assert pod["securityContext"]["runAsNonRoot"] is True, workload.name
        assert pod["securityContext"]["runAsUser"] > 10_000, workload.name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        assert {kind for volume in pod["volumes"] for kind in set(volume) - {"name"}} <= RESTRICTED_VOLUMES
        for container in workload.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@each_variant
def test_every_container_says_what_it_takes(variant: Variant) -> None:
    for workload in manifests.render(variant).workloads:
        for container in workload.containers:
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), workload.name
            assert "memory" in container["resources"]["limits"], workload.name


@each_variant
def test_images_have_a_version(variant: Variant) -> None:
    for workload in manifests.render(variant).workloads:
        for container in workload.containers:
            name, _, tag = container["image"].rpartition(":")
            assert name, f"{container['image']} has no tag"
            assert any(character.isdigit() for character in tag), container["image"]


@each_variant
def test_secrets_come_as_mounted_files_only(variant: Variant) -> None:
    rendered = manifests.render(variant)
    for workload in rendered.workloads:
        for container in workload.containers:
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            for name, value in rendered.environment(container).items():
                if name.endswith("_FILE"):
                    assert any(value.startswith(f"{mount}/") for mount in mounts), f"{name} is not in a mount"
                else:
                    assert not SECRET_NAMES.search(name), f"{name} would show in the manifest"


@each_variant
def test_what_is_mounted_and_read_is_there(variant: Variant) -> None:
    rendered = manifests.render(variant)
    config_maps = {manifest["metadata"]["name"] for manifest in rendered.of("ConfigMap")}
    accounts = {manifest["metadata"]["name"] for manifest in rendered.of("ServiceAccount")}
    for workload in rendered.workloads:
        claims = {claim["metadata"]["name"] for claim in workload.manifest["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in workload.pod["volumes"]} | claims
        assert workload.pod["serviceAccountName"] in accounts
        assert {
            volume["configMap"]["name"] for volume in workload.pod["volumes"] if "configMap" in volume
        } <= config_maps
        for container in workload.containers:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes, workload.name


@each_variant
def test_everything_that_serves_survives_the_drain_of_a_node(variant: Variant) -> None:
    rendered = manifests.render(variant)
    for workload in rendered.lasting:
        budgets = [m for m in rendered.of("PodDisruptionBudget") if selects(m["spec"]["selector"], workload.labels)]
        assert len(budgets) == 1, f"{workload.name} has {len(budgets)} disruption budgets"
        if _replicas_max(rendered, workload) > 1:
            assert budgets[0]["spec"]["maxUnavailable"] == 1
            assert "kubernetes.io/hostname" in _spread_over(workload), f"{workload.name} may be on one node"
            if workload.kind == "Deployment":
                # It keeps nothing, so one that serves nobody may go.
                assert budgets[0]["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", workload.name


def _replicas_max(rendered: Rendered, workload: Workload) -> int:
    for scaler in _scalers(rendered, workload):
        return int(scaler["spec"]["maxReplicas"])
    return int(workload.manifest["spec"]["replicas"])


def _spread_over(workload: Workload) -> list[str]:
    constraints = workload.pod["topologySpreadConstraints"]
    assert all(selects(constraint["labelSelector"], workload.labels) for constraint in constraints)
    return [constraint["topologyKey"] for constraint in constraints]


def _scalers(rendered: Rendered, workload: Workload) -> list[Manifest]:
    target = {"apiVersion": "apps/v1", "kind": workload.kind, "name": workload.name}
    return [m for m in rendered.of("HorizontalPodAutoscaler") if m["spec"]["scaleTargetRef"] == target]


@each_variant
def test_one_thing_decides_how_many_replicas_there_are(variant: Variant) -> None:
    rendered = manifests.render(variant)
    for workload in rendered.lasting:
        scalers = _scalers(rendered, workload)

        assert len(scalers) + ("replicas" in workload.manifest["spec"]) == 1, workload.name
    assert len(rendered.of("HorizontalPodAutoscaler")) == sum(len(_scalers(rendered, w)) for w in rendered.lasting)


@each_variant
def test_selectors_find_their_pods(variant: Variant) -> None:
    rendered = manifests.render(variant)
    for workload in rendered.lasting:
        assert selects(workload.manifest["spec"]["selector"], workload.labels), workload.name
        assert workload.labels["app.kubernetes.io/name"] == workload.name
    for manifest in rendered.of("Service", "PodDisruptionBudget"):
        selector = manifest["spec"]["selector"]
        found = rendered.selected({"matchLabels": selector} if manifest["kind"] == "Service" else selector)
        assert len(found) == 1, f"{manifest['kind']} {manifest['metadata']['name']} selects {len(found)} workloads"


@each_variant
def test_every_pod_is_the_platforms(variant: Variant) -> None:
    # What default-deny selects.
    for workload in manifests.render(variant).workloads:
        assert workload.labels["app.kubernetes.io/part-of"] == "modelstead", workload.name


@each_variant
def test_ports_that_services_name_exist(variant: Variant) -> None:
    rendered = manifests.render(variant)
    for service in rendered.of("Service"):
        [workload] = rendered.selected({"matchLabels": service["spec"]["selector"]})
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in workload.ports, f"{service['metadata']['name']}: {port}"
        if service["spec"].get("clusterIP") == "None":
            # Clients resolve pods then, so there is nothing that could translate.
            assert all(port["port"] == workload.ports[port["targetPort"]] for port in service["spec"]["ports"])


@each_variant
def test_ports_that_probes_name_exist(variant: Variant) -> None:
    for workload, _, probe in _probes(manifests.render(variant)):
        for how in ("grpc", "httpGet", "tcpSocket"):
            if how in probe:
                port = probe[how]["port"]
                assert port in workload.ports or port in workload.ports.values(), workload.name


@each_variant
def test_probes_ask_for_different_things(variant: Variant) -> None:
    for workload in manifests.render(variant).lasting:
        for container in workload.containers:
            asked = {name: _asked(container[name]) for name in PROBES}
            assert asked["livenessProbe"] != asked["readinessProbe"], workload.name


@each_variant
def test_grpc_probes_ask_for_health_that_the_code_tells(variant: Variant) -> None:
    rendered = manifests.render(variant)
    asked = {(name, probe["grpc"]["service"]) for _, name, probe in _probes(rendered) if "grpc" in probe}

    # Alive is who turns, whatever has become of Postgres; ready is who can answer.
    assert asked == {("startupProbe", LIVENESS), ("livenessProbe", LIVENESS), ("readinessProbe", READINESS)}


def _probes(rendered: Rendered) -> Iterator[tuple[Workload, str, Manifest]]:
    for workload in rendered.lasting:
        for container in workload.containers:
            for name in PROBES:
                yield workload, name, container[name]


def _asked(probe: Manifest) -> str:
    return json.dumps({how: probe[how] for how in ("grpc", "httpGet", "tcpSocket", "exec") if how in probe})


@each_closed_variant
def test_every_pod_is_closed_but_for_what_is_listed(variant: Variant) -> None:
    rendered = manifests.render(variant)
    policies = rendered.of("NetworkPolicy")
    deny = rendered.one("NetworkPolicy", "default-deny")["spec"]

    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert not {"ingress", "egress"} & set(deny)
    for workload in rendered.workloads:
        assert selects(deny["podSelector"], workload.labels), workload.name
        mine = [m for m in policies if m["metadata"]["name"] != "default-deny" and _is_about(m, workload)]
        assert any("egress" in m["spec"] for m in mine), f"nothing lets {workload.name} out"
        if workload.kind in ("Deployment", "StatefulSet"):
            assert any("ingress" in m["spec"] for m in mine), f"nothing lets anybody in to {workload.name}"


def _is_about(policy: Manifest, workload: Workload) -> bool:
    return selects(policy["spec"]["podSelector"], workload.labels)


@each_closed_variant
def test_ports_that_policies_name_exist(variant: Variant) -> None:
    rendered = manifests.render(variant)
    for policy in rendered.of("NetworkPolicy"):
        spec = policy["spec"]
        insiders = [workload for workload in rendered.lasting if _is_about(policy, workload)]
        for rule in spec.get("ingress", []):
            _check_ports(rule["ports"], insiders, policy)
        for rule in spec.get("egress", []):
            peers = [peer["podSelector"] for peer in rule.get("to", []) if "podSelector" in peer]
            _check_ports(
                rule["ports"], [w for w in rendered.lasting if any(selects(p, w.labels) for p in peers)], policy
            )


def _check_ports(ports: list[Manifest], workloads: list[Workload], policy: Manifest) -> None:
    for workload in workloads:
        names = [port["port"] for port in ports if isinstance(port["port"], str)]
        assert set(names) <= set(workload.ports), f"{policy['metadata']['name']}: {names} of {workload.name}"


@each_closed_variant
def test_services_reach_what_their_settings_name(variant: Variant) -> None:
    rendered = manifests.render(variant)
    services = {service["metadata"]["name"]: service["spec"] for service in rendered.of("Service")}
    # A migration speaks to Postgres only, whatever else its service is told.
    callers = [workload for workload in rendered.workloads if workload.kind != "Job"]
    for workload in callers:
        for container in workload.containers:
            for name, value in rendered.environment(container).items():
                host, port = _address(value)
                if host in services and not name.endswith("_LISTEN"):
                    assert port in [p["port"] for p in services[host]["ports"]], f"{name}={value}"
                    [target] = rendered.selected({"matchLabels": services[host]["selector"]})
                    assert _may_call(rendered, workload, target), f"{workload.name} is kept from {value}"


def _address(value: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:http://)?([a-z-]+):(\d+)", value)
    return (match[1], int(match[2])) if match else ("", 0)


def _may_call(rendered: Rendered, caller: Workload, target: Workload) -> bool:
    policies = rendered.of("NetworkPolicy")
    leaves = [r for m in policies if _is_about(m, caller) for r in m["spec"].get("egress", [])]
    enters = [r for m in policies if _is_about(m, target) for r in m["spec"].get("ingress", [])]
    return any(_is_open(r, "to", target) for r in leaves) and any(_is_open(r, "from", caller) for r in enters)


def _is_open(rule: Manifest, direction: str, workload: Workload) -> bool:
    peers = rule.get(direction)
    return peers is None or any("podSelector" in p and selects(p["podSelector"], workload.labels) for p in peers)


def test_nothing_is_copied_from_one_folder_to_another() -> None:
    files: dict[str, Path] = {}
    for path in manifests.KUBERNETES.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        if path.name not in ("kustomization.yaml", "namespace.yaml"):
            assert text not in files, f"{path} is {files[text]}"
            files[text] = path
