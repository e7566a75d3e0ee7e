"""The artifact proxy: files go up, come down, are listed and deleted."""

import json

import pytest

from tests.compat.files import PROXY, Files, Wire, file, folder
from tests.compat.rest import Rest, not_found

HEADERS_OF_A_FILE = {"content-disposition": "attachment; filename=a.txt", "x-content-type-options": "nosniff"}


class TestUpload:
    def test_a_file_comes_back_as_it_went(self, files: Files) -> None:
        contents = bytes(range(256)) * 20_000

        sent = files.put("a.bin", contents)

        assert (sent.status, sent.body) == (200, b"")
        assert files.get("a.bin").body == contents

    def test_folders_need_not_be_made(self, files: Files) -> None:
        files.made("nested/dir/b.bin")

        assert files.get("nested/dir/b.bin").body == b"nested/dir/b.bin"

    def test_a_file_goes_over_an_older_one(self, files: Files) -> None:
        files.put("a.txt", b"hello")
        files.put("a.txt", b"again")

        assert files.get("a.txt").body == b"again"
        assert files.listed() == [file("a.txt", 5)]

    @pytest.mark.parametrize("media_type", ["text/plain", "application/json", "application/x-www-form-urlencoded"])
    def test_the_media_type_does_not_matter(self, files: Files, media_type: str) -> None:
        assert files.put("a.txt", b"a=b", **{"Content-Type": media_type}).status == 200
        assert files.get("a.txt").body == b"a=b"
        assert files.get("a.txt").headers["content-type"].startswith("text/plain")

    def test_a_file_may_be_empty(self, files: Files) -> None:
        by_length = files.put("length", b"")
        chunked = files.wire.call("PUT", files.url("chunked"), b"0\r\n\r\n", {"Transfer-Encoding": "chunked"})
        without = files.wire.call("PUT", files.url("without"))

        assert [by_length.status, chunked.status, without.status] == [200, 200, 200]
        assert [files.get(name).body for name in ("length", "chunked", "without")] == [b"", b"", b""]

    def test_a_file_may_come_in_chunks(self, files: Files) -> None:
        body = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"

        answer = files.wire.call("PUT", files.url("a"), body, {"Transfer-Encoding": "chunked"})

        assert answer.status == 200
        assert files.get("a").body == b"abcdefg"

    def test_the_web_ui_has_its_own_prefix(self, files: Files) -> None:
        path = files.url("a.txt").replace("/api/", "/ajax-api/", 1)

        assert files.wire.call("PUT", path, b"x").status == 200
        assert files.wire.call("GET", path).body == b"x"

    @pytest.mark.departure("stock answers 500 for a file where a folder is, or below a file")
    @pytest.mark.parametrize("path", ["folder", "folder/a/b"])
    def test_a_file_and_a_folder_cannot_have_one_name(self, files: Files, path: str) -> None:
        files.made("folder/a")

        answer = files.put(path, b"x")

        assert (answer.refusal.status, answer.refusal.error_code) == (400, "INVALID_PARAMETER_VALUE")
        assert files.get("folder/a").body == b"folder/a"

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    def test_other_methods_are_not_allowed(self, files: Files, method: str) -> None:
        assert files.wire.call(method, files.url("a"), b"x").status == 405


class TestDownload:
    def test_a_file_is_an_attachment(self, files: Files) -> None:
        files.put("d/a.txt", b"hello")

        answer = files.get("d/a.txt")

        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"hello", "5")
        assert {name: answer.headers[name] for name in HEADERS_OF_A_FILE} == HEADERS_OF_A_FILE
        assert answer.headers["etag"].startswith('"')

    @pytest.mark.parametrize(
        ("name", "media_type"),
        [
            ("MLmodel", "text/plain"),
            ("a.json", "text/plain"),
            ("a.yaml", "text/plain"),
            ("a.csv", "text/plain"),
            ("a.py", "text/plain"),
            ("a.md", "text/plain"),
            ("a.ipynb", "text/plain"),
            ("a.html", "text/html"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.jpg", "image/jpeg"),
            ("a.pdf", "application/pdf"),
            ("a.zip", "application/zip"),
            ("a.mp4", "video/mp4"),
            ("a.pkl", "application/octet-stream"),
            ("a.parquet", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
            ("a", "application/octet-stream"),
        ],
    )
    def test_its_type_follows_from_its_name(self, files: Files, name: str, media_type: str) -> None:
        files.made(name)

        assert files.get(name).headers["content-type"].partition(";")[0] == media_type

    @pytest.mark.parametrize(
        ("path", "disposition"),
        [
            ("a%20b.txt", 'attachment; filename="a b.txt"'),
            ("a%22b.txt", r'attachment; filename="a\"b.txt"'),
            ("a'b.txt", "attachment; filename=a'b.txt"),
            ("a;b", 'attachment; filename="a;b"'),
        ],
    )
    def test_its_name_is_quoted(self, files: Files, path: str, disposition: str) -> None:
        files.made(path)

        assert files.get(path).headers["content-disposition"] == disposition

    @pytest.mark.parametrize("name", ["caf%C3%A9.txt", "%E2%80%AE", "a%E2%88%95b"])
    def test_a_name_beyond_ascii_is_encoded(self, files: Files, name: str) -> None:
        files.made(name)

        assert files.get(name).headers["content-disposition"].endswith(f"; filename*=UTF-8''{name}")

    @pytest.mark.parametrize(
        ("wanted", "part", "content_range"),
        [
            ("bytes=1-2", b"el", "bytes 1-2/5"),
            ("bytes=3-", b"lo", "bytes 3-4/5"),
            ("bytes=-2", b"lo", "bytes 3-4/5"),
            ("bytes=2-99", b"llo", "bytes 2-4/5"),
        ],
    )
    def test_a_range_is_a_part(self, files: Files, wanted: str, part: bytes, content_range: str) -> None:
        files.put("a.txt", b"hello")

        answer = files.get("a.txt", {"Range": wanted})

        assert (answer.status, answer.body) == (206, part)
        assert answer.headers["content-range"] == content_range

    def test_a_range_outside_is_not_satisfiable(self, files: Files) -> None:
        files.put("a.txt", b"hello")

        answer = files.get("a.txt", {"Range": "bytes=9-"})

        assert (answer.status, answer.body, answer.headers["content-range"]) == (416, b"", "bytes */5")

    @pytest.mark.departure("stock answers 400 to a range that it cannot read, which HTTP wants ignored")
    @pytest.mark.parametrize("wanted", ["bytes=3-1", "lines=1-2"])
    def test_what_is_no_range_is_ignored(self, files: Files, wanted: str) -> None:
        files.put("a.txt", b"hello")

        assert files.get("a.txt", {"Range": wanted}).body == b"hello"

    @pytest.mark.departure("stock's FastAPI route does not look at If-None-Match")
    def test_a_file_that_the_caller_has_is_not_sent(self, files: Files) -> None:
        files.put("a.txt", b"hello")
        etag = files.get("a.txt").headers["etag"]

        answer = files.get("a.txt", {"If-None-Match": etag})

        assert (answer.status, answer.body) == (304, b"")

    def test_a_head_tells_of_the_file(self, files: Files) -> None:
        files.put("a.txt", b"hello")

        answer = files.wire.call("HEAD", files.url("a.txt"))

        assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5")
        assert {name: answer.headers[name] for name in HEADERS_OF_A_FILE} == HEADERS_OF_A_FILE

    def test_a_head_of_nothing_is_not_found(self, files: Files) -> None:
        assert files.wire.call("HEAD", files.url("nope")).status == 404

    @pytest.mark.parametrize("path", ["nope.txt", "a.txt/x"])
    def test_a_missing_file_is_not_found(self, files: Files, path: str) -> None:
        files.made("a.txt")

        assert files.get(path).refusal == not_found(f"No such artifact: '{files.root}/{path}'")

    @pytest.mark.departure("stock answers 400 with FastAPI's `detail`")
    def test_a_folder_is_no_file(self, files: Files) -> None:
        files.made("folder/a")

        assert files.get("folder").refusal == not_found(f"No such artifact: '{files.root}/folder'")

    @pytest.mark.departure("stock says nothing of what a browser may do with a file that it renders all the same")
    def test_a_file_is_no_page(self, files: Files) -> None:
        files.made("a.html")

        assert files.get("a.html").headers["content-security-policy"] == "default-src 'none'; sandbox"


class TestList:
    def test_a_folder_is_listed_by_name(self, files: Files) -> None:
        files.made("b.txt", "a/x", "a/y/z", "c")

        assert files.listed() == [folder("a"), file("b.txt", 5), file("c", 1)]
        assert files.listed("a") == [file("x", 3), folder("y")]

    def test_a_slash_at_the_end_does_not_matter(self, files: Files) -> None:
        files.made("a/x")

        assert files.listed("a/") == [file("x", 3)]

    @pytest.mark.parametrize("path", ["nope", "a.txt"])
    def test_what_is_no_folder_is_empty(self, files: Files, path: str) -> None:
        files.made("a.txt")

        assert files.listed(path) == []

    def test_an_empty_list_is_an_empty_object(self, files: Files) -> None:
        answer = files.wire.get(PROXY, path=f"{files.root}/nope")

        assert (answer.status, json.loads(answer.body)) == (200, {})

    @pytest.mark.parametrize("target", [PROXY, f"{PROXY}?path=", PROXY.replace("/api/", "/ajax-api/")])
    def test_without_a_path_it_is_the_root(self, files: Files, target: str) -> None:
        files.made("a")

        listed = json.loads(files.wire.call("GET", target).body)["files"]

        assert folder(files.root.partition("/")[0]) in listed

    def test_the_first_of_two_paths_counts(self, files: Files) -> None:
        files.made("a/x")

        answer = files.wire.call("GET", f"{PROXY}?path={files.root}/a&path=b")

        assert json.loads(answer.body)["files"] == [file("x", 3)]

    def test_names_are_plain_text(self, files: Files) -> None:
        files.put("caf%C3%A9%20%2B.txt", b"x")

        assert files.listed() == [file("café +.txt", 1)]

    def test_a_list_cannot_be_posted(self, wire: Wire) -> None:
        assert wire.call("POST", PROXY, b"{}", {"Content-Type": "application/json"}).status == 405


class TestDelete:
    def test_a_file_is_deleted(self, files: Files) -> None:
        files.made("a", "b")

        answer = files.delete("a")

        assert (answer.status, json.loads(answer.body)) == (200, {})
        assert files.listed() == [file("b", 1)]
        assert files.get("a").status == 404

    def test_a_folder_is_deleted_with_all_in_it(self, files: Files) -> None:
        files.made("a/b/c", "a/d", "ab")

        assert files.delete("a").status == 200
        assert files.listed() == [file("ab", 2)]

    def test_a_slash_at_the_end_does_not_matter(self, files: Files) -> None:
        files.made("a/b")

        assert files.delete("a/").status == 200
        assert files.listed() == []

    def test_nothing_is_deleted_as_well(self, files: Files) -> None:
        assert files.delete("nope").status == 200

    def test_a_body_is_not_looked_at(self, files: Files) -> None:
        files.made("a", "b")

        answer = files.wire.call("DELETE", files.url("a"), b'{"path": "b"}', {"Content-Type": "application/json"})

        assert answer.status == 200
        assert files.listed() == [file("b", 1)]

    @pytest.mark.parametrize(("target", "status"), [(PROXY, 405), (f"{PROXY}/", 404)])
    def test_the_root_is_not_deleted(self, wire: Wire, target: str, status: int) -> None:
        assert wire.call("DELETE", target).status == status


def test_the_server_says_that_it_serves_artifacts(rest: Rest) -> None:
    info = rest.call("GET", "/api/3.0/mlflow/server-info").json()

    assert info["artifact_serving_enabled"]
    assert info["presigned_upload_run_id_supported"]
    assert info["presigned_upload_model_id_supported"]
    assert not info["artifacts_presigned_only"]
