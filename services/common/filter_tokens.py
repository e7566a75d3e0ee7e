"""Cuts a filter or an order into tokens, in one pass over the text.

Tokens begin and end where MLflow 3.18 sees them through sqlparse, as far as its search grammars can tell. What belongs
to no token, such as a quote that is never closed, becomes an OTHER, so that the caller can say what it did not expect.
"""

import re
from enum import Enum
from typing import NamedTuple


class TokenKind(Enum):
    """What a token is.

    A NAME is a word, or words joined by dots, each of which may be quoted. An OPERATION is a name with a sign in it,
    such as `val/loss`, which SQL takes for arithmetic. A LIST is anything in parentheses.
    """

    NAME = "name"
    OPERATION = "operation"
    STRING = "string"
    NUMBER = "number"
    LIST = "list"
    OPERATOR = "operator"
    OTHER = "other"


# Looking up a member of an enum costs more than all else here, so it is done once.
NAME, OPERATION, STRING, NUMBER = TokenKind.NAME, TokenKind.OPERATION, TokenKind.STRING, TokenKind.NUMBER
LIST, OPERATOR, OTHER = TokenKind.LIST, TokenKind.OPERATOR, TokenKind.OTHER
OPERANDS = (NAME, STRING, NUMBER, LIST, OPERATION)


class Token(NamedTuple):
    """`text` is as written; `word` is the text in upper case if it may be a keyword, else empty."""

    kind: TokenKind
    text: str
    word: str = ""


_SHOWN_LENGTH_MAX = 500

# None of these can match in two ways, so none backtracks.
_WORD = re.compile(r"[^\W\d][\w.]*")
_DOTTED = re.compile(r"[\w.]+")
_OPERATION_REST = re.compile(r"[-+/*%@#^&|][^\s'\"`()<>=~!,;]*")
_OPERATOR = re.compile(r"[<>=~!]+")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_COMMENT = re.compile(r"(?:--|# )[^\r\n]*")
_QUOTE_OR_PARENTHESIS = re.compile(r"['\"`()]")
_GOES_ON_AFTER_WORD = frozenset("`\"'-+/*%@#^&|")


def tokenize(text: str, *, count_max: int) -> list[Token]:
    """Return the first `count_max` + 1 tokens of `text`, spaces left out."""
    tokens: list[Token] = []
    place, end = 0, len(text)
    while len(tokens) <= count_max:
        while place < end and text[place].isspace():
            place += 1
        if place == end:
            break
        token = _next(text, place)
        tokens.append(token)
        place += len(token.text)
    return tokens


def is_quoted(text: str, quote: str) -> bool:
    """Whether `text` begins and ends with `quote`."""
    return len(text) >= 2 and text[0] == quote == text[-1]


def shown(text: str) -> str:
    """Return as much of `text` as an error may repeat."""
    return text[:_SHOWN_LENGTH_MAX]


def _next(text: str, start: int) -> Token:
    if (word := _WORD.match(text, start)) and text[word.end() : word.end() + 1] not in _GOES_ON_AFTER_WORD:
        return Token(NAME, word[0], word[0].upper())
    character = text[start]
    if word or character in '`"':
        return _name(text, start)
    if character == "'":
        end = _quote_end(text, start)
        return Token(STRING, text[start:end]) if end > start else Token(OTHER, character)
    if character in "<>=~!":
        return Token(OPERATOR, text[start : _end(_OPERATOR, text, start)])
    if character == "(":
        end = _list_end(text, start)
        # An open list is one token to the end of the text, so that it is looked through once.
        return Token(LIST, text[start:end]) if end > start else Token(OTHER, text[start:])
    end = _end(_NUMBER, text, start)
    if end > start and not _end(_DOTTED, text, end) > end:
        return Token(NUMBER, text[start:end])
    if character.isalnum():
        return _name(text, start)
    return Token(OTHER, text[start : _end(_COMMENT, text, start)] or character)


def _name(text: str, start: int) -> Token:
    end = _name_end(text, start)
    if end == start:
        return Token(OTHER, text[start])
    rest = _end(_OPERATION_REST, text, end)
    if rest > end:
        return Token(OPERATION, text[start:rest])
    return Token(NAME, text[start:end], text[start:end].upper())


def _name_end(text: str, start: int) -> int:
    """Return where the name ends that begins at `start`: there, if it is a quote that is never closed."""
    place, quotes = start, '`"'
    while place < len(text):
        if text[place] in quotes:
            end = _quote_end(text, place)
            if end < 0 or text[end : end + 1] != ".":
                return max(end, place)
            place = end
        place = _end(_DOTTED, text, place)
        if text[place - 1] != ".":
            return place
        # Behind a dot, all three quotes hold a key.
        quotes = "`\"'"
        if text[place : place + 1] not in ("`", '"', "'"):
            return place
    return place


def _quote_end(text: str, start: int) -> int:
    """Return the place after the closing quote, -1 if there is none.

    A doubled quote does not close, nor does one after a backslash, unless no other follows, as in 'C:\\'.
    """
    quote, place, last_resort = text[start], start + 1, -1
    while (place := text.find(quote, place) + 1) > 0:
        if quote != "`" and text[place - 2] == "\\":
            last_resort = place
        elif text.startswith(quote, place):
            last_resort = place
            place += 1
        else:
            return place
    return last_resort


def _list_end(text: str, start: int) -> int:
    """Return the place after the closing parenthesis, -1 if there is none."""
    place, depth = start, 0
    while found := _QUOTE_OR_PARENTHESIS.search(text, place):
        place = found.end()
        if found[0] in "()":
            depth += 1 if found[0] == "(" else -1
            if depth == 0:
                return place
        elif (place := _quote_end(text, place - 1)) < 0:
            return -1
    return -1


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return where what matches at `start` ends: there, if nothing does."""
    match = pattern.match(text, start)
    return match.end() if match else start
