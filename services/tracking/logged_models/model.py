"""A logged model, and the rules on it that need no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.common.errors import InvalidArgument
from services.common.filters import ATTRIBUTE, Comparison
from services.common.keys import check_length
from services.common.pages import text_bytes

PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 1000
STATUSES = {
    "PENDING": "LOGGED_MODEL_PENDING",
    "READY": "LOGGED_MODEL_READY",
    "FAILED": "LOGGED_MODEL_UPLOAD_FAILED",
    "UNSPECIFIED": "LOGGED_MODEL_STATUS_UNSPECIFIED",
}

_LENGTH_MAX = {"name": 500, "model_type": 500, "source_run_id": 256}
# A page of 50 of them fits into one answer; `mlflow.git.diff` is as long as what has changed.
_VALUE_LENGTH_MAX = 1_000_000
# About what is told of a model, of each of its points, and of each pair, besides texts.
_MODEL_BYTES, _POINT_BYTES, _PAIR_BYTES = 512, 48, 16
_KEY_LENGTH_MAX = 255
_NAME_FORBIDDEN = ("/", ":", ".", "%", '"', "'")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModelInfo:
    """Times are milliseconds since the Unix epoch; `status` is a name of LoggedModelInfo.Status."""

    model_id: str
    experiment_id: str
    name: str
    artifact_uri: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    status: str
    status_message: str | None
    model_type: str | None
    source_run_id: str | None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelMetrics:
    """Points of a model as columns of one length; an empty text means that a point has no such value."""

    key: Sequence[str]
    value: Sequence[float]
    timestamp: Sequence[int]
    step: Sequence[int]
    dataset_name: Sequence[str]
    dataset_digest: Sequence[str]
    model_id: Sequence[str]
    run_id: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModelData:
    """What was logged for a model; `metrics` is None where there is none."""

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: ModelMetrics | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LoggedModel:
    """A logged model with all that belongs to it."""

    info: LoggedModelInfo
    data: LoggedModelData


@dataclass(frozen=True, kw_only=True, slots=True)
class OnDataset:
    """Restricts points to a data set; an empty name or digest means any."""

    name: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOrder:
    """One key of the order: an attribute's column, or a metric restricted to a data set."""

    key: str
    is_metric: bool
    ascending: bool
    on: OnDataset


ATTRIBUTES = frozenset(
    {
        "model_id", "experiment_id", "name", "artifact_uri", "creation_timestamp_ms", "last_updated_timestamp_ms",
        "status", "status_message", "model_type", "source_run_id", "lifecycle_stage",
    }
)  # fmt: skip
ALIASES = {
    "creation_time": "creation_timestamp_ms",
    "creation_timestamp": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
    "artifact_location": "artifact_uri",
}


def model_order(field_name: str, *, ascending: bool, on: OnDataset) -> ModelOrder:
    """Return the key of the order that a client names. Raises InvalidArgument."""
    entity, dot, key = field_name.partition(".")
    if not dot:
        column = ALIASES.get(field_name, field_name)
        if column not in ATTRIBUTES:
            raise InvalidArgument(f"Invalid order by field name: {field_name}")
        return ModelOrder(key=column, is_metric=False, ascending=ascending, on=on)
    if entity != "metrics":
        raise InvalidArgument(f"Invalid order by field name: {field_name}. Only metrics are supported.")
    return ModelOrder(key=key, is_metric=True, ascending=ascending, on=on)


def page_size(max_results: int) -> int:
    """Return how many models a page has: 50 where 0 is asked for, at most 1,000. Raises InvalidArgument if negative."""
    if max_results < 0:
        raise InvalidArgument(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer"
        )
    return min(max_results or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def check_new(*, name: str, model_type: str, source_run_id: str) -> None:
    """Raises InvalidArgument for what cannot describe a model (as MLflow 3.18, _validate_logged_model_name)."""
    if any(character in name for character in _NAME_FORBIDDEN):
        raise InvalidArgument(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the "
            f"following characters: {_NAME_FORBIDDEN}"
        )
    for what, text in (("name", name), ("model_type", model_type), ("source_run_id", source_run_id)):
        check_length(what, _LENGTH_MAX[what], text)


def check_statuses(terms: Iterable[Comparison]) -> None:
    """Raises InvalidArgument for a filter with a status that there is not."""
    for term in terms:
        if term.entity == ATTRIBUTE and term.key == "status":
            values = term.value if isinstance(term.value, tuple) else (term.value,)
            if not set(values) <= STATUSES.keys():
                raise InvalidArgument(f"Unknown model status in filter: {term.value!r}")


def check_params(params: Mapping[str, str]) -> None:
    """Raises InvalidArgument for a long key or value."""
    _check_pairs(params, "param")


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises InvalidArgument for a long key or value."""
    _check_pairs(tags, "tag")


def size(logged: LoggedModel) -> int:
    """Return about how many bytes an answer takes that tells of a model."""
    metrics, pairs = logged.data.metrics, (logged.data.params, logged.info.tags)
    texts = [text for each in pairs for text in (*each, *each.values())]
    points = 0
    if metrics is not None:
        points = len(metrics.key)
        texts += (*metrics.key, *metrics.dataset_name, *metrics.dataset_digest, *metrics.model_id, *metrics.run_id)
    return _MODEL_BYTES + _POINT_BYTES * points + _PAIR_BYTES * sum(map(len, pairs)) + text_bytes(texts)


def conflict(model_id: str, changed: Mapping[str, tuple[str, str]]) -> InvalidArgument:
    """Return the error for parameters, with old and new values, that have another value already."""
    key, (old, new) = next(iter(changed.items()))
    return InvalidArgument(
        f"Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for "
        f"logged model ID='{model_id}'. Attempted logging new value '{new}'."
    )


def _check_pairs(pairs: Mapping[str, str], what: str) -> None:
    for key, value in pairs.items():
        check_length(f"{what} key", _KEY_LENGTH_MAX, key)
        check_length(f"{what} value", _VALUE_LENGTH_MAX, value)
