"""The sentences MLflow's handlers refuse with, which clients and their tests match on."""

import json
from typing import Any

SEE_DOCS = " See the API docs for more information about request parameters."
RUN_ENTITIES = "['metric', 'parameter', 'tag', 'attribute', 'dataset']"
BAD_CHARACTERS = (
    "Names may only contain alphanumerics, underscores (_), dashes (-), periods (.), spaces ( ), colon(:)"
    " and slashes (/)."
)


def missing(field: str) -> str:
    return f"Missing value for required parameter '{field}'.{SEE_DOCS}"


def wrong_type(field: str, value: Any) -> str:
    """As the handlers say it, Python's type name and two blanks included."""
    return f"{_invalid_value(field, value)}  Hint: Value was of type '{type(value).__name__}'.{SEE_DOCS}"


def bad_characters(field: str, name: str) -> str:
    return f"{_invalid_value(field, name)} {BAD_CHARACTERS}"


def bad_path(field: str, name: str, resolved: str) -> str:
    return (
        f"{_invalid_value(field, name)} Names may be treated as files in certain cases, and must not resolve to"
        f" other names when treated as such. This name would resolve to {resolved!r}"
    )


def too_long(what: str, limit: int) -> str:
    return f"'{what}' exceeds the maximum length of {limit} characters"


def negative_timestamp(path: str, *, key: str, value: float, timestamp: int) -> str:
    """The blank at the end is MLflow's."""
    return (
        f"{_invalid_value(path, timestamp)} metric '{key}' (value={value})."
        " Timestamp must be a nonnegative long (64-bit integer) "
    )


def run_not_active(run_id: str) -> str:
    return f"The run {run_id} must be in the 'active' state. Current state is deleted."


def experiment_not_active(experiment_id: str) -> str:
    return f"The experiment {experiment_id} must be in the 'active' state. Current state is deleted."


def no_experiment(experiment_id: str) -> str:
    return f"No Experiment with id={experiment_id} exists"


def no_run(run_id: str) -> str:
    return f"Run with id={run_id} not found"


def no_model(model_id: str) -> str:
    return f"Logged model with ID '{model_id}' not found."


def bad_experiment_id(experiment_id: str) -> str:
    return f"Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer."


def not_positive(max_results: int) -> str:
    return f"Invalid value {max_results} for parameter 'max_results' supplied. It must be a positive integer"


def missing_plainly(field: str) -> str:
    """As the registry says it where the handlers did not look."""
    return f"Missing value for required parameter '{field}'."


def bad_model_name(name: str) -> str:
    return f"Invalid model name '{name}'. Names cannot contain '/' or ':'."


def no_registered_model(name: str) -> str:
    return f"Registered Model with name={name} not found"


def no_version(name: str, version: int | str) -> str:
    return f"Model Version (name={name}, version={version}) not found"


def bad_version(version: str) -> str:
    return f"Parameter 'version' must be an integer, got '{version}'."


def bad_alias(alias: str) -> str:
    return f"Invalid alias name: '{alias}'. Names may only contain alphanumerics, underscores (_), and dashes (-)."


def bad_stage(stage: str) -> str:
    return f"Invalid Model Version stage: {stage}. Value must be one of None, Staging, Production, Archived."


def bad_source(source: str, reason: str) -> str:
    return f"Invalid model version source: '{source}'. {reason}"


def _invalid_value(field: str, value: Any) -> str:
    return f"Invalid value {json.dumps(value, sort_keys=True, separators=(',', ':'))} for parameter '{field}' supplied:"
