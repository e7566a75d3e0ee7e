"""The filter language: what is understood, what is refused and how, and its bounds."""

import contextlib
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.filter_tokens import tokenize
from services.common.filters import (
    FILTER_LENGTH_MAX,
    LIST_ITEMS_MAX,
    ORDER_TERMS_MAX,
    TERMS_MAX,
    Grammar,
    parse_filter,
    parse_order_by,
)
from services.tracking.experiments.search_grammar import EXPERIMENTS
from services.tracking.logged_models.search_grammar import LOGGED_MODELS
from services.tracking.runs.search_grammar import RUNS

_UNDERSTOOD = [
    (RUNS, "metrics.loss < -.5", ("metric", "loss", "<", -0.5)),
    (RUNS, "metrics.loss < 1e400", ("metric", "loss", "<", math.inf)),
    (RUNS, "`metrics`.'a b' = 1", ("metric", "a b", "=", 1.0)),
    (RUNS, "tags.`é.b`\u00a0=\x0b'x'", ("tag", "é.b", "=", "x")),
    (RUNS, "tags.a = 'it\\'s'", ("tag", "a", "=", "it\\'s")),
    (RUNS, "artifact_uri = 'C:\\'", ("attribute", "artifact_uri", "=", "C:\\")),
    (RUNS, "run_id IN ('(', ')',)", ("attribute", "run_id", "IN", ("(", ")"))),
    (RUNS, "metrics.loss < 0.5", ("metric", "loss", "<", 0.5)),
    (RUNS, "metric.`val/loss 1`>=-1e-5", ("metric", "val/loss 1", ">=", -1e-5)),
    (RUNS, "params.\"a.b\" != 'x'", ("param", "a.b", "!=", "x")),
    (RUNS, 'parameters.a.b = "it\'s"', ("param", "a.b", "=", "it's")),
    (RUNS, "tags.mlflow.source.name like '%x_'", ("tag", "mlflow.source.name", "LIKE", "%x_")),
    (RUNS, "tags.`x` IS NOT NULL", ("tag", "x", "IS NOT NULL", None)),
    (RUNS, "params.x is null", ("param", "x", "IS NULL", None)),
    (RUNS, "status = 'FINISHED'", ("attribute", "status", "=", "FINISHED")),
    (RUNS, "attr.created > 5", ("attribute", "start_time", ">", 5)),
    (RUNS, "`Run name` ILIKE 'a%'", ("attribute", "run_name", "ILIKE", "a%")),
    (RUNS, "run.run_id IN ('a', \"b\",'c')", ("attribute", "run_id", "IN", ("a", "b", "c"))),
    (RUNS, "datasets.name NOT  IN ('a')", ("dataset", "name", "NOT IN", ("a",))),
    (RUNS, "tags.x = 'AND'", ("tag", "x", "=", "AND")),
    (RUNS, "tags.x = 'it''s'", ("tag", "x", "=", "it''s")),
    (EXPERIMENTS, "experiment_id IN ('1', '22')", ("attribute", "experiment_id", "IN", (1, 22))),
    (EXPERIMENTS, "creation_time >= 17", ("attribute", "creation_time", ">=", 17)),
    (LOGGED_MODELS, "creation_time > 3", ("attribute", "creation_timestamp_ms", ">", 3)),
    (LOGGED_MODELS, "metrics.val/loss > 3", ("metric", "val/loss", ">", 3.0)),
    (LOGGED_MODELS, "params.x = 0.10", ("param", "x", "=", "0.10")),
    (LOGGED_MODELS, "status NOT IN ('READY', 'FAILED')", ("attribute", "status", "NOT IN", ("READY", "FAILED"))),
    (LOGGED_MODELS, "params.x IN ('a','b')", ("param", "x", "IN", ("a", "b"))),
]


@pytest.mark.parametrize(("grammar", "text", "expected"), _UNDERSTOOD)
def test_comparison_is_understood(grammar: Grammar, text: str, expected: tuple[object, ...]) -> None:
    (term,) = parse_filter(text, grammar)

    assert (term.entity, term.key, term.op, term.value) == expected


_REFUSED = [
    (RUNS, "metrics.a = 1 OR metrics.b = 2", "Invalid clause(s) in filter string: 'OR'"),
    (RUNS, "metrics.a = 1 OR", "Invalid clause(s) in filter string: 'OR'"),
    (RUNS, "NOT metrics.a > , 'x'", "Invalid clause(s) in filter string: 'NOT', 'metrics.a', '>', ',', ''x''"),
    (RUNS, "metrics.a = 1;", "Invalid clause(s) in filter string: ';'"),
    (RUNS, "metrics.a = 1 -- b = 2", "Invalid clause(s) in filter string: '-- b = 2'"),
    (RUNS, "metrics.val/loss < 1", "Invalid comparison clause. Expected 'Identifier' found 'metrics.val/loss'"),
    (RUNS, "'metrics' < 1", "Invalid comparison clause. Expected 'Identifier' found ''metrics''"),
    (RUNS, "params.a = AND params.b = 'c'", "Invalid clause(s) in filter string: 'params.a', '='"),
    (RUNS, "metrics.a < 1x", "Expected numeric value type for metric. Found 1x"),
    (RUNS, "metrics.a < +1", "Invalid clause(s) in filter string: 'metrics.a', '<', '+', '1'"),
    (RUNS, "params.a = NULL", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value NULL"),
    (RUNS, "params.a NOT LIKE 'x'", "Invalid comparator 'NOT LIKE' not one of"),
    (RUNS, "run_id IN ('a' 'b')", "expected a non-empty list of string values, but got ill-formed list."),
    (RUNS, "run_id IN (,)", "expected a non-empty list of string values, but got ill-formed list."),
    (RUNS, "run_id IN ('a', 1)", "but got different type in list: ('a', 1)"),
    (RUNS, "run_id = ('a')", "Comparator '=' takes one value, not a list. Use IN or NOT IN."),
    (RUNS, "run_id IN 'a'", "Invalid clause(s) in filter string: 'run_id', 'IN', ''a''"),
    (RUNS, "params.a > 1 AND tags.b > 'x'", "Expected a quoted string value for parameter"),
    (RUNS, "tags.b > 'x' AND params.a = 1", "Expected a quoted string value for parameter"),
    (RUNS, "(metrics.a = 1)", "Invalid clause(s) in filter string: '(metrics.a = 1)'"),
    (RUNS, "metrics.a", "Invalid clause(s) in filter string: 'metrics.a'"),
    (RUNS, "metrics.a = 1; metrics.b = 2", "Search filter contained multiple expression"),
    (RUNS, "   ", "Invalid filter '   '. Could not be parsed."),
    (RUNS, "metrics.a = 'x'", "Expected numeric value type for metric. Found 'x'"),
    (RUNS, "metrics.a = nan", "Expected numeric value type for metric. Found nan"),
    (RUNS, "metrics.a LIKE 5", "Invalid comparator 'LIKE' not one of"),
    (RUNS, "tags.a = 5", "Expected a quoted string value for tag (e.g. 'my-value'). Got value 5"),
    (RUNS, "params.a = b", "Parameter value is either not quoted or unidentified quote types"),
    (RUNS, "params.a > '1'", "Invalid comparator '>' not one of"),
    (RUNS, "tags.a IN ('x')", "Expected a quoted string value for tag (e.g. 'my-value'). Got value ('x')"),
    (RUNS, "status IN ('x')", "Only ['run_id'] attributes support comparison with a list of quoted string values."),
    (RUNS, "run_id IN ()", "expected a non-empty list of string values, but got empty list"),
    (RUNS, "run_id IN ('a'", "Invalid clause(s) in filter string: 'run_id', 'IN', '('a''"),
    (RUNS, "run_id IN (1)", "got different type in list"),
    (RUNS, "nope.a = 1", "Invalid entity type 'nope'. Valid values are"),
    (RUNS, "name = 'x'", "Invalid attribute key 'name' specified. Valid keys are '{"),
    (RUNS, "datasets.x = 'x'", "Invalid dataset key 'x' specified. Valid keys are '{'context', 'digest', 'name'}'"),
    (RUNS, "metrics.a IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'a'"),
    (RUNS, "tags.a = 'open", "Invalid clause(s) in filter string: 'tags.a', '=', ''', 'open'"),
    (RUNS, "params.p BETWEEN '1' AND '2'", "Invalid clause(s) in filter string: 'params.p', 'BETWEEN'"),
    (RUNS, "metrics.a == 1", "Invalid comparator '==' not one of"),
    (RUNS, "1 < metrics.a", "Invalid comparison clause. Expected 'Identifier' found '1'"),
    (RUNS, "start_time < 99999999999999999999", "99999999999999999999 does not fit 64 bits"),
    (EXPERIMENTS, "tags.a > 'x'", "Invalid comparator for tag: >"),
    (EXPERIMENTS, "experiment_id LIKE '1'", "Invalid comparator for experiment_id: LIKE"),
    (EXPERIMENTS, "experiment_id = 'x'", "Invalid experiment ID 'x'. Experiment ID must be a valid integer."),
    (EXPERIMENTS, "creation_time > 1.5", "Invalid value for numeric attribute 'creation_time': '1.5'"),
    (EXPERIMENTS, "metrics.a = 1", "Invalid entity type 'metrics'. Valid entity types are"),
    (LOGGED_MODELS, "metric.a = 1", "Invalid entity type: 'metric'. Expected one of"),
    (EXPERIMENTS, "a OR b", "Invalid clause(s) in filter string: a, OR, b"),
    (EXPERIMENTS, "name > 'a'", "Invalid comparator '>' not one of '{'!=', '=', 'ILIKE', 'LIKE'}'"),
    (EXPERIMENTS, "name IS NULL", "IS NULL / IS NOT NULL is only supported for tags, not for attribute 'name'"),
    (LOGGED_MODELS, "a OR b", "Invalid filter string: 'a OR b'. Expected a list of comparisons separated by 'AND'"),
    (LOGGED_MODELS, "status = 'DONE'", "Unknown model status in filter: 'DONE'"),
    (LOGGED_MODELS, "status IN ('READY', 'DONE')", "Unknown model status in filter: ('READY', 'DONE')"),
    (LOGGED_MODELS, "metrics.a LIKE 'x'", "Invalid comparison operator for metrics.a: 'LIKE'. Expected one of ('<',"),
    (LOGGED_MODELS, "metrics.a < inf", "Expected numeric value type for metric. Found inf"),
    (LOGGED_MODELS, "status LIKE 'R%'", "Invalid comparison operator for status: LIKE"),
]


@pytest.mark.parametrize(("grammar", "text", "message"), _REFUSED)
def test_malformed_filter_is_refused_and_says_why(grammar: Grammar, text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_filter(text, grammar)

    assert message in caught.value.message


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("metrics.m", ("metric", "m", True)),
        ("metrics.`a b` DESC", ("metric", "a b", False)),
        ("Created asc", ("attribute", "start_time", True)),
        ('tags."x"  desc', ("tag", "x", False)),
    ],
)
def test_order_is_understood(clause: str, expected: tuple[object, ...]) -> None:
    (term,) = parse_order_by([clause], RUNS)

    assert (term.entity, term.key, term.ascending) == expected


@pytest.mark.parametrize(
    ("clauses", "message"),
    [
        (["metrics.m FOO"], "Invalid ordering key in order_by clause 'metrics.m FOO'."),
        ([""], "Invalid order_by clause ''. Could not be parsed."),
        (["1"], "Invalid order_by clause '1'. Could not be parsed."),
        ([" metrics.m"], "Invalid order_by clause ' metrics.m'. Could not be parsed."),
        (["metrics.m DESC "], "Invalid order_by clause 'metrics.m DESC '. Could not be parsed."),
        (["metrics.a, metrics.b"], "Could not be parsed."),
        (["dataset.name"], "Invalid identifier type 'dataset'"),
        (["metrics.m", "metric.m DESC"], "`order_by` contains duplicate fields: ['metrics.m', 'metric.m DESC']"),
    ],
)
def test_malformed_order_is_refused_and_says_why(clauses: list[str], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_order_by(clauses, RUNS)

    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("x" * (FILTER_LENGTH_MAX + 1), str(FILTER_LENGTH_MAX)),
        (" AND ".join(["metrics.a = 1"] * (TERMS_MAX + 1)), str(TERMS_MAX)),
        ("run_id IN (" + ",".join(["'a'"] * (LIST_ITEMS_MAX + 1)) + ")", str(LIST_ITEMS_MAX)),
    ],
)
def test_filter_past_a_bound_is_refused_by_its_name(text: str, bound: str) -> None:
    with pytest.raises(InvalidArgument, match=bound):
        parse_filter(text, RUNS)


def test_order_past_its_bound_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=str(ORDER_TERMS_MAX)):
        parse_order_by(["metrics.a"] * (ORDER_TERMS_MAX + 1), RUNS)


@given(st.text(alphabet="metrics.paratg `\"'()=<>!,;-+0123456789ANDLIKEOR\t\0é", max_size=60))
def test_any_text_is_either_understood_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        parse_filter(text, RUNS)


@pytest.mark.parametrize(
    "text",
    [
        "metrics.a=1 AND AND tags.b='x'",
        "and metrics.a=1 tags.b='x'",
        "metrics.a=1 tags.b='x' AND",
        "\nmetrics.a=1\nand\ttags.b='x' ",
    ],
)
def test_and_may_be_missing_or_stand_anywhere(text: str) -> None:
    assert [term.key for term in parse_filter(text, RUNS)] == ["a", "b"]


@pytest.mark.parametrize("text", [None, "", "AND"])
def test_filter_of_nothing_has_no_terms(text: str | None) -> None:
    assert parse_filter(text, RUNS) == ()


def test_filter_at_its_bounds_is_understood() -> None:
    ids = ",".join(["'a'"] * LIST_ITEMS_MAX)
    terms = " AND ".join([f"run_id IN ({ids})", *["run_id NOT IN ('a')"] * (TERMS_MAX - 1)])

    assert len(parse_filter(terms.ljust(FILTER_LENGTH_MAX), RUNS)) == TERMS_MAX


def test_order_at_its_bound_is_understood() -> None:
    clauses = [f"metrics.m{number}" for number in range(ORDER_TERMS_MAX)]

    assert len(parse_order_by(clauses, RUNS)) == ORDER_TERMS_MAX


_LONG = [
    *"'\"`()[]/-#=;,.1é_",
    *["''\\", "'\\", "\\'", "('", "'('", "/*", "--\n", "a ", "a.", "`a`.", "a=(", "IS NOT ", "1e", "x IN ("],
    *["metrics.a=1 ", "metrics.", "a\"`'", "a-", ".1 "],
]


def test_no_more_tokens_are_cut_than_can_be_used() -> None:
    assert len(tokenize("=" + " ;" * 1_000, count_max=10)) == 11


@pytest.mark.alone
@pytest.mark.parametrize("part", _LONG)
def test_long_nonsense_is_refused_in_linear_time_and_few_words(part: str) -> None:
    text = (part * FILTER_LENGTH_MAX)[:FILTER_LENGTH_MAX]
    started_s = time.process_time()

    with pytest.raises(InvalidArgument) as caught:
        parse_filter(text, RUNS)

    # Ten milliseconds at most here; what is quadratic takes many seconds.
    assert time.process_time() - started_s < 1
    assert len(caught.value.message) < 12_000


def test_key_may_be_named_twice_where_that_is_allowed() -> None:
    order = parse_order_by(["name", "name"], EXPERIMENTS, unique=False)

    assert [term.key for term in order] == ["name", "name"]
