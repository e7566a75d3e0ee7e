"""While the object store is away (R10), lies (R12), or damages what it keeps (R26)."""

import io
import itertools
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from services.local import waiting
from tests.faults.commands import fsck
from tests.faults.files import Files, Uploader
from tests.faults.lying_s3 import LIES_ON_READING, LIES_ON_STORING, LyingS3
from tests.long_form import IS_LONG
from tests.s3 import EmbeddedS3
from tests.stack import OBJECT_STORE, READY_TIMEOUT_S, Stack

ANSWER_S_MAX = 2.0
RECOVERY_S_MAX = 10.0
LONG_TRANSFER_S = 3.0
# Enough for a 99th percentile, in each of so many rounds; where other tests run beside it, for a median.
METADATA_CALLS = 1000 if IS_LONG else 100
METADATA_PERCENTILE = 99 if IS_LONG else 50
METADATA_CHANGE_MAX = 1.2 if IS_LONG else 3.0
ROUNDS_MAX = 5
DAMAGED = 100

GiveBack = Callable[[], None]


def _kill(stack: Stack) -> GiveBack:
    stack.kill(OBJECT_STORE)

    def give_back() -> None:
        stack.start(OBJECT_STORE)
        # How long it takes to start is not ours.
        store = stack.plan.object_store
        assert store
        assert waiting.until(store.is_ready, timeout_s=READY_TIMEOUT_S)

    return give_back


def _freeze(stack: Stack) -> GiveBack:
    """Connections stay open, new ones are taken, and nothing is answered."""
    stack.process(OBJECT_STORE).send(signal.SIGSTOP)
    return lambda: stack.process(OBJECT_STORE).send(signal.SIGCONT)


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[LyingS3]:
    with EmbeddedS3(tmp_path / "objects") as honest, LyingS3(honest.s3) as lying:
        yield lying


@pytest.fixture
def lied_to(liar: LyingS3, tmp_path: Path) -> Iterator[Files]:
    """The artifacts of a platform whose object store is the liar."""
    with Stack(tmp_path / "stack", s3=liar.s3, artifact_stores="") as stack, Files(stack.url) as found:
        yield found
        liar.lie = None


@pytest.mark.alone
@pytest.mark.parametrize("take_away", [_kill, _freeze])
def test_without_the_object_store_artifacts_are_503_soon_and_come_back_by_themselves(
    own_stack: Stack, files: Files, take_away: Callable[[Stack], GiveBack]
) -> None:
    assert files.put("before/file", b"contents").status_code == 200

    give_back = take_away(own_stack)
    try:
        answers = [_timed(lambda: files.get("before/file")), _timed(lambda: files.put("during/file", b"others"))]
        listed = files.list("before")
        was_ready = own_stack.artifacts_are_ready()
    finally:
        give_back()
    healed = waiting.until(lambda: files.put("after/file", b"contents").status_code == 200, timeout_s=RECOVERY_S_MAX)

    for answer, took_s in answers:
        assert answer.status_code == 503, answer.text
        assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
        assert int(answer.headers["retry-after"]) >= 1
        assert took_s < ANSWER_S_MAX
    assert listed == ["file"]
    assert was_ready
    assert healed
    assert files.is_stored("before/file", b"contents")
    assert files.list("during") == []


@pytest.mark.alone
def test_a_transfer_under_way_is_503_soon_when_the_object_store_freezes(own_stack: Stack, files: Files) -> None:
    frozen_at: list[float] = []
    give_back: list[GiveBack] = []

    def body() -> Iterator[bytes]:
        began, block = time.perf_counter(), os.urandom(256 * 1024)
        while time.perf_counter() - began < LONG_TRANSFER_S:
            yield block
        give_back.append(_freeze(own_stack))
        frozen_at.append(time.perf_counter())
        # More than the connections on the way hold.
        for _ in range(64):
            yield block

    try:
        answer = httpx.put(f"{own_stack.url}/api/2.0/mlflow-artifacts/artifacts/a/b", content=body(), timeout=60)
        took_s = time.perf_counter() - frozen_at[0]
    finally:
        give_back[0]()

    assert answer.status_code == 503, answer.text
    assert took_s < ANSWER_S_MAX
    assert waiting.until(lambda: files.put("after/file", b"contents").status_code == 200, timeout_s=RECOVERY_S_MAX)
    assert files.list("a") == []


@pytest.mark.alone
def test_metadata_calls_do_not_feel_that_the_object_store_is_frozen(own_stack: Stack) -> None:
    client = httpx.Client(base_url=f"{own_stack.url}/api/2.0/mlflow", timeout=30)
    run_id = client.post("/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
    steps = itertools.count()

    def log() -> httpx.Response:
        step = next(steps)
        point = {"run_id": run_id, "key": "m", "value": 1.0, "timestamp": step, "step": step}
        return client.post("/runs/log-metric", json=point)

    def round_s() -> tuple[float, float]:
        """Return the percentile as usual, and while the store is frozen and a crowd sends to it."""
        usual = [_timed(log) for _ in range(METADATA_CALLS)]
        give_back = _freeze(own_stack)
        crowd = [Uploader(own_stack.url, f"crowd/{number}", lambda _: b"contents") for number in range(8)]
        for member in crowd:
            member.start()
        try:
            during = [_timed(log) for _ in range(METADATA_CALLS)]
            for member in crowd:
                member.finish()
        finally:
            give_back()
        assert {answer.status_code for answer, _ in [*usual, *during]} == {200}
        assert {status for member in crowd for status in member.statuses} == {503}
        return _percentile_s(usual), _percentile_s(during)

    # What else a machine does can only make a call slower: one round without that shows what the service does.
    rounds = []
    while not any(_is_unchanged(*each) for each in rounds) and len(rounds) < ROUNDS_MAX:
        rounds.append(round_s())
        assert waiting.until(lambda: own_stack.is_ready(), timeout_s=RECOVERY_S_MAX)
    client.close()

    assert any(_is_unchanged(*each) for each in rounds), rounds


@pytest.mark.parametrize("lie", LIES_ON_STORING)
def test_what_the_store_only_claims_to_have_is_never_reported_as_stored(
    liar: LyingS3, lied_to: Files, lie: str
) -> None:
    liar.lie = lie
    answer = lied_to.put("folder/file", os.urandom(10_000))
    liar.lie = None

    assert answer.status_code >= 500, answer.status_code
    assert lied_to.list("folder") == []
    assert lied_to.get("folder/file").status_code == 404
    assert lied_to.put("folder/file", b"contents").status_code == 200
    assert lied_to.is_stored("folder/file", b"contents")


@pytest.mark.parametrize("lie", LIES_ON_READING)
@pytest.mark.parametrize("size", [10_000, 3_000_000])
def test_what_the_store_returns_wrongly_is_never_taken_for_the_file(
    liar: LyingS3, lied_to: Files, lie: str, size: int
) -> None:
    content = os.urandom(size)
    stored = lied_to.put("folder/file", content)
    assert stored.status_code == 200, stored.text

    liar.lie = lie
    outcome = _outcome(lied_to, "folder/file")
    liar.lie = None

    assert outcome in ("500", "503", "cut off")
    assert lied_to.is_stored("folder/file", content)


def test_every_flipped_byte_is_found_by_reading_and_by_fsck(own_stack: Stack, files: Files) -> None:
    for number in range(DAMAGED):
        assert files.put(f"damaged/{number}", os.urandom(2000)).status_code == 200
    paths = {f"damaged/{number}" for number in range(DAMAGED)}
    _change_objects(own_stack, lambda content: bytes([content[0] ^ 1]) + content[1:])
    assert files.put("sound/file", b"contents").status_code == 200

    outcomes = {_outcome(files, path) for path in paths}
    checked = fsck(own_stack, "--deep")

    assert outcomes == {"500"}
    assert checked.returncode == 1
    found = [line.split() for line in checked.stdout.splitlines() if line.startswith("changed ")]
    assert len(found) == DAMAGED
    assert {path for words in found for path in words if path in paths} == paths
    assert "sound/file" not in checked.stdout


def test_fsck_names_what_is_missing_truncated_or_nobodys_without_reading_objects(
    own_stack: Stack, files: Files
) -> None:
    sound = fsck(own_stack)
    files.put("folder/cut", b"longer contents")
    _change_objects(own_stack, lambda content: content[:-1])
    before = _keys(own_stack)
    files.put("folder/lost", b"lost contents")
    [lost] = _keys(own_stack) - before
    client = own_stack.s3.client()
    client.remove_object(bucket_name=own_stack.bucket, object_name=lost)
    client.put_object(bucket_name=own_stack.bucket, object_name="default/aa/nobody", data=io.BytesIO(b"a"), length=1)

    checked = fsck(own_stack)

    assert sound.returncode == 0, sound.stdout
    assert checked.returncode == 1
    problems = {line.split()[0]: line for line in checked.stdout.splitlines()}
    assert "folder/cut" in problems["truncated"]
    assert "folder/lost" in problems["missing"]
    assert lost in problems["missing"]
    assert "default/aa/nobody" in problems["orphaned"]


def _timed(call: Callable[[], httpx.Response]) -> tuple[httpx.Response, float]:
    began = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - began


def _percentile_s(calls: list[tuple[httpx.Response, float]]) -> float:
    return statistics.quantiles((took_s for _, took_s in calls), n=100)[METADATA_PERCENTILE - 1]


def _is_unchanged(usual_s: float, during_s: float) -> bool:
    return during_s < usual_s * METADATA_CHANGE_MAX


def _outcome(files: Files, path: str) -> str:
    """Return how a download ended for a client that believes the length it was told: a status, or `cut off`."""
    try:
        return str(files.get(path).status_code)
    except httpx.RemoteProtocolError:
        return "cut off"


def _keys(stack: Stack) -> set[str]:
    found = stack.s3.client().list_objects(bucket_name=stack.bucket, recursive=True)
    return {each.object_name for each in found if each.object_name}


def _change_objects(stack: Stack, change: Callable[[bytes], bytes]) -> None:
    client = stack.s3.client()
    for key in _keys(stack):
        answer = client.get_object(bucket_name=stack.bucket, object_name=key)
        content = change(answer.read())
        answer.release_conn()
        client.put_object(bucket_name=stack.bucket, object_name=key, data=io.BytesIO(content), length=len(content))
