"""What runs use and make, and the rules on it that need no I/O. Limits as MLflow 3.18 (utils/validation.py)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.common.errors import InvalidArgument
from services.common.keys import check_length

CONTEXT_TAG = "mlflow.data.context"
LINKS_MAX = 1000
SEARCH_EXPERIMENTS_MAX = 20
SUMMARIES_MAX = 1000

_LENGTHS = {"name": 500, "digest": 36, "source": 65_535, "schema": 1_048_575, "profile": 16_777_215}
_SOURCE_TYPE_LENGTH_MAX = 36
_TAG_KEY_LENGTH_MAX = 255
_TAG_VALUE_LENGTH_MAX = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A data set as a run saw it; `schema` and `profile` are usually JSON."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None
    profile: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInput:
    """A data set used by a run, with tags about this use."""

    tags: Mapping[str, str]
    dataset: Dataset


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInput:
    """A logged model used by a run."""

    model_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOutput:
    """A logged model made by a run at a step."""

    model_id: str
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RunInputs:
    """What a run used."""

    dataset_inputs: Sequence[DatasetInput] = field(default_factory=list)
    model_inputs: Sequence[ModelInput] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOutputs:
    """What a run made."""

    model_outputs: Sequence[ModelOutput] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSummary:
    """One data set in one context; `context` is None where the tag is not set."""

    experiment_id: str
    name: str
    digest: str
    context: str | None


def dataset_input(message: Any) -> DatasetInput:
    """Return the input that a message of that name describes. Raises InvalidArgument past a length."""
    dataset = message.dataset
    for name, length_max in _LENGTHS.items():
        check_length(name, length_max, getattr(dataset, name))
    check_length("source_type", _SOURCE_TYPE_LENGTH_MAX, dataset.source_type)
    for key, value in message.tags.items():
        check_length("key", _TAG_KEY_LENGTH_MAX, key)
        check_length("value", _TAG_VALUE_LENGTH_MAX, value)
    return DatasetInput(
        tags=dict(message.tags),
        dataset=Dataset(
            name=dataset.name,
            digest=dataset.digest,
            source_type=dataset.source_type,
            source=dataset.source,
            schema=dataset.schema or None,
            profile=dataset.profile or None,
        ),
    )


def check_links(what: str, count: int) -> None:
    """Raises InvalidArgument if a call links a run with more than 1,000 data sets or models."""
    if count > LINKS_MAX:
        raise InvalidArgument(f"A request can contain at most {LINKS_MAX} {what}. Got {count} {what}.")
