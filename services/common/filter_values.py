"""What stands on the right of an operator in a filter: from a token to a value of the field's kind."""

from collections.abc import Sequence

from services.common.errors import InvalidArgument
from services.common.filter_grammar import ATTRIBUTE, LISTS, Field, Grammar, Kind
from services.common.filter_tokens import LIST, NAME, NUMBER, OPERANDS, STRING, Token, is_quoted, shown, tokenize

LIST_ITEMS_MAX = 2_500

Value = str | int | float | tuple[str, ...] | tuple[int, ...] | None

_WHOLE, _ID, _COUNT = Kind.WHOLE, Kind.ID, Kind.COUNT
_NUMERIC = (Kind.NUMBER, Kind.WHOLE)
_INT64 = range(-(2**63), 2**63)
_DIGITS_MAX = 20
_LIST_ITEMS_SHOWN_MAX = 20
_IN_LIST = "While parsing a list in the query, expected "


def read(token: Token, *, entity: str, key: str, field: Field, grammar: Grammar) -> Value:
    """Return the value that a token stands for. Raises InvalidArgument (as MLflow 3.18, SearchUtils._get_value)."""
    if field.kind in _NUMERIC or (field.kind is _COUNT and token.kind is NUMBER):
        return _number(token, entity, key)
    if token.kind is STRING or (token.kind is NAME and is_quoted(token.text, '"')):
        return token.text[1:-1]
    if token.kind is LIST:
        if set(LISTS) <= set(field.operators):
            return _items(tokenize(token.text[1:-1], count_max=2 * LIST_ITEMS_MAX))
        if entity == ATTRIBUTE:
            names = sorted(grammar.list_attributes)
            raise InvalidArgument(f"Only {names} attributes support comparison with a list of quoted string values.")
    elif grammar.bare:
        return token.text
    elif token.kind is NAME and token.word != "NULL":
        raise InvalidArgument(
            "Parameter value is either not quoted or unidentified quote types used for string value "
            f"{shown(token.text)}. Use either single or double quotes."
        )
    if entity == ATTRIBUTE and grammar.attribute_error is not None:
        raise InvalidArgument(grammar.attribute_error.format(value=shown(token.text)))
    raise InvalidArgument(
        f"Expected a quoted string value for {grammar.text_names[entity]}. Got value {shown(token.text)}"
    )


def convert(value: Value, *, key: str, field: Field) -> Value:
    """Return what the store compares a field with. Raises InvalidArgument for a value that the field never has."""
    if field.kind is _ID:
        return tuple(_id(item, field) for item in value) if isinstance(value, tuple) else _id(value, field)
    if field.kind is _COUNT:
        return _count(value, key)
    if field.kind is _WHOLE and isinstance(value, float):
        raise InvalidArgument(f"Invalid value for numeric attribute '{key}': {str(value)!r}")
    if field.choices is not None and not field.choices.issuperset(value if isinstance(value, tuple) else (value,)):
        raise InvalidArgument(field.value_error.format(value=value))
    return value


def _number(token: Token, entity: str, key: str) -> int | float:
    text = token.text
    if token.kind is not NUMBER:
        what = f"numeric attribute: {key}" if entity == ATTRIBUTE else entity
        raise InvalidArgument(f"Expected numeric value type for {what}. Found {shown(text)}")
    if entity != ATTRIBUTE or not text.lstrip("-").isdecimal():
        return float(text)
    if len(text) > _DIGITS_MAX or int(text) not in _INT64:
        raise InvalidArgument(f"Invalid value for numeric attribute '{key}': {text[:100]} does not fit 64 bits")
    return int(text)


def _items(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Return the items of a list; they must be quoted and parted by commas, a last comma is allowed."""
    items, commas = tokens[::2], tokens[1::2]
    if len(items) > LIST_ITEMS_MAX:
        raise InvalidArgument(f"A list in the filter has more than {LIST_ITEMS_MAX} items")
    if not items:
        raise InvalidArgument(f"{_IN_LIST}a non-empty list of string values, but got empty list")
    if any(comma.text != "," for comma in commas) or any(item.kind not in OPERANDS for item in items):
        raise InvalidArgument(f"{_IN_LIST}a non-empty list of string values, but got ill-formed list.")
    if not all(item.kind is STRING or is_quoted(item.text, '"') for item in items):
        literals = tuple(_literal(item) for item in items[:_LIST_ITEMS_SHOWN_MAX])
        raise InvalidArgument(
            f"{_IN_LIST}string value, punctuation, or whitespace, but got different type in list: {literals}"
        )
    return tuple(item.text[1:-1] for item in items)


def _literal(item: Token) -> str | int | float:
    if item.kind is NUMBER:
        return int(item.text) if len(item.text) <= _DIGITS_MAX and item.text.isdecimal() else float(item.text)
    return shown(item.text).strip("'\"")


def _count(value: object, key: str) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = _INT64.stop
    if number not in _INT64:
        shown_value = shown(value) if isinstance(value, str) else value
        raise InvalidArgument(f"Invalid value for numeric attribute '{key}': {shown_value!r}")
    return number


def _id(value: object, field: Field) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = _INT64.stop
    if number not in _INT64:
        raise InvalidArgument(field.value_error.format(value=shown(str(value))))
    return number
