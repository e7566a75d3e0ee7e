"""Cuts a filter or an order into tokens, in one pass over the text."""

from dataclasses import dataclass
from enum import Enum

from services.common.errors import InvalidArgument


class TokenKind(Enum):
    """What a token is. A NAME is a word or a dotted name, any part of which may be quoted."""

    NAME = "name"
    STRING = "string"
    NUMBER = "number"
    OPERATOR = "operator"
    LIST = "list"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is as written; `items` are the members of a LIST as tokens."""

    kind: TokenKind
    text: str
    items: tuple["Token", ...] = ()

    @property
    def word(self) -> str:
        """The token in upper case if it may be a keyword, else empty."""
        return self.text.upper() if self.kind is TokenKind.NAME else ""


_OPERATORS = ("==", "<=", ">=", "!=", "<>", "=", "<", ">")
_DIGITS = frozenset("0123456789")
_END_OF_WORD = frozenset(" \t\r\n,()=<>!'\"`;")


def tokenize(text: str) -> list[Token]:
    """Return the tokens of `text`. Raises InvalidArgument for an open or nested list."""
    tokens: list[Token] = []
    place = 0
    while True:
        while place < len(text) and text[place].isspace():
            place += 1
        if place == len(text):
            return tokens
        token, place = _next(text, place)
        tokens.append(token)


def _next(text: str, start: int) -> tuple[Token, int]:
    character = text[start]
    if character == "'":
        end = _quote_end(text, start)
        return Token(TokenKind.STRING if end - start > 1 else TokenKind.OTHER, text[start:end]), end
    if character == "(":
        return _list(text, start)
    for operator in _OPERATORS:
        if text.startswith(operator, start):
            return Token(TokenKind.OPERATOR, operator), start + len(operator)
    if character in _DIGITS or (character in "+-." and text[start + 1 : start + 2].strip(".") in _DIGITS):
        end = _word_end(text, start)
        kind = TokenKind.NUMBER if _is_number(text[start:end]) else TokenKind.OTHER
        return Token(kind, text[start:end]), end
    if character in ",);":
        return Token(TokenKind.OTHER, character), start + 1
    end = _name_end(text, start)
    return Token(TokenKind.NAME, text[start:end]), end


def _list(text: str, start: int) -> tuple[Token, int]:
    items: list[Token] = []
    place = start + 1
    while True:
        while place < len(text) and (text[place].isspace() or text[place] == ","):
            place += 1
        if place == len(text) or text[place] == "(":
            raise InvalidArgument(
                "While parsing a list in the query, expected a non-empty list of string values, "
                "but got ill-formed list."
            )
        if text[place] == ")":
            return Token(TokenKind.LIST, text[start : place + 1], tuple(items)), place + 1
        item, place = _next(text, place)
        items.append(item)


def _name_end(text: str, start: int) -> int:
    """Return where a name ends: bare words and quoted parts that follow each other without space."""
    place = start
    while place < len(text):
        if text[place] in '`"':
            place = _quote_end(text, place)
        elif text[place] in _END_OF_WORD:
            break
        else:
            place += 1
    return max(place, start + 1)


def _word_end(text: str, start: int) -> int:
    place = start
    while place < len(text) and text[place] not in _END_OF_WORD:
        place += 1
    return place


def _quote_end(text: str, start: int) -> int:
    """Return the place after the closing quote, or after the opening one where none closes it.

    A doubled quote does not close.
    """
    quote, place = text[start], start + 1
    while True:
        place = text.find(quote, place)
        if place < 0:
            return start + 1
        if text[place + 1 : place + 2] != quote:
            return place + 1
        place += 2


def _is_number(text: str) -> bool:
    # float() takes more than SQL does: words, and underscores between digits.
    if not set(text) <= _DIGITS | set("+-.eE"):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True
