"""Searching experiments: filters, order, view types, pages."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Json, Refusal, Rest, invalid

ANY_NUMBER = 10**13


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Five experiments that share a tag no other experiment has, oldest first; `d` is deleted."""

    group: str
    ids: dict[str, str]

    def filter(self, clause: str) -> str:
        """The clause with `{a}` replaced by an id and `{group}` by the names' beginning, in this corpus only."""
        filled = clause.replace("{group}", self.group)
        for label, experiment_id in self.ids.items():
            filled = filled.replace("{" + label + "}", experiment_id)
        return f"tags.compat = '{self.group}'" + (f" AND {filled}" if filled else "")

    def labels(self, answer: Json) -> list[str]:
        by_id = {experiment_id: label for label, experiment_id in self.ids.items()}
        return [by_id[experiment["experiment_id"]] for experiment in answer.get("experiments", [])]


@pytest.fixture(scope="module")
def corpus(rest: Rest) -> Corpus:
    group = factories.unique()
    tags = {"a": {"t": "x"}, "B": {"t": "X"}, "c": {"my tag": "1", "q": "it's"}, "d": {"t": "xy"}, "e": {}}
    ids = {
        label: factories.new_experiment(rest, name=f"{group}-{label}", tags=factories.pairs({"compat": group, **own}))
        for label, own in tags.items()
    }
    rest.post("experiments/delete", experiment_id=ids["d"])
    return Corpus(group=group, ids=ids)


Search = Callable[..., list[str]]


@pytest.fixture
def search(rest: Rest, corpus: Corpus) -> Search:
    def find(clause: str = "", **fields: object) -> list[str]:
        body = {"max_results": 100, "filter": corpus.filter(clause), **fields}
        return corpus.labels(rest.post("experiments/search", **body))

    return find


FILTERS = {
    "": "ecBa",
    "tags.t = 'x'": "a",
    "tag.t='x'": "a",
    'tags.t = "x"': "a",
    "tags.t != 'x'": "B",
    "tags.t LIKE 'x%'": "a",
    "tags.t LIKE '_'": "Ba",
    "tags.t ILIKE 'X%'": "Ba",
    "tags.t like 'x'": "a",
    "tags.t ilike 'x'": "Ba",
    "tags.t IS NULL": "ec",
    "tags.t is null": "ec",
    "tags.t IS NOT NULL": "Ba",
    "tags.t is not null": "Ba",
    "tags.`my tag` = '1'": "c",
    "tags.\"my tag\" = '1'": "c",
    'tags.q = "it\'s"': "c",
    "tags.none = 'x'": "",
    "tags.t = 'x' AND tags.t = 'X'": "",
    "tags.t = 'x' and name LIKE '%a'": "a",
    "name = '{group}-a'": "a",
    "name != '{group}-a'": "ecB",
    "attribute.name = '{group}-a'": "a",
    "attributes.name = '{group}-a'": "a",
    "`name` = '{group}-a'": "a",
    "name LIKE '{group}-%'": "ecBa",
    "name LIKE '{group}-A'": "",
    "name ILIKE '{group}-A'": "a",
    "name ilike '{group}-b'": "B",
    "experiment_id = '{a}'": "a",
    "experiment_id != '{a}'": "ecB",
    "experiment_id IN ('{a}', '{B}')": "Ba",
    "experiment_id IN ('{a}')": "a",
    "experiment_id in ('{a}')": "a",
    "experiment_id NOT IN ('{a}', '{B}')": "ec",
    "attributes.experiment_id = '{c}'": "c",
    "creation_time > 0": "ecBa",
    "creation_time >= 0": "ecBa",
    f"creation_time < {ANY_NUMBER}": "ecBa",
    f"last_update_time <= {ANY_NUMBER}": "ecBa",
    "creation_time = 5": "",
    "last_update_time != 5": "ecBa",
}

INVALID_FILTERS = {
    "tags.t IN ('x')": "Expected a quoted string value for tag (e.g. 'my-value'). Got value ('x')",
    "tags.t = x": (
        "Parameter value is either not quoted or unidentified quote types used for string value x."
        " Use either single or double quotes."
    ),
    "tags.t > 'x'": "Invalid comparator for tag: >",
    "name = 5": "Expected a quoted string value for attributes. Got value 5",
    "name IN ('x')": "Only ['experiment_id'] attributes support comparison with a list of quoted string values.",
    "name IS NULL": "IS NULL / IS NOT NULL is only supported for tags, not for attribute 'name'",
    "experiment_id = 5": "Expected a quoted string value for attributes. Got value 5",
    "experiment_id = 'abc'": texts.bad_experiment_id("abc"),
    "experiment_id IN ('abc')": texts.bad_experiment_id("abc"),
    "experiment_id > '1'": "Invalid comparator for experiment_id: >",
    "experiment_id LIKE '1%'": "Invalid comparator for experiment_id: LIKE",
    "experiment_id IN ()": (
        "While parsing a list in the query, expected a non-empty list of string values, but got empty list"
    ),
    "experiment_id IN (1)": (
        "While parsing a list in the query, expected string value, punctuation, or whitespace,"
        " but got different type in list: (1,)"
    ),
    "creation_time > 1.5": "Invalid value for numeric attribute 'creation_time': '1.5'",
    "creation_time > '5'": "Expected numeric value type for numeric attribute: creation_time. Found '5'",
    "creation_time LIKE '5'": "Expected numeric value type for numeric attribute: creation_time. Found '5'",
    "creation_time IN (1)": "Expected numeric value type for numeric attribute: creation_time. Found (1)",
    "params.p = '1'": (
        "Invalid entity type 'params'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')"
    ),
    "attr.name = '1'": "Invalid entity type 'attr'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')",
    "name = 'a' OR name = 'b'": "Invalid clause(s) in filter string: OR",
    "(name = 'a')": "Invalid clause(s) in filter string: (name = 'a')",
}

INVALID_BEGINNINGS = {
    "name > 'a'": "Invalid comparator '>' not one of '",
    "foo = 'x'": "Invalid attribute key 'foo' specified. Valid keys are '",
    "lifecycle_stage = 'active'": "Invalid attribute key 'lifecycle_stage' specified. Valid keys are '",
}

ORDERS = {
    ("name",): "Bace",
    ("name ASC",): "Bace",
    ("name DESC",): "ecaB",
    ("attribute.name desc",): "ecaB",
    ("`name`",): "Bace",
    ("experiment_id",): "aBce",
    ("experiment_id DESC",): "ecBa",
    ("creation_time ASC",): "aBce",
    ("last_update_time DESC",): "ecBa",
    ("name", "experiment_id DESC"): "Bace",
    ("name", "name"): "Bace",
}

INVALID_ORDERS = {
    "tags.t": "Invalid order_by entity: tag",
    "name FOO": "Invalid ordering key in order_by clause 'name FOO'.",
    "": "Invalid order_by clause ''. Could not be parsed.",
    "name DESC DESC": "Invalid order_by clause 'name DESC DESC'. Could not be parsed.",
    "metrics.m": "Invalid entity type 'metrics'. Valid entity types are ('attribute', 'attributes', 'tag', 'tags')",
}


@pytest.mark.parametrize("clause", FILTERS)
def test_a_filter_finds(search: Search, clause: str) -> None:
    assert "".join(search(clause)) == FILTERS[clause]


@pytest.mark.parametrize("clause", INVALID_FILTERS)
def test_a_filter_is_refused(rest: Rest, clause: str) -> None:
    refused = rest.refused_post("experiments/search", max_results=1, filter=clause)

    assert refused == invalid(INVALID_FILTERS[clause])


@pytest.mark.parametrize("clause", INVALID_BEGINNINGS)
def test_a_filter_is_refused_with_the_choices(rest: Rest, clause: str) -> None:
    refused = rest.refused_post("experiments/search", max_results=1, filter=clause)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(INVALID_BEGINNINGS[clause])


def test_a_blank_filter_is_refused(rest: Rest) -> None:
    refused = rest.refused_post("experiments/search", max_results=1, filter=" ")

    assert refused == invalid("Invalid filter ' '. Could not be parsed.")


@pytest.mark.departure("stock answers 500 with the text of its database driver")
def test_a_number_beyond_64_bits_is_refused(rest: Rest) -> None:
    refused = rest.refused_post("experiments/search", max_results=1, filter=f"creation_time < {2**64}")

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("order_by", ORDERS, ids=str)
def test_an_order_is_kept(search: Search, order_by: tuple[str, ...]) -> None:
    assert "".join(search(order_by=order_by)) == ORDERS[order_by]


@pytest.mark.parametrize("order_by", INVALID_ORDERS)
def test_an_order_is_refused(rest: Rest, order_by: str) -> None:
    refused = rest.refused_post("experiments/search", max_results=1, order_by=[order_by])

    assert refused == invalid(INVALID_ORDERS[order_by])


def test_experiments_come_newest_first_unless_asked_otherwise(search: Search) -> None:
    assert "".join(search()) == "ecBa"


@pytest.mark.parametrize(
    ("view_type", "found"),
    [
        ("ACTIVE_ONLY", "ecBa"),
        ("DELETED_ONLY", "d"),
        ("ALL", "edcBa"),
        (1, "ecBa"),
        (2, "d"),
        (3, "edcBa"),
        ("3", "edcBa"),
        (None, "ecBa"),
    ],
)
def test_a_view_type_chooses_by_life(search: Search, view_type: object, found: str) -> None:
    assert "".join(search(view_type=view_type)) == found


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_max_results_is_required(rest: Rest, method: str) -> None:
    response = rest.call(method, "experiments/search", **({"json": {}} if method == "POST" else {}))

    assert response.status_code == 400
    assert response.json()["message"] == texts.not_positive(0)


@pytest.mark.parametrize(
    ("max_results", "refused"),
    [
        (0, invalid(texts.not_positive(0))),
        (-1, invalid(texts.not_positive(-1))),
        (None, invalid(texts.not_positive(0))),
        (50001, invalid("Invalid value 50001 for parameter 'max_results' supplied. It must be at most 50000")),
        ("abc", invalid(texts.wrong_type("max_results", "abc"))),
    ],
)
def test_max_results_is_bounded(rest: Rest, max_results: object, refused: Refusal) -> None:
    assert rest.refused_post("experiments/search", max_results=max_results) == refused


@pytest.mark.parametrize("max_results", [4, "4", 4.0, 50000])
def test_the_last_page_has_no_token(rest: Rest, corpus: Corpus, max_results: object) -> None:
    answer = rest.post("experiments/search", max_results=max_results, filter=corpus.filter(""))

    assert len(answer["experiments"]) == 4
    assert "next_page_token" not in answer


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("order_by", [[], ["name"], ["creation_time"]], ids=str)
def test_pages_hold_every_experiment_once(rest: Rest, corpus: Corpus, size: int, order_by: list[str]) -> None:
    query = {"filter": corpus.filter(""), "order_by": order_by}
    whole = corpus.labels(rest.post("experiments/search", max_results=100, **query))

    pages = [rest.post("experiments/search", max_results=size, **query)]
    while token := pages[-1].get("next_page_token"):
        pages.append(rest.post("experiments/search", max_results=size, page_token=token, **query))

    assert [label for page in pages for label in corpus.labels(page)] == whole
    assert [len(page["experiments"]) for page in pages[:-1]] == [size] * (len(pages) - 1)


@pytest.mark.parametrize("token", ["garbage", "e30=", "!"])
def test_a_made_up_token_is_refused(rest: Rest, token: str) -> None:
    refused = rest.refused_post("experiments/search", max_results=1, page_token=token)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith("Invalid page token")


def test_a_query_string_searches_too(rest: Rest, corpus: Corpus) -> None:
    query = [
        ("max_results", "3"),
        ("filter", corpus.filter("")),
        ("order_by", "name DESC"),
        ("order_by", "experiment_id"),
        ("view_type", "ALL"),
    ]

    answer = rest.call("GET", "experiments/search", params=query).json()

    assert "".join(corpus.labels(answer)) == "edc"
    assert "next_page_token" in answer


def test_nothing_found_is_an_empty_object(rest: Rest) -> None:
    assert rest.post("experiments/search", max_results=5, filter=f"name = '{factories.unique()}'") == {}
