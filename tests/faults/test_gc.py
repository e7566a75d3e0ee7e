"""`modelstead gc` through the whole platform: killed anywhere, the next one finishes; what lives is never taken."""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from modelstead.tracking.v1.retention_pb2 import Purgeable
from services.common.settings import Address
from services.local import peers, waiting
from tests.faults.commands import fsck, gc, start_gc
from tests.faults.files import Files, Uploader
from tests.stack import Stack

SHARED = b"the same contents in every run"
PURGED_RSS_MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Platform:
    """What the tests make and look at over REST."""

    stack: Stack
    client: httpx.Client
    files: Files

    def post(self, path: str, **body: object) -> dict[str, dict[str, dict[str, str]]]:
        answer = self.client.post(path, json=body)
        answer.raise_for_status()
        found: dict[str, dict[str, dict[str, str]]] = answer.json()
        return found

    def new_experiment(self, **given: str) -> str:
        return str(self.post("/experiments/create", name=uuid.uuid4().hex, **given)["experiment_id"])

    def new_run(self, experiment_id: str = "0", *, metrics: int = 3) -> str:
        """Return a run with metrics, a file of its own and one that every run has."""
        run_id = self.post("/runs/create", experiment_id=experiment_id)["run"]["info"]["run_id"]
        points = [{"key": f"m{number}", "value": 1.0, "timestamp": 1, "step": 1} for number in range(metrics)]
        for start in range(0, metrics, 1000):
            self.post("/runs/log-batch", run_id=run_id, metrics=points[start : start + 1000])
        assert self.files.put(f"{experiment_id}/{run_id}/artifacts/own", run_id.encode()).status_code == 200
        assert self.files.put(f"{experiment_id}/{run_id}/artifacts/folder/shared", SHARED).status_code == 200
        return run_id

    def new_model(self, experiment_id: str) -> str:
        created = self.post("/logged-models", experiment_id=experiment_id, name="model")
        model_id = created["model"]["info"]["model_id"]
        path = f"{experiment_id}/models/{model_id}/artifacts/weights"
        assert self.files.put(path, model_id.encode()).status_code == 200
        return model_id

    def delete_run(self, run_id: str) -> str:
        self.post("/runs/delete", run_id=run_id)
        return run_id

    def has_run(self, run_id: str) -> bool:
        return self.client.get("/runs/get", params={"run_id": run_id}).status_code == 200

    def is_whole(self, run_id: str, experiment_id: str = "0") -> bool:
        """Whether a run is there with all its files."""
        root = f"{experiment_id}/{run_id}/artifacts"
        return (
            self.has_run(run_id)
            and self.files.is_stored(f"{root}/own", run_id.encode())
            and self.files.is_stored(f"{root}/folder/shared", SHARED)
        )

    def is_gone(self, run_id: str, experiment_id: str = "0") -> bool:
        """Whether neither a run nor any of its files is there."""
        return not self.has_run(run_id) and run_id not in self.files.list(experiment_id)


@pytest.fixture
def platform(own_stack: Stack, files: Files) -> Iterator[Platform]:
    with httpx.Client(base_url=f"{own_stack.url}/api/2.0/mlflow", timeout=60) as client:
        yield Platform(own_stack, client, files)


def test_all_that_was_deleted_goes_with_its_artifacts_and_nothing_else(platform: Platform) -> None:
    experiment_id, kept_id = platform.new_experiment(), platform.new_run()
    run_id, model_id = platform.new_run(experiment_id), platform.new_model(experiment_id)
    single_id = platform.delete_run(platform.new_run())
    platform.post("/experiments/delete", experiment_id=experiment_id)

    done = gc(platform.stack)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "Purged 2 runs, 1 logged model, 1 experiment with 5 files."
    assert platform.is_gone(single_id)
    assert platform.is_gone(run_id, experiment_id)
    assert platform.client.get("/experiments/get", params={"experiment_id": experiment_id}).status_code == 404
    assert platform.client.get(f"/logged-models/{model_id}").status_code == 404
    assert platform.is_whole(kept_id)
    # No record has the contents that only deleted files had; those of the living are there.
    checked = fsck(platform.stack, "--deep")
    assert checked.stdout.startswith("2 objects compared"), checked.stdout


def test_a_dry_run_names_it_and_changes_nothing(platform: Platform) -> None:
    run_id = platform.delete_run(platform.new_run())

    done = gc(platform.stack, "--dry-run")

    assert f"run {run_id}  mlflow-artifacts:/0/{run_id}/artifacts" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "Would purge 1 run, 0 logged models, 0 experiments."
    platform.post("/runs/restore", run_id=run_id)
    assert platform.is_whole(run_id)


def test_what_is_younger_stays(platform: Platform) -> None:
    run_id = platform.delete_run(platform.new_run())

    done = gc(platform.stack, "--older-than", "1h")

    assert done.stdout.splitlines()[-1] == "Purged 0 runs, 0 logged models, 0 experiments with 0 files."
    platform.post("/runs/restore", run_id=run_id)
    assert platform.is_whole(run_id)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_gc_that_ended_after_any_step_is_finished_by_the_next(platform: Platform, steps: int) -> None:
    run_id = platform.delete_run(platform.new_run(metrics=6000))
    [resource] = _purgeable(platform.stack)
    with (
        peers.tracking(Address.parse(platform.stack.grpc_address), token_file=None) as tracking,
        peers.artifacts(Address.parse(platform.stack.artifacts_address), token_file=None) as artifacts,
    ):
        sequence: list[Callable[[], object]] = [
            lambda: tracking.begin(resource, _now_ms()),
            lambda: artifacts.delete_tree(resource.artifact_uri),
            lambda: tracking.stub.Purge(peers.retention_pb2.PurgeRequest(kind=resource.kind, id=resource.id)),
        ]
        for step in sequence[:steps]:
            step()
    assert platform.has_run(run_id)

    done = gc(platform.stack)

    assert done.returncode == 0, done.stderr
    assert platform.is_gone(run_id)


@pytest.mark.parametrize("victim", ["gc", "tracking", "artifacts"])
def test_killed_again_and_again_it_gets_there(platform: Platform, victim: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    doomed = [platform.delete_run(platform.new_run(metrics=300)) for _ in range(30)]
    kept = [platform.new_run() for _ in range(3)]

    for _ in range(5):
        left = len(_purgeable(platform.stack))
        process = start_gc(platform.stack)
        goal = max(0, left - chance.randrange(1, 6))
        waiting.until(lambda goal=goal: len(_purgeable(platform.stack)) <= goal, timeout_s=30)  # type: ignore[misc]
        if victim == "gc":
            process.kill()
        else:
            platform.stack.kill(victim)
            platform.stack.start(victim)
        process.communicate(timeout=120)
        platform.stack.wait_until_ready()
    done = gc(platform.stack)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [run_id for run_id in doomed if not platform.is_gone(run_id)] == []
    assert [run_id for run_id in kept if not platform.is_whole(run_id)] == []
    checked = fsck(platform.stack)
    assert checked.returncode == 0, checked.stdout


def test_it_takes_no_contents_that_are_being_uploaded_for_another_run(platform: Platform) -> None:
    contents = [random.randbytes(20_000) for _ in range(3)]
    uploader = Uploader(platform.stack.url, "0/living/artifacts", lambda number: contents[number % 3])
    uploader.start()

    try:
        for _ in range(10):
            run_id = platform.new_run()
            for number, content in enumerate(contents):
                platform.files.put(f"0/{run_id}/artifacts/{number}", content)
            platform.delete_run(run_id)
            done = gc(platform.stack)
            assert done.returncode == 0, done.stderr
            assert platform.is_gone(run_id)
    finally:
        uploader.finish()

    assert uploader.statuses == {200}
    assert [
        path for path, content in uploader.acknowledged.items() if not platform.files.is_stored(path, content)
    ] == []
    checked = fsck(platform.stack, "--deep")
    assert checked.returncode == 0, checked.stdout


def test_restoring_while_it_runs_gives_a_whole_run_or_none(platform: Platform) -> None:
    run_ids = sorted(platform.delete_run(platform.new_run()) for _ in range(100))
    ahead, behind = run_ids[-5:], run_ids[:-5]

    def restores(run_id: str) -> bool:
        return platform.client.post("/runs/restore", json={"run_id": run_id}).status_code == 200

    process = start_gc(platform.stack)
    assert waiting.until(lambda: platform.is_gone(run_ids[0]), timeout_s=60)
    # It has listed all of them by now. Some are restored before it comes to them; the others as soon as it is seen at
    # work on one, which is when its files are gone and its row may be there.
    restored = list(filter(restores, ahead))
    for run_id in behind:
        waiting.until(lambda run_id=run_id: run_id not in platform.files.list("0"), timeout_s=60)  # type: ignore[misc]
        restored += filter(restores, [run_id])
    printed, _ = process.communicate(timeout=120)

    assert process.returncode == 0, printed
    assert "was restored meanwhile and stays" in printed
    assert [run_id for run_id in restored if not platform.is_whole(run_id)] == []
    assert [run_id for run_id in run_ids if run_id not in restored and not platform.is_gone(run_id)] == []


def test_a_store_that_is_away_is_named_and_the_rest_is_purged(tmp_path: Path) -> None:
    root, away = tmp_path / "shared", tmp_path / "away"
    root.mkdir()
    stores = f'[stores.shared]\nroot = "file://{root}"\n'
    with Stack(tmp_path / "stack", artifact_stores=stores) as stack, Files(stack.url) as files:
        client = httpx.Client(base_url=f"{stack.url}/api/2.0/mlflow", timeout=60)
        platform = Platform(stack, client, files)
        far = platform.new_experiment(artifact_location=f"file://{root}/far")
        far_run = platform.post("/runs/create", experiment_id=far)["run"]["info"]["run_id"]
        near_run = platform.delete_run(platform.new_run())
        platform.delete_run(far_run)
        root.rename(away)

        without = gc(stack)
        away.rename(root)
        with_it = gc(stack)
        near_is_gone, far_is_gone = platform.is_gone(near_run), not platform.has_run(far_run)
        client.close()

    assert without.returncode == 1
    assert "Purged 1 run," in without.stdout
    assert f"Run {far_run} stays" in without.stdout
    assert "1 in file://" in without.stderr
    assert near_is_gone
    assert with_it.returncode == 0, with_it.stdout + with_it.stderr
    assert far_is_gone


def test_what_is_in_a_store_that_is_given_up_goes_without_its_artifacts(tmp_path: Path) -> None:
    root, other = tmp_path / "shared", tmp_path / "other"
    for folder in (root, other):
        folder.mkdir()
    stores = f'[stores.shared]\nroot = "file://{root}"\n[stores.other]\nroot = "file://{other}"\n'
    with Stack(tmp_path / "stack", artifact_stores=stores) as stack, Files(stack.url) as files:
        client = httpx.Client(base_url=f"{stack.url}/api/2.0/mlflow", timeout=60)
        platform = Platform(stack, client, files)
        run_ids = []
        for folder in (root, other):
            experiment_id = platform.new_experiment(artifact_location=f"file://{folder}/far")
            run_ids.append(platform.post("/runs/create", experiment_id=experiment_id)["run"]["info"]["run_id"])
            folder.rename(folder.with_suffix(".away"))
        for run_id in run_ids:
            platform.delete_run(run_id)

        done = gc(stack, "--abandon", f"file://{root}")
        refused = gc(stack, "--abandon", "mlflow-artifacts:/")
        are_there = [platform.has_run(run_id) for run_id in run_ids]
        client.close()

    assert done.returncode == 1
    assert "Left where they are, the artifacts of: 1 in file://.\nPurged 1 run," in done.stdout
    assert f"Run {run_ids[1]} stays" in done.stdout
    assert not are_there[0]
    assert refused.returncode == 2


def test_a_platform_that_is_down_is_named(own_stack: Stack) -> None:
    own_stack.kill("artifacts")

    done, checked = gc(own_stack), fsck(own_stack)

    assert (done.returncode, checked.returncode) == (1, 1)
    sentence = f"The artifact service does not answer at {own_stack.artifacts_address}: is the platform up?\n"
    assert done.stderr == checked.stderr == sentence


def _purgeable(stack: Stack) -> list[Purgeable]:
    """Return the runs that can be purged; none that are while tracking is away."""
    try:
        with peers.tracking(Address.parse(stack.grpc_address), token_file=None) as tracking:
            return list(tracking.purgeable(Purgeable.Kind.RUN, _now_ms()))
    except peers.LocalError:
        return []


def _now_ms() -> int:
    return time.time_ns() // 1_000_000 + 1000
