"""The form in which a resource declares what a search may compare and order by: data, no parsing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

ATTRIBUTE = "attribute"
EQUALITY = ("=", "!=")
NUMERIC = ("<", "<=", ">", ">=", *EQUALITY)
TEXT = (*EQUALITY, "LIKE", "ILIKE")
LISTS = ("IN", "NOT IN")
NULLS = ("IS NULL", "IS NOT NULL")


class Kind(Enum):
    """What a field is compared with. A WHOLE is an integer only, an ID an integer written as text, a COUNT either."""

    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole"
    ID = "id"
    COUNT = "count"


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What may be done with a field.

    `key` is its name for the store, None for a field whose key is free. `operators` are of `Comparison.op`; with LISTS
    among them it may be compared with a list. `choices`, if any, are the only values that a text may be compared with.
    `value_error` words the refusal of others, and of what is no ID, with `{value}`.
    """

    key: str | None = None
    kind: Kind = Kind.TEXT
    operators: Sequence[str] = TEXT
    choices: frozenset[str] | None = None
    value_error: str = "Invalid value {value!r}"


def set_text(names: Sequence[str] | Mapping[str, object]) -> str:
    """Return names as Python shows a set, in alphabetical order."""
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"


def default_operator_error(_entity: str, _key: str, op: str, found: Field) -> str:
    """Return the refusal of an operator that names the others, as a search of runs words it."""
    return f"Invalid comparator '{op}' not one of '{set_text(found.operators)}'"


def _clauses_error(_text: str, strays: Sequence[str]) -> str:
    return "Invalid clause(s) in filter string: " + ", ".join(f"'{stray}'" for stray in strays)


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """The fields of a resource, by what clients write, and the wording of refusals where resources differ.

    `spellings` maps what stands before the dot to an entity; a key without a dot is one of `attributes`. The keys of
    the entities in `open_fields` are free, those in `closed_fields` are listed. With `bare`, text needs no quotes and a
    key may have signs in it. With `operator_first`, an operator is refused before the value is looked at.
    `text_names` are what a refusal calls the entities that are compared with text. In the other wordings, `{entity}`,
    `{key}`, `{value}`, `{identifier}`, which is entity and key as written, and `{text}`, which is the whole filter, are
    filled in. `attribute_error` refuses what is no text where an attribute is compared with one.
    """

    spellings: Mapping[str, str]
    attributes: Mapping[str, Field]
    open_fields: Mapping[str, Field]
    closed_fields: Mapping[str, Mapping[str, Field]] = field(default_factory=dict)
    order_attributes: Mapping[str, str] = field(default_factory=dict)
    order_entities: frozenset[str] = frozenset()
    list_attributes: Sequence[str] = ()
    bare: bool = False
    operator_first: bool = False

    text_names: Mapping[str, str]
    entity_error: str
    attribute_error: str | None = None
    order_entity_error: str = "Invalid order_by entity: {entity}"
    order_key_error: str | None = None
    null_error: str = "IS NULL / IS NOT NULL is not supported for '{entity}' '{key}'"
    several_error: str = "Search filter contained multiple expression {text!r}. Provide AND-ed expression list."
    blank_error: str = "Invalid filter '{text}'. Could not be parsed."
    clauses_error: Callable[[str, Sequence[str]], str] = _clauses_error
    operator_error: Callable[[str, str, str, Field], str] = default_operator_error
