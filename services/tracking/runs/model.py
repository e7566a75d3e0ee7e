"""A run, and the rules on it that need no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.common.errors import InvalidArgument
from services.common.pages import text_bytes
from services.common.rpc.checks import SEE_DOCS
from services.tracking import rules
from services.tracking.datasets.model import RunInputs, RunOutputs
from services.tracking.names import random_name
from services.tracking.rules import ACTIVE, PAGE_SIZE_MAX, join_uri
from services.tracking.run_logs.model import RUN_NAME_TAG

CREATE_TAGS_MAX = 1000
MOVED_RUNS_MAX = 10_000
# About what is told of a run, of each of its metrics, and of each pair, besides texts.
_RUN_BYTES, _METRIC_BYTES, _PAIR_BYTES = 256, 32, 16


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInfo:
    """Times are milliseconds since the Unix epoch; `status` is a name of RunInfo.Status."""

    run_id: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None
    artifact_uri: str
    lifecycle_stage: str

    @property
    def run_uuid(self) -> str:
        """The id under the name that old clients know."""
        return self.run_id

    def check_active(self) -> None:
        """Raises InvalidArgument if the run is deleted."""
        if self.lifecycle_stage != ACTIVE:
            raise InvalidArgument(
                f"The run {self.run_id} must be in the 'active' state. Current state is {self.lifecycle_stage}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestMetrics:
    """The latest point of each metric, as columns of one length."""

    key: Sequence[str] = ()
    value: Sequence[float] = ()
    timestamp: Sequence[int] = ()
    step: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class RunData:
    """What a run logged; None where it logged nothing of the kind."""

    metrics: LatestMetrics | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run with all that belongs to it; `outputs` is None right after its creation, as in MLflow."""

    info: RunInfo
    data: RunData
    inputs: RunInputs
    outputs: RunOutputs | None


def size(run: Run) -> int:
    """Return about how many bytes an answer takes that tells of a run."""
    metrics = run.data.metrics or LatestMetrics()
    pairs = [run.data.params, run.data.tags]
    texts = [run.info.run_name, run.info.artifact_uri, *metrics.key]
    for used in run.inputs.dataset_inputs:
        pairs.append(used.tags)
        dataset = used.dataset
        texts += (dataset.name, dataset.digest, dataset.source, dataset.schema or "", dataset.profile or "")
    for each in pairs:
        texts += (*each, *each.values())
    counted = _METRIC_BYTES * len(metrics.key) + _PAIR_BYTES * sum(map(len, pairs))
    return _RUN_BYTES + counted + text_bytes(texts)


def check_page_size(max_results: int) -> None:
    """Raises InvalidArgument unless 1 <= max_results <= 50,000; too many is worded as MLflow 3.18 does for runs."""
    if max_results > PAGE_SIZE_MAX:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied:  "
            f"Hint: Value was of type 'int'. {SEE_DOCS}"
        )
    rules.check_page_size(max_results)


def check_max_runs(max_runs: int) -> None:
    """Raises InvalidArgument unless 1 <= max_runs <= 10,000."""
    if not 1 <= max_runs <= MOVED_RUNS_MAX:
        raise InvalidArgument(
            f"Invalid value {max_runs} for parameter 'max_runs' supplied. It must be 1 to {MOVED_RUNS_MAX}"
        )


def new_run(
    *, run_id: str, experiment_id: str, artifact_location: str, user_id: str, run_name: str, start_time: int,
    tags: Mapping[str, str],
) -> Run:  # fmt: skip
    """Return a running run; a name that is missing is taken from the tag `mlflow.runName` or made up.

    Raises InvalidArgument if name and tag differ, or for too many tags.
    """
    tag = tags.get(RUN_NAME_TAG, "")
    if run_name and tag and run_name != tag:
        raise InvalidArgument(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{run_name}', mlflow.runName='{tag}')."
        )
    if len(tags) > CREATE_TAGS_MAX:
        raise InvalidArgument(f"A run can be created with at most {CREATE_TAGS_MAX} tags. Got {len(tags)} tags.")
    name = run_name or tag or random_name()
    info = RunInfo(
        run_id=run_id,
        experiment_id=experiment_id,
        run_name=name,
        user_id=user_id,
        status="RUNNING",
        start_time=start_time,
        end_time=None,
        artifact_uri=join_uri(artifact_location, run_id, "artifacts"),
        lifecycle_stage=ACTIVE,
    )
    data = RunData(tags={**tags, RUN_NAME_TAG: name})
    return Run(info=info, data=data, inputs=RunInputs(), outputs=None)
