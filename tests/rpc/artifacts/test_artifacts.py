"""ArtifactService and UploadService over gRPC, as the gateway and the SDK call them."""

import hashlib
import os
import random
import threading
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from modelstead.artifacts.v1 import artifacts_pb2 as pb
from modelstead.artifacts.v1 import maintenance_pb2, uploads_pb2
from services.local import waiting
from tests.artifacts import ArtifactService, put
from tests.rpc.artifacts.calls import CHUNK, download, messages, refusal, upload
from tests.s3 import S3

# The same in each process that collects these tests, as their names hold its hash.
_CONTENTS = random.Random(20).randbytes(2 * CHUNK + 12_345)
_SHA256 = hashlib.sha256(_CONTENTS).hexdigest()


def _names(service: ArtifactService, path: str) -> list[str]:
    return [file.path for file in service.artifacts.ListArtifacts(pb.ListArtifactsRequest(path=path)).files]


def _exists(service: ArtifactService, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    return name in _names(service, folder)


def test_an_upload_is_downloaded_with_its_head(service: ArtifactService, folder: str) -> None:
    upload(service, f"{folder}/weights.bin", _CONTENTS)

    answer = download(service, f"{folder}/weights.bin")

    assert answer.contents == _CONTENTS
    assert (answer.status, answer.content_type) == (200, "application/octet-stream")
    assert answer.headers == {
        "accept-ranges": "bytes",
        "content-disposition": "attachment; filename=weights.bin",
        "content-length": str(len(_CONTENTS)),
        "etag": f'"{_SHA256}"',
    }


def test_an_upload_of_unknown_size_is_stored(service: ArtifactService, folder: str) -> None:
    service.artifacts.UploadArtifact(messages(f"{folder}/a", _CONTENTS * 4))

    assert download(service, f"{folder}/a").contents == _CONTENTS * 4


def test_an_empty_file_is_a_file(service: ArtifactService, folder: str) -> None:
    service.artifacts.UploadArtifact(messages(f"{folder}/a.txt", b""))

    answer = download(service, f"{folder}/a.txt")

    assert (answer.status, answer.contents, answer.headers["content-length"]) == (200, b"", "0")


def test_contents_may_begin_in_the_first_message(service: ArtifactService, folder: str) -> None:
    first = pb.UploadArtifactRequest(path=f"{folder}/a", size=4, content={"data": b"ab"})
    service.artifacts.UploadArtifact(iter([first, pb.UploadArtifactRequest(path="ignored", content={"data": b"cd"})]))

    assert download(service, f"{folder}/a").contents == b"abcd"


def test_an_upload_that_is_broken_off_is_not_stored(service: ArtifactService, folder: str) -> None:
    for number in range(20):
        sent = threading.Event()

        def endless(number: int = number, sent: threading.Event = sent) -> Iterator[pb.UploadArtifactRequest]:
            yield from list(messages(f"{folder}/{number}", _CONTENTS[: number * 1000]))[:-1]
            sent.set()
            threading.Event().wait(30)

        call = service.artifacts.UploadArtifact.future(endless())
        sent.wait()
        call.cancel()

    upload(service, f"{folder}/last", b"x")
    assert _names(service, folder) == ["last"]


def test_contents_whose_end_is_not_marked_are_not_stored(service: ArtifactService, folder: str) -> None:
    for parts in ([], [b"ab"], [b"ab", b"cd"], [_CONTENTS[:CHUNK]] * 7):
        requests = [pb.UploadArtifactRequest(path=f"{folder}/a")]
        requests += [pb.UploadArtifactRequest(content={"data": part}) for part in parts]

        assert "broken off" in refusal(service.artifacts.UploadArtifact, iter(requests))[1]

    assert not _exists(service, f"{folder}/a")


def test_a_call_without_a_message_is_refused(service: ArtifactService) -> None:
    reason, text = refusal(service.artifacts.UploadArtifact, iter(()))

    assert reason == "INVALID_PARAMETER_VALUE"
    assert "Missing value for required parameter 'path'" in text


def test_a_message_of_more_than_a_mebibyte_is_refused(service: ArtifactService, folder: str) -> None:
    request = pb.UploadArtifactRequest(path=f"{folder}/a", content={"data": bytes(CHUNK + 1)})

    assert refusal(service.artifacts.UploadArtifact, iter([request]))[0] == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"size": 3}, "announced"),
        ({"size": 5}, "announced"),
        ({"size": -1}, "cannot have -1 bytes"),
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"sha256": "zz"}, "64 hexadecimal digits"),
    ],
)
def test_other_contents_than_announced_are_refused(
    service: ArtifactService, folder: str, fields: dict[str, object], text: str
) -> None:
    reason, message = refusal(service.artifacts.UploadArtifact, messages(f"{folder}/a", b"four", **fields))

    assert reason == "INVALID_PARAMETER_VALUE"
    assert text in message
    assert not _exists(service, f"{folder}/a")


@pytest.mark.parametrize(
    "path", ["/a", "../a", "a/../b", "a//b", "./a", "a\\b", "a#b", "C:/a", "file:/a", "a\x7f", "/"]
)
def test_a_path_that_could_lead_elsewhere_is_refused(service: ArtifactService, path: str) -> None:
    for call, request in (
        (service.artifacts.UploadArtifact, messages(path, b"x")),
        (service.artifacts.DownloadArtifact, pb.DownloadArtifactRequest(path=path)),
        (service.artifacts.DeleteArtifact, pb.DeleteArtifactRequest(path=path)),
        (service.artifacts.ListArtifacts, pb.ListArtifactsRequest(path=path)),
        (service.artifacts.CopyArtifact, pb.CopyArtifactRequest(source_path=path, destination_path="x")),
        (service.uploads.CreatePresignedUpload, uploads_pb2.CreatePresignedUploadRequest(path=path, size=1)),
    ):
        assert refusal(call, request) == ("INVALID_PARAMETER_VALUE", "Invalid path")


@pytest.mark.parametrize(
    "name", ["%2e%2e%2fa", "..%2fa", "a?b=c;d", "a b+c", "ünïcode-文件", "...", "~", "C:a", "-rf", "a'\"b"]
)
def test_any_other_name_is_data(service: ArtifactService, folder: str, name: str) -> None:
    upload(service, f"{folder}/{name}", b"x")

    assert _names(service, folder) == [name]
    assert download(service, f"{folder}/{name}").contents == b"x"


@pytest.mark.parametrize(
    ("range_", "status", "start", "end"),
    [
        ("bytes=0-99", 206, 0, 100),
        ("bytes=1048570-1048580", 206, 1_048_570, 1_048_581),
        ("bytes=100-", 206, 100, len(_CONTENTS)),
        ("bytes=-5", 206, len(_CONTENTS) - 5, len(_CONTENTS)),
        ("bytes=0-99999999999", 206, 0, len(_CONTENTS)),
        (f"bytes=-{10**30}", 200, 0, len(_CONTENTS)),
        ("bytes=0-1,5-6", 200, 0, len(_CONTENTS)),
        ("bytes=5-1", 200, 0, len(_CONTENTS)),
        ("lines=1-2", 200, 0, len(_CONTENTS)),
        ("bytes=-", 200, 0, len(_CONTENTS)),
    ],
)
def test_a_range_is_answered_as_http_has_it(
    service: ArtifactService, folder: str, range_: str, status: int, start: int, end: int
) -> None:
    upload(service, f"{folder}/a", _CONTENTS)

    answer = download(service, f"{folder}/a", range=range_)

    assert answer.status == status
    assert answer.contents == _CONTENTS[start:end]
    assert answer.headers["content-length"] == str(end - start)
    expected = f"bytes {start}-{end - 1}/{len(_CONTENTS)}" if status == 206 else None
    assert answer.headers.get("content-range") == expected


@pytest.mark.parametrize("range_", [f"bytes={len(_CONTENTS)}-", "bytes=-0"])
def test_a_range_outside_of_the_file_is_416(service: ArtifactService, folder: str, range_: str) -> None:
    upload(service, f"{folder}/a", _CONTENTS)

    answer = download(service, f"{folder}/a", range=range_)

    assert (answer.status, answer.contents) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(_CONTENTS)}"


@pytest.mark.parametrize(
    ("sent", "status"),
    [(f'"{_SHA256}"', 304), (f'"x", W/"{_SHA256}"', 304), ("*", 304), ('"x"', 200), (_SHA256, 200)],
)
def test_a_file_that_the_caller_has_is_304(service: ArtifactService, folder: str, sent: str, status: int) -> None:
    upload(service, f"{folder}/a", _CONTENTS)

    answer = download(service, f"{folder}/a", if_none_match=sent)

    assert answer.status == status
    assert answer.contents == (b"" if status == 304 else _CONTENTS)


@pytest.mark.parametrize(("sent", "status"), [(f'"{_SHA256}"', 206), ('"older"', 200)])
def test_a_range_of_another_version_is_the_whole_file(
    service: ArtifactService, folder: str, sent: str, status: int
) -> None:
    upload(service, f"{folder}/a", _CONTENTS)

    assert download(service, f"{folder}/a", range="bytes=0-9", if_range=sent).status == status


@pytest.mark.parametrize(
    ("name", "content_type", "disposition"),
    [
        ("MLmodel", "text/plain", "attachment; filename=MLmodel"),
        ("a.py", "text/plain", "attachment; filename=a.py"),
        ("a.json", "text/plain", "attachment; filename=a.json"),
        ("page.html", "text/html", "attachment; filename=page.html"),
        ("plot.png", "image/png", "attachment; filename=plot.png"),
        ("noextension", "application/octet-stream", "attachment; filename=noextension"),
        ('a "b".txt', "text/plain", 'attachment; filename="a \\"b\\".txt"'),
        ("ü€.txt", "text/plain", "attachment; filename=__.txt; filename*=UTF-8''%C3%BC%E2%82%AC.txt"),
    ],
)
def test_type_and_name_are_those_that_mlflow_guesses(
    service: ArtifactService, folder: str, name: str, content_type: str, disposition: str
) -> None:
    upload(service, f"{folder}/{name}", b"x")

    answer = download(service, f"{folder}/{name}")

    assert (answer.content_type, answer.headers["content-disposition"]) == (content_type, disposition)


def test_a_missing_file_is_not_found(service: ArtifactService, folder: str) -> None:
    request = pb.DownloadArtifactRequest(path=f"{folder}/a")

    assert refusal(service.artifacts.DownloadArtifact, request) == (
        "RESOURCE_DOES_NOT_EXIST", f"No such artifact: '{folder}/a'"
    )  # fmt: skip


def test_a_file_is_described(service: ArtifactService, folder: str) -> None:
    upload(service, f"{folder}/a", _CONTENTS)

    artifact = service.artifacts.GetArtifact(pb.GetArtifactRequest(path=f"{folder}/a")).artifact

    assert (artifact.path, artifact.size, artifact.sha256) == (f"{folder}/a", len(_CONTENTS), _SHA256)
    assert abs(datetime.now(UTC) - artifact.create_time.ToDatetime(UTC)) < timedelta(minutes=1)


def test_a_folder_is_listed_whole_and_in_pages(service: ArtifactService, folder: str) -> None:
    for name in ("b", "a/x", "a.txt"):
        upload(service, f"{folder}/{name}", b"four")

    whole = service.artifacts.ListArtifacts(pb.ListArtifactsRequest(path=f"{folder}/"))
    page = service.artifacts.ListArtifacts(pb.ListArtifactsRequest(path=folder, max_results=2))
    rest = service.artifacts.ListArtifacts(
        pb.ListArtifactsRequest(path=folder, max_results=2, page_token=page.next_page_token)
    )

    entries = [(file.path, file.is_dir, file.file_size, file.HasField("file_size")) for file in whole.files]
    assert entries == [("a", True, 0, False), ("a.txt", False, 4, True), ("b", False, 4, True)]
    assert [file.path for file in [*page.files, *rest.files]] == ["a.txt", "a", "b"]
    assert not rest.HasField("next_page_token")


def test_deleting_again_is_no_error(service: ArtifactService, folder: str) -> None:
    upload(service, f"{folder}/a/b", b"x")

    for _ in range(2):
        service.artifacts.DeleteArtifact(pb.DeleteArtifactRequest(path=f"{folder}/a"))

    assert _names(service, folder) == []


def test_copies_and_links_move_no_contents(service: ArtifactService, folder: str) -> None:
    upload(service, f"{folder}/a/x", _CONTENTS)

    copied = service.artifacts.CopyArtifact(
        pb.CopyArtifactRequest(source_path=f"{folder}/a", destination_path=f"{folder}/b")
    )
    linked = service.artifacts.LinkArtifact(
        pb.LinkArtifactRequest(path=f"{folder}/c", sha256=_SHA256, size=len(_CONTENTS))
    )
    unknown = service.artifacts.LinkArtifact(pb.LinkArtifactRequest(path=f"{folder}/d", sha256="0" * 64, size=1))

    assert (copied.file_count, linked.linked, unknown.linked) == (1, True, False)
    assert download(service, f"{folder}/b/x").contents == download(service, f"{folder}/c").contents == _CONTENTS
    assert _names(service, folder) == ["a", "b", "c"]


def test_parts_are_sent_to_the_store_and_become_a_file(service: ArtifactService, folder: str) -> None:
    parts = [os.urandom(5 * CHUNK), os.urandom(5 * CHUNK), b"the end"]
    created = service.uploads.CreateMultipartUpload(
        uploads_pb2.CreateMultipartUploadRequest(
            artifact_path=folder, path="C:\\Users\\me/big.bin", num_parts=len(parts)
        )
    )
    sent = [
        uploads_pb2.UploadedPart(part_number=target.part_number, etag=put(target.url, part))
        for target, part in zip(created.credentials, parts, strict=True)
    ]
    complete = uploads_pb2.CompleteMultipartUploadRequest(
        artifact_path=folder, path="big.bin", upload_id=created.upload_id, parts=sent[::-1]
    )

    for _ in range(2):
        service.uploads.CompleteMultipartUpload(complete)

    assert download(service, f"{folder}/big.bin").contents == b"".join(parts)


def test_a_part_is_presigned_again(service: ArtifactService, folder: str) -> None:
    created = service.uploads.CreateMultipartUpload(
        uploads_pb2.CreateMultipartUploadRequest(artifact_path=folder, path="a")
    )
    assert [target.part_number for target in created.credentials] == [1]

    again = service.uploads.PresignParts(
        uploads_pb2.PresignPartsRequest(upload_id=created.upload_id, part_numbers=[7, 2])
    )
    sent = [uploads_pb2.UploadedPart(part_number=7, etag=put(again.credentials[0].url, b"x"))]
    service.uploads.CompleteMultipartUpload(
        uploads_pb2.CompleteMultipartUploadRequest(
            artifact_path=folder, path="a", upload_id=created.upload_id, parts=sent
        )
    )

    assert [target.part_number for target in again.credentials] == [7, 2]
    assert download(service, f"{folder}/a").contents == b"x"


@pytest.mark.parametrize("numbers", [[], [0], [1, 1], [10_001]])
def test_impossible_parts_are_refused(service: ArtifactService, folder: str, numbers: list[int]) -> None:
    parts = [uploads_pb2.UploadedPart(part_number=number, etag="0" * 32) for number in numbers]
    request = uploads_pb2.CompleteMultipartUploadRequest(artifact_path=folder, path="a", upload_id="none", parts=parts)

    assert refusal(service.uploads.CompleteMultipartUpload, request)[0] == "INVALID_PARAMETER_VALUE"


def test_parts_that_were_not_sent_make_no_file(service: ArtifactService, folder: str) -> None:
    created = service.uploads.CreateMultipartUpload(
        uploads_pb2.CreateMultipartUploadRequest(artifact_path=folder, path="a", num_parts=2)
    )
    put(created.credentials[0].url, b"x")
    for part in (
        uploads_pb2.UploadedPart(part_number=1, etag="0" * 32),
        uploads_pb2.UploadedPart(part_number=2, etag="0" * 32),
    ):
        request = uploads_pb2.CompleteMultipartUploadRequest(
            artifact_path=folder, path="a", upload_id=created.upload_id, parts=[part]
        )
        assert refusal(service.uploads.CompleteMultipartUpload, request)[0] in (
            "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"
        )  # fmt: skip
    assert not _exists(service, f"{folder}/a")


def test_an_aborted_upload_cannot_be_completed(service: ArtifactService, folder: str) -> None:
    created = service.uploads.CreateMultipartUpload(
        uploads_pb2.CreateMultipartUploadRequest(artifact_path=folder, path="a")
    )
    part = uploads_pb2.UploadedPart(part_number=1, etag=put(created.credentials[0].url, b"x"))
    names = {"artifact_path": folder, "path": "a", "upload_id": created.upload_id}

    for _ in range(2):
        service.uploads.AbortMultipartUpload(uploads_pb2.AbortMultipartUploadRequest(**names))

    request = uploads_pb2.CompleteMultipartUploadRequest(**names, parts=[part])
    assert refusal(service.uploads.CompleteMultipartUpload, request)[0] == "RESOURCE_DOES_NOT_EXIST"
    assert not _exists(service, f"{folder}/a")


def test_an_upload_is_completed_under_its_own_name_only(service: ArtifactService, folder: str) -> None:
    created = service.uploads.CreateMultipartUpload(
        uploads_pb2.CreateMultipartUploadRequest(artifact_path=folder, path="a")
    )
    part = uploads_pb2.UploadedPart(part_number=1, etag=put(created.credentials[0].url, b"x"))
    request = uploads_pb2.CompleteMultipartUploadRequest(
        artifact_path=folder, path="b", upload_id=created.upload_id, parts=[part]
    )

    assert refusal(service.uploads.CompleteMultipartUpload, request)[0] == "RESOURCE_DOES_NOT_EXIST"


def test_a_piece_is_sent_to_the_store_and_read_from_it(service: ArtifactService, folder: str) -> None:
    created = service.uploads.CreatePresignedUpload(
        uploads_pb2.CreatePresignedUploadRequest(path=f"{folder}/ü.json", size=len(_CONTENTS))
    )
    complete = uploads_pb2.CompletePresignedUploadRequest(upload_id=created.upload_id)
    assert "Nothing was sent" in refusal(service.uploads.CompletePresignedUpload, complete)[1]
    put(created.url, _CONTENTS[1:])
    assert "were announced" in refusal(service.uploads.CompletePresignedUpload, complete)[1]
    put(created.url, _CONTENTS)

    for _ in range(2):
        service.uploads.CompletePresignedUpload(complete)
    url = service.artifacts.GetPresignedDownloadUrl(pb.GetPresignedDownloadUrlRequest(path=f"{folder}/ü.json"))

    with urllib.request.urlopen(url.url) as answer:
        assert answer.read() == _CONTENTS
        assert answer.headers["Content-Type"] == "text/plain"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=_.json")
    assert url.file_size == len(_CONTENTS)


def test_clients_get_no_urls_where_they_cannot_use_them(
    tmp_path_factory: pytest.TempPathFactory, artifacts_url: str, s3: S3, folder: str
) -> None:
    bucket = s3.make_bucket()
    with ArtifactService(
        tmp_path_factory.mktemp("private"),
        database_url=artifacts_url,
        s3=s3,
        bucket=bucket,
        MODELSTEAD_S3_PUBLIC_ENDPOINT="",
    ) as private:
        upload(private, f"{folder}/a", b"x")
        for call, request in (
            (private.artifacts.GetPresignedDownloadUrl, pb.GetPresignedDownloadUrlRequest(path=f"{folder}/a")),
            (
                private.uploads.CreateMultipartUpload,
                uploads_pb2.CreateMultipartUploadRequest(artifact_path=folder, path="b"),
            ),
            (
                private.uploads.CreatePresignedUpload,
                uploads_pb2.CreatePresignedUploadRequest(path=f"{folder}/b", size=1),
            ),
        ):
            assert refusal(call, request)[0] == "NOT_IMPLEMENTED"
        assert download(private, f"{folder}/a").contents == b"x"


def test_a_tree_is_deleted_by_its_uri(service: ArtifactService, folder: str) -> None:
    upload(service, f"{folder}/run/artifacts/a/b", b"x")
    upload(service, f"{folder}/run/artifacts/c", b"y")
    upload(service, f"{folder}/other/d", b"z")
    request = maintenance_pb2.DeleteTreeRequest(artifact_uri=f"mlflow-artifacts:/{folder}/run/artifacts")

    counts = [service.maintenance.DeleteTree(request).file_count for _ in range(2)]

    assert counts == [2, 0]
    assert _names(service, folder) == ["other"]


@pytest.mark.parametrize(
    "uri", ["mlflow-artifacts:/", "mlflow-artifacts:/a/../b", "s3://elsewhere/a", "/etc", "file:///etc"]
)
def test_what_is_a_whole_store_or_in_none_is_not_deleted(service: ArtifactService, uri: str) -> None:
    request = maintenance_pb2.DeleteTreeRequest(artifact_uri=uri)

    assert refusal(service.maintenance.DeleteTree, request)[0] == "INVALID_PARAMETER_VALUE"


def test_objects_are_checked_and_swept(service: ArtifactService, folder: str) -> None:
    upload(service, f"{folder}/a", os.urandom(100))
    service.maintenance.Sweep(maintenance_pb2.SweepRequest(ttl_s=24 * 3600))
    upload(service, f"{folder}/a", os.urandom(100))

    # As `modelstead gc` does.
    kept = service.maintenance.Sweep(maintenance_pb2.SweepRequest())
    swept = service.maintenance.Sweep(maintenance_pb2.SweepRequest(ttl_s=24 * 3600))
    *findings, totals = service.maintenance.CheckObjects(maintenance_pb2.CheckObjectsRequest(deep=True))

    assert (kept.object_count, swept.object_count) == (0, 1)
    assert [finding.finding.problem for finding in findings] == []
    assert totals.object_count > 0
    assert not totals.HasField("finding")


def test_calls_end_with_their_callers_deadline(service: ArtifactService, folder: str) -> None:
    def slowly() -> Iterator[pb.UploadArtifactRequest]:
        yield pb.UploadArtifactRequest(path=f"{folder}/a", size=10)
        threading.Event().wait(5)

    with pytest.raises(grpc.RpcError) as caught:
        service.artifacts.UploadArtifact(slowly(), timeout=0.5)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert waiting.until(lambda: not _exists(service, f"{folder}/a"), timeout_s=30)
