"""Where people look: a terminal of some width, with colours, or a pipe that takes plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from modelstead.commands.screens import tables
from modelstead.commands.screens.cells import Cell, cell
from modelstead.commands.screens.tables import Column
from modelstead.commands.screens.texts import one_line, plain

_WIDTH_MIN = 40


class Screen:
    """Prints what a command shows."""

    def __init__(self) -> None:
        # What people wrote is not markup. A pipe is as wide as its lines.
        self.console = Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
        self._notes = Console(markup=False, highlight=False, emoji=False, stderr=True)

    @property
    def is_terminal(self) -> bool:
        return self.console.is_terminal

    @property
    def width(self) -> int:
        """How many characters there are in a line of a terminal."""
        return max(self.console.width, _WIDTH_MIN)

    def line(self, *parts: tuple[str, str]) -> None:
        """Print a line of texts with their styles."""
        self._print(Text.assemble(*((plain(text), style) for text, style in parts)))

    def title(self, text: str) -> None:
        """Begin a section."""
        self.line()
        self.line((text, "bold"))

    def facts(self, facts: Sequence[tuple[str, Cell]]) -> None:
        """Print what is known under a name each, one below the other; what is empty is left out."""
        known = [(one_line(name), each) for name, each in facts if each.exact]
        if self.is_terminal:
            self.console.print(tables.listed(known, self.width))
            return
        for line in tables.aligned((), [(cell(name), each) for name, each in known]):
            self._print(Text(line))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """Print a table: fitted to a terminal, whole in a pipe."""
        if self.is_terminal:
            self.console.print(tables.fitted(columns, rows, self.width))
            return
        for line in tables.aligned(columns, rows):
            self._print(Text(line))

    def note(self, text: str) -> None:
        """Tell something about what was printed, apart from it."""
        self._notes.print(Text(plain(text), style="dim"), soft_wrap=True)

    def more(self, answer: Mapping[str, Any]) -> None:
        """Tell how to see the rest of a list, if there is more of it."""
        if token := answer.get("next_page_token"):
            self.note(f"There are more: --limit shows more at once, --page-token {token} what follows.")

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)
