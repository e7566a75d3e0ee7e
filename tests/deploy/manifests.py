"""Manifests as kustomize renders them, the combinations of components that make sense, and what tests ask of them."""

import functools
import itertools
import json
import os
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
KUBERNETES = REPOSITORY / "deploy" / "k8s"
BASE = KUBERNETES / "base"
COMPONENTS = KUBERNETES / "components"
OVERLAYS = KUBERNETES / "overlays"
KUBECTL = Path(sysconfig.get_path("scripts")) / "kubectl"
HOST = "models.example.org"

Manifest = dict[str, Any]

_NAMESPACE = re.compile(r'"namespace": "[a-z-]+"')
_GENERATED_SUFFIX = re.compile(r'-[bcdfghkmt2456789]{10}(?=")')
_WORKLOADS = ("Deployment", "StatefulSet", "Job", "CronJob")
_DATABASES = (("postgres-trial",), ("postgres-cnpg",), ("postgres-cnpg", "postgres-pooler"))
_STORES = ("minio", "seaweedfs", "external-s3")
_EDGES = ((), ("ingress", "tls-cert-manager"), ("gateway-api", "tls-cert-manager"))
_SEEING = ("otel-collector", "monitoring", "autoscaling-calls")
# What the components of the edge read.
_SITE = f"""
apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
configMapGenerator:
  - name: gateway
    behavior: merge
    literals:
      - MODELSTEAD_ALLOWED_HOSTS={HOST},gateway.team
      - MODELSTEAD_PUBLIC_TRACKING_ADDRESS=grpcs://grpc.{HOST}:443
"""


@dataclass(frozen=True)
class Variant:
    """Something that an operator may apply: the base, an overlay of ours, or the base with components."""

    name: str
    components: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def has_policies(self) -> bool:
        return self.name != "base"


@dataclass(frozen=True, eq=False)
class Workload:
    """Whatever makes pods, by the pods that it makes."""

    manifest: Manifest

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def template(self) -> Manifest:
        spec = self.manifest["spec"]
        template: Manifest = spec.get("jobTemplate", {"spec": spec})["spec"]["template"]
        return template

    @property
    def pod(self) -> Manifest:
        pod: Manifest = self.template["spec"]
        return pod

    @property
    def labels(self) -> Mapping[str, str]:
        labels: Mapping[str, str] = self.template["metadata"]["labels"]
        return labels

    @property
    def containers(self) -> list[Manifest]:
        return [*self.pod.get("initContainers", []), *self.pod["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Numbers of ports by their names."""
        return {
            port["name"]: port["containerPort"] for container in self.containers for port in container.get("ports", [])
        }


class Rendered:
    """All manifests of a variant."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self.manifests = manifests
        self.workloads = [Workload(manifest) for manifest in manifests if manifest["kind"] in _WORKLOADS]

    def of(self, *kinds: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        [found] = [manifest for manifest in self.of(kind) if manifest["metadata"]["name"] == name]
        return found

    def workload(self, kind: str, name: str) -> Workload:
        return Workload(self.one(kind, name))

    @property
    def lasting(self) -> list[Workload]:
        """Workloads whose pods serve, and so are missed when they go."""
        return [workload for workload in self.workloads if workload.kind in ("Deployment", "StatefulSet")]

    def selected(self, selector: Manifest) -> list[Workload]:
        return [workload for workload in self.workloads if selects(selector, workload.labels)]

    def environment(self, container: Manifest) -> dict[str, str]:
        """Every variable that a container gets, as text. Fails for one that comes from a Secret."""
        variables: dict[str, str] = {}
        for source in container.get("envFrom", []):
            [(kind, reference)] = source.items()
            assert kind == "configMapRef", "secrets are files"
            variables |= self.one("ConfigMap", reference["name"]).get("data") or {}
        for variable in container.get("env", []):
            assert "valueFrom" not in variable, "secrets are files, and settings whole ConfigMaps"
            variables[variable["name"]] = str(variable["value"])
        return variables


def selects(selector: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether a selector, also one with expressions, finds labels; an empty one finds all."""
    for expression in selector.get("matchExpressions", []):
        found = {
            "In": labels.get(expression["key"]) in expression.get("values", []),
            "Exists": expression["key"] in labels,
            "DoesNotExist": expression["key"] not in labels,
        }
        if not found[expression["operator"]]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def overlays() -> list[Variant]:
    return [
        Variant(path.parent.relative_to(KUBERNETES).as_posix())
        for path in sorted(OVERLAYS.glob("*/kustomization.yaml"))
    ]


def combinations() -> list[Variant]:
    """Every pair of a database, a store, an edge, and seeing inside or not, in as few combinations as have them."""
    variants = []
    for number, (database, store) in enumerate(itertools.product(_DATABASES, _STORES)):
        edge = _EDGES[(number + number // len(_STORES)) % len(_EDGES)]
        seeing: tuple[str, ...] = _SEEING if number % 2 else ()
        if seeing and "postgres-cnpg" in database:
            seeing = (*seeing, "monitoring-cnpg")
        if seeing and "postgres-pooler" in database:
            seeing = (*seeing, "monitoring-pooler")
        components = (*database, store, "network-policies", *seeing, *edge)
        variants.append(Variant("+".join(components), components))
    return variants


def having(component: str) -> Variant:
    """Return the first combination that a component is in."""
    return next(variant for variant in combinations() if component in variant.components)


def variants() -> list[Variant]:
    return [Variant("base"), *overlays(), *combinations()]


@functools.cache
def render(variant: Variant) -> Rendered:
    if not variant.components:
        return kustomize(KUBERNETES / variant.name)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        _write_kustomization(root, variant.components)
        return kustomize(root)


def _write_kustomization(root: Path, components: Sequence[str]) -> None:
    (root / "site").mkdir()
    (root / "site" / "kustomization.yaml").write_text(_SITE, encoding="utf-8")
    after = components.index("network-policies")
    places = [os.path.relpath(COMPONENTS / name, root) for name in components]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": "team",
        "resources": [os.path.relpath(BASE, root)],
        "components": [*places[:after], "site", *places[after:]],
    }
    (root / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), encoding="utf-8")


def kustomize(folder: Path) -> Rendered:
    """Return what a folder's kustomization makes."""
    rendered = subprocess.run([KUBECTL, "kustomize", folder], check=False, capture_output=True, text=True)
    assert rendered.returncode == 0, rendered.stderr
    return Rendered(list(yaml.load_all(rendered.stdout, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))))


def without_names(manifest: Manifest) -> str:
    """Return a manifest as text, without its namespace and without what generated names end with."""
    text = _NAMESPACE.sub('"namespace": "any"', json.dumps(manifest, sort_keys=True))
    return _GENERATED_SUFFIX.sub("", text)


def seconds(prometheus_duration: str) -> int:
    """Return the length of a duration such as `5m`."""
    match = re.fullmatch(r"(\d+)([smhd])", prometheus_duration)
    assert match, prometheus_duration
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]
