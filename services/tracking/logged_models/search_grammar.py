"""What a search of logged models may compare (as MLflow 3.18, search_logged_model_utils.py)."""

from services.common.filters import ATTRIBUTE, EQUALITY, LISTS, NUMERIC, TEXT, Field, Grammar, Kind
from services.tracking.logged_models.model import ALIASES, ATTRIBUTES

_STRING_OPERATORS = (*TEXT, *LISTS)
_TIMES = ("creation_timestamp_ms", "last_updated_timestamp_ms")
_SHOWN_STRING_OPERATORS = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
_SHOWN_NUMERIC_OPERATORS = ("<", "<=", ">", ">=", "=", "!=")


def _refuse_operator(entity: str, key: str, op: str, field: Field) -> str:
    if field.operators == (*EQUALITY, *LISTS):
        return f"Invalid comparison operator for {key}: {op}"
    shown = _SHOWN_NUMERIC_OPERATORS if field.kind is Kind.NUMBER else _SHOWN_STRING_OPERATORS
    return f"Invalid comparison operator for {entity}s.{field.key or key}: {op!r}. Expected one of {shown}."


def _attribute(name: str) -> Field:
    if name in _TIMES:
        return Field(key=name, kind=Kind.NUMBER, operators=NUMERIC)
    if name == "experiment_id":
        return Field(key=name, kind=Kind.ID, operators=(*EQUALITY, *LISTS))
    return Field(key=name, operators=(*EQUALITY, *LISTS) if name == "status" else _STRING_OPERATORS)


LOGGED_MODELS = Grammar(
    spellings={"attributes": ATTRIBUTE, "metrics": "metric", "params": "param", "tags": "tag"},
    entity_error="Invalid entity type: '{entity}'. Expected one of ['attributes', 'metrics', 'params', 'tags'].",
    attributes={
        **{name: _attribute(name) for name in ATTRIBUTES},
        **{alias: _attribute(name) for alias, name in ALIASES.items()},
    },
    open_fields={
        "metric": Field(kind=Kind.NUMBER, operators=NUMERIC),
        "param": Field(operators=_STRING_OPERATORS),
        "tag": Field(operators=_STRING_OPERATORS),
    },
    refuse_operator=_refuse_operator,
    operator_first=True,
    clause_error=(
        "Invalid filter string: {text!r}. Expected a list of comparisons separated by 'AND' "
        "(e.g. 'metrics.loss > 0.1 AND params.lr = 0.01')."
    ),
    blank_error="Invalid filter string: {text!r}. Expected a single SQL expression.",
    many_error="Invalid filter string: {text!r}. Expected a single SQL expression.",
)
