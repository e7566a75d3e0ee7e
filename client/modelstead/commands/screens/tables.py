"""Tables: laid out to fit a terminal, or whole as plain text."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from modelstead.commands.screens.cells import Cell
from modelstead.commands.screens.texts import one_line, plain

GAP = 2
_NOTHING = "-"
# So much of a long text is shown in a list.
_TEXT_MAX = 400


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column. Where there is no room it is cut down to `width_min`; an id is either whole or as many digits of it.

    If that is not enough, columns are left out: those with the highest `rank` first, the last of them first, and those
    of rank 0 never. A column of another rank is also left out if it is empty.
    """

    title: str
    is_right: bool = False
    is_id: bool = False
    width_min: int | None = None
    rank: int = 0
    style: str = ""


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> Table:
    """Return a table of at most `width` characters."""
    kept, widths = _fit(columns, rows, width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for at in kept:
        column = columns[at]
        table.add_column(
            plain(column.title),
            justify="right" if column.is_right else "left",
            style=column.style,
            no_wrap=True,
            overflow="crop" if column.is_id else "ellipsis",
            width=widths[at],
        )
    for row in rows:
        # What people wrote is not markup.
        table.add_row(*(Text(one_line(row[at].shown), style=row[at].style) for at in kept))
    return table


def listed(facts: Sequence[tuple[str, Cell]], width: int) -> Table:
    """Return what is known under a name each, one below the other, in lines of at most `width` characters."""
    grid = Table.grid(padding=(0, GAP, 0, 0))
    grid.add_column(style="dim", no_wrap=True, max_width=width // 2)
    grid.add_column(overflow="fold")
    for name, each in facts:
        text = one_line(each.shown)
        grid.add_row(name, Text(text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…", style=each.style))
    return grid


def aligned(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Return a table as lines of text: every column, nothing cut, no cell empty. Without columns there is no header."""
    texts = [[one_line(column.title) for column in columns]] if columns else []
    texts += [[one_line(each.exact) or _NOTHING for each in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    right = [column.is_right for column in columns] or [False] * len(widths)
    return [_line(row, widths, right) for row in texts]


def _line(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for text, width, is_right in zip(row, widths, right, strict=True):
        blank = " " * (width - cell_len(text))
        padded.append(blank + text if is_right else text + blank)
    return (" " * GAP).join(padded).rstrip()


def _fit(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> tuple[list[int], list[int]]:
    """Return which columns stay, and the widths of all. One that is empty need not stay."""
    filled = [max((cell_len(one_line(row[at].shown)) for row in rows), default=0) for at in range(len(columns))]
    natural = [max(cell_len(column.title), filled[at]) for at, column in enumerate(columns)]
    kept = [at for at, column in enumerate(columns) if filled[at] or not column.rank]
    while True:
        widths = list(natural)
        room = width - GAP * (len(kept) - 1)
        if sum(widths[at] for at in kept) > room:
            for at in kept:
                if columns[at].is_id:
                    widths[at] = columns[at].width_min or widths[at]
        while sum(widths[at] for at in kept) > room:
            spare = [at for at in kept if widths[at] > (columns[at].width_min or widths[at])]
            if not spare:
                break
            widths[max(spare, key=lambda at: widths[at])] -= 1
        last = max(kept, key=lambda at: (columns[at].rank, at))
        if sum(widths[at] for at in kept) <= room or columns[last].rank == 0:
            return kept, widths
        kept.remove(last)
