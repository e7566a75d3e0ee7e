"""The types that queries may ask for, named as in MLflow 3.18's schema, and how JSON of the REST API becomes them.

A field's JSON key is its name in snake_case. What the API leaves out is null, or an empty list.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from services.gateway.graphql.model import Field, QueryError

_CAPITAL = re.compile("([A-Z])")

# `Long` is an integer as text, as JavaScript has none of 64 bits; what stands in brackets is a list.
_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "ApiError": "code message helpUrl traceId",
        "MlflowGetExperimentResponse": "experiment:MlflowExperiment apiError:ApiError",
        "MlflowExperiment": "experimentId name artifactLocation lifecycleStage lastUpdateTime:Long creationTime:Long "
        "tags:[MlflowExperimentTag] effectiveTraceArchivalRetention workspace",
        "MlflowExperimentTag": "key value",
        "MlflowGetRunResponse": "run:MlflowRunExtension apiError:ApiError",
        "MlflowSearchRunsResponse": "runs:[MlflowRunExtension] nextPageToken apiError:ApiError",
        "MlflowRunExtension": "info:MlflowRunInfo data:MlflowRunData inputs:MlflowRunInputs outputs:MlflowRunOutputs "
        "experiment:MlflowExperiment modelVersions:[MlflowModelVersion]",
        "MlflowRunInfo": "runId runUuid runName experimentId userId status startTime:Long endTime:Long artifactUri "
        "lifecycleStage",
        "MlflowRunData": "metrics:[MlflowMetricExtension] params:[MlflowParam] tags:[MlflowRunTag]",
        "MlflowMetricExtension": "key value:Float timestamp:Long step:Long datasetName datasetDigest modelId runId",
        "MlflowParam": "key value",
        "MlflowRunTag": "key value",
        "MlflowRunInputs": "datasetInputs:[MlflowDatasetInput] modelInputs:[MlflowModelInput]",
        "MlflowDatasetInput": "tags:[MlflowInputTag] dataset:MlflowDataset",
        "MlflowInputTag": "key value",
        "MlflowDataset": "name digest sourceType source schema profile",
        "MlflowModelInput": "modelId",
        "MlflowRunOutputs": "modelOutputs:[MlflowModelOutput]",
        "MlflowModelOutput": "modelId step:Long",
        "MlflowModelVersion": "name version creationTimestamp:Long lastUpdatedTimestamp:Long userId currentStage "
        "description source runId status statusMessage tags:[MlflowModelVersionTag] runLink modelId",
        "MlflowModelVersionTag": "key value",
        "MlflowGetMetricHistoryBulkIntervalResponse": "metrics:[MlflowMetricWithRunId] apiError:ApiError",
        "MlflowMetricWithRunId": "key value:Float timestamp:Long step:Long runId",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """What a field holds: a scalar of this name or an object of this type, or a list of them."""

    name: str
    is_list: bool

    @property
    def is_object(self) -> bool:
        return self.name in _TYPES

    @classmethod
    def parse(cls, text: str) -> "_Kind":
        return cls(name=text.strip("[]") or "String", is_list=text.startswith("["))


def _fields(declared: str) -> dict[str, _Kind]:
    pairs = (text.partition(":") for text in declared.split())
    return {name: _Kind.parse(kind) for name, _, kind in pairs}


_FIELDS: Mapping[str, Mapping[str, _Kind]] = {name: _fields(declared) for name, declared in _TYPES.items()}


def snake_case(name: str) -> str:
    """Return the JSON key of a field."""
    return _CAPITAL.sub(r"_\1", name).lower()


def check(type_name: str, selections: Sequence[Field]) -> None:
    """Raise QueryError unless these can be asked of a type."""
    for field in selections:
        if field.name == "__typename":
            continue
        kind = _FIELDS[type_name].get(field.name)
        if kind is None:
            raise QueryError(f"Cannot query field '{field.name}' on type '{type_name}'.")
        if field.arguments:
            raise QueryError(f"Unknown argument '{next(iter(field.arguments))}' on field '{type_name}.{field.name}'.")
        if kind.is_object != bool(field.selections):
            needed = "must have a selection of" if kind.is_object else "must not have a selection since it has no"
            raise QueryError(f"Field '{field.name}' {needed} subfields.")
        if kind.is_object:
            check(kind.name, field.selections)


def shape(type_name: str, selections: Sequence[Field], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a JSON object what is asked for, which `check` has allowed."""
    return {field.key: _shape_field(type_name, field, value) for field in selections}


def _shape_field(type_name: str, field: Field, value: Mapping[str, Any]) -> Any:
    if field.name == "__typename":
        return type_name
    kind = _FIELDS[type_name][field.name]
    given = value.get(snake_case(field.name))
    if kind.is_list:
        return [_shape_one(kind, field, each) for each in given or ()]
    return None if given is None else _shape_one(kind, field, given)


def _shape_one(kind: _Kind, field: Field, given: Any) -> Any:
    if kind.is_object:
        return shape(kind.name, field.selections, given)
    if kind.name == "Long":
        return str(given)
    # A number that JSON has none for comes as text.
    return None if kind.name == "Float" and isinstance(given, str) else given
