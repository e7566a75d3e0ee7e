"""Searching runs: their order, their pages, and which of them a view type shows."""

import pytest

from tests.compat import factories, texts
from tests.compat.corpora import Corpus, Search, new_corpus, searcher
from tests.compat.rest import Json, Refusal, Rest, invalid


@pytest.fixture(scope="module")
def ordered(rest: Rest) -> Corpus:
    """o and t are the numbers 1 and 2, i and j infinity and minus infinity, n is not a number, m has no metric."""
    corpus = new_corpus(
        rest,
        {
            "o": {"start_time": 100, "run_name": "one", "user_id": "z"}
            | {"metrics": {"m": 1}, "params": {"p": "1"}, "tags": {"t": "b"}},
            "n": {"start_time": 200, "run_name": "nan"}
            | {"metrics": {"m": "NaN"}, "params": {"p": "10"}, "tags": {"t": "a"}},
            "m": {"start_time": 300, "run_name": "missing"},
            "i": {"start_time": 400, "run_name": "inf"}
            | {"metrics": {"m": "Infinity"}, "params": {"p": "2"}, "tags": {"t": "B"}},
            "j": {"start_time": 500, "run_name": "Minus inf"}
            | {"metrics": {"m": "-Infinity"}, "params": {"p": ""}, "tags": {"t": "A"}},
            "t": {"start_time": 600, "run_name": "two"} | {"metrics": {"m": 2}, "tags": {"t": "c"}},
        },
    )
    rest.post("runs/update", run_id=corpus.runs["o"], end_time=5, status="FINISHED")
    rest.post("runs/update", run_id=corpus.runs["t"], end_time=4, status="FAILED")
    return corpus


@pytest.fixture(scope="module")
def search_ordered(rest: Rest, ordered: Corpus) -> Search:
    return searcher(rest, ordered)


# What follows a plus has no such value: it comes last, both ways.
ORDERS: dict[tuple[str, ...], str] = {
    ("metrics.m",): "jotinm",
    ("metrics.m ASC",): "jotinm",
    ("metrics.m asc",): "jotinm",
    ("metrics.m DESC",): "itojnm",
    ("metrics.m  DESC",): "itojnm",
    ("metric.m desc",): "itojnm",
    ("metrics.`m` DESC",): "itojnm",
    ('metrics."m" DESC',): "itojnm",
    ("metrics.none",): "tjimno",
    ("params.p",): "joni" + "tm",
    ("params.p DESC",): "inoj" + "tm",
    ("param.p",): "jonitm",
    ("parameters.p",): "jonitm",
    ("params.none DESC",): "tjimno",
    ("tags.t",): "jinot" + "m",
    ("tags.t DESC",): "tonij" + "m",
    ("tag.`t`",): "jinotm",
    ("attributes.start_time",): "onmijt",
    ("start_time ASC",): "onmijt",
    ("start_time DESC",): "tjimno",
    ("attribute.start_time DESC",): "tjimno",
    ("created",): "onmijt",
    ("Created DESC",): "tjimno",
    ("end_time",): "to" + "jimn",
    ("end_time DESC",): "ot" + "jimn",
    ("status",): "to" + "jimn",
    ("status DESC",): "jimn" + "ot",
    ("user_id",): "tjimn" + "o",
    ("user_id DESC",): "o" + "tjimn",
    ("run_name",): "jimnot",
    ("run_name DESC",): "tonmij",
    ("tags.`mlflow.runName`",): "jimnot",
    ("status", "start_time"): "to" + "nmij",
    ("status DESC", "metrics.m"): "jinm" + "ot",
    ("params.none", "metrics.m DESC"): "itojnm",
    ("tags.t", "params.p"): "jinotm",
}
INVALID_ORDERS = {
    "  metrics.m": "Invalid order_by clause '  metrics.m'. Could not be parsed.",
    "metrics.m DESC ": "Invalid order_by clause 'metrics.m DESC '. Could not be parsed.",
    "metrics.m DESC DESC": "Invalid order_by clause 'metrics.m DESC DESC'. Could not be parsed.",
    "metrics.m NULLS LAST": "Invalid order_by clause 'metrics.m NULLS LAST'. Could not be parsed.",
    "metrics.m, params.p": "Invalid order_by clause 'metrics.m, params.p'. Could not be parsed.",
    "": "Invalid order_by clause ''. Could not be parsed.",
    "1": "Invalid order_by clause '1'. Could not be parsed.",
    "metrics.m FOO": "Invalid ordering key in order_by clause 'metrics.m FOO'.",
    "run name": "Invalid ordering key in order_by clause 'run name'.",
    "foo.bar": f"Invalid entity type 'foo'. Valid values are {texts.RUN_ENTITIES}",
    "datasets.name DESC": "Invalid identifier type 'dataset'",
}
INVALID_ORDER_KEYS = ["foo", "name", "lifecycle_stage", "experiment_id", "timestamp DESC", "`run name`"]


@pytest.mark.parametrize("order_by", ORDERS, ids=str)
def test_an_order_is_kept(search_ordered: Search, order_by: tuple[str, ...]) -> None:
    assert search_ordered(order_by=order_by) == ORDERS[order_by]


@pytest.mark.parametrize("order_by", ["run_id", "attributes.run_id ASC", "artifact_uri"])
def test_an_order_by_identity_is_kept(search_ordered: Search, ordered: Corpus, order_by: str) -> None:
    assert search_ordered(order_by=[order_by]) == "".join(sorted(ordered.runs, key=lambda label: ordered.runs[label]))


@pytest.mark.parametrize("order_by", INVALID_ORDERS)
def test_an_order_is_refused(rest: Rest, order_by: str) -> None:
    refused = rest.refused_post("runs/search", experiment_ids=["0"], order_by=[order_by])

    assert refused == invalid(INVALID_ORDERS[order_by])


@pytest.mark.parametrize("order_by", INVALID_ORDER_KEYS)
def test_an_order_by_an_unknown_attribute_is_refused(rest: Rest, order_by: str) -> None:
    refused = rest.refused_post("runs/search", experiment_ids=["0"], order_by=[order_by])

    key = order_by.removesuffix(" DESC").strip("`")
    assert refused.error_code == "INVALID_PARAMETER_VALUE"
    assert refused.message.startswith(f"Invalid attribute key '{key}' specified. Valid keys are '")


@pytest.mark.departure("stock answers 500")
@pytest.mark.parametrize(
    "order_by", [["metrics.m", "metrics.m DESC"], ["metrics.m", "metric.m"], ["start_time", "created"]], ids=str
)
def test_an_order_that_names_a_key_twice_is_refused(rest: Rest, order_by: list[str]) -> None:
    refused = rest.refused_post("runs/search", experiment_ids=["0"], order_by=order_by)

    assert refused == invalid(f"`order_by` contains duplicate fields: {order_by}")


def test_runs_that_tie_come_in_order_of_their_ids(rest: Rest) -> None:
    corpus = new_corpus(rest, {label: {"start_time": 7} for label in "abcde"})

    found = searcher(rest, corpus)(order_by=["user_id DESC"])

    assert found == "".join(sorted(corpus.runs, key=lambda label: corpus.runs[label]))


def test_runs_that_tie_come_latest_started_first(search_ordered: Search) -> None:
    assert search_ordered(order_by=["params.none"]) == "tjimno"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("order_by", [[], ["metrics.m"], ["metrics.m DESC"], ["tags.t", "end_time DESC"]], ids=str)
def test_pages_hold_every_run_once(rest: Rest, ordered: Corpus, size: int, order_by: list[str]) -> None:
    query = {"experiment_ids": [ordered.experiment_id], "order_by": order_by}
    whole = ordered.word(rest.post("runs/search", **query))

    pages = [rest.post("runs/search", max_results=size, **query)]
    while token := pages[-1].get("next_page_token"):
        pages.append(rest.post("runs/search", max_results=size, page_token=token, **query))

    assert "".join(ordered.word(page) for page in pages) == whole
    assert len(pages) == -(-6 // size)


def test_pages_of_a_filter_hold_every_run_once(rest: Rest, ordered: Corpus) -> None:
    query = {"experiment_ids": [ordered.experiment_id], "filter": "metrics.m != 1", "max_results": 2}

    first = rest.post("runs/search", **query)
    second = rest.post("runs/search", page_token=first["next_page_token"], **query)

    assert (ordered.word(first), ordered.word(second)) == ("tj", "in")
    assert "next_page_token" not in second


@pytest.mark.parametrize("max_results", [6, "6", 6.0, 50000, None])
def test_the_last_page_has_no_token(rest: Rest, ordered: Corpus, max_results: object) -> None:
    fields = {} if max_results is None else {"max_results": max_results}

    answer = rest.post("runs/search", experiment_ids=[ordered.experiment_id], **fields)

    assert len(answer["runs"]) == 6
    assert set(answer) == {"runs"}


@pytest.mark.parametrize(
    ("max_results", "refused"),
    [
        (0, invalid(texts.not_positive(0))),
        (-1, invalid(texts.not_positive(-1))),
        (50001, invalid(texts.wrong_type("max_results", 50001))),
        (2**31, invalid(texts.wrong_type("max_results", 2**31))),
        ("abc", invalid(texts.wrong_type("max_results", "abc"))),
    ],
)
def test_max_results_is_bounded(rest: Rest, max_results: object, refused: Refusal) -> None:
    assert rest.refused_post("runs/search", experiment_ids=["0"], max_results=max_results) == refused


@pytest.mark.parametrize("token", ["garbage", "e30=", "!", "eyJvZmZzZXQiOiAieCJ9"])
def test_a_made_up_token_is_refused(rest: Rest, token: str) -> None:
    refused = rest.refused_post("runs/search", experiment_ids=["0"], page_token=token)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith("Invalid page token")


def test_a_tampered_token_is_refused(rest: Rest, ordered: Corpus) -> None:
    query = {"experiment_ids": [ordered.experiment_id], "max_results": 2}
    token = rest.post("runs/search", **query)["next_page_token"]

    refused = rest.refused_post("runs/search", page_token=_with_another_beginning(token), **query)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith("Invalid page token")


@pytest.mark.departure("stock reads any number as an offset into any query")
@pytest.mark.parametrize(
    "changed",
    [{"filter": "metrics.m > 0"}, {"order_by": ["metrics.m"]}, {"experiment_ids": ["0"]}, {"run_view_type": "ALL"}],
    ids=str,
)
def test_a_token_of_another_query_is_refused(rest: Rest, ordered: Corpus, changed: Json) -> None:
    query = {"experiment_ids": [ordered.experiment_id], "max_results": 2}
    token = rest.post("runs/search", **query)["next_page_token"]

    refused = rest.refused_post("runs/search", **{**query, **changed, "page_token": token})

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith("Invalid page token")


def test_an_empty_token_is_no_token(search_ordered: Search) -> None:
    assert search_ordered(page_token="", max_results=6) == "tjimno"


@pytest.fixture(scope="module")
def partly_deleted(rest: Rest) -> Corpus:
    corpus = new_corpus(rest, {"a": {"start_time": 1, "params": {"p": "1"}}, "d": {"start_time": 2}})
    rest.post("runs/delete", run_id=corpus.runs["d"])
    return corpus


@pytest.mark.parametrize(
    ("view_type", "found"),
    [
        ("ACTIVE_ONLY", "a"),
        ("DELETED_ONLY", "d"),
        ("ALL", "da"),
        (1, "a"),
        (2, "d"),
        (3, "da"),
        (None, "a"),
    ],
)
def test_a_view_type_chooses_by_life(rest: Rest, partly_deleted: Corpus, view_type: object, found: str) -> None:
    assert searcher(rest, partly_deleted)(run_view_type=view_type) == found


def test_deleted_runs_are_not_found_unless_asked_for(rest: Rest, partly_deleted: Corpus) -> None:
    assert searcher(rest, partly_deleted)() == "a"


def test_deleted_runs_can_be_filtered(rest: Rest, partly_deleted: Corpus) -> None:
    search = searcher(rest, partly_deleted)

    assert search(run_view_type="ALL", filter="params.p IS NULL") == "d"


@pytest.mark.parametrize(
    "fields",
    [{}, {"experiment_ids": []}, {"experiment_ids": None}, {"experiment_ids": [factories.UNKNOWN_EXPERIMENT]}],
    ids=str,
)
def test_a_search_of_no_experiment_finds_nothing(rest: Rest, fields: Json) -> None:
    assert rest.post("runs/search", **fields) == {}


def test_a_search_may_name_several_experiments(rest: Rest, partly_deleted: Corpus, ordered: Corpus) -> None:
    ids = [ordered.experiment_id, partly_deleted.experiment_id, ordered.experiment_id, factories.UNKNOWN_EXPERIMENT]

    found = rest.post("runs/search", experiment_ids=ids)["runs"]

    expected = [*ordered.runs.values(), partly_deleted.runs["a"]]
    assert sorted(run["info"]["run_id"] for run in found) == sorted(expected)


@pytest.mark.parametrize("ids", [["abc"], ["0", "abc"]], ids=str)
def test_a_search_names_its_experiments_by_number(rest: Rest, ids: list[str]) -> None:
    assert rest.refused_post("runs/search", experiment_ids=ids) == invalid(texts.bad_experiment_id("abc"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("experiment_ids", "1"),
        ("experiment_ids", {}),
        ("filter", 5),
        ("filter", ["x"]),
        ("order_by", "metrics.m"),
        ("order_by", [5]),
        ("order_by", {}),
    ],
)
def test_a_field_of_the_wrong_type_is_named(rest: Rest, name: str, value: object) -> None:
    assert rest.refused_post("runs/search", **{name: value}) == invalid(texts.wrong_type(name, value))


def _with_another_beginning(token: str) -> str:
    return ("B" if token.startswith("A") else "A") + token[1:]
