"""Groups the tokens of a filter into clauses, whatever they mean."""

from collections.abc import Sequence
from typing import NamedTuple

from services.common.filter_tokens import LIST, NAME, OPERANDS, OPERATOR, OTHER, Token

_LIKES = ("LIKE", "ILIKE", "RLIKE")
# NULL is not one of them: it may stand where a value does.
_KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "IS", "BETWEEN", *_LIKES})

# What is on the right of IS NULL.
NOTHING = Token(OTHER, "")


class Clause(NamedTuple):
    """`left` `op` `right`; what stands there may be no key, no operator of it, or no value."""

    left: Token
    op: str
    right: Token


def group(tokens: Sequence[Token]) -> tuple[list[Clause], list[Token]]:
    """Return the clauses, and the tokens that belong to none."""
    clauses: list[Clause] = []
    strays: list[Token] = []
    padded = (*tokens, NOTHING, NOTHING, NOTHING)
    place = 0
    while place < len(tokens):
        clause, length = _clause(*padded[place : place + 4])
        if clause:
            clauses.append(clause)
        elif tokens[place].word != "AND":
            strays.append(tokens[place])
        place += length
    return clauses, strays


def _clause(left: Token, second: Token, third: Token, fourth: Token) -> tuple[Clause | None, int]:
    """Return the clause that these tokens begin with and how many it takes: (None, 1) if there is none."""
    if not _is_operand(left):
        return None, 1
    word = second.word
    if second.kind is OPERATOR or word in _LIKES:
        return (Clause(left, word or second.text, third), 3) if _is_operand(third) else (None, 1)
    if word == "NOT" and third.word in _LIKES and _is_operand(fourth):
        return Clause(left, f"NOT {third.word}", fourth), 4
    if left.kind is not NAME:
        return None, 1
    if word == "IN" and third.kind is LIST:
        return Clause(left, "IN", third), 3
    if word == "NOT" and third.word == "IN" and fourth.kind is LIST:
        return Clause(left, "NOT IN", fourth), 4
    if word == "IS" and third.word == "NULL":
        return Clause(left, "IS NULL", NOTHING), 3
    if word == "IS" and third.word == "NOT" and fourth.word == "NULL":
        return Clause(left, "IS NOT NULL", NOTHING), 4
    return None, 1


def _is_operand(token: Token) -> bool:
    return token.kind in OPERANDS and token.word not in _KEYWORDS
