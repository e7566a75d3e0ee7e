"""A path finds its route: literal segments before variables, the web UI's prefix as a second name."""

from typing import Any

import pytest
from google.api import annotations_pb2, httpbody_pb2
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor

from services.common.settings import Address
from services.gateway.catalog import Backend, backends
from services.gateway.routes import RouteError, RouteTable
from services.gateway.settings import Settings

MODELS = "/api/2.0/mlflow/logged-models"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@pytest.fixture(scope="module")
def table() -> RouteTable:
    return RouteTable(backends(Settings()))


def found(table: RouteTable, verb: str, path: str) -> Any:
    match = table.match(verb, path)
    return match and (match.route.method.name, match.variables)


@pytest.mark.parametrize(
    ("verb", "path", "method", "variables"),
    [
        ("POST", "/api/2.0/mlflow/runs/create", "CreateRun", {}),
        ("POST", "/ajax-api/2.0/mlflow/runs/create", "CreateRun", {}),
        ("GET", "/api/2.0/mlflow/experiments/search", "SearchExperiments", {}),
        ("POST", "/api/2.0/mlflow/experiments/search", "SearchExperiments", {}),
        ("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", "GetMetricHistoryBulk", {}),
        ("GET", f"{MODELS}/m-1", "GetLoggedModel", {"model_id": "m-1"}),
        ("GET", "/ajax-api/2.0/mlflow/logged-models/m-1", "GetLoggedModel", {"model_id": "m-1"}),
        ("POST", f"{MODELS}/search", "SearchLoggedModels", {}),
        ("GET", f"{MODELS}/search", "GetLoggedModel", {"model_id": "search"}),
        ("DELETE", f"{MODELS}/m/tags/a%20b%2Fc%C3%A9", "DeleteLoggedModelTag", {"model_id": "m", "tag_key": "a b/cé"}),
        ("POST", "/api/2.0/mlflow/runs/log%2Dbatch", "LogBatch", {}),
        ("GET", ARTIFACTS, "ListArtifacts", {}),
        ("GET", f"{ARTIFACTS.replace('/api/', '/ajax-api/')}/a", "DownloadArtifact", {"path": "a"}),
        ("HEAD", f"{ARTIFACTS}/a/b", "DownloadArtifact", {"path": "a/b"}),
        ("PUT", f"{ARTIFACTS}/1/r/artifacts/a b.txt", "UploadArtifact", {"path": "1/r/artifacts/a b.txt"}),
        ("DELETE", f"{ARTIFACTS}/a/", "DeleteArtifact", {"path": "a/"}),
        ("GET", "/get-artifact", "DownloadRunArtifact", {}),
        ("HEAD", "/get-artifact", "DownloadRunArtifact", {}),
    ],
)
def test_a_path_finds_its_method(table: RouteTable, verb: str, path: str, method: str, variables: Any) -> None:
    assert found(table, verb, path) == (method, variables)


@pytest.mark.parametrize(
    ("sent", "taken"),
    [
        ("a%2Fb", "a/b"),
        ("a/b%20c", "a/b c"),
        ("a+b", "a+b"),
        ("a%252Fb", "a%2Fb"),
        ("%252e%252e", "%2e%2e"),
        ("a%25", "a%"),
        ("a%zz%", "a%zz%"),
        ("..%2F..", "../.."),
        ("a//b", "a//b"),
        ("/etc", "/etc"),
        ("%2Fetc", "/etc"),
        ("caf%C3%A9", "café"),
        ("a%00", "a\0"),
        ("a%FFb", "a\udcffb"),
        ("a%5Cb;c%3Fd%23", "a\\b;c?d#"),
        ("artifacts", "artifacts"),
    ],
)
def test_the_rest_of_a_path_is_decoded_once(table: RouteTable, sent: str, taken: str) -> None:
    assert found(table, "GET", f"{ARTIFACTS}/{sent}") == ("DownloadArtifact", {"path": taken})


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", f"{ARTIFACTS}/"),
        ("PUT", ARTIFACTS),
        ("HEAD", ARTIFACTS),
        ("PUT", f"{ARTIFACTS}//"),
        ("POST", f"{ARTIFACTS}/a"),
        ("HEAD", "/api/2.0/mlflow/runs/get"),
        ("GET", "/api/2.0/mlflow/runs/create"),
        ("POST", "/api/2.0/mlflow/runs/create/"),
        ("POST", "/api/2.0/mlflow//runs/create"),
        ("POST", "/api/3.0/mlflow/runs/create"),
        ("POST", "api/2.0/mlflow/runs/create"),
        ("GET", "/api/2.0/mlflow/metrics/get-history-bulk"),
        ("GET", f"{MODELS}/"),
        ("GET", f"{MODELS}/m/tags"),
        ("GET", ""),
        ("GET", "/"),
    ],
)
def test_no_other_path_does(table: RouteTable, verb: str, path: str) -> None:
    assert found(table, verb, path) is None


@pytest.mark.parametrize(
    ("path", "verbs"),
    [
        ("/api/2.0/mlflow/runs/create", {"POST"}),
        ("/ajax-api/2.0/mlflow/experiments/search", {"GET", "POST"}),
        (f"{MODELS}/search", {"GET", "POST", "PATCH", "DELETE"}),
        ("/nowhere", set()),
    ],
)
def test_a_path_knows_its_verbs(table: RouteTable, path: str, verbs: set[str]) -> None:
    assert table.verbs(path) == verbs


@pytest.fixture
def pool() -> descriptor_pool.DescriptorPool:
    """A pool of descriptors that knows google.api.HttpBody."""
    known = descriptor_pool.DescriptorPool()
    for file in (any_pb2.DESCRIPTOR, httpbody_pb2.DESCRIPTOR):
        known.AddSerializedFile(file.serialized_pb)
    return known


def service(pool: descriptor_pool.DescriptorPool, *paths: str, **rule: str) -> FileDescriptor:
    """A proto file with one service whose methods are bound to these paths with GET."""
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", dependency=["google/api/httpbody.proto"])
    message = file.message_type.add(name="M")
    message.field.add(name="id", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    message.field.add(
        name="raw", number=2, type_name=".google.api.HttpBody", type="TYPE_MESSAGE", label="LABEL_OPTIONAL"
    )
    methods = file.service.add(name="S")
    for index, path in enumerate(paths):
        method = methods.method.add(name=f"Get{index}", input_type=".t.M", output_type=".t.M")
        http = method.options.Extensions[annotations_pb2.http]
        http.get = path
        for name, value in rule.items():
            setattr(http, name, value)
    # The option stands in the pool of the generated code; a pool of one's own reads the bytes.
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file.SerializeToString()))
    return pool.FindFileByName("t.proto")


def routes(file: FileDescriptor) -> RouteTable:
    return RouteTable([Backend(name="t", address=Address("127.0.0.1", 1), files=(file,))])


def test_a_method_without_a_binding_has_no_route(pool: descriptor_pool.DescriptorPool) -> None:
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t")
    file.message_type.add(name="M")
    file.service.add(name="S").method.add(name="G", input_type=".t.M", output_type=".t.M")
    pool.Add(file)

    assert routes(pool.FindFileByName("t.proto")).routes == []


@pytest.mark.parametrize(
    ("paths", "rule", "complaint"),
    [
        (("/a", "/a"), {}, r"t\.S\.Get1: GET /a is t\.S\.Get0's"),
        (("/a/{id}", "/a/{id}"), {}, r"t\.S\.Get1: GET /a/\{id\} is t\.S\.Get0's"),
        (("a",), {}, "a is no absolute path"),
        (("/a/{other}",), {}, r"\{other\} names no field"),
        (("/a/{id=*}",), {}, r"\{id=\*\} is no segment"),
        (("/a/{id=**}/b",), {}, r"\{id=\*\*\} takes the rest of the path but is not its end"),
        (("/a/x{id}",), {}, r"x\{id\} is no segment"),
        (("/a",), {"body": "id"}, r"only a body of `\*`"),
        (("/a",), {"body": "raw"}, r"a google.api.HttpBody, and nothing else, is a streamed request's body"),
        (("/a",), {"response_body": "id"}, r"only a body of `\*`"),
    ],
)
def test_a_binding_that_cannot_be_served_stops_the_start(
    pool: descriptor_pool.DescriptorPool, paths: tuple[str, ...], rule: dict[str, str], complaint: str
) -> None:
    with pytest.raises(RouteError, match=complaint):
        routes(service(pool, *paths, **rule))


def test_a_literal_beats_a_variable_which_beats_the_rest(pool: descriptor_pool.DescriptorPool) -> None:
    table = routes(service(pool, "/a/{id=**}", "/a/{id}", "/a/b", "/a/b/{id=**}"))

    assert [found(table, "GET", path)[0] for path in ("/a/b", "/a/c", "/a/c/d", "/a/b/c")] == [
        "Get2",
        "Get1",
        "Get0",
        "Get3",
    ]
