"""MLflow's search grammar: comparisons joined by AND, and orders. One pass, no backtracking, stated bounds.

What may be compared with what is data: a `Grammar` that each resource declares (services/*/search_grammar.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from services.common.errors import InvalidArgument
from services.common.filter_tokens import Token, TokenKind, tokenize

FILTER_LENGTH_MAX = 20_000
TERMS_MAX = 100
LIST_ITEMS_MAX = 1_000
ORDER_TERMS_MAX = 100

ATTRIBUTE = "attribute"
EQUALITY = ("!=", "=")
NUMERIC = ("!=", "<", "<=", "=", ">", ">=")
TEXT = ("!=", "=", "ILIKE", "LIKE")
LISTS = ("IN", "NOT IN")
NULLS = ("IS NOT NULL", "IS NULL")

_INT64 = range(-(2**63), 2**63)
_INT64_DIGITS_MAX = 20

Value = str | int | float | tuple[str, ...] | tuple[int, ...] | None


class Kind(Enum):
    """What a field is compared with. A WHOLE is an integer only, an ID an integer written as text."""

    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole"
    ID = "id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One term: `entity` and `key` as the grammar names them, `op` in upper case, `value` of the field's kind."""

    entity: str
    key: str
    op: str
    value: Value


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderBy:
    """One key of an order."""

    entity: str
    key: str
    ascending: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """What may be done with a field: `key` is its name for the store, None for fields with keys of any name."""

    key: str | None = None
    kind: Kind = Kind.TEXT
    operators: Sequence[str] = TEXT


def _default_refusal(entity: str, key: str, op: str, field: Field) -> str:
    return f"Invalid comparator '{op}' not one of '{set_text(field.operators)}'"


def set_text(names: Sequence[str]) -> str:
    """Return names as Python shows a set, in alphabetical order."""
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """The fields of a resource.

    `spellings` maps what clients write before the dot to an entity. `attributes` are fields by what clients write;
    `open_fields` are those of the entities whose keys are free; `closed_fields` of the others, by key.
    `refuse_operator` words the error for an operator that a field does not take, which is looked at before the value
    if `operator_first`. The other errors are templates.
    """

    spellings: Mapping[str, str]
    entity_error: str
    attributes: Mapping[str, Field]
    open_fields: Mapping[str, Field]
    closed_fields: Mapping[str, Mapping[str, Field]] = field(default_factory=dict)
    order_attributes: Mapping[str, str] = field(default_factory=dict)
    order_entities: frozenset[str] = frozenset()
    order_entity_error: str = "Invalid order_by entity: {entity}"
    refuse_operator: Callable[[str, str, str, Field], str] = _default_refusal
    operator_first: bool = False
    list_keys: Sequence[str] = ()
    null_error: str = "IS NULL / IS NOT NULL is only supported for tags and params, not for '{entity}' '{key}'"
    clause_error: str = "Invalid clause(s) in filter string: {clauses}"
    clause_quote: str = "'"
    blank_error: str = "Invalid filter {text!r}. Could not be parsed."
    many_error: str = "Search filter contained multiple expression {text!r}. Provide AND-ed expression list."


def parse_filter(text: str | None, grammar: Grammar) -> tuple[Comparison, ...]:
    """Return the terms of a filter; none for an empty one. Raises InvalidArgument."""
    if not text:
        return ()
    if len(text) > FILTER_LENGTH_MAX:
        raise InvalidArgument(f"The filter exceeds the maximum length of {FILTER_LENGTH_MAX} characters")
    tokens = tokenize(text)
    if not tokens:
        raise InvalidArgument(grammar.blank_error.format(text=text))
    clauses: list[_Clause] = []
    place = 0
    while True:
        clause, place = _clause(tokens, place, text, grammar)
        clauses.append(clause)
        if len(clauses) > TERMS_MAX:
            raise InvalidArgument(f"The filter has more than {TERMS_MAX} terms")
        if place == len(tokens):
            return tuple(_comparison(clause, grammar) for clause in clauses)
        if tokens[place].word != "AND" or place + 1 == len(tokens):
            raise _invalid_clause(tokens, place, place + 1, text, grammar)
        place += 1


def parse_order_by(clauses: Sequence[str], grammar: Grammar, *, unique: bool = True) -> tuple[OrderBy, ...]:
    """Return the keys of an order. Raises InvalidArgument, with `unique` also for a key named twice."""
    if len(clauses) > ORDER_TERMS_MAX:
        raise InvalidArgument(f"The order has more than {ORDER_TERMS_MAX} terms")
    order = tuple(_order_term(clause, grammar) for clause in clauses)
    if unique and len({(term.entity, term.key) for term in order}) < len(order):
        raise InvalidArgument(f"`order_by` contains duplicate fields: {list(clauses)}")
    return order


@dataclass(frozen=True, slots=True)
class _Clause:
    name: str
    op: str
    value: Token | None


def _clause(tokens: Sequence[Token], place: int, text: str, grammar: Grammar) -> tuple[_Clause, int]:
    """Return the clause that starts at `place`, and the place after it; what it means is not looked at."""
    name = tokens[place]
    op, end = _operator(tokens, place + 1)
    if name.kind is not TokenKind.NAME or name.word in ("AND", "OR", "NOT"):
        if op is not None and name.kind in (TokenKind.NUMBER, TokenKind.STRING):
            raise InvalidArgument(f"Invalid comparison clause. Expected 'Identifier' found '{name.text}'")
        raise _invalid_clause(tokens, place, place + 1, text, grammar)
    if op in NULLS:
        return _Clause(name.text, op, None), end
    if op is None or end == len(tokens) or tokens[end].kind in (TokenKind.OTHER, TokenKind.OPERATOR):
        stop = next((later for later in range(place, len(tokens)) if tokens[later].word in ("AND", "OR")), len(tokens))
        raise _invalid_clause(tokens, place, stop, text, grammar)
    return _Clause(name.text, op, tokens[end]), end + 1


def _comparison(clause: _Clause, grammar: Grammar) -> Comparison:
    entity, key = _identifier(clause.name, grammar)
    found, op = _field(entity, key, grammar), clause.op
    column = found.key or key
    if clause.value is None:
        if not set(NULLS) <= set(found.operators):
            raise InvalidArgument(grammar.null_error.format(entity=entity, key=key))
        return Comparison(entity=entity, key=column, op=op, value=None)
    if grammar.operator_first and op not in found.operators:
        raise InvalidArgument(grammar.refuse_operator(entity, key, op, found))
    value = _value(clause.value, entity, key, found, grammar)
    if op not in found.operators or isinstance(value, tuple) != (op in LISTS):
        raise InvalidArgument(grammar.refuse_operator(entity, key, op, found))
    return Comparison(entity=entity, key=column, op=op, value=_typed(value, key, found))


def _operator(tokens: Sequence[Token], place: int) -> tuple[str | None, int]:
    """Return the operator that stands at `place`, and the place after it."""
    if place < len(tokens) and tokens[place].kind is TokenKind.OPERATOR:
        return tokens[place].text, place + 1
    words = tuple(token.word for token in tokens[place : place + 3])
    for op in ("IS NOT NULL", "IS NULL", "NOT IN", "IN", "LIKE", "ILIKE", "RLIKE"):
        parts = tuple(op.split())
        if words[: len(parts)] == parts:
            return op, place + len(parts)
    return None, place


def _identifier(text: str, grammar: Grammar) -> tuple[str, str]:
    entity, dot, key = text.partition(".")
    if not dot or text[0] in '`"':
        return ATTRIBUTE, _unquoted(text)
    spelling = grammar.spellings.get(_stripped(entity, "`"))
    if spelling is None:
        raise InvalidArgument(grammar.entity_error.format(entity=_stripped(entity, "`")))
    return spelling, _unquoted(key)


def _field(entity: str, key: str, grammar: Grammar) -> Field:
    if entity in grammar.open_fields:
        return grammar.open_fields[entity]
    known = grammar.attributes if entity == ATTRIBUTE else grammar.closed_fields[entity]
    if key not in known:
        raise InvalidArgument(f"Invalid {entity} key '{key}' specified. Valid keys are '{set_text(list(known))}'")
    return known[key]


def _value(token: Token, entity: str, key: str, found: Field, grammar: Grammar) -> Value:
    if found.kind in (Kind.NUMBER, Kind.WHOLE):
        if token.kind is not TokenKind.NUMBER or token.text[0] == "+":
            what = f"numeric attribute: {key}" if entity == ATTRIBUTE else entity
            raise InvalidArgument(f"Expected numeric value type for {what}. Found {token.text}")
        return _number(token.text, is_attribute=entity == ATTRIBUTE)
    if token.kind is TokenKind.LIST:
        return _list(token, entity, key, found, grammar)
    if token.kind is TokenKind.STRING or (token.kind is TokenKind.NAME and token.text[0] == '"' == token.text[-1]):
        return token.text[1:-1]
    if token.kind is TokenKind.NAME and token.word not in ("AND", "OR"):
        raise InvalidArgument(
            "Parameter value is either not quoted or unidentified quote types used for string value "
            f"{token.text}. Use either single or double quotes."
        )
    raise InvalidArgument(_expected_text(entity, token.text))


def _expected_text(entity: str, text: str) -> str:
    if entity == ATTRIBUTE:
        return f"Expected a quoted string value for attributes. Got value {text}"
    if entity == "dataset":
        return f"Expected a quoted string value for dataset attributes. Got value {text}"
    name = "parameter" if entity == "param" else entity
    return f"Expected a quoted string value for {name} (e.g. 'my-value'). Got value {text}"


def _list(token: Token, entity: str, key: str, found: Field, grammar: Grammar) -> tuple[str, ...]:
    if not set(LISTS) & set(found.operators):
        if entity != ATTRIBUTE:
            raise InvalidArgument(_expected_text(entity, token.text))
        raise InvalidArgument(
            f"Only {sorted(grammar.list_keys)} attributes support comparison with a list of quoted string values."
        )
    if not token.items:
        raise InvalidArgument(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list"
        )
    if len(token.items) > LIST_ITEMS_MAX:
        raise InvalidArgument(f"A list in the filter has more than {LIST_ITEMS_MAX} items")
    if any(item.kind is not TokenKind.STRING and item.text[0] != '"' for item in token.items):
        raise InvalidArgument(
            "While parsing a list in the query, expected string value, punctuation, or whitespace, but got different "
            f"type in list: {tuple(map(_literal, token.items[:20]))}"
        )
    return tuple(item.text[1:-1] for item in token.items)


def _literal(item: Token) -> str | float:
    if item.kind is TokenKind.NUMBER:
        return int(item.text) if item.text.isdecimal() else float(item.text)
    return item.text[1:-1] if item.text[0] in "'\"" else item.text


def _number(text: str, *, is_attribute: bool) -> int | float:
    if not is_attribute or not text.lstrip("-").isdecimal():
        return float(text)
    if len(text) > _INT64_DIGITS_MAX or int(text) not in _INT64:
        raise InvalidArgument(f"Invalid number in filter string: {text[:100]} does not fit 64 bits")
    return int(text)


def _typed(value: Value, key: str, found: Field) -> Value:
    if found.kind is Kind.WHOLE and isinstance(value, float):
        raise InvalidArgument(f"Invalid value for numeric attribute '{key}': {str(value)!r}")
    if found.kind is not Kind.ID:
        return value
    return tuple(_id(item) for item in value) if isinstance(value, tuple) else _id(value)


def _id(value: object) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = _INT64.stop
    if number not in _INT64:
        raise InvalidArgument(f"Invalid experiment ID '{value}'. Experiment ID must be a valid integer.")
    return number


def _order_term(clause: str, grammar: Grammar) -> OrderBy:
    tokens = tokenize(clause) if len(clause) <= FILTER_LENGTH_MAX and clause == clause.strip() else []
    if not 1 <= len(tokens) <= 2 or any(token.kind is not TokenKind.NAME for token in tokens):
        raise InvalidArgument(f"Invalid order_by clause '{clause[:500]}'. Could not be parsed.")
    direction = tokens[1].word if len(tokens) == 2 else "ASC"
    if direction not in ("ASC", "DESC"):
        raise InvalidArgument(f"Invalid ordering key in order_by clause '{clause}'.")
    entity, key = _identifier(tokens[0].text, grammar)
    if entity == ATTRIBUTE:
        if key not in grammar.order_attributes:
            names = set_text(list(grammar.order_attributes))
            raise InvalidArgument(f"Invalid attribute key '{key}' specified. Valid keys are '{names}'")
        key = grammar.order_attributes[key]
    elif entity not in grammar.order_entities:
        raise InvalidArgument(grammar.order_entity_error.format(entity=entity))
    return OrderBy(entity=entity, key=key, ascending=direction == "ASC")


def _invalid_clause(tokens: Sequence[Token], start: int, stop: int, text: str, grammar: Grammar) -> InvalidArgument:
    if tokens[start].text == ";" and start + 1 < len(tokens):
        return InvalidArgument(grammar.many_error.format(text=text))
    quote = grammar.clause_quote
    clauses = ", ".join(f"{quote}{token.text}{quote}" for token in tokens[start:stop])
    return InvalidArgument(grammar.clause_error.format(clauses=clauses, text=text))


def _unquoted(text: str) -> str:
    return _stripped(_stripped(text, '"'), "`")


def _stripped(text: str, quote: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == quote == text[-1] else text
