"""What searches of registered models and of versions may compare and order by (as MLflow 3.18, search_utils.py)."""

from collections.abc import Sequence

from services.common.filters import ATTRIBUTE, LISTS, NUMERIC, TEXT, Field, Grammar, Kind

_TEXT_OR_LIST = (*TEXT, *LISTS)
_SPELLINGS = {"attribute": ATTRIBUTE, "tag": "tag", "tags": "tag"}
_ENTITY_ERROR = "Invalid entity type '{entity}'. Valid entity types are ('attribute', 'tag', 'tags')"
_TEXT_NAMES = {ATTRIBUTE: "attributes", "tag": "tag (e.g. 'my-value')"}
_VERSION_ORDER = ("creation_timestamp", "last_updated_timestamp", "name", "version_number")


def _clauses_error(_text: str, strays: Sequence[str]) -> str:
    return f"Invalid clause(s) in filter string: {', '.join(strays)}"


def _operator_error(entity: str, key: str, op: str, field: Field) -> str:
    what = f"{entity} {key}" if field.kind is Kind.COUNT else entity
    return f"Invalid comparator for {what}: {op}"


REGISTERED_MODELS = Grammar(
    spellings=_SPELLINGS,
    attributes={"name": Field(operators=_TEXT_OR_LIST)},
    open_fields={"tag": Field()},
    list_attributes=("name",),
    text_names=_TEXT_NAMES,
    attribute_error=(
        "Expected a quoted string value or a list of quoted string values for attributes. Got value {value}"
    ),
    entity_error=_ENTITY_ERROR,
    null_error="IS NULL / IS NOT NULL is not supported for registered model search.",
    clauses_error=_clauses_error,
    operator_error=_operator_error,
)

_NO_ORDER_KEY = "' specified. Valid keys are '{{'name', 'timestamp'}}'"

# Keys of an order stand alone: with an entity before it, none is known.
REGISTERED_MODEL_ORDER = Grammar(
    spellings={},
    attributes={},
    open_fields={},
    order_attributes={
        "name": "name",
        "timestamp": "last_updated_timestamp",
        "last_updated_timestamp": "last_updated_timestamp",
    },
    text_names={},
    entity_error="Invalid order by key '{identifier}" + _NO_ORDER_KEY,
    order_key_error="Invalid order by key '{key}" + _NO_ORDER_KEY,
)

MODEL_VERSIONS = Grammar(
    spellings=_SPELLINGS,
    attributes={
        "name": Field(operators=_TEXT_OR_LIST),
        "run_id": Field(operators=_TEXT_OR_LIST),
        "source_path": Field(key="source"),
        "version_number": Field(key="version", kind=Kind.COUNT, operators=NUMERIC),
    },
    open_fields={"tag": Field()},
    list_attributes=("name", "run_id"),
    text_names=_TEXT_NAMES,
    attribute_error=(
        "Only the '{{'creation_timestamp', 'last_updated_timestamp', 'version_number'}}' attributes support comparison "
        "with numeric values."
    ),
    entity_error=_ENTITY_ERROR,
    null_error="IS NULL / IS NOT NULL is not supported for model version search.",
    clauses_error=_clauses_error,
    operator_error=_operator_error,
)

MODEL_VERSION_ORDER = Grammar(
    spellings={"attribute": ATTRIBUTE, "attributes": ATTRIBUTE, "tag": "tag", "tags": "tag"},
    attributes={},
    open_fields={},
    order_attributes={name: "version" if name == "version_number" else name for name in _VERSION_ORDER},
    text_names={},
    entity_error="Invalid entity type '{entity}'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')",
    order_entity_error=(
        f"Invalid order by key '{{key}}' specified. Valid keys are {{{{{', '.join(map(repr, _VERSION_ORDER))}}}}}"
    ),
)
