"""What a search of experiments may compare and order by (as MLflow 3.18, search_utils.py, SearchExperimentsUtils)."""

from collections.abc import Sequence

from services.common.filters import (
    ATTRIBUTE,
    EQUALITY,
    LISTS,
    NULLS,
    NUMERIC,
    TEXT,
    Field,
    Grammar,
    Kind,
    default_operator_error,
)

_TIME = Field(kind=Kind.WHOLE, operators=NUMERIC)


def _clauses_error(_text: str, strays: Sequence[str]) -> str:
    return f"Invalid clause(s) in filter string: {', '.join(strays)}"


def _operator_error(entity: str, key: str, op: str, field: Field) -> str:
    if entity != ATTRIBUTE:
        return f"Invalid comparator for {entity}: {op}"
    if field.kind is Kind.ID:
        return f"Invalid comparator for {key}: {op}"
    return default_operator_error(entity, key, op, field)


EXPERIMENTS = Grammar(
    spellings={"attribute": ATTRIBUTE, "attributes": ATTRIBUTE, "tag": "tag", "tags": "tag"},
    attributes={
        "name": Field(),
        "experiment_id": Field(
            kind=Kind.ID,
            operators=(*EQUALITY, *LISTS),
            value_error="Invalid experiment ID '{value}'. Experiment ID must be a valid integer.",
        ),
        "creation_time": _TIME,
        "last_update_time": _TIME,
    },
    open_fields={"tag": Field(operators=(*TEXT, *NULLS))},
    order_attributes={name: name for name in ("name", "experiment_id", "creation_time", "last_update_time")},
    list_attributes=("experiment_id",),
    text_names={ATTRIBUTE: "attributes", "tag": "tag (e.g. 'my-value')"},
    entity_error="Invalid entity type '{entity}'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')",
    null_error="IS NULL / IS NOT NULL is only supported for tags, not for {entity} '{key}'",
    clauses_error=_clauses_error,
    operator_error=_operator_error,
)
