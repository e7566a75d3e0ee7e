"""Resources of operators name each other, our Secrets, our Services and RPCs that exist; operators check the rest."""

import ast
import importlib
import re
from typing import Any

import pytest

from services.common.pool_size import CONNECTIONS_MAX
from tests.deploy import manifests
from tests.deploy.manifests import HOST, REPOSITORY, Manifest, Rendered, Variant

VARIANTS = [variant for variant in manifests.variants() if variant.has_policies]
SERVICES = ("tracking", "artifacts", "registry")


def _with(kind: str) -> Any:
    having = [variant for variant in VARIANTS if manifests.render(variant).of(kind)]
    assert having
    return pytest.mark.parametrize("variant", having, ids=str)


def _cluster(rendered: Rendered) -> Manifest:
    return rendered.one("Cluster", "postgres")["spec"]


@_with("Cluster")
def test_each_service_has_a_role_and_owns_the_schema_of_its_name(variant: Variant) -> None:
    rendered = manifests.render(variant)
    roles = _cluster(rendered)["managed"]["roles"]
    [database] = rendered.of("Database")

    assert {role["name"]: role["passwordSecret"]["name"] for role in roles} == {s: f"postgres-{s}" for s in SERVICES}
    assert all(role["login"] and "superuser" not in role for role in roles)
    assert database["spec"]["schemas"] == [{"name": service, "owner": service} for service in SERVICES]
    assert database["spec"]["name"] == _cluster(rendered)["bootstrap"]["initdb"]["database"] == "modelstead"


@_with("Cluster")
def test_what_is_acknowledged_is_on_two_machines(variant: Variant) -> None:
    cluster = _cluster(manifests.render(variant))

    assert cluster["postgresql"]["synchronous"] == {
        "method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True
    }  # fmt: skip
    # One may be away, and writes go on.
    assert cluster["instances"] == 3
    assert cluster["affinity"]["podAntiAffinityType"] == "required"


@_with("Cluster")
def test_backups_are_taken_where_they_are_said_to_be_kept(variant: Variant) -> None:
    rendered = manifests.render(variant)
    [plugin] = _cluster(rendered)["plugins"]
    [backup] = rendered.of("ScheduledBackup")

    assert plugin["isWALArchiver"]
    assert rendered.one("ObjectStore", plugin["parameters"]["barmanObjectName"])
    assert backup["spec"]["cluster"]["name"] == "postgres"
    assert backup["spec"]["pluginConfiguration"]["name"] == plugin["name"]


@_with("Cluster")
def test_backups_and_artifacts_have_buckets_of_their_own(variant: Variant) -> None:
    rendered = manifests.render(variant)
    [container] = rendered.workload("Deployment", "artifacts").containers
    bucket = rendered.environment(container)["MODELSTEAD_S3_BUCKET"]

    assert (
        rendered.one("ObjectStore", "postgres-backups")["spec"]["configuration"]["destinationPath"] != f"s3://{bucket}/"
    )


@_with("Cluster")
def test_there_are_connections_for_as_many_replicas_as_there_may_be(variant: Variant) -> None:
    rendered = manifests.render(variant)
    pooled = {"tracking", "artifacts"} if rendered.of("Pooler") else set()
    # One more of each while it is upgraded.
    replicas = sum(
        scaler["spec"]["maxReplicas"] + 1
        for scaler in rendered.of("HorizontalPodAutoscaler")
        if scaler["metadata"]["name"] in set(SERVICES) - pooled
    )
    of_poolers = sum(
        pooler["spec"]["instances"] * int(pooler["spec"]["pgbouncer"]["parameters"]["default_pool_size"]) * len(pooled)
        for pooler in rendered.of("Pooler")
    )

    connections = int(_cluster(rendered)["postgresql"]["parameters"]["max_connections"])
    # The registry listens on one besides its pool; some are for people and for the replicas of Postgres.
    assert replicas * (CONNECTIONS_MAX + 1) + of_poolers + 20 <= connections


@_with("Pooler")
def test_only_who_may_goes_by_the_pooler(variant: Variant) -> None:
    rendered = manifests.render(variant)
    pooler = rendered.one("Pooler", "postgres-pooler")["spec"]
    [rule, _] = rendered.one("NetworkPolicy", "postgres-pooler")["spec"]["ingress"]
    [expression] = rule["from"][0]["podSelector"]["matchExpressions"]

    assert pooler["cluster"]["name"] == "postgres"
    assert pooler["pgbouncer"]["poolMode"] == "transaction"
    assert expression["values"] == ["tracking", "artifacts"]
    for service in ("tracking", "artifacts"):
        [container] = rendered.workload("Job", f"{service}-migrate").containers
        assert rendered.environment(container)["MODELSTEAD_DATABASE_URL_FILE"].endswith("/migrate-database-url")


@_with("GRPCRoute")
def test_routes_lead_to_services_that_have_the_rpcs(variant: Variant) -> None:
    rendered = manifests.render(variant)
    for route in rendered.of("GRPCRoute"):
        for rule in route["spec"]["rules"]:
            [backend] = rule["backendRefs"]
            service = rendered.one("Service", backend["name"])["spec"]
            [workload] = rendered.selected({"matchLabels": service["selector"]})
            assert backend["port"] in [port["port"] for port in service["ports"]]
            assert "clusterIP" not in service
            for match in rule["matches"]:
                _, package, version, name = match["method"]["service"].split(".")
                assert package == workload.name
                assert name in _rpc_services(package, version)


@_with("GRPCRoute")
def test_what_clients_call_is_routed(variant: Variant) -> None:
    routed = {
        match["method"]["service"]
        for route in manifests.render(variant).of("GRPCRoute")
        for rule in route["spec"]["rules"]
        for match in rule["matches"]
    }

    assert routed == _called_by_clients()


def _called_by_clients() -> set[str]:
    """The services of the stubs that our client makes, and of the RPCs that it calls by their names."""
    called: set[str] = set()
    for path in (REPOSITORY / "client" / "modelstead").rglob("*.py"):
        if "_pb2" in path.name:
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        packages = {
            alias.asname or alias.name: node.module
            for node in nodes
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
            if alias.name.endswith("_pb2_grpc")
        }
        for node in nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in packages:
                called.add(f"{packages[node.value.id]}.{node.attr.removesuffix('Stub')}")
            elif isinstance(node, ast.Constant) and (
                rpc := re.fullmatch(r"/(modelstead\.[\w.]+)/\w+", str(node.value))
            ):
                called.add(rpc[1])
    return called


def _rpc_services(package: str, version: str) -> set[str]:
    names: set[str] = set()
    for path in (REPOSITORY / "client" / "modelstead" / package / version).glob("*_pb2.py"):
        module = importlib.import_module(f"modelstead.{package}.{version}.{path.stem}")
        names |= set(module.DESCRIPTOR.services_by_name)
    return names


@_with("HTTPRoute")
def test_the_gateways_route_leads_to_it(variant: Variant) -> None:
    rendered = manifests.render(variant)
    [rule] = rendered.one("HTTPRoute", "gateway")["spec"]["rules"]
    [backend] = rule["backendRefs"]

    assert backend["port"] in [port["port"] for port in rendered.one("Service", backend["name"])["spec"]["ports"]]


@_with("Gateway")
def test_clients_are_told_where_grpc_is_listened_for(variant: Variant) -> None:
    rendered = manifests.render(variant)
    [container] = rendered.workload("Deployment", "gateway").containers
    environment = rendered.environment(container)
    listeners = {listener["name"]: listener for listener in rendered.one("Gateway", "modelstead")["spec"]["listeners"]}
    grpc = listeners["grpc"]

    assert environment["MODELSTEAD_PUBLIC_TRACKING_ADDRESS"] == f"grpcs://{grpc['hostname']}:{grpc['port']}"
    assert environment["MODELSTEAD_ALLOWED_HOSTS"].split(",")[0] == listeners["https"]["hostname"]
    for route in rendered.of("HTTPRoute", "GRPCRoute"):
        [parent] = route["spec"]["parentRefs"]
        assert parent["sectionName"] in listeners


@_with("Certificate")
def test_the_certificate_is_of_the_names_that_are_served(variant: Variant) -> None:
    rendered = manifests.render(variant)
    certificate = rendered.one("Certificate", "modelstead")["spec"]
    for gateway in rendered.of("Gateway"):
        for listener in gateway["spec"]["listeners"]:
            assert listener["hostname"] in certificate["dnsNames"]
            assert listener["tls"]["certificateRefs"] == [{"name": certificate["secretName"]}]
    for ingress in rendered.of("Ingress"):
        [tls] = ingress["spec"]["tls"]
        [rule] = ingress["spec"]["rules"]
        assert tls == {"hosts": [rule["host"]], "secretName": certificate["secretName"]}
        assert rule["host"] in certificate["dnsNames"]
        assert rule["host"] == HOST
    assert not [name for name in certificate["dnsNames"] if "from-the" in name]


@_with("Ingress")
def test_the_ingress_leads_to_the_gateway(variant: Variant) -> None:
    rendered = manifests.render(variant)
    [path] = rendered.one("Ingress", "gateway")["spec"]["rules"][0]["http"]["paths"]
    backend = path["backend"]["service"]

    assert backend["port"]["name"] in [p["name"] for p in rendered.one("Service", backend["name"])["spec"]["ports"]]
