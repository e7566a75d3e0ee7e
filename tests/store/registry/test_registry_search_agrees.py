"""Searching models and versions in SQL finds what a plain reading of the same filter in Python finds."""

import functools
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.database import Database
from services.common.filters import Comparison, Grammar, OrderBy, parse_filter, parse_order_by
from services.registry.prompts import PROMPT_TAG
from services.registry.searches.grammars import (
    MODEL_VERSION_ORDER,
    MODEL_VERSIONS,
    REGISTERED_MODEL_ORDER,
    REGISTERED_MODELS,
)
from tests.store.registry.factories import CALLER, Registry

_VALUES = ["", "a", "B", "ab", "a_b", "A%", "true", "false"]
_KEYS = ["k", "key with space", PROMPT_TAG]
_SEARCH_SETTINGS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@dataclass(frozen=True)
class _Item:
    """A model or a version as a search sees it. `is_prompts` is whether it belongs to a prompt."""

    name: str
    version: int
    run_id: str
    source: str
    creation_timestamp: int
    last_updated_timestamp: int
    tags: dict[str, str]
    is_prompts: bool


@dataclass(frozen=True)
class _World:
    registry: Registry
    models: list[_Item]
    versions: list[_Item]


@pytest.fixture(scope="module")
async def world(registry_db: Database) -> _World:
    """Models and versions that differ in every way a search can see, with many ties."""
    registry = Registry.over(registry_db)
    async with registry_db.pipeline() as tx:
        await tx.execute("DELETE FROM registered_models")
    models: list[_Item] = []
    versions: list[_Item] = []
    for number in range(24):
        model_tags = _tags(number)
        name = await registry.new_model(f"{_VALUES[1 + number % 5]}{number // 5}", tags=model_tags)
        made = [await _version(registry, name, number * 3 + place) for place in range(number % 4)]
        is_prompt = any(version.tags.get(PROMPT_TAG) == "true" for version in made)
        versions += [_Item(**{**_fields(version), "is_prompts": is_prompt}) for version in made]
        models.append(
            _Item(
                name=name, version=0, run_id="", source="", creation_timestamp=0, tags=model_tags,
                last_updated_timestamp=(await registry.models.get(name)).last_updated_timestamp,
                is_prompts=model_tags.get(PROMPT_TAG) == "true",
            )
        )  # fmt: skip
    return _World(registry=registry, models=models, versions=versions)


def _fields(item: _Item) -> dict[str, Any]:
    return {name: getattr(item, name) for name in _Item.__dataclass_fields__}


def _tags(number: int) -> dict[str, str]:
    return {key: _VALUES[(number + 2 * place) % 8] for place, key in enumerate(_KEYS) if (number // (place + 1)) % 3}


async def _version(registry: Registry, name: str, number: int) -> _Item:
    tags = _tags(number) if number % 5 else {}
    # The source of what its tags call a prompt is another rule's business.
    source = "dummy-source" if tags.get(PROMPT_TAG) == "true" else f"s3://b/{_VALUES[number % 6] or 'x'}"
    made = await registry.new_version(name, source=source, run_id=_VALUES[number % 4], tags=tags)
    return _Item(
        name=name, version=int(made.version), run_id=made.run_id, source=made.source,
        creation_timestamp=made.creation_timestamp, last_updated_timestamp=made.last_updated_timestamp, tags=tags,
        is_prompts=False,
    )  # fmt: skip


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "LIKE": lambda text, pattern: _like(text, pattern, re.DOTALL),
    "ILIKE": lambda text, pattern: _like(text, pattern, re.DOTALL | re.IGNORECASE),
    "IN": lambda text, texts: text in texts,
    "NOT IN": lambda text, texts: text not in texts,
}  # fmt: skip


def _like(text: str, pattern: str, flags: int) -> bool:
    expression = "".join({"%": ".*", "_": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, text, flags) is not None


def _matches(item: _Item, term: Comparison) -> bool:
    value = item.tags.get(term.key) if term.entity == "tag" else getattr(item, term.key)
    return value is not None and _COMPARE[term.op](value, term.value)


def _found(items: Sequence[_Item], terms: Sequence[Comparison]) -> list[_Item]:
    """What matches, prompts left out unless the first term about their tag asks for them."""
    about = next((term for term in terms if term.entity == "tag" and term.key == PROMPT_TAG), None)
    if about and (about.op, str(about.value).lower()) in {("=", "true"), ("!=", "false")}:
        return [item for item in items if all(_matches(item, term) for term in terms)]
    others = [term for term in terms if not (term.entity == "tag" and term.key == PROMPT_TAG)]
    return [item for item in items if not item.is_prompts and all(_matches(item, term) for term in others)]


def _sorted(items: Sequence[_Item], order: Sequence[OrderBy]) -> list[_Item]:
    def compare(one: _Item, other: _Item) -> int:
        for term in order:
            values = getattr(one, term.key), getattr(other, term.key)
            if values[0] != values[1]:
                return 1 if (values[0] > values[1]) == term.ascending else -1
        return 0

    return sorted(items, key=functools.cmp_to_key(compare))


def _order(clauses: Sequence[str], grammar: Grammar, tie_break: dict[str, bool]) -> list[OrderBy]:
    order = parse_order_by(clauses, grammar)
    missing = {key: way for key, way in tie_break.items() if key not in {term.key for term in order}}
    return [*order, *(OrderBy(entity="attribute", key=key, ascending=way) for key, way in missing.items())]


_TEXTS = st.sampled_from([*_VALUES, "%b%", "a%"]).map(lambda text: f"'{text}'")
_NAMES = st.sampled_from(["a0", "B1", "A%3", "a_b0", "AB2", "%0", "a%"]).map(lambda text: f"'{text}'")
_LISTS = st.lists(st.sampled_from(["'a0'", "'B1'", "'a'", "'ab'", "''"]), min_size=1, max_size=3).map(
    lambda items: f"({', '.join(items)})"
)
_QUOTED = st.sampled_from(_KEYS).map(lambda key: f"`{key}`")
_TEXTUAL = st.sampled_from(["=", "!=", "LIKE", "ILIKE"])
_IN = st.sampled_from(["IN", "NOT IN"])
_TAG = st.builds("tags.{} {} {}".format, _QUOTED, _TEXTUAL, _TEXTS)
_NAME = st.one_of(st.builds("name {} {}".format, _TEXTUAL, _NAMES), st.builds("name {} {}".format, _IN, _LISTS))
_VERSION = st.one_of(
    st.builds("run_id {} {}".format, _TEXTUAL, _TEXTS),
    st.builds("run_id {} {}".format, _IN, _LISTS),
    st.builds("source_path {} {}".format, _TEXTUAL, st.sampled_from(["'s3://b/a'", "'S3://%'", "'%b'"])),
    st.builds(
        "version_number {} {}".format,
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(["1", "2", "'3'", "-1"]),
    ),
)


def _orders(keys: list[str]) -> st.SearchStrategy[tuple[str, ...]]:
    chosen = st.lists(st.sampled_from(keys), max_size=3, unique=True)
    return chosen.flatmap(lambda found: st.tuples(*[st.sampled_from([f"{k} ASC", f"{k} DESC", k]) for k in found]))


async def _pages(search: Callable[..., Any], **query: Any) -> list[Any]:
    found: list[Any] = []
    token: str | None = ""
    while token is not None:
        page, token = await search(**query, page_token=token, caller=CALLER)
        assert token is None or len(page) == query["max_results"]
        found += page
    return found


@_SEARCH_SETTINGS
@given(
    clauses=st.lists(st.one_of(_TAG, _NAME), max_size=3),
    order=_orders(["name", "timestamp"]),
    page_size=st.sampled_from([1, 5, 100]),
)
async def test_pages_of_models_are_what_python_finds(
    world: _World, clauses: list[str], order: tuple[str, ...], page_size: int
) -> None:
    filter_text = " AND ".join(clauses)
    matching = _found(world.models, parse_filter(filter_text, REGISTERED_MODELS))
    expected = _sorted(matching, _order(order, REGISTERED_MODEL_ORDER, {"name": True}))

    found = await _pages(world.registry.models.search, filter_text=filter_text, order_by=order, max_results=page_size)

    assert [model.name for model in found] == [item.name for item in expected]
    assert [model.tags for model in found] == [item.tags for item in expected]


@_SEARCH_SETTINGS
@given(
    clauses=st.lists(st.one_of(_TAG, _NAME, _VERSION), max_size=3),
    order=_orders(["name", "version_number", "creation_timestamp", "last_updated_timestamp"]),
    page_size=st.sampled_from([1, 7, 100]),
)
async def test_pages_of_versions_are_what_python_finds(
    world: _World, clauses: list[str], order: tuple[str, ...], page_size: int
) -> None:
    filter_text = " AND ".join(clauses)
    matching = _found(world.versions, parse_filter(filter_text, MODEL_VERSIONS))
    default = {"last_updated_timestamp": False} if not order else {}
    expected = _sorted(matching, _order(order, MODEL_VERSION_ORDER, {**default, "name": True, "version": False}))

    found = await _pages(world.registry.versions.search, filter_text=filter_text, order_by=order, max_results=page_size)

    assert [(version.name, int(version.version)) for version in found] == [
        (item.name, item.version) for item in expected
    ]
    assert [version.tags for version in found] == [item.tags for item in expected]
