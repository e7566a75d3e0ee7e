"""What a search of experiments may compare and order by (as MLflow 3.18, search_utils.py, SearchExperimentsUtils)."""

from services.common.filters import ATTRIBUTE, EQUALITY, LISTS, NULLS, NUMERIC, TEXT, Field, Grammar, Kind, set_text

_TIME = Field(kind=Kind.WHOLE, operators=NUMERIC)


def _refuse_operator(entity: str, key: str, op: str, field: Field) -> str:
    if entity != ATTRIBUTE:
        return f"Invalid comparator for tag: {op}"
    if field.kind is Kind.ID:
        return f"Invalid comparator for experiment_id: {op}"
    if field.kind is Kind.TEXT:
        return f"Invalid comparator '{op}' not one of '{set_text((*TEXT, *LISTS))}'"
    return f"Invalid comparator for numeric attribute: {op}"


EXPERIMENTS = Grammar(
    spellings={"attribute": ATTRIBUTE, "attributes": ATTRIBUTE, "tag": "tag", "tags": "tag"},
    entity_error=("Invalid entity type '{entity}'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')"),
    attributes={
        "name": Field(),
        "experiment_id": Field(kind=Kind.ID, operators=(*EQUALITY, *LISTS)),
        "creation_time": _TIME,
        "last_update_time": _TIME,
    },
    open_fields={"tag": Field(operators=(*TEXT, *NULLS))},
    order_attributes={name: name for name in ("name", "experiment_id", "creation_time", "last_update_time")},
    refuse_operator=_refuse_operator,
    list_keys=("experiment_id",),
    null_error="IS NULL / IS NOT NULL is only supported for tags, not for {entity} '{key}'",
    clause_quote="",
)
