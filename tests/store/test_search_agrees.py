"""Searching runs in SQL finds what a plain reading of the same comparisons and orders in Python finds."""

import functools
import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.database import Database
from services.common.filters import Comparison, OrderBy, parse_filter, parse_order_by
from services.tracking.metrics.model import VALUE_MAX
from services.tracking.run_logs.model import RUN_NAME_TAG
from services.tracking.run_logs.service import RunLogs
from services.tracking.runs.search_grammar import RUNS
from services.tracking.runs.service import Runs
from tests.store import factories

_VALUES = ["", "a", "B", "ab", "a_b", "A%"]
_NUMBERS = [math.nan, -math.inf, -1.0, 0.0, 0.5, 1.0, math.inf]
_KEYS = ["k", "key with space"]


@dataclass(frozen=True)
class _Run:
    run_id: str
    start_time: int
    end_time: int | None
    run_name: str
    user_id: str
    status: str
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


@pytest.fixture(scope="module")
async def world(db: Database) -> tuple[Runs, str, list[_Run]]:
    """Runs that differ in every way a search can see, with many ties."""
    runs = factories.runs(db)
    experiment_id = await factories.new_experiment(db)
    made = [await _make(db, runs, experiment_id, number) for number in range(60)]
    return runs, experiment_id, made


async def _make(db: Database, runs: Runs, experiment_id: str, number: int) -> _Run:
    pick = [number, number // 2, number // 3, number // 5, number // 7]
    run_id = await factories.new_run(
        db, experiment_id, user_id=_VALUES[pick[1] % 6], run_name=_VALUES[1 + pick[2] % 5], start_time=pick[3] % 4
    )
    metrics = {key: _NUMBERS[(number + place) % 7] for place, key in enumerate(_KEYS) if pick[place + 1] % 3}
    params = {key: _VALUES[(number + place) % 6] for place, key in enumerate(_KEYS) if pick[place + 2] % 3}
    tags = {key: _VALUES[(pick[2] + place) % 6] for place, key in enumerate(_KEYS) if pick[place] % 4}
    points = [(key, value, 1, 0) for key, value in metrics.items()]
    await RunLogs(db).log(factories.batch(run_id, metrics=points, params=params, tags=tags))
    status, end_time = ("RUNNING", None) if number % 3 else ("FINISHED", number % 4 + 1)
    info = await runs.update(run_id, status=status, end_time=end_time, run_name="")
    return _Run(
        run_id=run_id, start_time=info.start_time, end_time=end_time, run_name=info.run_name, user_id=info.user_id,
        status=status, metrics=metrics, params=params, tags={**tags, RUN_NAME_TAG: info.run_name},
    )  # fmt: skip


_COMPARE = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "LIKE": lambda text, pattern: _like(text, pattern, re.DOTALL),
    "ILIKE": lambda text, pattern: _like(text, pattern, re.DOTALL | re.IGNORECASE),
    "IN": lambda text, texts: text in texts,
    "NOT IN": lambda text, texts: text not in texts,
}  # fmt: skip


def _like(text: str, pattern: str, flags: int) -> bool:
    expression = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, flags) is not None


def _value(run: _Run, entity: str, key: str) -> Any:
    pairs: dict[str, Any] = {"metric": run.metrics, "param": run.params, "tag": run.tags}
    return getattr(run, key) if entity == "attribute" else pairs[entity].get(key)


def _matches(run: _Run, term: Comparison) -> bool:
    value = _value(run, term.entity, term.key)
    if term.op in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (term.op == "IS NULL")
    if value is None:
        return False
    if isinstance(value, float) and math.isinf(value):
        value = math.copysign(VALUE_MAX, value)
    return bool(_COMPARE[term.op](value, term.value))


def _before(order: Sequence[OrderBy], one: _Run, other: _Run) -> int:
    for term in order:
        ranks = [_rank(_value(run, term.entity, term.key)) for run in (one, other)]
        if ranks[0][0] != ranks[1][0]:
            return 1 if ranks[0][0] > ranks[1][0] else -1
        if ranks[0][0] == 0 and ranks[0][1] != ranks[1][1]:
            return 1 if (ranks[0][1] > ranks[1][1]) == term.ascending else -1
    return 0


def _rank(value: Any) -> tuple[int, Any]:
    if value is None:
        return 2, None
    return (1, None) if isinstance(value, float) and math.isnan(value) else (0, value)


_TEXTS = st.sampled_from([*_VALUES, "%b%", "a%"]).map(lambda text: f"'{text}'")
_QUOTED = st.sampled_from(_KEYS).map(lambda key: f"`{key}`")
_PAIRS = st.sampled_from(["params", "tags"])
_TIMES = st.sampled_from(["start_time", "end_time"])
_NUMERIC = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
_TEXTUAL = st.sampled_from(["=", "!=", "LIKE", "ILIKE"])
_CLAUSES = st.one_of(
    st.builds("metrics.{} {} {}".format, _QUOTED, _NUMERIC, st.sampled_from(["-1", "0", "0.5", "1", "1e400"])),
    st.builds("{}.{} {} {}".format, _PAIRS, _QUOTED, _TEXTUAL, _TEXTS),
    st.builds(
        "{}.{} {}".format, st.sampled_from(["params", "tags"]), _QUOTED, st.sampled_from(["IS NULL", "IS NOT NULL"])
    ),
    st.builds("{} {} {}".format, st.sampled_from(["user_id", "run_name", "status"]), _TEXTUAL, _TEXTS),
    st.builds(
        "{} {} {}".format, st.sampled_from(["start_time", "end_time"]), _NUMERIC, st.sampled_from(["0", "2", "2.5"])
    ),
)
_ORDERS = st.lists(
    st.one_of(
        st.builds("{}.{}".format, st.sampled_from(["metrics", "params", "tags"]), _QUOTED),
        st.sampled_from(["user_id", "run_name", "status", "start_time", "end_time"]),
    ),
    max_size=3,
    unique=True,
).flatmap(lambda keys: st.tuples(*[st.sampled_from([f"{key} ASC", f"{key} DESC", key]) for key in keys]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clauses=st.lists(_CLAUSES, max_size=3), order=_ORDERS, page_size=st.sampled_from([1, 7, 20, 100]))
async def test_pages_of_a_search_are_what_python_finds(
    world: tuple[Runs, str, list[_Run]], clauses: list[str], order: tuple[str, ...], page_size: int
) -> None:
    runs, experiment_id, made = world
    filter_text = " AND ".join(clauses)
    terms, keys = parse_filter(filter_text, RUNS), parse_order_by(order, RUNS)
    tie_break = [] if any(key.key == "start_time" for key in keys) else [
        OrderBy(entity="attribute", key="start_time", ascending=False)
    ]  # fmt: skip
    full_order = [*keys, *tie_break, OrderBy(entity="attribute", key="run_id", ascending=True)]
    matching = [run for run in made if all(_matches(run, term) for term in terms)]
    expected = sorted(matching, key=functools.cmp_to_key(functools.partial(_before, full_order)))

    found: list[str] = []
    token: str | None = ""
    while token is not None:
        page, token = await runs.search(
            experiment_ids=[experiment_id], filter_text=filter_text, view=1, order_by=order, max_results=page_size,
            page_token=token,
        )  # fmt: skip
        assert token is None or len(page) == page_size
        found += [run.info.run_id for run in page]

    assert found == [run.run_id for run in expected]
