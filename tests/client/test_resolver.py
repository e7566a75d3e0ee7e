"""`ModelResolver` against a registry over real gRPC: answers, changes, outages, what is on disk, forks and threads."""

import contextlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelstead import ModelResolver
from modelstead.resolver.errors import (
    AccessDenied,
    AliasNotFound,
    Closed,
    InvalidReference,
    ModelNotFound,
    ResolverError,
    StageNotFound,
    StaleError,
    TooManyModels,
    Unavailable,
    VersionNotFound,
)
from modelstead.resolver.model import Change
from modelstead.resolver.watching import Watcher
from services.local import waiting
from tests.client.conftest import SimulatedClock
from tests.client.registry import HEARTBEAT, Registry, state, version

TIMEOUT_S = 60.0
CHAMPION = "fraud@champion"

Make = Callable[..., ModelResolver]


@pytest.fixture
def make(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes resolvers of the registry that have patience with a busy machine, and are closed afterwards."""
    monkeypatch.setattr("modelstead.resolver.watching._PIN_TIMEOUT_S", TIMEOUT_S)
    made = []

    def new(**options: Any) -> ModelResolver:
        made.append(ModelResolver(registry.address, **{"wait_s": TIMEOUT_S, **options}))
        return made[-1]

    yield new
    for resolver in made:
        resolver.close()


@pytest.fixture
def fraud(registry: Registry) -> Registry:
    """The registry with `fraud`: 2 is in Production, 3 is @champion and in Staging, 5 is the newest."""
    registry.set(
        state(
            "fraud", 7, version("fraud", 2, stage="Production"),
            version("fraud", 3, stage="Staging", aliases=("champion", "next")), version("fraud", 5),
        )
    )  # fmt: skip
    return registry


def champion(revision: int, number: int) -> Any:
    return state("fraud", revision, version("fraud", number, aliases=("champion",)))


def until(condition: Callable[[], bool]) -> None:
    assert waiting.until(condition, timeout_s=TIMEOUT_S)


def close(resolver: ModelResolver) -> None:
    """Close a resolver, and wait until what it knows is on the disk, for which it does not wait longer than 5 s."""
    resolver.close()
    until(lambda: not living(resolver))


def living(resolver: ModelResolver) -> list[threading.Thread]:
    """Return the threads of a resolver that go on."""
    workers = [worker._thread for worker in (resolver._saver, resolver._teller)]
    return [thread for thread in (*resolver._watcher._threads, *workers) if thread and thread.is_alive()]


def is_at(resolver: ModelResolver, number: int) -> Callable[[], bool]:
    return lambda: resolver.get(CHAMPION).version == str(number)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (("fraud@champion", {}), "3"),
        (("fraud@next", {}), "3"),
        (("models:/fraud@champion", {}), "3"),
        (("fraud/Production", {}), "2"),
        (("fraud/staging", {}), "3"),
        (("fraud/None", {}), "5"),
        (("fraud/2", {}), "2"),
        (("fraud/latest", {}), "5"),
        (("fraud@latest", {}), "5"),
        (("fraud@Latest", {}), "5"),
        ((None, {"name": "fraud", "version": "02"}), "2"),
        ((None, {"name": "fraud", "alias": "champion"}), "3"),
        ((None, {"name": "fraud", "stage": "PRODUCTION"}), "2"),
        ((None, {"name": "fraud", "version": 5}), "5"),
    ],
)
def test_a_reference_stands_for_its_version(fraud: Registry, make: Make, question: Any, expected: str) -> None:
    reference, keywords = question

    found = make(names=["fraud"]).get(reference, **keywords)

    assert found.version == expected


def test_an_answer_has_all_that_serving_needs(fraud: Registry, make: Make) -> None:
    found = make().get(CHAMPION)

    assert (found.name, found.version, found.stage, found.revision) == ("fraud", "3", "Staging", 7)
    assert (found.source, found.download_uri) == ("s3://b/fraud/3", "s3://b/fraud/3/files")
    assert (found.run_id, dict(found.tags), found.aliases) == ("run3", {"k": "3"}, ("champion", "next"))
    assert 0 <= found.age_s < TIMEOUT_S
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(AttributeError):
        found.version = "4"  # type: ignore[misc]
    with pytest.raises(TypeError):
        found.tags["k"] = "4"  # type: ignore[index]


@pytest.mark.parametrize(
    ("reference", "error", "named"),
    [
        ("fraud@nobody", AliasNotFound, "'nobody'"),
        ("fraud/Archived", StageNotFound, "'archived'"),
        ("fraud/99", VersionNotFound, "'99'"),
        ("absent@champion", ModelNotFound, "'absent'"),
        ("fraud", InvalidReference, "'fraud'"),
        ("@champion", InvalidReference, "'@champion'"),
        ("fraud@", InvalidReference, "'fraud@'"),
    ],
)
def test_an_error_names_what_was_looked_for(
    fraud: Registry, make: Make, reference: str, error: type[ResolverError], named: str
) -> None:
    with pytest.raises(error, match=named):
        make().get(reference)


def test_keywords_ask_for_exactly_one_thing(fraud: Registry, make: Make) -> None:
    with pytest.raises(InvalidReference, match="exactly one"):
        make().get(name="fraud", alias="champion", stage="Production")
    with pytest.raises(InvalidReference, match="'three' of model 'fraud'"):
        make().get(name="fraud", version="three")


def test_a_change_is_seen_without_asking(fraud: Registry, make: Make) -> None:
    resolver = make(names=["fraud"])
    resolver.get(CHAMPION)

    fraud.set(champion(8, 5))

    until(is_at(resolver, 5))
    assert len(fraud.watches) == 1
    assert fraud.asked == []


def test_a_name_that_was_not_named_is_watched_from_its_first_get(fraud: Registry, make: Make) -> None:
    fraud.set(state("spam", 1, version("spam", 1, aliases=("champion",))))
    resolver = make(names=["fraud"])
    resolver.get(CHAMPION)

    assert resolver.get("spam@champion").version == "1"
    fraud.set(state("spam", 2, version("spam", 2, aliases=("champion",))))

    until(lambda: resolver.get("spam@champion").version == "2")
    assert resolver.get(CHAMPION).version == "3"


def test_a_model_that_comes_later_is_found(fraud: Registry, make: Make) -> None:
    resolver = make(names=["later"])
    with pytest.raises(ModelNotFound):
        resolver.get("later/1")

    fraud.set(state("later", 1, version("later", 1)))

    until(lambda: resolver.status().models["later"].exists is True)
    assert resolver.get("later/1").version == "1"


def test_a_version_without_alias_or_stage_is_asked_for_once_a_revision(fraud: Registry, make: Make) -> None:
    fraud.others["fraud", "1"] = version("fraud", 1, stage="Staging")
    resolver = make()
    assert resolver.get("fraud/1").stage == resolver.get("fraud/1").stage == "Staging"
    assert len(fraud.asked) == 1

    fraud.others["fraud", "1"] = version("fraud", 1, stage="Archived")
    fraud.set(champion(8, 3))

    until(lambda: resolver.get("fraud/1").stage == "Archived")
    assert [(one.version, one.min_revision) for one in fraud.asked] == [("1", 7), ("1", 8)]
    del fraud.others["fraud", "1"]
    fraud.set(champion(9, 3))
    until(lambda: len(fraud.asked) == 3)
    until(lambda: resolver.status().models["fraud"].revision == 9)
    with pytest.raises(VersionNotFound):
        until(lambda: not resolver.get("fraud/1"))


def test_a_refused_name_does_not_stop_the_others(fraud: Registry, make: Make) -> None:
    fraud.refused.add("secret")
    resolver = make(names=["fraud", "secret"])

    assert resolver.get(CHAMPION).version == "3"
    with pytest.raises(AccessDenied, match="secret"):
        resolver.get("secret@champion")
    assert resolver.status().models["secret"].error == "Permission denied"


def test_a_key_is_sent_and_asked_for_anew(fraud: Registry, make: Make) -> None:
    keys = itertools.count(1)
    resolver = make(names=["fraud"], token=lambda: f"key-{next(keys)}")
    resolver.get(CHAMPION)

    fraud.kill()
    fraud.start()

    # A stream that is begun while the registry goes away is one more.
    until(lambda: len(fraud.credentials) >= 2)
    assert fraud.credentials[0] == "Bearer key-1"
    assert fraud.credentials[1].startswith("Bearer key-")
    assert fraud.credentials[1] != "Bearer key-1"


def test_a_key_that_cannot_be_had_does_not_end_the_watch(fraud: Registry, make: Make) -> None:
    fraud.refused.add("secret")
    keys = itertools.count(1)

    def key() -> str:
        # The first is for a stream, which is refused; the second to find out for which of the names.
        if next(keys) == 2:
            raise OSError("the file of the key is being written")
        return "key"

    resolver = make(names=["fraud", "secret"], token=key)

    assert resolver.get(CHAMPION).version == "3"
    assert next(keys) > 3


def test_a_killed_registry_is_found_again_and_nothing_is_missed(fraud: Registry, make: Make) -> None:
    resolver = make(names=["fraud", "spam"])
    resolver.get(CHAMPION)
    fraud.set(champion(8, 4))
    until(is_at(resolver, 4))

    fraud.kill()
    until(lambda: not resolver.status().connected)
    assert resolver.get(CHAMPION).version == "4"
    fraud.set(champion(9, 5))
    fraud.start()

    until(is_at(resolver, 5))
    status = resolver.status()
    assert status.connected
    assert status.error is None
    assert fraud.watches[-1].resume_token != ""


def test_an_hour_without_the_registry_is_answered_throughout(
    fraud: Registry, make: Make, clock: SimulatedClock
) -> None:
    resolver = make(names=["fraud"], clock=clock)
    resolver.get(CHAMPION)
    fraud.kill()
    until(lambda: not resolver.status().connected)
    since = resolver.status().since

    ages = []
    for _ in range(3600):
        clock.passed_s += 1
        ages.append(resolver.get(CHAMPION).age_s)

    assert ages == [float(second) for second in range(1, 3601)]
    assert resolver.status().models["fraud"].age_s == 3600
    assert (resolver.status().connected, resolver.status().since) == (False, since)
    fraud.set(champion(8, 5))
    fraud.start()
    until(is_at(resolver, 5))
    assert resolver.get(CHAMPION).age_s == 0


def test_a_change_of_one_model_confirms_the_others(fraud: Registry, make: Make, clock: SimulatedClock) -> None:
    fraud.set(state("spam", 1, version("spam", 1)))
    resolver = make(names=["fraud", "spam"], clock=clock)
    resolver.get(CHAMPION)
    clock.passed_s = 100

    def tell() -> bool:
        fraud.set(state("spam", fraud.states["spam"].revision + 1))
        return resolver.get(CHAMPION).age_s == 0

    until(tell)


def test_a_stream_that_the_registry_ends_is_resumed_without_alarm(
    fraud: Registry, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = make(names=["fraud"])
    resolver.get(CHAMPION)

    for round_ in range(3):
        fraud.end_streams()
        until(lambda: len(fraud.watches) == round_ + 2)  # noqa: B023 -- it is called in this round

    assert resolver.status().connected
    told = [record for record in caplog.records if record.name == "modelstead.resolver"]
    assert [record.message for record in told if record.levelname == "WARNING"] == []


def test_past_the_staleness_that_was_allowed_answers_are_refused(
    fraud: Registry, make: Make, clock: SimulatedClock
) -> None:
    resolver = make(names=["fraud"], clock=clock, max_staleness_s=60)
    resolver.get(CHAMPION)
    # What the stream says after the state confirms it: callbacks are called when all before has been taken in.
    told = threading.Event()
    resolver.on_change(lambda _: told.set())
    fraud.set(champion(8, 5))
    assert told.wait(TIMEOUT_S)

    clock.passed_s = 60
    assert resolver.get(CHAMPION).age_s == 60
    clock.passed_s = 61
    with pytest.raises(StaleError, match=r"'fraud' was last confirmed 61 s ago"):
        resolver.get(CHAMPION)

    fraud.say(HEARTBEAT)
    until(lambda: resolver.status().models["fraud"].age_s == 0)
    assert resolver.get(CHAMPION).version == "5"


def test_a_staleness_below_the_heartbeat_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="max_staleness_s=5"):
        make(max_staleness_s=5)


def test_a_replica_that_is_behind_is_not_believed(fraud: Registry, make: Make, clock: SimulatedClock) -> None:
    resolver = make(names=["fraud"], clock=clock)
    resolver.get(CHAMPION)

    fraud.set(champion(6, 2))
    until(lambda: resolver.status().models["fraud"].behind_revision == 6)
    clock.passed_s = 30
    fraud.say(HEARTBEAT)
    fraud.set(state("other", 1))
    resolver.get("fraud@champion")

    assert resolver.get(CHAMPION).version == "3"
    assert resolver.get(CHAMPION).age_s == 30
    fraud.set(champion(8, 5))
    until(is_at(resolver, 5))
    assert resolver.status().models["fraud"].behind_revision is None


def test_a_thousand_changes_are_told_in_order_and_the_last_is_known(fraud: Registry, make: Make) -> None:
    resolver = make(names=["fraud"])
    resolver.get(CHAMPION)
    seen: list[Change] = []
    resolver.on_change(seen.append)

    for revision in range(8, 1008):
        fraud.set(champion(revision, revision))

    until(lambda: bool(seen) and seen[-1].revision == 1007)
    revisions = [change.revision for change in seen]
    assert revisions == sorted(set(revisions))
    pairs = [change.moved[CHAMPION] for change in seen]
    assert pairs[0][0] == "3"
    assert all(after == before for (_, after), (before, _) in itertools.pairwise(pairs))
    assert resolver.get(CHAMPION).version == "1007"


def test_a_callback_that_fails_is_logged_and_called_again(
    fraud: Registry, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    resolver = make(names=["fraud"])
    resolver.get(CHAMPION)
    seen: list[int] = []

    def fail(change: Change) -> None:
        seen.append(change.revision)
        raise RuntimeError("no")

    remove = resolver.on_change(fail)

    fraud.set(champion(8, 4))
    until(lambda: seen == [8])
    fraud.set(champion(9, 5))
    until(lambda: seen == [8, 9])
    until(lambda: "A callback failed for revision 9 of 'fraud'" in caplog.text)
    remove()
    fraud.set(champion(10, 6))
    until(is_at(resolver, 6))
    assert seen == [8, 9]


def test_a_new_process_answers_from_disk_while_the_registry_is_away(
    fraud: Registry, make: Make, tmp_path: Path, clock: SimulatedClock
) -> None:
    fraud.others["fraud", "1"] = version("fraud", 1)
    first = make(names=["fraud"], cache_dir=tmp_path, clock=clock)
    first.get(CHAMPION)
    first.get("fraud/1")
    close(first)
    fraud.kill()
    clock.passed_s = 3600

    second = make(cache_dir=tmp_path, clock=clock)

    found = second.get(CHAMPION)
    assert (found.version, found.revision, found.age_s) == ("3", 7, 3600)
    assert dict(found.tags) == {"k": "3"}
    assert second.get("fraud/1").version == "1"
    assert not second.status().connected
    with pytest.raises(Unavailable, match="spam"):
        make(cache_dir=tmp_path, clock=clock, wait_s=0.1).get("spam@champion")


def test_a_new_process_does_not_answer_from_disk_what_the_registry_knows_better(
    fraud: Registry, make: Make, tmp_path: Path
) -> None:
    first = make(cache_dir=tmp_path)
    first.get(CHAMPION)
    close(first)
    fraud.set(champion(8, 5))

    assert make(cache_dir=tmp_path).get(CHAMPION).version == "5"


def test_what_is_on_disk_is_not_gone_back_behind(fraud: Registry, make: Make, tmp_path: Path) -> None:
    first = make(cache_dir=tmp_path)
    first.get(CHAMPION)
    close(first)
    fraud.set(champion(6, 2))

    second = make(cache_dir=tmp_path, wait_s=0.5)

    assert second.get(CHAMPION).version == "3"
    until(lambda: second.status().models["fraud"].behind_revision == 6)
    assert second.get(CHAMPION).version == "3"


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    return content.replace(b"s3://b/fraud/3", b"s3://b/fraud/4", 1)


def _of_another_format(content: bytes) -> bytes:
    return content.replace(b'"format": 1', b'"format": 2', 1)


@pytest.mark.parametrize("spoil", [_truncated, _flipped, _of_another_format, lambda _: b"", lambda _: b"\xff\n\xff"])
def test_a_corrupt_file_is_reported_and_written_anew(
    fraud: Registry, make: Make, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    first = make(cache_dir=tmp_path)
    first.get(CHAMPION)
    close(first)
    [path] = tmp_path.glob("*.json")
    sound = path.read_bytes()
    path.write_bytes(spoil(sound))

    second = make(cache_dir=tmp_path)

    assert str(path) in (second.status().cache_error or "")
    assert second.get(CHAMPION).version == "3"
    close(second)
    assert second.status().cache_error is None
    assert json.loads(path.read_bytes().split(b"\n")[1])["models"][0]["name"] == "fraud"


def test_a_folder_that_cannot_be_written_is_reported_and_not_fatal(fraud: Registry, make: Make, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    resolver = make(cache_dir=tmp_path / "file")

    assert resolver.get(CHAMPION).version == "3"
    close(resolver)
    assert "cannot be" in (resolver.status().cache_error or "")


def test_processes_that_share_a_folder_keep_what_the_others_know(
    fraud: Registry, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Who does not get the lock in time writes without it.
    monkeypatch.setattr("modelstead.resolver.cache._LOCK_TRIES", 1200)
    names = [f"m{number}" for number in range(8)]
    fraud.set(*(state(name, 3, version(name, 1, aliases=("champion",))) for name in names))
    resolvers = [make(names=[name], cache_dir=tmp_path) for name in names]
    for name, resolver in zip(names, resolvers, strict=True):
        resolver.get(f"{name}@champion")

    closing = [threading.Thread(target=resolver.close) for resolver in resolvers]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    for resolver in resolvers:
        close(resolver)
    fraud.kill()

    reader = make(cache_dir=tmp_path)
    assert [reader.get(f"{name}@champion").revision for name in names] == [3] * 8
    assert list(tmp_path.glob(".*")) == []


def test_forked_children_and_their_parent_go_on(fraud: Registry) -> None:
    command = [sys.executable, str(Path(__file__).with_name("forking.py")), fraud.address]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        try:
            assert process.stdout
            assert [process.stdout.readline().strip() for _ in range(4)] == ["3"] * 4
            fraud.set(champion(8, 5))
            code = process.wait(2 * TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    assert code == 0


def test_a_parent_that_can_make_no_thread_answers_and_follows_again_when_it_can(fraud: Registry, make: Make) -> None:
    fraud.others["fraud", "1"] = version("fraud", 1)
    resolver = make(names=["fraud"])
    resolver.get(CHAMPION)

    def start_one(watcher: Watcher) -> None:
        watcher._threads[0].start()
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watcher, "start", start_one)
        # As a fork does, of which there is only the parent.
        resolver._before_fork()
        resolver._after_fork_in_parent()

        assert resolver.get(CHAMPION).version == "3"
        with pytest.raises(Unavailable, match="'1' of model 'fraud' is not known, and no thread"):
            resolver.get("fraud/1")

    fraud.set(champion(8, 5))
    until(is_at(resolver, 5))
    resolver._before_fork()
    resolver._after_fork_in_parent()
    close(resolver)


def test_a_fork_waits_until_grpc_has_ended() -> None:
    # In a process of its own: that of a test has other channels.
    program = """
import grpc, os
from modelstead.resolver.channels import Quiet

quiet = Quiet()
with grpc.insecure_channel("127.0.0.1:1") as channel:
    try:
        channel.unary_unary("/a/b")(b"", timeout=1)
    except grpc.RpcError:
        pass
    before = len(os.listdir("/proc/self/task"))
quiet.wait(30)
print(before > 1, len(os.listdir("/proc/self/task")))
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.split() == ["True", "1"]


def test_nothing_runs_before_the_first_get(fraud: Registry, make: Make) -> None:
    resolver = make(names=["fraud"])

    before = living(resolver)
    resolver.get(CHAMPION)

    assert before == []
    assert living(resolver) != []
    assert len(fraud.watches) == 1


def test_threads_that_share_one_see_nothing_go_back(fraud: Registry, make: Make) -> None:
    resolver = make(names=["fraud"])
    seen: list[list[int]] = [[] for _ in range(4)]
    last = 60

    def read(mine: list[int]) -> None:
        while not mine or mine[-1] != last:
            found = resolver.get(CHAMPION)
            assert found.revision == 7 or found.version == str(found.revision)
            mine.append(found.revision)

    threads = [threading.Thread(target=read, args=(mine,), daemon=True) for mine in seen]
    for thread in threads:
        thread.start()
    for revision in range(8, last + 1):
        fraud.set(champion(revision, revision))
    for thread in threads:
        thread.join(TIMEOUT_S)

    for mine in seen:
        assert mine[-1] == last
        assert mine == sorted(mine)
    assert len(fraud.watches) == 1


def test_many_threads_may_ask_first_for_many_models(fraud: Registry, make: Make) -> None:
    names = [f"m{number}" for number in range(30)]
    fraud.set(*(state(name, 1, version(name, 1, aliases=("champion",))) for name in names))
    resolver = make()
    found: dict[str, str] = {}

    def ask(name: str) -> None:
        found[name] = resolver.get(f"{name}@champion").name

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)

    assert found == dict(zip(names, names, strict=True))


def test_without_registry_and_disk_the_first_get_waits_only_so_long(registry: Registry, make: Make) -> None:
    registry.kill()
    resolver = make(wait_s=0.3)
    began = time.monotonic()

    with pytest.raises(Unavailable, match=r"model 'fraud'.*127\.0\.0\.1"):
        resolver.get(CHAMPION)

    assert 0.3 <= time.monotonic() - began < TIMEOUT_S
    until(lambda: resolver.status().error is not None)


def test_a_first_get_waits_for_a_registry_that_comes(fraud: Registry, make: Make) -> None:
    fraud.kill()
    resolver = make(names=["fraud"], wait_s=TIMEOUT_S)
    resolver.start()
    until(lambda: resolver.status().error is not None)

    starting = threading.Thread(target=fraud.start)
    starting.start()

    assert resolver.get(CHAMPION).version == "3"
    starting.join()


def test_more_than_a_thousand_names_are_refused(registry: Registry, make: Make) -> None:
    with pytest.raises(TooManyModels, match="1001"):
        make(names=[str(number) for number in range(1001)])
    full = make(names=[str(number) for number in range(1000)])
    with pytest.raises(TooManyModels, match="'fraud'"):
        full.get(CHAMPION)


@pytest.mark.alone
def test_closing_is_bounded_also_while_a_callback_hangs(fraud: Registry, make: Make) -> None:
    resolver = make(names=["fraud"])
    resolver.get(CHAMPION)
    called, forever = threading.Event(), threading.Event()

    def hang(_: Change) -> None:
        called.set()
        forever.wait()

    resolver.on_change(hang)
    fraud.set(champion(8, 5))
    assert called.wait(TIMEOUT_S)
    began = time.monotonic()

    resolver.close()

    took_s = time.monotonic() - began
    forever.set()
    assert took_s < 6
    with pytest.raises(Closed):
        resolver.get(CHAMPION)


def test_leaving_the_context_ends_its_threads_and_the_stream(fraud: Registry) -> None:
    with ModelResolver(fraud.address, names=["fraud"], wait_s=TIMEOUT_S) as resolver:
        resolver.get(CHAMPION)
        assert "modelstead-resolver-watch" in {thread.name for thread in living(resolver)}

    until(lambda: not living(resolver))
    resolver.close()


def test_a_process_that_forgets_to_close_still_ends(fraud: Registry) -> None:
    code = """
import sys, modelstead
print(modelstead.ModelResolver(sys.argv[1], wait_s=60).get('fraud@champion').version)
"""
    command = [sys.executable, "-c", code, fraud.address]

    shown = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert (shown.returncode, shown.stdout, shown.stderr) == (0, "3\n", "")


def test_importing_modelstead_loads_no_grpc() -> None:
    code = (
        "import sys, modelstead; print('grpc' in sys.modules); modelstead.ModelResolver; print('grpc' in sys.modules)"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert shown.stdout.split() == ["False", "True"]
