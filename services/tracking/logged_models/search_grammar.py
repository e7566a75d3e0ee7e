"""What a search of logged models may compare (as MLflow 3.18, search_logged_model_utils.py)."""

from collections.abc import Sequence

from services.common.filters import ATTRIBUTE, EQUALITY, LISTS, NUMERIC, TEXT, Field, Grammar, Kind
from services.tracking.logged_models.model import ALIASES, ATTRIBUTES, STATUSES

_STRING = (*TEXT, *LISTS)
_NOMINAL = (*EQUALITY, *LISTS)
_TIMES = ("creation_timestamp_ms", "last_updated_timestamp_ms")


def _attribute(name: str) -> Field:
    if name in _TIMES:
        return Field(key=name, kind=Kind.NUMBER, operators=NUMERIC)
    if name == "experiment_id":
        error = "Invalid experiment ID '{value}'. Experiment ID must be a valid integer."
        return Field(key=name, kind=Kind.ID, operators=_NOMINAL, value_error=error)
    if name == "status":
        error = "Unknown model status in filter: {value!r}"
        return Field(key=name, operators=_NOMINAL, choices=frozenset(STATUSES), value_error=error)
    return Field(key=name, operators=_STRING)


def _operator_error(entity: str, key: str, op: str, field: Field) -> str:
    if field.operators == _NOMINAL and op in _STRING:
        return f"Invalid comparison operator for {key}: {op}"
    shown = NUMERIC if field.kind is Kind.NUMBER else _STRING
    return f"Invalid comparison operator for {entity}s.{field.key or key}: {op!r}. Expected one of {shown}."


def _clauses_error(text: str, _strays: Sequence[str]) -> str:
    return (
        f"Invalid filter string: {text!r}. Expected a list of comparisons separated by 'AND' "
        "(e.g. 'metrics.loss > 0.1 AND params.lr = 0.01')."
    )


_NOT_ONE = "Invalid filter string: {text!r}. Expected a single SQL expression."

LOGGED_MODELS = Grammar(
    spellings={"attributes": ATTRIBUTE, "metrics": "metric", "params": "param", "tags": "tag"},
    attributes={
        **{name: _attribute(name) for name in ATTRIBUTES},
        **{alias: _attribute(name) for alias, name in ALIASES.items()},
    },
    open_fields={
        "metric": Field(kind=Kind.NUMBER, operators=NUMERIC),
        "param": Field(operators=_STRING),
        "tag": Field(operators=_STRING),
    },
    bare=True,
    operator_first=True,
    text_names={ATTRIBUTE: "attributes", "param": "params", "tag": "tags"},
    entity_error="Invalid entity type: '{entity}'. Expected one of ['attributes', 'metrics', 'params', 'tags'].",
    blank_error=_NOT_ONE,
    several_error=_NOT_ONE,
    clauses_error=_clauses_error,
    operator_error=_operator_error,
)
