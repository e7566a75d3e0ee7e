"""How a text differs from another one, line by line, as pages show it."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

_CONTEXT = 3
# Longer texts are compared as wholes: finding what they have in common would take too long.
_LINES_MAX = 3000


@dataclass(frozen=True, slots=True)
class Line:
    """A line of both texts (` `), of the one before (`-`) or after (`+`), or a gap of lines that both have (`@`)."""

    sign: str
    text: str


def lines(before: str, after: str) -> list[Line]:
    """Return what changed, with a few lines around it; nothing if nothing did."""
    old, new = before.splitlines(), after.splitlines()
    if len(old) + len(new) > _LINES_MAX:
        return [*(Line("-", text) for text in old), *(Line("+", text) for text in new)]
    return list(_lines(old, new))


def _lines(old: list[str], new: list[str]) -> Iterator[Line]:
    unified = difflib.unified_diff(old, new, n=_CONTEXT, lineterm="")
    for index, line in enumerate(unified):
        # The first two name the files; the third would be a gap before everything.
        if line.startswith("@@"):
            if index > 2:
                yield Line("@", "")
        elif index > 1:
            yield Line(line[0], line[1:])
