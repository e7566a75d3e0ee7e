"""Our parser and MLflow's accept the same searches, with the same meaning, but for the differences listed here."""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils import search_utils
from mlflow.utils.search_logged_model_utils import parse_filter_string

from services.common.errors import InvalidArgument
from services.common.filters import Grammar, parse_filter, parse_order_by
from services.tracking.experiments.search_grammar import EXPERIMENTS
from services.tracking.logged_models.search_grammar import LOGGED_MODELS
from services.tracking.runs.search_grammar import RUNS

# MLflow has no types here.
SearchUtils: Any = search_utils.SearchUtils
SearchExperimentsUtils: Any = search_utils.SearchExperimentsUtils

# What a parser makes of a search, None if it refuses it.
Reading = list[tuple[Any, ...]] | None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A filter in which `pattern` is found, in any case, may be read otherwise than MLflow does; `example` is."""

    why: str
    example: str
    pattern: str


DIFFERENCES = [
    Difference(
        why="every decimal number is one; sqlparse takes some exponents apart",
        example="metrics.m < 1.5e+5",
        pattern=r"e\+[0-9]|\.e-?[0-9]|(?<![0-9])\.[0-9]+e",
    ),
    Difference(
        why="a number ends where a word does; sqlparse ends it after its exponent",
        example="metrics.m < 1e5AND metrics.n < 1",
        pattern=r"[0-9]e-?[0-9]+[^\W0-9]",
    ),
    Difference(
        why="a part of a key may be a number; sqlparse reads one together with its dot",
        example="params.layer.0 = 'x'",
        pattern=r"\.[0-9]+",
    ),
    Difference(
        why="a part of a key may be any word, even if it is special to sqlparse wherever it stands",
        example="params.from = 'x'",
        pattern=r"\.(case|in|values|using|from|as)\b",
    ),
    Difference(
        why="an alias is one of an attribute; MLflow looks for the metric 'start_time'",
        example="metrics.created > 1",
        pattern=r"\.\W*(created|run.name)",
    ),
    Difference(why="keywords may be far apart", example="tags.t IS NOT  NULL", pattern=r"\bnot\s\s+null"),
    Difference(
        why="a name stands together; MLflow looks for the key ' t', which nobody can log",
        example="tags. t = 'x'",
        pattern=r"\.\s|\s\.",
    ),
    Difference(
        why="only letters, digits and _ go without quotes; MLflow looks for keys that nobody can log",
        example="tags.t[0] = 'x'",
        pattern=r"::|\[|\]|\*|\w\(|´",
    ),
    Difference(
        why="a key stands alone before IS NULL; sqlparse takes what stands before it, without AND, for a part of it",
        example="tags.t = 'x' tags.u IS NULL",
        pattern=r"(?<!\band)\s\S+\s+is\s|['\"`]\S*\s+is\s",
    ),
    Difference(why="a key is not an order", example="tags.t DESC = 'x'", pattern=r"\b(asc|desc)\b"),
    Difference(
        why="a list holds quoted texts, as they are, parted by commas; MLflow has Python evaluate it",
        example="run_id IN ('a' 'b')",
        pattern=r"\bin\s*\(",
    ),
    Difference(
        why="only IN takes a list; in MLflow the database refuses it",
        example="run_id = ('a')",
        pattern=r"([<>=]|like)\s*\(",
    ),
    Difference(
        why="a time fits 64 bits; in MLflow the database refuses it",
        example=f"start_time < {2**63}",
        pattern=r"(?<![0-9])[0-9]{19,}",
    ),
]

EXPERIMENT_DIFFERENCES = [
    Difference(why="backticks quote an entity here as well", example="`tags`.t = 'x'", pattern=r"`(attribute|tag)"),
    Difference(
        why="only IN takes a list; in MLflow the database refuses it",
        example="experiment_id = ('1')",
        pattern=r"([<>=]|like)\s*\(",
    ),
    Difference(why="since MLflow 3.18; older ones refuse it", example="attributes.name = 'x'", pattern=r"attributes"),
]

LOGGED_MODEL_DIFFERENCES = [
    Difference(
        why="double quotes quote, as in the other searches; MLflow compares with the quotes",
        example='params.p = "x"',
        pattern=r'"',
    ),
    Difference(
        why="one pair of quotes is taken off; MLflow takes off all there are", example="params.p = 'x'''", pattern=r"''"
    ),
    Difference(why="a number is written in digits", example="metrics.m < inf", pattern=r"inf|nan|_"),
    Difference(why="an attribute exists; MLflow answers 500", example="absent = 'x'", pattern=r"\w+ ="),
    Difference(
        why="an alias is one behind the dot too", example="attributes.creation_time > 1", pattern=r"s\.creation_time"
    ),
    Difference(why="a status exists; MLflow refuses others later", example="status = 'x'", pattern=r"status"),
    Difference(why="an id is a number; MLflow lets the database see", example="experiment_id = '1'", pattern="_id"),
    Difference(
        why="only IN takes a list; in MLflow the database refuses it", example="params.p = ('x')", pattern=r"=\s*\("
    ),
]

# Whole orders of runs, and whether we read them: MLflow has a shell's rules for quotes, where there is a direction.
ORDER_DIFFERENCES = {
    'metrics."x".y DESC': True,
    "metrics.`a``b` DESC": True,
    'metrics.`a"b`': True,
    "metrics.1": True,
    "metrics.from": True,
    "metrics.m\u00a0DESC": True,
    "`metrics.m` DESC": False,
    'metrics.m "DESC"': False,
    "metrics.m(x)": False,
    "metrics.a[0]": False,
}


def _runs(text: str) -> Reading:
    """What MLflow's store does with a filter of runs before it asks the database."""
    reading = []
    for term in SearchUtils.parse_search_filter(text):
        entity, op, value = term["type"], term["comparator"].upper(), term["value"]
        key = SearchUtils.translate_key_alias(term["key"])
        if not SearchUtils.is_attribute(entity, key, op):
            assert any(is_it(entity, op) for is_it in _ENTITIES)
        shown = "param" if entity == "parameter" else entity
        reading.append((shown, key, op, float(value) if entity == "metric" else value))
    return reading


_ENTITIES: list[Callable[[str, str], bool]] = [
    SearchUtils.is_metric, SearchUtils.is_param, SearchUtils.is_tag, SearchUtils.is_dataset,
]  # fmt: skip


def _experiments(text: str) -> Reading:
    """As `_runs`, for experiments; these checks are in MLflow's sqlalchemy_store.py, which needs more than is here."""
    reading = []
    for term in SearchExperimentsUtils.parse_search_filter(text):
        entity, key, op, value = term["type"], term["key"], term["comparator"].upper(), term["value"]
        if entity == "tag":
            SearchExperimentsUtils.is_tag(entity, op)
        elif key == "experiment_id":
            _demand(op in ("=", "!=", "IN", "NOT IN"))
            value = tuple(map(int, value)) if isinstance(value, tuple) else int(value)
        else:
            _demand(op in ("=", "!=", "LIKE", "ILIKE") if key == "name" else isinstance(value, int))
            SearchUtils.is_metric("metric" if key != "name" else "", op)
        reading.append((entity, key, op, value))
    return reading


def _demand(is_right: bool) -> None:
    if not is_right:
        raise MlflowException("refused")


def _logged_models(text: str) -> Reading:
    names = {"attributes": "attribute", "metrics": "metric", "params": "param", "tags": "tag"}
    return [(names[term.entity.type.value], term.entity.key, term.op, term.value) for term in parse_filter_string(text)]


def _theirs(read: Callable[[Any], Reading], search: Any) -> Reading:
    """The errors besides MLflow's own are those which its server answers with 500."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return read(search)
    except (MlflowException, ValueError, SyntaxError, TypeError):
        return None


def _ours(grammar: Grammar, text: str) -> Reading:
    try:
        return [(term.entity, term.key, term.op, term.value) for term in parse_filter(text, grammar)]
    except InvalidArgument:
        return None


def _texts_in(quote: str) -> st.SearchStrategy[str]:
    inside = st.text(alphabet="".join({*"aB é%_.,;:()=<>-#/'\"`"} - {quote}), max_size=8)
    return inside.map(lambda text: f"{quote}{text}{quote}")


def _words(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split(","))


_SINGLE = _texts_in("'")
_TEXTS = _SINGLE | _texts_in('"')
_LISTS = st.lists(_TEXTS, min_size=1, max_size=3).map(lambda items: f"({', '.join(items)})")
_NUMBERS = st.one_of(
    st.integers(-(10**17), 10**17).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: repr(number).replace("e+", "e")),
    _words(".5,-.5,5.,0,-0,1E5,007,1e400"),
)
_TIMES = st.integers(-(10**15), 10**15).map(str)
_KEYS = _words("m,loss,a_b,a.b,v1,É,mlflow.source.name,order.by,type,`val/loss 1`,`from`,`a.b`,``")
_QUOTED_KEYS = _words('"a b","a.b",\'c d\',"x".y,`x`.y')
_SPACES = _words(" ,  ,\t,\n")
_NUMERIC = _words("=,!=,<,<=,>,>=,<>,==")
_TEXTUAL = _words(" = ,=, != ,!=, LIKE , like , ILIKE , iLike , > , RLIKE , NOT LIKE ")
_IN = _words(" IN , in , NOT IN , not in ")
_NULL = _words(" IS NULL, is null, IS NOT NULL, is not null")


def _clauses(numeric: st.SearchStrategy[str], textual: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Clauses with every operator behind names of both kinds, whether it fits them or not."""
    clauses = st.one_of(
        st.builds("{}{}{}{}{}".format, numeric, _SPACES, _NUMERIC, _SPACES, _NUMBERS),
        st.builds("{}{}{}".format, textual, _TEXTUAL, _TEXTS),
        st.builds("{}{}{}".format, textual, _IN, _LISTS),
        st.builds("{}{}".format, numeric | textual, _NULL),
        st.builds("{} = {}".format, numeric | textual, _NUMBERS | _TEXTS | _words("x,`x`,NULL,x.y")),
    )
    return st.lists(clauses, max_size=3).flatmap(
        lambda some: st.lists(_words(" AND , and ,\nAND\t"), min_size=len(some), max_size=len(some)).map(
            lambda joints: "".join(part for pair in zip(some, joints, strict=True) for part in pair)
        )
    )


def _named(entities: str, keys: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{}.{}".format, _words(entities), keys)


_RUN_FILTERS = _clauses(
    _named("metric,metrics,`metrics`", _KEYS | _QUOTED_KEYS)
    | _words("attributes.start_time,end_time,created,`Created`"),
    _named("param,params,parameter,parameters,tag,tags,Tags", _KEYS | _QUOTED_KEYS)
    | _named("dataset,datasets", _words("name,`digest`,context,source"))
    | _words('run_id,attr.status,run.user_id,`run name`,attributes."Run Name",run_name,name,artifact_uri,"params.p"'),
)
_EXPERIMENT_FILTERS = _clauses(
    _words("creation_time,attribute.last_update_time,`creation_time`"),
    _named("tag,tags,params", _KEYS | _QUOTED_KEYS) | _words("name,`name`,attribute.name,experiment_id,run_id"),
)
_LOGGED_MODEL_FILTERS = st.lists(
    st.one_of(
        st.builds("metrics.{}{}{}{}".format, _KEYS, _SPACES, _NUMERIC, _NUMBERS),
        st.builds("{}{}{}".format, _words("creation_time,attributes.creation_timestamp_ms"), _NUMERIC, _TIMES),
        st.builds("{}.{}{}{}".format, _words("params,tags"), _KEYS, _TEXTUAL, _SINGLE | _words("x,5,-1.5,a.b,a-b")),
        st.builds("{}{}{}".format, _words("name,attributes.model_type,`source_run_id`"), _TEXTUAL, _SINGLE),
        st.builds("{}{}{}".format, _words("name,params.p,tags.`a/b`,metrics.m"), _IN, _LISTS),
    ),
    max_size=3,
).map(" AND ".join)

_FRAGMENTS = st.one_of(
    st.sampled_from("'\"`\\ \t\n\u00a0.,;:()=<>!+-*/%#@&|~?$_09eExÉ"),
    _words("AND, AND , and ,OR, or ,NOT,IN,IS,NULL,IS NULL,LIKE,''"),
    _words("--,/*,metrics.,params.,tags.,run_id,1.5,true,BETWEEN,\\',('a')"),
)
_EDITS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), _FRAGMENTS), min_size=1, max_size=4)


def _edited(text: str, edits: Sequence[tuple[int, int, str]]) -> str:
    """Put each fragment somewhere, in place of a few characters."""
    for place, length, fragment in edits:
        start = place % (len(text) + 1)
        text = text[:start] + fragment + text[start + length :]
    return text


def _is_known(text: str, differences: Sequence[Difference]) -> bool:
    return any(re.search(difference.pattern, text, re.IGNORECASE) for difference in differences)


# Searched in the same order each time: what MLflow makes of odd filters is found out by long runs, not in every build.
_SAME_EACH_TIME = settings(derandomize=True, max_examples=400, deadline=None)


@_SAME_EACH_TIME
@given(_RUN_FILTERS)
def test_filter_of_runs_is_read_as_mlflow_reads_it(text: str) -> None:
    assert _ours(RUNS, text) == _theirs(_runs, text)


@_SAME_EACH_TIME
@given(_EXPERIMENT_FILTERS)
def test_filter_of_experiments_is_read_as_mlflow_reads_it(text: str) -> None:
    assert _ours(EXPERIMENTS, text) == _theirs(_experiments, text)


@_SAME_EACH_TIME
@given(_LOGGED_MODEL_FILTERS)
def test_filter_of_logged_models_is_read_as_mlflow_reads_it(text: str) -> None:
    assert _ours(LOGGED_MODELS, text) == _theirs(_logged_models, text)


@_SAME_EACH_TIME
@given(_RUN_FILTERS, _EDITS)
def test_spoilt_filter_of_runs_is_read_as_mlflow_reads_it(text: str, edits: list[tuple[int, int, str]]) -> None:
    spoilt = _edited(text, edits)

    assert _ours(RUNS, spoilt) == _theirs(_runs, spoilt) or _is_known(spoilt, DIFFERENCES)


@_SAME_EACH_TIME
@given(_EXPERIMENT_FILTERS, _EDITS)
def test_spoilt_filter_of_experiments_is_read_as_mlflow_reads_it(text: str, edits: list[tuple[int, int, str]]) -> None:
    spoilt = _edited(text, edits)

    known = _is_known(spoilt, [*DIFFERENCES, *EXPERIMENT_DIFFERENCES])
    assert _ours(EXPERIMENTS, spoilt) == _theirs(_experiments, spoilt) or known


@pytest.mark.parametrize(
    ("difference", "grammar", "read"),
    [
        *[(difference, RUNS, _runs) for difference in DIFFERENCES],
        *[(difference, EXPERIMENTS, _experiments) for difference in EXPERIMENT_DIFFERENCES],
        *[(difference, LOGGED_MODELS, _logged_models) for difference in LOGGED_MODEL_DIFFERENCES],
    ],
    ids=lambda value: value.example if isinstance(value, Difference) else "",
)
def test_difference_is_one(difference: Difference, grammar: Grammar, read: Callable[[str], Reading]) -> None:
    assert re.search(difference.pattern, difference.example, re.IGNORECASE)
    assert _ours(grammar, difference.example) != _theirs(read, difference.example)


_ORDERS = st.builds(
    "{}{}".format,
    _named("metric,metrics,`metrics`,param,params,tags,Tags", _KEYS | _words('"a b","a.b",\'c d\''))
    | _words("attributes.start_time,`created`,Created,end_time,run.status,run_name,`run name`,run name,nothing,x.y,5"),
    _words(", ASC, asc,  DESC, Desc, FOO, DESC ASC, NULLS LAST,-1, DESC;"),
)


def _their_order_of_runs(clause: str) -> Reading:
    entity, key, is_ascending = SearchUtils.parse_order_by_for_search_runs(clause)
    return [("param" if entity == "parameter" else entity, SearchUtils.translate_key_alias(key), is_ascending)]


def _our_order(grammar: Grammar, clause: str) -> Reading:
    try:
        return [(term.entity, term.key, term.ascending) for term in parse_order_by([clause], grammar)]
    except InvalidArgument:
        return None


@_SAME_EACH_TIME
@given(_ORDERS)
def test_order_of_runs_is_read_as_mlflow_reads_it(clause: str) -> None:
    assert _our_order(RUNS, clause) == _theirs(_their_order_of_runs, clause)


@pytest.mark.parametrize(("clause", "is_ours"), ORDER_DIFFERENCES.items())
def test_difference_of_orders_is_one(clause: str, is_ours: bool) -> None:
    ours = _our_order(RUNS, clause)

    assert ours != _theirs(_their_order_of_runs, clause)
    assert (ours is not None) == is_ours


@_SAME_EACH_TIME
@given(
    st.builds(
        "{}{}".format,
        _words("name,`name`,attribute.creation_time,last_update_time,experiment_id,run_id,metrics.m,name name"),
        _words(", ASC, desc,  DESC, FOO, DESC DESC,;"),
    )
)
def test_order_of_experiments_is_read_as_mlflow_reads_it(clause: str) -> None:
    def read(clause: str) -> Reading:
        return [SearchExperimentsUtils.parse_order_by_for_search_experiments(clause)]

    assert _our_order(EXPERIMENTS, clause) == _theirs(read, clause)
