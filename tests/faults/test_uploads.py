"""No crash and no race leaves an object that nobody names, and none takes one that was acknowledged (R25)."""

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest

from modelstead.artifacts.v1 import maintenance_pb2
from services.common.settings import Address
from services.local import peers, waiting
from tests.faults.commands import fsck
from tests.faults.files import Files, Uploader
from tests.stack import Stack

MIB = 1024 * 1024
SIZE = 12 * MIB


@dataclass
class HalfSent:
    """A body of which half is sent, and the rest once `go_on` is set."""

    half_sent: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(SIZE // MIB // 2):
            yield random.randbytes(MIB)
        self.half_sent.set()
        self.go_on.wait(60)
        for _ in range(SIZE // MIB // 2):
            yield random.randbytes(MIB)


@pytest.mark.parametrize("headers", [{"Content-Length": str(SIZE)}, {}], ids=["known size", "unknown size"])
@pytest.mark.parametrize("victim", ["artifacts", "gateway"])
def test_an_upload_that_was_cut_off_leaves_nothing(
    own_stack: Stack, files: Files, victim: str, headers: dict[str, str]
) -> None:
    body = HalfSent()
    url = f"{own_stack.url}/api/2.0/mlflow-artifacts/artifacts/cut/off"
    statuses: list[int] = []

    def send() -> None:
        try:
            statuses.append(httpx.put(url, content=iter(body), headers=headers, timeout=60).status_code)
        except httpx.TransportError:
            statuses.append(0)

    sender = threading.Thread(target=send)
    sender.start()
    assert body.half_sent.wait(60)
    own_stack.kill(victim)
    body.go_on.set()
    sender.join()
    own_stack.start(victim)
    own_stack.wait_until_ready()
    _sweep(own_stack)

    assert statuses[0] in (0, 503)
    assert files.list("cut") == []
    # What the killed process had sent may still be on its way into the store.
    assert waiting.until(lambda: _is_clean(own_stack), timeout_s=60), _leftovers(own_stack)


def test_crashes_under_load_lose_nothing_acknowledged_and_leave_no_orphan(own_stack: Stack, files: Files) -> None:
    crowd = [Uploader(own_stack.url, f"crowd/{number}", lambda _: random.randbytes(200_000)) for number in range(4)]
    for uploader in crowd:
        uploader.start()

    for _ in range(4):
        _wait_for(crowd, 5)
        own_stack.kill("artifacts")
        own_stack.start("artifacts")
    own_stack.wait_until_ready()
    _wait_for(crowd, 5)
    for uploader in crowd:
        uploader.finish()
    _sweep(own_stack)

    _assert_all_stored(files, crowd)
    assert {status for uploader in crowd for status in uploader.statuses} <= {200, 503}
    assert waiting.until(lambda: _is_clean(own_stack), timeout_s=60), _leftovers(own_stack)


def test_a_sweep_that_takes_every_upload_for_abandoned_deletes_nothing_acknowledged(
    own_stack: Stack, files: Files
) -> None:
    crowd = [Uploader(own_stack.url, f"crowd/{number}", lambda _: random.randbytes(100_000)) for number in range(4)]
    for uploader in crowd:
        uploader.start()

    for _ in range(60):
        _sweep(own_stack)
    _wait_for(crowd, 5)
    for uploader in crowd:
        uploader.finish()

    _assert_all_stored(files, crowd)
    assert waiting.until(lambda: _is_clean(own_stack), timeout_s=60), _leftovers(own_stack)


def test_deleting_a_file_never_takes_contents_that_another_was_just_given(own_stack: Stack, files: Files) -> None:
    contents = [random.randbytes(50_000) for _ in range(3)]
    kept = [Uploader(own_stack.url, f"kept/{number}", lambda n: contents[n % 3]) for number in range(2)]
    doomed = [Uploader(own_stack.url, f"doomed/{number}", lambda n: contents[n % 3]) for number in range(2)]
    for uploader in [*kept, *doomed]:
        uploader.start()

    with httpx.Client(base_url=own_stack.url, timeout=60) as client:
        for _ in range(60):
            client.delete("/api/2.0/mlflow-artifacts/artifacts/doomed").raise_for_status()
            client.delete("/api/2.0/mlflow-artifacts/artifacts/kept/0/0").raise_for_status()
            _sweep(own_stack, ttl_s=3600)
    _wait_for(kept, 5)
    for uploader in [*kept, *doomed]:
        uploader.finish()
    kept[0].acknowledged.pop("kept/0/0", None)

    _assert_all_stored(files, kept)
    assert waiting.until(lambda: _is_clean(own_stack), timeout_s=60), _leftovers(own_stack)


def _sweep(stack: Stack, *, ttl_s: int = 0) -> None:
    """Have everything removed that nothing refers to, and uploads that are not completed after `ttl_s`."""
    with peers.artifacts(Address.parse(stack.artifacts_address), token_file=None) as artifacts:
        artifacts.stub.Sweep(maintenance_pb2.SweepRequest(ttl_s=ttl_s), timeout=60)


def _leftovers(stack: Stack) -> list[str]:
    """Return what the bucket has and no record names, and multipart uploads that are still open."""
    found = fsck(stack).stdout.splitlines()
    # Nothing public lists them in this client.
    open_uploads = stack.s3.client()._list_multipart_uploads(bucket_name=stack.bucket).uploads
    return [*(line for line in found if "compared" not in line), *(upload.object_name for upload in open_uploads)]


def _is_clean(stack: Stack) -> bool:
    _sweep(stack)
    return not _leftovers(stack)


def _assert_all_stored(files: Files, crowd: list[Uploader]) -> None:
    for uploader in crowd:
        assert uploader.acknowledged
        lost = [path for path, content in uploader.acknowledged.items() if not files.is_stored(path, content)]
        assert lost == []


def _wait_for(crowd: list[Uploader], more: int) -> None:
    goals = [len(uploader.acknowledged) + more for uploader in crowd]
    assert waiting.until(
        lambda: all(len(each.acknowledged) >= goal for each, goal in zip(crowd, goals, strict=True)), timeout_s=60
    ), "uploaders made no progress"
