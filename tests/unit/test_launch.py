"""Which process of a job this is, and which run it begins, as variables of launchers tell it."""

import uuid

import pytest

from modelstead.runs import launch, settings, system_metrics
from modelstead.runs.settings import Settings, SettingsError

_UUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
_TORCH = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
_SLURM = {"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "6", "SLURM_LOCALID": "2"}
_MPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}


def _settings(environ: dict[str, str], **arguments: object) -> Settings:
    return settings.load(environ, address="a:1", **arguments)


@pytest.mark.parametrize(
    ("environ", "rank", "world_size", "local_rank"),
    [
        (_TORCH, 3, 8, 1),
        (_SLURM, 5, 6, 2),
        (_MPI, 1, 2, 0),
        # torchrun, started by Slurm on each node.
        (_TORCH | _SLURM, 3, 8, 1),
        ({"RANK": "0", "WORLD_SIZE": "1"}, 0, 1, None),
        ({"MODELSTEAD_RANK": "2", "MODELSTEAD_WORLD_SIZE": "4", **_TORCH}, 2, 4, None),
        ({}, None, 1, None),
        ({"RANK": "3"}, None, 1, None),
        ({"RANK": "8", "WORLD_SIZE": "8"}, None, 1, None),
        ({"RANK": "-1", "WORLD_SIZE": "8"}, None, 1, None),
        ({"RANK": "a", "WORLD_SIZE": "8"}, None, 1, None),
        ({"RANK": "9" * 5000, "WORLD_SIZE": "8"}, None, 1, None),
        # It says that this is no part of a job.
        ({"MODELSTEAD_RANK": "", **_TORCH}, None, 1, None),
    ],
)
def test_rank_is_what_the_launcher_says(
    environ: dict[str, str], rank: int | None, world_size: int, local_rank: int | None
) -> None:
    found = _settings(environ)

    assert (found.rank, found.world_size, found.local_rank) == (rank, world_size, local_rank)
    assert (found.node == launch.this_node()) == (rank is not None)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"rank": 4, "world_size": 4}, "rank=4"),
        ({"rank": -1, "world_size": 4}, "rank=-1"),
        ({"rank": 1}, "world_size=1"),
        ({"rank": 0, "world_size": 1_000_001}, "world_size=1000001"),
        ({"rank": 0, "local_rank": -1}, "local_rank=-1"),
        ({"rank": "x"}, "rank='x'"),
        ({"node": "n" * 257}, "node='nnn"),
        ({"system_metrics": "maybe"}, "system_metrics='maybe'"),
    ],
)
def test_impossible_place_is_refused_by_name(given: dict[str, object], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        _settings({}, **given)


@pytest.mark.parametrize(
    ("environ", "launch_id"),
    [
        ({**_TORCH, "TORCHELASTIC_RUN_ID": _UUID}, f"torchrun {_UUID}"),
        # What torchrun says if nobody tells it, and what its own examples tell it.
        ({**_TORCH, "TORCHELASTIC_RUN_ID": "none"}, ""),
        ({**_TORCH, "TORCHELASTIC_RUN_ID": "100"}, ""),
        (_TORCH, ""),
        ({**_SLURM, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}, "slurm  7.0"),
        ({**_SLURM, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_CLUSTER_NAME": "c"}, "slurm c 7.0"),
        # A shell in an allocation, from which one job after the other is started.
        ({**_SLURM, "SLURM_JOB_ID": "7"}, ""),
        # A notebook.
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}, ""),
        # Several torchruns in a step of one task; the nodes of one torchrun in a step of six.
        ({**_TORCH, "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}, ""),
        ({**_TORCH, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}, ""),
        ({**_TORCH, **_SLURM, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}, "slurm  7.0"),
        ({"MODELSTEAD_LAUNCH_ID": "mine", **_TORCH, "TORCHELASTIC_RUN_ID": _UUID}, "mine"),
        ({}, ""),
    ],
)
def test_launch_is_one_only_where_it_is_sure_to_be(environ: dict[str, str], launch_id: str) -> None:
    assert _settings(environ).launch_id == launch_id


def test_run_of_a_launch_is_found_by_launch_experiment_and_number() -> None:
    found = {
        launch.run_id(name, experiment=experiment, number=number)
        for name in ("a", "b")
        for experiment in ("", "e")
        for number in (0, 1)
    }

    assert len(found) == 8
    assert all(uuid.UUID(run_id).hex == run_id for run_id in found)
    # Processes of two releases are to find the same one.
    assert launch.run_id("a", experiment="e", number=0) == "991ebc0aae057924339c261e9d1589a3"


@pytest.mark.parametrize(
    ("given", "prefix"),
    [
        ({}, "system/"),
        ({"rank": 0, "world_size": 2, "node": "n 1/x"}, "system/n_1_x/"),
        ({"rank": 0, "world_size": 2, "node": "..", "local_rank": 0}, "system/"),
        ({"rank": 1, "world_size": 2, "node": "n", "local_rank": 0}, "system/n/"),
        ({"rank": 1, "world_size": 2, "node": "n", "local_rank": 1}, None),
        ({"rank": 1, "world_size": 2, "node": "n"}, None),
        ({"rank": 0, "world_size": 1, "node": "n"}, "system/"),
    ],
)
def test_one_process_of_each_node_measures_it(given: dict[str, object], prefix: str | None) -> None:
    assert system_metrics.prefix(_settings({}, **given)) == prefix


@pytest.mark.parametrize(
    ("environ", "arguments", "is_on"),
    [
        ({}, {}, False),
        ({"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true"}, {}, True),
        ({"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true"}, {"system_metrics": False}, False),
        ({"MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "true", "MODELSTEAD_SYSTEM_METRICS": "0"}, {}, False),
        ({"MODELSTEAD_SYSTEM_METRICS": "1"}, {}, True),
        ({}, {"system_metrics": True}, True),
    ],
)
def test_system_metrics_are_off_unless_they_are_wanted(
    environ: dict[str, str], arguments: dict[str, bool], is_on: bool
) -> None:
    assert _settings(environ, **arguments).system_metrics is is_on
