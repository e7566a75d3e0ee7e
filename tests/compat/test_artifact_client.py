"""The unmodified client: what users call to log, list, download and delete artifacts."""

import hashlib
import json
import random
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts, load_dict, load_text
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from tests.compat.files import Answer, Files, Wire
from tests.compat.rest import JSON_TYPE, Refusal, invalid
from tests.compat.texts import missing

MIB = 1024 * 1024
MPU = "/api/2.0/mlflow-artifacts/mpu"
PRESIGNED = "/api/2.0/mlflow-artifacts/presigned"

pytestmark = pytest.mark.usefixtures("fluent")


def written(folder: Path, size: int, name: str = "a.bin") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def digest(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class TestArtifacts:
    @pytest.mark.parametrize("size", [0, 1, 5 * MIB + 3])
    def test_a_file_is_logged_and_downloaded(
        self, client: MlflowClient, run_id: str, tmp_path: Path, size: int
    ) -> None:
        source = written(tmp_path / "in", size)

        client.log_artifact(run_id, str(source), "d/e")

        assert digest(client.download_artifacts(run_id, "d/e/a.bin", str(tmp_path))) == digest(source)

    def test_a_folder_is_logged_and_downloaded(self, client: MlflowClient, run_id: str, tmp_path: Path) -> None:
        names = ["a.txt", "b/c.bin", "b/d/e é.txt", "b/d/50%.txt", "f+g;h.txt"]
        sources = {name: written(tmp_path / "in", index, name) for index, name in enumerate(names)}

        client.log_artifacts(run_id, str(tmp_path / "in"), "root")
        there = Path(client.download_artifacts(run_id, "root", str(tmp_path)))

        assert {str(path.relative_to(there)): digest(path) for path in there.rglob("*") if path.is_file()} == {
            name: digest(source) for name, source in sources.items()
        }

    def test_folders_are_listed(self, client: MlflowClient, run_id: str) -> None:
        client.log_text(run_id, "x", "a.txt")
        client.log_text(run_id, "yy", "d/e/b.txt")

        assert [(item.path, item.is_dir, item.file_size) for item in client.list_artifacts(run_id)] == [
            ("a.txt", False, 1),
            ("d", True, None),
        ]
        assert [item.path for item in client.list_artifacts(run_id, "d/e")] == ["d/e/b.txt"]
        assert client.list_artifacts(run_id, "a.txt") == []
        assert client.list_artifacts(run_id, "nope") == []

    def test_texts_and_dicts_come_back(self, client: MlflowClient, run_id: str) -> None:
        client.log_text(run_id, "héllo", "a/t.txt")
        client.log_dict(run_id, {"k": [1, 2]}, "a/d.json")

        assert load_text(f"runs:/{run_id}/a/t.txt") == "héllo"
        assert load_dict(f"runs:/{run_id}/a/d.json") == {"k": [1, 2]}
        assert {item.path for item in list_artifacts(run_id=run_id, artifact_path="a")} == {"a/t.txt", "a/d.json"}

    def test_a_missing_file_is_an_error(self, client: MlflowClient, run_id: str, tmp_path: Path) -> None:
        with pytest.raises(MlflowException, match="Failed to download artifacts from path 'nope"):
            client.download_artifacts(run_id, "nope.txt", str(tmp_path))

    def test_files_and_folders_are_deleted(self, client: MlflowClient, run_id: str) -> None:
        for path in ("a.txt", "d/b.txt", "d/e/c.txt"):
            client.log_text(run_id, "x", path)
        repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri)

        repository.delete_artifacts("d")  # type: ignore[no-untyped-call]
        after = [item.path for item in client.list_artifacts(run_id)]
        repository.delete_artifacts()  # type: ignore[no-untyped-call]

        assert after == ["a.txt"]
        assert client.list_artifacts(run_id) == []

    def test_an_uri_of_the_proxy_is_downloaded(self, client: MlflowClient, run_id: str, tmp_path: Path) -> None:
        client.log_text(run_id, "x", "a.txt")
        root = client.get_run(run_id).info.artifact_uri

        path = download_artifacts(artifact_uri=f"{root}/a.txt", dst_path=str(tmp_path))

        assert Path(path).read_text() == "x"

    def test_a_logged_models_files_are_logged_and_listed(
        self, client: MlflowClient, model_id: str, tmp_path: Path
    ) -> None:
        source = written(tmp_path / "in", 100, "d/weights.bin")

        client.log_model_artifacts(model_id, str(tmp_path / "in"))

        assert [item.path for item in client.list_logged_model_artifacts(model_id, "d")] == ["d/weights.bin"]
        root = client.get_logged_model(model_id).artifact_location
        there = download_artifacts(artifact_uri=f"{root}/d/weights.bin", dst_path=str(tmp_path))
        assert digest(there) == digest(source)


@pytest.fixture
def presigned(wire: Wire) -> None:
    """Only for a server that gives clients URLs of its store."""
    info = json.loads(wire.call("GET", "/api/3.0/mlflow/server-info").body)
    assert info["multipart_uploads_enabled"]
    assert info["multipart_downloads_enabled"]


@pytest.mark.departure("stock on local storage has no presigned URLs, nor does it offer any unless it is told to")
@pytest.mark.usefixtures("presigned")
class TestPresignedTransfers:
    @pytest.fixture(autouse=True)
    def in_parts_from_5_mib_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("MULTIPART_UPLOAD_MINIMUM_FILE_SIZE", "MULTIPART_UPLOAD_CHUNK_SIZE"):
            monkeypatch.setenv(f"MLFLOW_{variable}", str(5 * MIB))
        monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", str(5 * MIB))
        # The client of 3.17, which these tests have, asks nobody whether the server can.
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "true")
        monkeypatch.setenv("MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD", "true")

    def test_a_large_file_goes_up_and_comes_down_in_parts(
        self, client: MlflowClient, run_id: str, tmp_path: Path
    ) -> None:
        source = written(tmp_path / "in", 12 * MIB + 5)

        client.log_artifact(run_id, str(source), "d")

        assert digest(client.download_artifacts(run_id, "d/a.bin", str(tmp_path))) == digest(source)
        (listed,) = client.list_artifacts(run_id, "d")
        assert (listed.path, listed.file_size) == ("d/a.bin", 12 * MIB + 5)

    def test_it_comes_down_through_the_proxy_as_well(
        self, client: MlflowClient, files: Files, run_id: str, tmp_path: Path
    ) -> None:
        source = written(tmp_path / "in", 6 * MIB)
        client.log_artifact(run_id, str(source))

        assert files.get("a.bin").body == source.read_bytes()

    def test_a_url_for_a_file_tells_its_size(self, files: Files, wire: Wire) -> None:
        files.put("a.txt", b"hello")

        answer = wire.call("GET", f"{PRESIGNED}/{files.root}/a.txt")

        body = json.loads(answer.body)
        assert (answer.status, body["file_size"]) == (200, 5)
        assert body["url"].startswith("http://")

    def test_there_is_no_url_for_nothing(self, files: Files, wire: Wire) -> None:
        answer = wire.call("GET", f"{PRESIGNED}/{files.root}/nope")

        assert (answer.refusal.status, answer.refusal.error_code) == (404, "RESOURCE_DOES_NOT_EXIST")

    def test_an_upload_that_is_aborted_leaves_nothing(self, files: Files, wire: Wire) -> None:
        created = create(wire, files, {"path": "a", "num_parts": 2})
        upload_id = json.loads(created.body)["upload_id"]

        aborted = wire.call(
            "POST", f"{MPU}/abort/{files.root}", json.dumps({"path": "a", "upload_id": upload_id}).encode(), JSON_TYPE
        )

        assert (created.status, aborted.status) == (200, 200)
        assert files.listed() == []


def create(wire: Wire, files: Files, body: dict[str, object]) -> Answer:
    return wire.call("POST", f"{MPU}/create/{files.root}", json.dumps(body).encode(), JSON_TYPE)


class TestRefusals:
    @pytest.mark.parametrize("step", ["create", "complete", "abort"])
    def test_a_file_must_be_named(self, wire: Wire, files: Files, step: str) -> None:
        answer = wire.call("POST", f"{MPU}/{step}/{files.root}", b"{}", JSON_TYPE)

        assert answer.refusal == invalid(missing("path"))

    @pytest.mark.parametrize("step", ["create", "complete", "abort"])
    def test_it_is_json(self, wire: Wire, files: Files, step: str) -> None:
        answer = wire.call("POST", f"{MPU}/{step}/{files.root}", b"{}")

        assert answer.refusal == invalid("Bad Request. Content-Type header is missing.")

    @pytest.mark.parametrize("target", [f"{MPU}/create", f"{MPU}/create/", f"{MPU}/complete", f"{MPU}/abort/"])
    def test_it_has_a_folder(self, wire: Wire, target: str) -> None:
        assert wire.call("POST", target, b"{}", JSON_TYPE).status == 404

    @pytest.mark.parametrize("step", ["create", "complete", "abort"])
    @pytest.mark.parametrize(("folder", "name"), [("/..", "f"), ("", "..")])
    def test_paths_are_below_the_root(self, wire: Wire, files: Files, step: str, folder: str, name: str) -> None:
        body = {"path": name, "num_parts": 1, "upload_id": "u", "parts": [{"part_number": 1, "etag": "e"}]}

        answer = wire.call("POST", f"{MPU}/{step}/{files.root}{folder}", json.dumps(body).encode(), JSON_TYPE)

        assert answer.refusal == Refusal(400, "INVALID_PARAMETER_VALUE", "Invalid path")

    def test_a_url_is_of_a_file_below_the_root(self, wire: Wire, files: Files) -> None:
        assert wire.call("GET", f"{PRESIGNED}/{files.root}/../x").refusal == invalid("Invalid path")

    @pytest.mark.parametrize("target", [PRESIGNED, f"{PRESIGNED}/"])
    def test_a_url_is_of_a_file(self, wire: Wire, target: str) -> None:
        assert wire.call("GET", target).status == 404
