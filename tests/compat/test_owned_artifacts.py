"""Files of runs, logged models and model versions by their ids, as the web UI and the Java client reach them."""

from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.files import Answer, Files, Wire, file, folder
from tests.compat.rest import Rest, invalid, not_found

GET_ARTIFACT = "/get-artifact"
VERSION_ARTIFACT = "/model-versions/get-artifact"
UPLOAD = "/ajax-api/2.0/mlflow/upload-artifact"
DOWNLOAD_URL = "artifacts/presigned-download-url"
UPLOAD_URL = "artifacts/presigned-upload-url"
MIB = 1024 * 1024
REFUSED = invalid("Invalid path")
BAD_PATHS = ["../x", "/x", "a/../../b"]


class TestListOfARun:
    def test_entries_are_named_by_their_path_below_the_root(self, rest: Rest, files: Files, run_id: str) -> None:
        files.made("a.txt", "d/e/f", "d/g")

        root = rest.get("artifacts/list", run_id=run_id)
        inner = rest.get("artifacts/list", run_id=run_id, path="d")

        assert root == {"root_uri": f"mlflow-artifacts:/{files.root}", "files": [file("a.txt", 5), folder("d")]}
        assert inner["files"] == [folder("d/e"), file("d/g", 3)]

    @pytest.mark.parametrize("query", [{"path": "d/"}, {"path": "d", "page_token": "x"}])
    def test_a_slash_at_the_end_and_a_token_do_not_matter(
        self, rest: Rest, files: Files, run_id: str, query: dict[str, str]
    ) -> None:
        files.made("d/g")

        assert rest.get("artifacts/list", run_id=run_id, **query)["files"] == [file("d/g", 3)]

    @pytest.mark.parametrize("path", ["nope", "a.txt"])
    def test_what_is_no_folder_is_empty(self, rest: Rest, files: Files, run_id: str, path: str) -> None:
        files.made("a.txt")

        assert rest.get("artifacts/list", run_id=run_id, path=path) == {"root_uri": f"mlflow-artifacts:/{files.root}"}

    def test_an_empty_path_is_the_root(self, rest: Rest, files: Files, run_id: str) -> None:
        files.made("a")

        assert rest.get("artifacts/list", run_id=run_id, path="")["files"] == [file("a", 1)]

    def test_the_run_has_an_older_name(self, rest: Rest, files: Files, run_id: str) -> None:
        files.made("a")

        assert rest.get("artifacts/list", run_uuid=run_id)["files"] == [file("a", 1)]

    def test_a_deleted_run_still_has_its_files(self, rest: Rest, files: Files, run_id: str) -> None:
        files.made("a")
        rest.post("runs/delete", run_id=run_id)

        assert rest.get("artifacts/list", run_id=run_id)["files"] == [file("a", 1)]

    @pytest.mark.parametrize("path", BAD_PATHS)
    def test_a_path_is_below_the_root(self, rest: Rest, run_id: str, path: str) -> None:
        assert rest.refused_get("artifacts/list", run_id=run_id, path=path) == REFUSED

    def test_there_must_be_a_run(self, rest: Rest) -> None:
        assert rest.refused_get("artifacts/list") == invalid(texts.missing("run_id"))
        assert rest.refused_get("artifacts/list", run_id=factories.UNKNOWN_RUN) == not_found(
            texts.no_run(factories.UNKNOWN_RUN)
        )


class TestFileOfARun:
    @pytest.mark.parametrize("name", ["run_id", "run_uuid"])
    def test_it_is_an_attachment(self, wire: Wire, files: Files, run_id: str, name: str) -> None:
        files.put("d/g.txt", b"deeper")

        answer = wire.get(GET_ARTIFACT, path="d/g.txt", **{name: run_id})

        assert (answer.status, answer.body) == (200, b"deeper")
        assert answer.headers["content-disposition"] == "attachment; filename=g.txt"
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["x-content-type-options"] == "nosniff"

    def test_its_name_may_be_beyond_ascii(self, wire: Wire, files: Files, run_id: str) -> None:
        files.put("caf%C3%A9.txt", b"x")

        answer = wire.get(GET_ARTIFACT, path="café.txt", run_id=run_id)

        assert answer.body == b"x"
        assert answer.headers["content-disposition"].endswith("filename*=UTF-8''caf%C3%A9.txt")

    def test_a_range_is_a_part(self, wire: Wire, files: Files, run_id: str) -> None:
        files.put("a", b"again")
        target = f"{GET_ARTIFACT}?run_id={run_id}&path=a"

        part = wire.call("GET", target, headers={"Range": "bytes=1-2"})
        outside = wire.call("GET", target, headers={"Range": "bytes=9-"})

        assert (part.status, part.body, part.headers["content-range"]) == (206, b"ga", "bytes 1-2/5")
        assert (outside.status, outside.headers["content-range"]) == (416, "bytes */5")

    def test_a_file_that_the_caller_has_is_not_sent(self, wire: Wire, files: Files, run_id: str) -> None:
        files.put("a", b"again")
        target = f"{GET_ARTIFACT}?run_id={run_id}&path=a"
        etag = wire.call("GET", target).headers["etag"]

        answer = wire.call("GET", target, headers={"If-None-Match": etag})

        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", etag)

    def test_a_head_tells_of_it(self, wire: Wire, files: Files, run_id: str) -> None:
        files.put("a", b"again")

        answer = wire.call("HEAD", f"{GET_ARTIFACT}?run_id={run_id}&path=a")

        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5")

    def test_a_missing_file_is_not_found(self, wire: Wire, files: Files, run_id: str) -> None:
        answer = wire.get(GET_ARTIFACT, run_id=run_id, path="nope")

        assert (answer.refusal.status, answer.refusal.error_code) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert answer.refusal.message.startswith("No such artifact: '")
        assert answer.refusal.message.endswith("nope'")

    @pytest.mark.departure("stock answers 400 for a folder and for an empty path")
    def test_a_folder_is_no_file(self, wire: Wire, files: Files, run_id: str) -> None:
        files.made("d/g")

        assert wire.get(GET_ARTIFACT, run_id=run_id, path="d").status == 404

    @pytest.mark.parametrize("path", BAD_PATHS)
    def test_its_path_is_below_the_root(self, wire: Wire, run_id: str, path: str) -> None:
        assert wire.get(GET_ARTIFACT, run_id=run_id, path=path).refusal == REFUSED

    def test_there_must_be_a_run(self, wire: Wire) -> None:
        unknown = factories.UNKNOWN_RUN

        assert wire.get(GET_ARTIFACT, run_uuid=unknown, path="a").refusal == not_found(texts.no_run(unknown))

    @pytest.mark.departure("stock answers with Werkzeug's page, or looks for a run named None")
    @pytest.mark.parametrize(("query", "field"), [({"path": "a"}, "run_id"), ({"run_id": "r"}, "path")])
    def test_what_is_missing_is_named(self, wire: Wire, query: dict[str, str], field: str) -> None:
        assert wire.get(GET_ARTIFACT, **query).refusal == invalid(texts.missing(field))

    @pytest.mark.parametrize(
        "path", ["/ajax-api/2.0/mlflow/get-artifact", "/api/2.0/mlflow/get-artifact", "/get-artifact/"]
    )
    def test_it_has_one_address(self, wire: Wire, run_id: str, path: str) -> None:
        assert wire.get(path, run_id=run_id, path="a").status == 404

    def test_it_is_not_posted(self, wire: Wire, run_id: str) -> None:
        assert wire.call("POST", f"{GET_ARTIFACT}?run_id={run_id}&path=a", b"{}").status == 405


def upload(wire: Wire, contents: bytes, **query: str) -> Answer:
    target = "&".join(f"{name}={value}" for name, value in query.items())
    return wire.call("POST", f"{UPLOAD}?{target}", contents, {"Content-Type": "application/octet-stream"})


class TestUpload:
    @pytest.mark.parametrize("name", ["run_id", "run_uuid"])
    def test_a_file_is_stored(self, wire: Wire, files: Files, run_id: str, name: str) -> None:
        answer = upload(wire, b"up", path="u/v.txt", **{name: run_id})

        assert (answer.status, answer.body) == (200, b"")
        assert files.get("u/v.txt").body == b"up"

    def test_up_to_ten_megabytes(self, wire: Wire, files: Files, run_id: str) -> None:
        fits = upload(wire, bytes(10 * MIB), run_id=run_id, path="fits")
        big = upload(wire, bytes(10 * MIB + 1), run_id=run_id, path="big")

        assert fits.status == 200
        assert big.refusal == invalid("Artifact size is too large. Max size is 10MB.")
        assert files.listed() == [file("fits", 10 * MIB)]

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ({"path": "a"}, "Request must specify run_id or run_uuid."),
            ({"path": "a", "run_id": ""}, "Request must specify run_id or run_uuid."),
            ({}, "Request must specify run_id or run_uuid."),
            ({"run_id": "r"}, "Request must specify path."),
            ({"run_id": "r", "path": ""}, "Request must specify path."),
        ],
    )
    def test_what_is_missing_is_named(self, wire: Wire, query: dict[str, str], message: str) -> None:
        assert upload(wire, b"x", **query).refusal == invalid(message)

    def test_there_must_be_data(self, wire: Wire, run_id: str) -> None:
        assert upload(wire, b"", run_id=run_id, path="a").refusal == invalid("Request must specify data.")

    @pytest.mark.departure("stock does not see data that comes in chunks")
    def test_data_may_come_in_chunks(self, wire: Wire, files: Files, run_id: str) -> None:
        chunked = {"Transfer-Encoding": "chunked"}

        answer = wire.call("POST", f"{UPLOAD}?run_id={run_id}&path=a", b"3\r\nabc\r\n0\r\n\r\n", chunked)

        assert answer.status == 200
        assert files.get("a").body == b"abc"

    @pytest.mark.parametrize("path", BAD_PATHS)
    def test_its_path_is_below_the_root(self, wire: Wire, run_id: str, path: str) -> None:
        assert upload(wire, b"x", run_id=run_id, path=path).refusal == REFUSED

    @pytest.mark.departure("stock answers 500")
    def test_a_folder_is_no_file(self, wire: Wire, files: Files, run_id: str) -> None:
        files.made("d/g")

        assert upload(wire, b"x", run_id=run_id, path="d").refusal.error_code == "INVALID_PARAMETER_VALUE"

    def test_there_must_be_a_run(self, wire: Wire) -> None:
        unknown = factories.UNKNOWN_RUN

        assert upload(wire, b"x", run_id=unknown, path="a").refusal == not_found(texts.no_run(unknown))

    def test_it_has_one_address(self, wire: Wire, run_id: str) -> None:
        query = f"?run_id={run_id}&path=a"

        assert wire.call("POST", "/api/2.0/mlflow/upload-artifact" + query, b"x").status == 404
        assert wire.call("PUT", UPLOAD + query, b"x").status == 405


class TestLoggedModel:
    def files_url(self, model_id: str) -> str:
        return f"/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files"

    def directories(self, rest: Rest, model_id: str, **query: str) -> Any:
        return rest.get(f"logged-models/{model_id}/artifacts/directories", **query)

    def test_its_folders_are_listed(self, rest: Rest, model_files: Files, model_id: str) -> None:
        model_files.made("MLmodel", "d/x.bin")

        root = self.directories(rest, model_id)
        inner = self.directories(rest, model_id, artifact_directory_path="d/", page_token="x")

        assert root == {
            "root_uri": f"mlflow-artifacts:/{model_files.root}",
            "files": [file("MLmodel", 7), folder("d")],
        }
        assert inner["files"] == [file("d/x.bin", 7)]

    @pytest.mark.parametrize("path", ["nope", "MLmodel"])
    def test_what_is_no_folder_is_empty(self, rest: Rest, model_files: Files, model_id: str, path: str) -> None:
        model_files.made("MLmodel")

        assert "files" not in self.directories(rest, model_id, artifact_directory_path=path)

    @pytest.mark.parametrize("path", BAD_PATHS)
    def test_a_path_is_below_the_root(self, rest: Rest, wire: Wire, model_id: str, path: str) -> None:
        listed = rest.refused_get(f"logged-models/{model_id}/artifacts/directories", artifact_directory_path=path)
        read = wire.get(self.files_url(model_id), artifact_file_path=path)

        assert (listed, read.refusal) == (REFUSED, REFUSED)

    def test_its_file_is_an_attachment(self, wire: Wire, model_files: Files, model_id: str) -> None:
        model_files.put("d/MLmodel", b"flavors: {}")

        answer = wire.get(self.files_url(model_id), artifact_file_path="d/MLmodel")

        assert (answer.status, answer.body) == (200, b"flavors: {}")
        assert answer.headers["content-disposition"] == "attachment; filename=MLmodel"

    def test_a_missing_file_is_not_found(self, wire: Wire, model_id: str) -> None:
        refusal = wire.get(self.files_url(model_id), artifact_file_path="nope").refusal

        assert (refusal.status, refusal.error_code) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert refusal.message.startswith("No such artifact: '")

    @pytest.mark.parametrize("query", [{}, {"artifact_file_path": ""}])
    def test_a_file_must_be_named(self, wire: Wire, model_id: str, query: dict[str, str]) -> None:
        refusal = wire.get(self.files_url(model_id), **query).refusal

        # Stock calls it BAD_REQUEST, which is 400 as well.
        assert (refusal.status, refusal.message) == (
            400,
            'Request must include the "artifact_file_path" query parameter.',
        )

    def test_there_must_be_a_model(self, rest: Rest, wire: Wire) -> None:
        unknown = factories.UNKNOWN_MODEL

        listed = rest.refused_get(f"logged-models/{unknown}/artifacts/directories")
        read = wire.get(self.files_url(unknown), artifact_file_path="a").refusal

        assert listed == read == not_found(texts.no_model(unknown))

    def test_a_part_and_a_head(self, wire: Wire, model_files: Files, model_id: str) -> None:
        model_files.put("a", b"again")
        target = f"{self.files_url(model_id)}?artifact_file_path=a"

        part = wire.call("GET", target, headers={"Range": "bytes=0-1"})
        head = wire.call("HEAD", target)

        assert (part.status, part.body) == (206, b"ag")
        assert (head.status, head.headers["content-length"]) == (200, "5")

    def test_its_files_have_one_address(self, wire: Wire, model_files: Files, model_id: str) -> None:
        model_files.made("a")
        path = self.files_url(model_id).replace("/ajax-api/", "/api/")

        assert wire.get(path, artifact_file_path="a").status == 404


class TestPresignedUrls:
    def test_what_the_platform_keeps_has_none(self, rest: Rest, run_id: str, model_id: str) -> None:
        downloaded = rest.refused_post(DOWNLOAD_URL, run_id=run_id, path="a")
        uploaded = rest.refused_post(UPLOAD_URL, model_id=model_id, path="a")

        assert downloaded == invalid(
            "Presigned download is not supported for runs with proxied artifact storage (artifact URI scheme: "
            "mlflow-artifacts). This endpoint requires a run with a direct cloud storage artifact URI."
        )
        assert uploaded == invalid(
            "Presigned upload is not supported for proxied artifact storage (artifact URI scheme: mlflow-artifacts). "
            "This endpoint requires a direct cloud storage artifact URI."
        )

    @pytest.mark.parametrize(("body", "field"), [({"path": "a"}, "run_id"), ({"run_id": "r"}, "path"), ({}, "run_id")])
    def test_what_a_download_needs_is_named(self, rest: Rest, body: dict[str, str], field: str) -> None:
        assert rest.refused_post(DOWNLOAD_URL, **body) == invalid(texts.missing(field))

    @pytest.mark.parametrize("expiration", [0, 604_801])
    def test_a_download_has_a_time(self, rest: Rest, run_id: str, expiration: int) -> None:
        refusal = rest.refused_post(DOWNLOAD_URL, run_id=run_id, path="a", expiration=expiration)

        assert refusal == invalid(f"expiration must be between 1 and 604800 seconds (got {expiration}).")

    @pytest.mark.parametrize("path", [DOWNLOAD_URL, UPLOAD_URL])
    def test_a_time_is_a_number(self, rest: Rest, path: str) -> None:
        refusal = rest.refused_post(path, run_id="r", path="a", expiration="x")

        assert refusal == invalid(texts.wrong_type("expiration", "x"))

    @pytest.mark.parametrize("body", [{}, {"run_id": "r", "model_id": "m"}])
    def test_an_upload_has_one_owner(self, rest: Rest, body: dict[str, str]) -> None:
        refusal = rest.refused_post(UPLOAD_URL, path="a", **body)

        assert refusal == invalid("Exactly one of run_id and model_id must be provided.")

    def test_an_upload_needs_a_path(self, rest: Rest) -> None:
        assert rest.refused_post(UPLOAD_URL, run_id="r") == invalid(texts.missing("path"))

    def test_the_owner_must_exist(self, rest: Rest) -> None:
        run, model = factories.UNKNOWN_RUN, factories.UNKNOWN_MODEL

        assert rest.refused_post(DOWNLOAD_URL, run_id=run, path="a") == not_found(texts.no_run(run))
        assert rest.refused_post(UPLOAD_URL, run_id=run, path="a") == not_found(texts.no_run(run))
        assert rest.refused_post(UPLOAD_URL, model_id=model, path="a") == not_found(texts.no_model(model))

    @pytest.mark.parametrize("path", [DOWNLOAD_URL, UPLOAD_URL])
    def test_a_path_is_below_the_root(self, rest: Rest, run_id: str, path: str) -> None:
        assert rest.refused_post(path, run_id=run_id, path="../x") == REFUSED


class TestFileOfAVersion:
    def test_it_is_an_attachment(self, rest: Rest, wire: Wire, files: Files, run_id: str) -> None:
        files.put("model/d/MLmodel", b"flavors: {}")
        version = factories.new_version(rest, source=f"mlflow-artifacts:/{files.root}/model", run_id=run_id)

        answer = wire.get(VERSION_ARTIFACT, name=version["name"], version="1", path="d/MLmodel")

        assert (answer.status, answer.body) == (200, b"flavors: {}")
        assert answer.headers["content-disposition"] == "attachment; filename=MLmodel"
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("below", ["/model", "/model/", ""])
    def test_its_source_may_name_a_run(self, rest: Rest, wire: Wire, files: Files, run_id: str, below: str) -> None:
        files.made("model/a", "a")
        version = factories.new_version(rest, source=f"runs:/{run_id}{below or '/'}", run_id=run_id)

        answer = wire.get(VERSION_ARTIFACT, name=version["name"], version="1", path="a")

        assert answer.body == (b"model/a" if below else b"a")

    def test_its_source_may_be_a_logged_model(self, rest: Rest, wire: Wire, model_files: Files, model_id: str) -> None:
        model_files.put("a", b"logged")
        version = factories.new_version(rest, source=f"models:/{model_id}", model_id=model_id)

        assert wire.get(VERSION_ARTIFACT, name=version["name"], version="1", path="a").body == b"logged"

    def test_a_copy_has_the_files_of_what_it_copies(self, rest: Rest, wire: Wire, files: Files, run_id: str) -> None:
        files.put("a", b"original")
        first = factories.new_version(rest, source=f"mlflow-artifacts:/{files.root}", run_id=run_id)
        copy = factories.new_version(rest, source=f"models:/{first['name']}/1")

        assert wire.get(VERSION_ARTIFACT, name=copy["name"], version="1", path="a").body == b"original"

    def test_a_part_and_a_head(self, rest: Rest, wire: Wire, files: Files, run_id: str) -> None:
        files.put("a", b"again")
        version = factories.new_version(rest, source=f"mlflow-artifacts:/{files.root}", run_id=run_id)
        target = f"{VERSION_ARTIFACT}?name={version['name']}&version=1&path=a"

        part = wire.call("GET", target, headers={"Range": "bytes=0-1"})
        head = wire.call("HEAD", target)

        assert (part.status, part.body) == (206, b"ag")
        assert (head.status, head.headers["content-length"]) == (200, "5")

    def test_a_missing_file_is_not_found(self, rest: Rest, wire: Wire, files: Files, run_id: str) -> None:
        version = factories.new_version(rest, source=f"mlflow-artifacts:/{files.root}", run_id=run_id)

        refusal = wire.get(VERSION_ARTIFACT, name=version["name"], version="1", path="nope").refusal

        assert (refusal.status, refusal.error_code) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert refusal.message.startswith("No such artifact: '")

    @pytest.mark.parametrize("path", BAD_PATHS)
    def test_its_path_is_below_the_root(self, rest: Rest, wire: Wire, path: str) -> None:
        name = factories.new_version(rest)["name"]

        assert wire.get(VERSION_ARTIFACT, name=name, version="1", path=path).refusal == REFUSED

    def test_there_must_be_a_version(self, rest: Rest, wire: Wire) -> None:
        name = factories.new_registered_model(rest)

        absent = wire.get(VERSION_ARTIFACT, name=name, version="7", path="a").refusal
        no_number = wire.get(VERSION_ARTIFACT, name=name, version="x", path="a").refusal

        assert absent == not_found(f"Model Version (name={name}, version=7) not found")
        assert no_number == invalid("Parameter 'version' must be an integer, got 'x'.")

    @pytest.mark.departure("stock goes wherever the source says, and answers 500 if that is nowhere")
    def test_its_source_must_be_in_an_allowed_store(self, rest: Rest, wire: Wire) -> None:
        name = factories.new_version(rest, source="s3://elsewhere/model")["name"]

        refusal = wire.get(VERSION_ARTIFACT, name=name, version="1", path="a").refusal

        assert refusal == invalid(
            "The artifacts at 's3://elsewhere/model' are in no store that this server's operator allows."
        )

    @pytest.mark.departure("stock answers with Werkzeug's page, or looks for a model named None")
    @pytest.mark.parametrize("field", ["name", "version", "path"])
    def test_what_is_missing_is_named(self, wire: Wire, field: str) -> None:
        query = {"name": "n", "version": "1", "path": "a"}
        del query[field]

        assert wire.get(VERSION_ARTIFACT, **query).refusal == invalid(texts.missing(field))
