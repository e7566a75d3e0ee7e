"""What a client logs for a run in one call, and the rules on it that need no I/O.

Limits and texts are those of MLflow 3.18 (utils/validation.py); long values of parameters and tags are cut.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Protocol

from services.common.errors import InvalidArgument
from services.common.keys import check_key, check_length
from services.tracking.metrics.model import Series
from services.tracking.rules import KEY_LENGTH_MAX

METRICS_MAX = 1000
PARAMS_MAX = 100
TAGS_MAX = 100
ENTRIES_MAX = 1000
PARAM_VALUE_LENGTH_MAX = 6000
TAG_VALUE_LENGTH_MAX = 8000

RUN_NAME_TAG = "mlflow.runName"
MODEL_HISTORY_TAG = "mlflow.log-model.history"

_RUN_ID = re.compile(r"[a-zA-Z0-9][\w\-]{0,255}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricTable:
    """Points as columns; the optional columns are None or hold None where a point has no such value."""

    keys: Sequence[str] = ()
    values: Sequence[float] = ()
    timestamps: Sequence[int] = ()
    steps: Sequence[int] = ()
    model_ids: Sequence[str | None] | None = None
    dataset_names: Sequence[str | None] | None = None
    dataset_digests: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """What one call logs for one run, checked. `is_batch` decides how a conflict of parameters is worded.

    Points come in rows, each with its key, or in series.
    """

    run_id: str
    metrics: MetricTable = field(default_factory=MetricTable)
    series: Series | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    is_batch: bool = False

    @property
    def weight(self) -> int:
        """How much there is to write, in rows."""
        return 1 + self.point_count + len(self.params) + len(self.tags)

    @property
    def point_count(self) -> int:
        """How many points there are, in rows and in series."""
        return len(self.metrics) + (len(self.series.points) if self.series else 0)

    @property
    def model_ids(self) -> set[str]:
        """The logged models that points belong to."""
        return {model_id for model_id in self.metrics.model_ids or () if model_id}


class _Pair(Protocol):
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str: ...


@dataclass(frozen=True, slots=True)
class _NamedPair:
    key: str
    value: str


class _Metric(Protocol):
    key: str
    value: float
    timestamp: int
    step: int
    model_id: str
    dataset_name: str
    dataset_digest: str


def metric_entry(run_id: str, metric: _Metric) -> LogEntry:
    """Return the entry of a single point. Raises InvalidArgument."""
    table = MetricTable(
        keys=[metric.key],
        values=[metric.value],
        timestamps=[metric.timestamp],
        steps=[metric.step],
        model_ids=[metric.model_id] if metric.model_id else None,
        dataset_names=[metric.dataset_name or None],
        dataset_digests=[metric.dataset_digest or None],
    )
    _check_metrics(table, lambda index, name: name)
    return LogEntry(run_id=run_id, metrics=table)


def param_entry(run_id: str, param: _Pair) -> LogEntry:
    """Return the entry of a single parameter. Raises InvalidArgument."""
    return LogEntry(run_id=run_id, params=dict([_param(param, "key")]))


def tag_entry(run_id: str, tag: _Pair) -> LogEntry:
    """Return the entry of a single tag. Raises InvalidArgument."""
    return LogEntry(run_id=run_id, tags=_tags([_tag(tag, "")]))


def batch_entry(run_id: str, metrics: Any, params: Sequence[_Pair], tags: Sequence[_Pair]) -> LogEntry:
    """Return the entry of a batch; `metrics` has the columns of MetricColumns. Raises InvalidArgument."""
    check_run_id(run_id)
    table = metric_table(metrics)
    _check_metrics(table, lambda index, name: f"metrics[{index}].{name}")
    checked_params = [_param(param, f"params[{index}].key") for index, param in enumerate(params)]
    checked_tags = [_tag(tag, f"tags[{index}].") for index, tag in enumerate(tags)]
    _check_count("metrics", METRICS_MAX, len(table))
    _check_count("params", PARAMS_MAX, len(params))
    _check_count("tags", TAGS_MAX, len(tags))
    _check_count("metrics, params, and tags", ENTRIES_MAX, len(table) + len(params) + len(tags))
    _check_unique([key for key, _ in checked_params])
    return LogEntry(run_id=run_id, metrics=table, params=dict(checked_params), tags=_tags(checked_tags), is_batch=True)


def check_run_id(run_id: str) -> None:
    """Raises InvalidArgument for what cannot be a run's id."""
    if not _RUN_ID.fullmatch(run_id):
        raise InvalidArgument(f"Invalid value {json.dumps(run_id[:300])} for parameter 'run_id' supplied.")


def metric_table(metrics: Any) -> MetricTable:
    """Return columns of full length from a message with the columns of MetricColumns."""
    keys = list(metrics.key)
    rows = max(len(keys), len(metrics.value), len(metrics.timestamp))
    return MetricTable(
        keys=_full(keys, rows, ""),
        values=_full(list(metrics.value), rows, 0.0),
        timestamps=_full(list(metrics.timestamp), rows, 0),
        steps=_full(list(metrics.step), rows, 0),
        model_ids=_optional(metrics.model_id, rows),
        dataset_names=_optional(metrics.dataset_name, rows),
        dataset_digests=_optional(metrics.dataset_digest, rows),
    )


def model_history(previous: str | None, model_json: str) -> str:
    """Return the tag of model descriptions with one more. Raises InvalidArgument if it is not a description."""
    try:
        model = json.loads(model_json)
    except ValueError:
        raise InvalidArgument(f"Malformed model info. \n {model_json[:1000]} \n is not a valid JSON.") from None
    if not isinstance(model, dict) or not isinstance(model.get("flavors", {}), dict):
        raise InvalidArgument("Malformed model info: it or its flavors are not a JSON object.")
    if missing := {"artifact_path", "flavors", "utc_time_created", "run_id"} - model.keys():
        raise InvalidArgument(f"Model json is missing mandatory fields: {missing}")
    kept = ("run_id", "artifact_path", "utc_time_created", "model_uuid")
    flavors = {name: _without_config(flavor) for name, flavor in dict(model["flavors"]).items()}
    entry = {name: model.get(name) for name in kept} | {"flavors": flavors}
    return json.dumps([*json.loads(previous or "[]"), entry])


def _without_config(flavor: Any) -> Any:
    return {key: value for key, value in flavor.items() if key != "config"} if isinstance(flavor, dict) else flavor


def conflict(entry: LogEntry, changed: Iterable[tuple[str, str, str]]) -> InvalidArgument:
    """Return the error for parameters, as (key, old value, new value), that have another value already."""
    if entry.is_batch:
        shown = [{"key": key, "old_value": old, "new_value": new} for key, old, new in changed]
        return InvalidArgument(
            f"Changing param values is not allowed. Params were already logged='{shown}' for run ID='{entry.run_id}'."
        )
    key, old, new = next(iter(changed))
    return InvalidArgument(
        f"Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' "
        f"for run ID='{entry.run_id}'. Attempted logging new value '{new}'."
    )


def _check_metrics(table: MetricTable, path: Callable[[int, str], str]) -> None:
    for key in dict.fromkeys(table.keys):
        try:
            check_key(key, path=path(0, "name"))
            check_length("Metric name", KEY_LENGTH_MAX, key)
        except InvalidArgument:
            # The place is looked for only when it is needed.
            check_key(key, path=path(list(table.keys).index(key), "name"))
            raise
    names, digests = table.dataset_names or (), table.dataset_digests or ()
    if any((name is None) != (digest is None) for name, digest in zip_longest(names, digests)):
        raise InvalidArgument("Both dataset_name and dataset_digest must be provided if one is provided")
    if table.timestamps and min(table.timestamps) < 0:
        index = next(index for index, timestamp in enumerate(table.timestamps) if timestamp < 0)
        raise InvalidArgument(
            f"Invalid value {table.timestamps[index]} for parameter '{path(index, 'timestamp')}' supplied: metric "
            f"'{table.keys[index]}' (value={table.values[index]}). "
            "Timestamp must be a nonnegative long (64-bit integer) "
        )


def checked_pairs(params: Mapping[str, str], tags: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return parameters and tags as they are stored, from maps named `params` and `tags`. Raises InvalidArgument."""
    checked_params = [_param(_NamedPair(key, value), "params.key") for key, value in params.items()]
    checked_tags = [_tag(_NamedPair(key, value), "tags.") for key, value in tags.items()]
    return dict(checked_params), _tags(checked_tags)


def _param(param: _Pair, path: str) -> tuple[str, str]:
    check_key(param.key, path=path)
    check_length("Param key", KEY_LENGTH_MAX, param.key)
    return param.key, param.value[:PARAM_VALUE_LENGTH_MAX]


def _tag(tag: _Pair, prefix: str) -> tuple[str, str]:
    check_key(tag.key, path=f"{prefix}key")
    check_length(f"{prefix}key", KEY_LENGTH_MAX, tag.key)
    return tag.key, tag.value[:TAG_VALUE_LENGTH_MAX]


def _tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    # An empty name changes nothing, as in MLflow 3.18.
    return {key: value for key, value in pairs if value or key != RUN_NAME_TAG}


def _check_count(what: str, count_max: int, count: int) -> None:
    if count > count_max:
        raise InvalidArgument(
            f"A batch logging request can contain at most {count_max} {what}. Got {count} {what}. "
            f"Please split up {what} across multiple requests and try again."
        )


def _check_unique(keys: Sequence[str]) -> None:
    repeated = [key for index, key in enumerate(keys) if key in keys[:index]] if len(set(keys)) < len(keys) else []
    if repeated:
        raise InvalidArgument(
            f"Duplicate parameter keys have been submitted: {repeated}. Please ensure the request contains only one "
            "param value per param key."
        )


def _full(column: list[Any], rows: int, default: Any) -> list[Any]:
    if len(column) == rows:
        return column
    return column * rows if column else [default] * rows


def _optional(column: Sequence[str], rows: int) -> list[str | None] | None:
    return [text or None for text in _full(list(column), rows, "")] if column else None
