"""MLflow's search language: comparisons joined by AND, and orders. One pass, no backtracking, stated bounds.

What may be compared with what is data: a `Grammar` that each resource declares (services/*/search_grammar.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.common import filter_values
from services.common.errors import InvalidArgument
from services.common.filter_clauses import NOTHING, Clause, group
from services.common.filter_grammar import (
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
    set_text,
)
from services.common.filter_tokens import NAME, OPERATION, Token, is_quoted, shown, tokenize
from services.common.filter_values import LIST_ITEMS_MAX, Value

__all__ = [
    "ATTRIBUTE",
    "EQUALITY",
    "FILTER_LENGTH_MAX",
    "LISTS",
    "LIST_ITEMS_MAX",
    "NULLS",
    "NUMERIC",
    "ORDER_TERMS_MAX",
    "TERMS_MAX",
    "TEXT",
    "Comparison",
    "Field",
    "Grammar",
    "Kind",
    "OrderBy",
    "Value",
    "default_operator_error",
    "parse_filter",
    "parse_order_by",
]

# A list of LIST_ITEMS_MAX ids of runs takes 90,000.
FILTER_LENGTH_MAX = 100_000
TERMS_MAX = 100
ORDER_TERMS_MAX = 100
_ORDER_TERM_LENGTH_MAX = 20_000
# No filter of TERMS_MAX terms needs more: a term takes four at most, and an AND.
_TOKENS_MAX = 10 * TERMS_MAX
_STRAYS_SHOWN_MAX = 20

_QUOTES = frozenset("'\"`")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One term: `entity` and `key` as the grammar names them, `op` in upper case, `value` of the field's kind.

    The value of IN and NOT IN is a tuple, that of IS NULL and IS NOT NULL is None.
    """

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


def parse_filter(text: str | None, grammar: Grammar) -> tuple[Comparison, ...]:
    """Return the terms of a filter; none for an empty one. Raises InvalidArgument.

    As lenient as MLflow 3.18 (search_utils.py): an AND may be missing, doubled, or stand first or last.
    """
    if not text:
        return ()
    if len(text) > FILTER_LENGTH_MAX:
        raise InvalidArgument(f"The filter exceeds the maximum length of {FILTER_LENGTH_MAX} characters")
    tokens = tokenize(text, count_max=_TOKENS_MAX)
    if not tokens:
        raise InvalidArgument(grammar.blank_error.format(text=shown(text)))
    clauses, strays = group(tokens)
    if strays:
        raise InvalidArgument(_stray_error(text, tokens, strays, grammar))
    if len(clauses) > TERMS_MAX or len(tokens) > _TOKENS_MAX:
        raise InvalidArgument(f"The filter has more than {TERMS_MAX} terms")
    terms = [_term(clause, grammar) for clause in clauses]
    return tuple(_comparison(term, grammar) for term in terms)


def parse_order_by(clauses: Sequence[str], grammar: Grammar, *, unique: bool = True) -> tuple[OrderBy, ...]:
    """Return the keys of an order. Raises InvalidArgument, with `unique` also for a key named twice."""
    if len(clauses) > ORDER_TERMS_MAX:
        raise InvalidArgument(f"The order has more than {ORDER_TERMS_MAX} terms")
    order = tuple(_order_term(clause, grammar) for clause in clauses)
    if unique and len({(term.entity, term.key) for term in order}) < len(order):
        raise InvalidArgument(f"`order_by` contains duplicate fields: {list(clauses)}")
    return order


class _Term(NamedTuple):
    entity: str
    key: str
    op: str
    value: Value
    field: Field


def _term(clause: Clause, grammar: Grammar) -> _Term:
    left, op, right = clause
    if left.kind is not NAME and not (grammar.bare and left.kind is OPERATION):
        raise InvalidArgument(f"Invalid comparison clause. Expected 'Identifier' found '{shown(left.text)}'")
    entity, key = _identifier(left.text, grammar)
    field = _field(entity, key, grammar)
    if right is NOTHING:
        if op not in field.operators:
            raise InvalidArgument(grammar.null_error.format(entity=entity, key=shown(key)))
        return _Term(entity, key, op, None, field)
    if grammar.operator_first:
        _check_operator(entity, key, op, field, grammar)
    value = filter_values.read(right, entity=entity, key=key, field=field, grammar=grammar)
    if isinstance(value, tuple) and op not in LISTS and op in field.operators:
        raise InvalidArgument(f"Comparator '{op}' takes one value, not a list. Use IN or NOT IN.")
    return _Term(entity, key, op, value, field)


def _comparison(term: _Term, grammar: Grammar) -> Comparison:
    entity, key, op, value, field = term
    _check_operator(entity, key, op, field, grammar)
    converted = filter_values.convert(value, key=key, field=field)
    return Comparison(entity=entity, key=field.key or key, op=op, value=converted)


def _check_operator(entity: str, key: str, op: str, field: Field, grammar: Grammar) -> None:
    if op not in field.operators:
        raise InvalidArgument(grammar.operator_error(entity, shown(key), op, field))


def _identifier(text: str, grammar: Grammar) -> tuple[str, str]:
    """Return entity and key; the first dot parts them even if it is within quotes, as in MLflow."""
    entity, dot, key = text.partition(".")
    if not dot:
        return ATTRIBUTE, _unquoted(text)
    spelling = grammar.spellings.get(entity) or grammar.spellings.get(_stripped(entity, "`"))
    if spelling is None:
        shown_entity = shown(_stripped(entity, "`"))
        raise InvalidArgument(grammar.entity_error.format(entity=shown_entity, identifier=shown(text)))
    return spelling, _unquoted(key)


def _field(entity: str, key: str, grammar: Grammar) -> Field:
    if entity in grammar.open_fields:
        return grammar.open_fields[entity]
    known = grammar.attributes if entity == ATTRIBUTE else grammar.closed_fields[entity]
    if key not in known:
        raise InvalidArgument(f"Invalid {entity} key '{shown(key)}' specified. Valid keys are '{set_text(known)}'")
    return known[key]


def _order_term(clause: str, grammar: Grammar) -> OrderBy:
    is_bounded = len(clause) <= _ORDER_TERM_LENGTH_MAX and clause == clause.strip()
    tokens = tokenize(clause, count_max=2) if is_bounded else []
    if not 1 <= len(tokens) <= 2 or any(token.kind is not NAME for token in tokens):
        raise InvalidArgument(f"Invalid order_by clause '{shown(clause)}'. Could not be parsed.")
    direction = tokens[1].word if len(tokens) == 2 else "ASC"
    if direction not in ("ASC", "DESC"):
        raise InvalidArgument(f"Invalid ordering key in order_by clause '{shown(clause)}'.")
    entity, key = _identifier(tokens[0].text, grammar)
    if entity == ATTRIBUTE:
        if key not in grammar.order_attributes:
            raise InvalidArgument(_order_key_error(key, grammar))
        key = grammar.order_attributes[key]
    elif entity not in grammar.order_entities:
        raise InvalidArgument(grammar.order_entity_error.format(entity=entity, key=shown(key)))
    return OrderBy(entity=entity, key=key, ascending=direction == "ASC")


def _order_key_error(key: str, grammar: Grammar) -> str:
    if grammar.order_key_error is not None:
        return grammar.order_key_error.format(key=shown(key))
    return f"Invalid attribute key '{shown(key)}' specified. Valid keys are '{set_text(grammar.order_attributes)}'"


def _stray_error(text: str, tokens: Sequence[Token], strays: Sequence[Token], grammar: Grammar) -> str:
    if any(token.text == ";" for token in tokens[:-1]):
        return grammar.several_error.format(text=shown(text))
    return grammar.clauses_error(shown(text), [shown(stray.text) for stray in strays[:_STRAYS_SHOWN_MAX]])


def _unquoted(text: str) -> str:
    if text[-1:] not in _QUOTES:
        return text
    is_within = is_quoted(text, "'") or is_quoted(text, '"')
    return _stripped(text[1:-1] if is_within else text, "`")


def _stripped(text: str, quote: str) -> str:
    return text[1:-1] if is_quoted(text, quote) else text
