"""Reads GraphQL documents: queries of fields with arguments, within bounds; fragments are not among them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.gateway import limits

_TOKEN = re.compile(
    r"""[\s,\ufeff]+|\#[^\n\r]*
    |(?P<name>[_A-Za-z][_0-9A-Za-z]*)
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<text>"(?!"")(?:[^"\\\n\r]|\\.)*")
    |(?P<mark>\.\.\.|[!$():=@\[\]{}])""",
    re.VERBOSE,
)
_END = ("mark", "")
_CONSTANTS: Mapping[str, Any] = {"true": True, "false": False, "null": None}

Token = tuple[str, str]


class QueryError(Exception):
    """A query cannot be answered. The text is for who sent it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """A field that is asked for, under the name that it has in the answer. Arguments have their values."""

    name: str
    key: str
    arguments: Mapping[str, Any]
    selections: tuple["Field", ...]


def parse(text: str, variables: Mapping[str, Any], operation_name: str | None = None) -> tuple[Field, ...]:
    """Return what a document asks for, at most so deep, so much and under so many other names as `limits` says.

    Raises QueryError.
    """
    if len(text) > limits.GRAPHQL_LENGTH_MAX:
        raise QueryError(f"Query exceeds {limits.GRAPHQL_LENGTH_MAX} characters")
    return _Parser(_tokens(text), variables).document(operation_name)


def _tokens(text: str) -> list[Token]:
    tokens, place = [], 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise QueryError(f"Syntax Error: Unexpected character: {text[place]!r}.")
        if found.lastgroup is not None:
            tokens.append((found.lastgroup, found[0]))
        place = found.end()
    return tokens


class _Parser:
    def __init__(self, tokens: list[Token], variables: Mapping[str, Any]) -> None:
        self._tokens = tokens
        self._place = 0
        self._variables = variables
        self._known: dict[str, Any] = {}
        self._field_count = self._alias_count = 0

    def document(self, operation_name: str | None) -> tuple[Field, ...]:
        operations = []
        while self._next != _END:
            name, fields = self._operation()
            if operation_name is None or name == operation_name:
                operations.append(fields)
        if len(operations) != 1:
            raise QueryError("Must provide operation name if query contains multiple operations, and no unknown one")
        return operations[0]

    def _operation(self) -> tuple[str | None, tuple[Field, ...]]:
        self._known, name = {}, None
        if self._next[0] == "name":
            if (kind := self._take()[1]) != "query":
                raise QueryError(f"Only queries are served here, not {kind}")
            name = self._take()[1] if self._next[0] == "name" else None
            if self._skip("("):
                while not self._skip(")"):
                    self._declare_variable()
            self._skip_directives()
        fields = self._selections(depth=1)
        if len(fields) > limits.GRAPHQL_ROOT_FIELDS_MAX:
            raise QueryError(f"GraphQL queries should have at most {limits.GRAPHQL_ROOT_FIELDS_MAX} root fields")
        return name, fields

    def _declare_variable(self) -> None:
        self._expect("$")
        name = self._name()
        self._expect(":")
        while self._next[0] == "name" or self._next[1] in ("[", "]", "!"):
            self._take()
        default = self._value(depth=1) if self._skip("=") else None
        self._known[name] = self._variables.get(name, default)

    def _selections(self, *, depth: int) -> tuple[Field, ...]:
        if depth > limits.GRAPHQL_DEPTH_MAX:
            raise QueryError(f"Query exceeds maximum depth of {limits.GRAPHQL_DEPTH_MAX}")
        self._expect("{")
        fields = []
        while not self._skip("}"):
            fields.append(self._field(depth))
        return tuple(fields)

    def _field(self, depth: int) -> Field:
        if self._next[1] == "...":
            raise QueryError("Fragments are not served here")
        key = name = self._name()
        if self._skip(":"):
            name = self._name()
            self._alias_count += 1
        self._field_count += 1
        self._check_counts()
        arguments = self._arguments(depth)
        self._skip_directives()
        selections = self._selections(depth=depth + 1) if self._next[1] == "{" else ()
        return Field(name=name, key=key, arguments=arguments, selections=selections)

    def _check_counts(self) -> None:
        if self._field_count > limits.GRAPHQL_FIELDS_MAX:
            raise QueryError(f"Query exceeds maximum total selections of {limits.GRAPHQL_FIELDS_MAX}")
        if self._alias_count > limits.GRAPHQL_ALIASES_MAX:
            raise QueryError(f"GraphQL queries should have at most {limits.GRAPHQL_ALIASES_MAX} aliases")

    def _arguments(self, depth: int) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if self._skip("("):
            while not self._skip(")"):
                name = self._name()
                self._expect(":")
                arguments[name] = self._value(depth)
        return arguments

    def _value(self, depth: int) -> Any:
        if depth > limits.GRAPHQL_DEPTH_MAX:
            raise QueryError(f"Query exceeds maximum depth of {limits.GRAPHQL_DEPTH_MAX}")
        kind, text = self._take()
        if text == "$":
            if (name := self._name()) not in self._known:
                raise QueryError(f"Variable '${name}' is not defined.")
            return self._known[name]
        if text == "[":
            values = []
            while not self._skip("]"):
                values.append(self._value(depth + 1))
            return values
        if text == "{":
            return self._object(depth)
        if kind in ("number", "text"):
            return _literal(text)
        if kind == "name":
            # What is no constant is the name of an enum's value.
            return _CONSTANTS.get(text, text)
        raise _unexpected(text)

    def _object(self, depth: int) -> dict[str, Any]:
        values = {}
        while not self._skip("}"):
            name = self._name()
            self._expect(":")
            values[name] = self._value(depth + 1)
        return values

    def _skip_directives(self) -> None:
        """Go by what says who asks, as `@component(name: "…")`; nothing here depends on it."""
        while self._skip("@"):
            if (name := self._name()) != "component":
                raise QueryError(f"Unknown directive '@{name}'.")
            self._arguments(depth=1)

    @property
    def _next(self) -> Token:
        return self._tokens[self._place] if self._place < len(self._tokens) else _END

    def _take(self) -> Token:
        token = self._next
        if token == _END:
            raise _unexpected("")
        self._place += 1
        return token

    def _skip(self, mark: str) -> bool:
        if self._next != ("mark", mark):
            return False
        self._place += 1
        return True

    def _expect(self, mark: str) -> None:
        if not self._skip(mark):
            raise _unexpected(self._next[1])

    def _name(self) -> str:
        kind, text = self._take()
        if kind != "name":
            raise _unexpected(text)
        return text


def _literal(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _unexpected(text) from None


def _unexpected(text: str) -> QueryError:
    return QueryError(f"Syntax Error: Unexpected {text[: limits.QUOTED_LENGTH_MAX] or '<EOF>'}.")
