"""How numbers, times, sizes and curves read in a terminal, and how tables are fitted to it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from modelstead.commands.output import when
from modelstead.commands.runs.compare import better
from modelstead.commands.screens import tables, texts
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.sparklines import bar, sparkline
from modelstead.commands.screens.tables import Column

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
NOW = 1_800_000_000_000
LARGEST = 1.7976931348623157e308
COLUMNS = (
    Column(title="run", is_id=True, width_min=8),
    Column(title="name", width_min=10),
    Column(title="status"),
    Column(title="took", rank=1),
    Column(title="user", rank=2),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (3.0, "3"), (-2.0, "-2"), (0.123456789, "0.12346"), (1e-9, "1e-09"), (123456.7, "1.2346e+05"),
        (math.nan, "NaN"), (LARGEST, "∞"), (-LARGEST, "-∞"), (math.inf, "∞"), (1e12, "1e+12"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert texts.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (0.25, "0.25"), (999, "999"), (999.6, "1.00k"), (1_730_118, "1.73M"), (52_000, "52.0k")],
)
def test_amounts(value: float, text: str) -> None:
    assert texts.amount(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (12, "12 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (300_000, "293 KiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert texts.size(count) == text


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (0, "now"), (-5 * SECOND, "now"), (-2 * HOUR, "in 2 h"), (59_999, "59 s ago"), (MINUTE, "1 min ago"),
        (HOUR + MINUTE, "1 h ago"), (13 * DAY, "13 d ago"), (20 * DAY, "2026-12-26"),
    ],
)  # fmt: skip
def test_times_ago(passed: int, text: str) -> None:
    assert texts.ago(NOW - passed, NOW) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (-1, "0 ms"), (12, "12 ms"), (1500, "1 s"), (61 * SECOND, "1 min 1 s"), (HOUR + 2 * MINUTE, "1 h 2 min"),
        (HOUR + SECOND, "1 h"), (3 * DAY + 4 * HOUR + MINUTE, "3 d 4 h"),
    ],
)  # fmt: skip
def test_lengths_of_time(milliseconds: int, text: str) -> None:
    assert texts.lasted(milliseconds) == text


def test_no_time_is_nothing() -> None:
    assert (moment(None, NOW).shown, moment(0, NOW).exact) == ("", "")
    assert moment(NOW, NOW).exact == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize("milliseconds", [2**63 - 1, -(2**63)])
def test_a_time_that_no_calendar_reaches_is_a_number(milliseconds: int) -> None:
    assert texts.exact(milliseconds) == f"{milliseconds} ms"
    assert when(milliseconds) == f"{milliseconds} ms"
    assert texts.ago(-(2**63), NOW) == f"{-(2**63)} ms"


def test_what_would_command_the_terminal_is_made_harmless() -> None:
    assert texts.one_line("a\x1b[31m\r\nb\tc\x00") == "a�[31m b c�"


def test_a_curve_goes_from_the_least_to_the_greatest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 7, 7], 2) == "▁█"
    assert sparkline([5, 5, 5], 8) == "▅▅▅"
    assert sparkline([], 8) == ""


def test_a_curve_may_begin_at_a_floor() -> None:
    assert sparkline([4, 8], 8, floor=0) == "▅█"
    assert sparkline([0, 0], 8, floor=0) == "▁▁"
    assert sparkline([-3], 8, floor=0) == "▁"


def test_what_is_no_number_is_a_gap_and_does_not_flatten_the_rest() -> None:
    assert sparkline([0, math.nan, 7, LARGEST, -LARGEST], 8) == "▁·█··"
    assert sparkline([math.nan], 8) == "·"


@given(values=st.lists(st.floats()), width=st.integers(1, 50))
def test_any_values_have_a_curve_of_the_width(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(len(values), width)


@pytest.mark.parametrize(("part", "text"), [(-1, "╌╌╌╌"), (0.5, "━━╌╌"), (2, "━━━━")])
def test_a_bar_is_filled_to_a_part(part: float, text: str) -> None:
    assert bar(part, 4) == text


def row(name: str, user: str = "ann") -> list[Cell]:
    return [cell("0123456789abcdef" * 2), cell(name), cell("failed"), cell("10 min"), cell(user)]


def drawn(rows: list[list[Cell]], width: int) -> list[str]:
    console = Console(width=width, color_system=None, force_terminal=True, markup=False)
    with console.capture() as captured:
        console.print(tables.fitted(COLUMNS, rows, width))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_table_is_cut_where_it_hurts_least() -> None:
    rows = [row("a name that is long"), row("日本語の名前")]

    wide, short_id, narrow, narrower = (drawn(rows, width) for width in (90, 60, 36, 30))

    assert wide[0].split() == ["run", "name", "status", "took", "user"]
    assert "0123456789abcdef" * 2 in wide[1]
    assert short_id[1] == "01234567  a name that is long  failed  10 min  ann"
    assert narrow[1] == "01234567  a name th…  failed  10 min"
    assert narrower[1] == "01234567  a name that…  failed"
    assert all(cell_len(line) <= 30 for line in narrower)


def test_an_empty_column_takes_no_room() -> None:
    assert drawn([row("n", user="")], 90)[0].split() == ["run", "name", "status", "took"]


@given(names=st.lists(st.text(), min_size=1, max_size=5), width=st.integers(40, 120))
def test_no_line_of_a_table_is_wider_than_the_terminal(names: list[str], width: int) -> None:
    lines = drawn([row(name) for name in names], width)

    assert len(lines) == len(names) + 1
    assert all(cell_len(line) <= width for line in lines)


def test_a_table_in_a_pipe_is_whole_and_its_cells_are_never_empty() -> None:
    exact = Cell(shown="1 h ago", exact="2027-01-15T08:00:00Z")

    lines = tables.aligned(
        (Column(title="name"), Column(title="n", is_right=True)), [[cell("日本"), cell("1")], [exact, cell("")]]
    )

    assert lines == ["name                  n", "日本                  1", "2027-01-15T08:00:00Z  -"]
    assert tables.aligned((), []) == []


@pytest.mark.parametrize(
    ("key", "choice"),
    [
        ("loss", min), ("train/val_loss", min), ("eval.RMSE", min), ("val/accuracy", max), ("top5_acc", max),
        ("epoch", None), ("closs", None), ("loss_score", None),
    ],
)  # fmt: skip
def test_which_way_a_metric_is_better(key: str, choice: object) -> None:
    assert better(key) is choice
