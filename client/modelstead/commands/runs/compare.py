"""`runs compare`: what runs differ in, and which of them is best."""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from modelstead.commands import options, settings
from modelstead.commands.exits import CommandError, Exit
from modelstead.commands.output import told
from modelstead.commands.rest import Json, Rest
from modelstead.commands.runs import cells, finding
from modelstead.commands.screens import texts
from modelstead.commands.screens.cells import Cell, cell, moment
from modelstead.commands.screens.screen import Screen
from modelstead.commands.screens.tables import GAP, Column

_RUNS_MIN, _RUNS_MAX = 2, 50
_NAME_WIDTH_MAX = 28
_RUN_WIDTH = 14
_ID_DIGITS = 8
_DIFFERENT, _SAME, _BEST = "yellow", "dim", "bold green"
_BEST_SIGN = "★"
# A metric with such a word in its key is the better the less it is, or the more.
_LESS = frozenset("loss error err mse rmse mae mape perplexity ppl latency duration".split())
_MORE = frozenset("accuracy acc auc f1 precision recall score r2 bleu rouge iou map ndcg throughput reward".split())
_ABSENT = Cell(shown="–", exact="", style="dim")
_WORD = re.compile(r"[a-z0-9]+")

_Keys = list[str] | None
_Choice = Callable[[Iterable[float]], float]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What runs have under one name; `is_same` if all have the same."""

    name: Cell
    cells: Sequence[Cell]
    is_same: bool = False
    best: str = ""


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN…", help="2 to 50 of them: ids, beginnings of ids, or names.", show_default=False
        ),
    ],
    experiment: options.Experiment = None,
    less: Annotated[_Keys, typer.Option("--less", metavar="KEY", help="The less of this metric the better.")] = None,
    more: Annotated[_Keys, typer.Option("--more", metavar="KEY", help="The more of this metric the better.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show what is the same in all runs as well.")] = False,
    uri: options.Uri = None,
    token_file: options.TokenFile = None,
    as_json: options.Json = False,
) -> None:
    """Compare runs by what they differ in, the best marked.

    Which way a metric is better is told by its name (loss, error, …: less; accuracy, auc, …: more) or by --less and
    --more; elsewhere nothing is marked.
    """
    with told(as_json=as_json) as output:
        if not _RUNS_MIN <= len(runs) <= _RUNS_MAX:
            raise CommandError(f"Compare {_RUNS_MIN} to {_RUNS_MAX} runs, not {len(runs)}.", Exit.USAGE)
        rest = Rest(settings.target(uri, token_file))
        found = [finding.find_run(rest, run, experiment) for run in runs]
        told_better: dict[str, _Choice] = {**dict.fromkeys(less or (), min), **dict.fromkeys(more or (), max)}
        output.draw({"runs": found}, lambda screen: _draw(screen, found, told_better, show_all))


def better(key: str) -> _Choice | None:
    """Return which of two values of a metric is better, as its name tells: `min`, `max`, or None where it does not."""
    words = set(_WORD.findall(key.lower()))
    is_less, is_more = bool(words & _LESS), bool(words & _MORE)
    if is_less is is_more:
        return None
    return min if is_less else max


def _draw(screen: Screen, runs: Sequence[Json], told_better: Mapping[str, _Choice], show_all: bool) -> None:
    sections = {
        "": _info_rows(runs, time.time_ns() // 1_000_000),
        "Params": _param_rows(runs),
        "Metrics": _metric_rows(runs, told_better),
    }
    hidden = sum(row.is_same for rows in sections.values() for row in rows)
    if not show_all:
        sections = {title: [row for row in rows if not row.is_same] for title, rows in sections.items()}
    if screen.is_terminal:
        _draw_blocks(screen, runs, sections)
    else:
        _draw_whole(screen, runs, sections)
    if hidden and not show_all:
        screen.note(f"{hidden} params and metrics are the same in all runs; --all shows them.")


def _info_rows(runs: Sequence[Json], now_ms: int) -> list[_Row]:
    infos = [run["info"] for run in runs]
    return [
        _Row(name=cell("id"), cells=[_short_id(info) for info in infos]),
        _Row(name=cell("status"), cells=[cells.status(info) for info in infos]),
        _Row(name=cell("started"), cells=[moment(info.get("start_time"), now_ms) for info in infos]),
        _Row(name=cell("took"), cells=[cells.took(info, now_ms) for info in infos]),
    ]


def _short_id(info: Json) -> Cell:
    return Cell(shown=info["run_id"][:_ID_DIGITS], exact=info["run_id"], style=cells.ID_STYLE)


def _param_rows(runs: Sequence[Json]) -> list[_Row]:
    params = [cells.entries(run, "params") for run in runs]
    rows = []
    for key in sorted({key for each in params for key in each}):
        values = [each.get(key) for each in params]
        is_same = len(set(values)) == 1
        style = _SAME if is_same else _DIFFERENT
        shown = [cell(value, style) if value is not None else _ABSENT for value in values]
        rows.append(_Row(name=Cell(shown=key, exact=f"params.{key}"), cells=shown, is_same=is_same))
    return rows


def _metric_rows(runs: Sequence[Json], told_better: Mapping[str, _Choice]) -> list[_Row]:
    latest = [cells.latest(run) for run in runs]
    rows = []
    for key in sorted({key for each in latest for key in each}):
        values = [texts.to_number(each[key]["value"]) if key in each else None for each in latest]
        is_same = len(set(map(str, values))) == 1
        best = None if is_same else _best(values, told_better.get(key) or better(key))
        winners = [value is not None and value == best for value in values]
        rows.append(
            _Row(
                name=Cell(shown=key, exact=f"metrics.{key}"),
                cells=[_value(value, wins, is_same) for value, wins in zip(values, winners, strict=True)],
                is_same=is_same,
                best=" ".join(run["info"]["run_id"] for run, wins in zip(runs, winners, strict=True) if wins),
            )
        )
    return rows


def _best(values: Sequence[float | None], choose: _Choice | None) -> float | None:
    known = [value for value in values if value is not None and texts.is_finite(value)]
    return choose(known) if choose and known else None


def _value(value: float | None, is_best: bool, is_same: bool) -> Cell:
    if value is None:
        return _ABSENT
    if is_best:
        return Cell(shown=f"{texts.number(value)} {_BEST_SIGN}", exact=texts.digits(value), style=_BEST)
    return cells.value(value, _SAME if is_same else "")


def _draw_whole(screen: Screen, runs: Sequence[Json], sections: Mapping[str, Sequence[_Row]]) -> None:
    """Draw one table without sections, and say in a column of its own which run is best."""
    columns = [Column(title="what"), *(Column(title=_title(run)) for run in runs), Column(title="best")]
    rows = [[row.name, *row.cells, cell(row.best)] for rows in sections.values() for row in rows]
    screen.table(columns, rows)


def _draw_blocks(screen: Screen, runs: Sequence[Json], sections: Mapping[str, Sequence[_Row]]) -> None:
    """Draw as many runs beside each other as there is room for, and the others below them."""
    names = [row.name.shown for rows in sections.values() for row in rows]
    name_width = min(max(map(len, names)), _NAME_WIDTH_MAX)
    count = max((screen.width - name_width) // (_RUN_WIDTH + GAP), 1)
    for start in range(0, len(runs), count):
        if start:
            screen.line()
        chosen = slice(start, start + count)
        columns = [
            Column(title="", width_min=name_width),
            *(Column(title=_title(run), width_min=_RUN_WIDTH) for run in runs[chosen]),
        ]
        screen.table(columns, list(_block_rows(sections, chosen)))


def _block_rows(sections: Mapping[str, Sequence[_Row]], chosen: slice) -> Iterator[list[Cell]]:
    for title, rows in sections.items():
        blank = [cell("")] * len(rows[0].cells[chosen]) if rows else []
        if title and rows:
            yield [cell(""), *blank]
            yield [cell(title, "bold"), *blank]
        yield from ([row.name, *row.cells[chosen]] for row in rows)


def _title(run: Json) -> str:
    return str(run["info"].get("run_name") or run["info"]["run_id"])
