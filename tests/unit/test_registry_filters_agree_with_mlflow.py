"""Our parser and MLflow's accept the same searches of the registry, with the same meaning."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils import search_utils

from services.common.errors import InvalidArgument
from services.common.filters import Grammar, parse_filter, parse_order_by
from services.registry.searches.grammars import (
    MODEL_VERSION_ORDER,
    MODEL_VERSIONS,
    REGISTERED_MODEL_ORDER,
    REGISTERED_MODELS,
)

# MLflow has no types here.
SearchUtils: Any = search_utils.SearchUtils
SearchModelUtils: Any = search_utils.SearchModelUtils
SearchModelVersionUtils: Any = search_utils.SearchModelVersionUtils

# What a parser makes of a search, None if it refuses it.
Reading = list[tuple[Any, ...]] | None

_TEXT = {"=", "!=", "LIKE", "ILIKE"}
_LISTS = {"IN", "NOT IN"}
_COLUMNS = {"source_path": "source", "version_number": "version"}


def _models(text: str) -> Reading:
    """What MLflow's store, whose checks these are, does with a filter of models before it asks the database."""
    reading = []
    for term in SearchModelUtils.parse_search_filter(text):
        op = term["comparator"].upper()
        _demand(op in (_TEXT if term["type"] == "tag" else _TEXT | _LISTS))
        reading.append((term["type"], term["key"], op, term["value"]))
    return reading


def _versions(text: str) -> Reading:
    """As `_models`, for versions."""
    reading = []
    for term in SearchModelVersionUtils.parse_search_filter(text):
        entity, key, op, value = term["type"], term["key"], term["comparator"].upper(), term["value"]
        if entity == "attribute" and key == "version_number":
            _demand(op in {"=", "!=", "<", "<=", ">", ">="} and not isinstance(value, float))
            value = int(value)
        else:
            lists = _LISTS if entity == "attribute" and key in ("name", "run_id") else set()
            _demand(op in _TEXT | lists)
        reading.append((entity, _COLUMNS.get(key, key) if entity == "attribute" else key, op, value))
    return reading


def _model_order(clause: str) -> Reading:
    key, is_ascending = SearchUtils.parse_order_by_for_search_registered_models(clause)
    _demand(key in ("name", "timestamp", "last_updated_timestamp"))
    return [
        ("attribute", key.replace("last_updated_", "").replace("timestamp", "last_updated_timestamp"), is_ascending)
    ]


def _version_order(clause: str) -> Reading:
    entity, key, is_ascending = SearchModelVersionUtils.parse_order_by_for_search_model_versions(clause)
    _demand(key in SearchModelVersionUtils.VALID_ORDER_BY_ATTRIBUTE_KEYS and entity == "attribute")
    return [(entity, _COLUMNS.get(key, key), is_ascending)]


def _demand(is_right: bool) -> None:
    if not is_right:
        raise MlflowException("refused")


def _theirs(read: Callable[[Any], Reading], search: Any) -> Reading:
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


def _our_order(grammar: Grammar, clause: str) -> Reading:
    try:
        return [(term.entity, term.key, term.ascending) for term in parse_order_by([clause], grammar)]
    except InvalidArgument:
        return None


def _words(words: str) -> st.SearchStrategy[str]:
    return st.sampled_from(words.split(","))


def _texts_in(quote: str) -> st.SearchStrategy[str]:
    inside = st.text(alphabet="".join({*"aB é%_.,;:()=<>-#/'\"`"} - {quote}), max_size=8)
    return inside.map(lambda text: f"{quote}{text}{quote}")


_QUOTED = _texts_in("'") | _texts_in('"')
_ITEMS = st.lists(_QUOTED, min_size=1, max_size=3).map(lambda items: f"({', '.join(items)})")
_NUMBERS = st.integers(-(10**17), 10**17).map(str) | _words("1.5,-1.5,0,-0,007,1.0")
_TEXTUAL = _words(" = ,=, != ,!=, LIKE , like , ILIKE , iLike , > ,<=, RLIKE , NOT LIKE ")
_TAGS = st.builds(
    "{}.{}".format,
    _words("tag,tags,Tags,params,attributes"),
    _words("m,a_b,a.b,É,mlflow.prompt.is_prompt,`val/loss 1`,`from`,`a.b`,\"a b\",'c d'"),
)


def _filters(names: str) -> st.SearchStrategy[str]:
    keys = _words(names) | _TAGS
    clauses = st.one_of(
        st.builds("{}{}{}".format, keys, _TEXTUAL, _QUOTED),
        st.builds("{}{}{}".format, keys, _words(" IN , in , NOT IN , not in "), _ITEMS),
        st.builds("{}{}".format, keys, _words(" IS NULL, is not null")),
        st.builds("{}{}{}".format, keys, _words("=,!=,<,<=,>,>=, LIKE "), _NUMBERS),
        st.builds("{} = {}".format, keys, _words("x,`x`,NULL,x.y")),
    )
    return st.lists(clauses, max_size=3).map(" AND ".join)


def _orders(names: str) -> st.SearchStrategy[str]:
    return st.builds("{}{}".format, _words(names), _words(", ASC, asc,  DESC, Desc, FOO, DESC ASC"))


# Searched in the same order each time: what MLflow makes of odd filters is found out by long runs, not in every build.
_SAME_EACH_TIME = settings(derandomize=True, max_examples=400, deadline=None)


@_SAME_EACH_TIME
@given(_filters("name,attribute.name,NAME,run_id,creation_timestamp"))
def test_filter_of_models_is_read_as_mlflow_reads_it(text: str) -> None:
    assert _ours(REGISTERED_MODELS, text) == _theirs(_models, text)


@_SAME_EACH_TIME
@given(_filters("name,attribute.run_id,source_path,run_id,version_number,attribute.version_number,current_stage"))
def test_filter_of_versions_is_read_as_mlflow_reads_it(text: str) -> None:
    assert _ours(MODEL_VERSIONS, text) == _theirs(_versions, text)


@_SAME_EACH_TIME
@given(_orders("name,timestamp,last_updated_timestamp,creation_timestamp,tags.t,attribute.name,name name,NAME"))
def test_order_of_models_is_read_as_mlflow_reads_it(clause: str) -> None:
    assert _our_order(REGISTERED_MODEL_ORDER, clause) == _theirs(_model_order, clause)


@_SAME_EACH_TIME
@given(_orders("name,`name`,version_number,creation_timestamp,attribute.last_updated_timestamp,tags.t,timestamp,a b"))
def test_order_of_versions_is_read_as_mlflow_reads_it(clause: str) -> None:
    assert _our_order(MODEL_VERSION_ORDER, clause) == _theirs(_version_order, clause)


@pytest.mark.parametrize(
    ("grammar", "read", "example"),
    [
        # Backticks quote an attribute and an entity here as well.
        (REGISTERED_MODELS, _models, "`name` = 'x'"),
        (MODEL_VERSIONS, _versions, "`tags`.t = 'x'"),
        # Only IN takes a list; in MLflow the database refuses it.
        (REGISTERED_MODELS, _models, "name = ('x')"),
        # A number fits 64 bits; in MLflow the database refuses it.
        (MODEL_VERSIONS, _versions, f"version_number < {2**63}"),
    ],
)
def test_difference_is_one(grammar: Grammar, read: Callable[[str], Reading], example: str) -> None:
    assert _ours(grammar, example) != _theirs(read, example)
