"""Searching runs: every operator on every entity, quoting, order, view types, pages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Json, Refusal, Rest, invalid


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The runs of one experiment by label; labels are single letters, so that an answer reads as a word."""

    experiment_id: str
    runs: dict[str, str]

    def filled(self, clause: str) -> str:
        """The clause with `{a}` replaced by the id of run a."""
        for label, run_id in self.runs.items():
            clause = clause.replace("{" + label + "}", run_id)
        return clause

    def word(self, answer: Json) -> str:
        by_id = {run_id: label for label, run_id in self.runs.items()}
        return "".join(by_id[run["info"]["run_id"]] for run in answer.get("runs", []))


def new_corpus(rest: Rest, runs: dict[str, Json]) -> Corpus:
    """Each run's `metrics`, `params` and `tags` are logged; its other fields are given at creation."""
    experiment_id = factories.new_experiment(rest)
    ids = {}
    for label, fields in runs.items():
        logged = {name: fields.get(name, {}) for name in ("metrics", "params", "tags")}
        ids[label] = factories.new_run(
            rest, experiment_id, **{name: value for name, value in fields.items() if name not in logged}
        )
        metrics = [factories.metric(key, value) for key, value in logged["metrics"].items()]
        factories.log(rest, ids[label], metrics=metrics, params=logged["params"], tags=logged["tags"])
    return Corpus(experiment_id=experiment_id, runs=ids)


Search = Callable[..., str]


def searcher(rest: Rest, corpus: Corpus) -> Search:
    def search(**query: Any) -> str:
        return corpus.word(rest.post("runs/search", experiment_ids=[corpus.experiment_id], **query))

    return search


@pytest.fixture(scope="module")
def filtered(rest: Rest) -> Corpus:
    """Four runs, each started later than the one before it."""
    return new_corpus(
        rest,
        {
            "a": {
                "start_time": 100,
                "user_id": "ann",
                "run_name": "alpha",
                "metrics": {"acc": 0.5, "loss": "NaN", "val acc": 1, "a.b": 2, "a/b": 3},
                "params": {"p": "1", "lr": "0.1", "with space": "x"},
                "tags": {"t": "x", "my tag": "sp", "a.b": "dot", "a-b": "dash", "u": "Ünïcode"},
            },
            "b": {
                "start_time": 200,
                "user_id": "bob",
                "run_name": "Beta",
                "metrics": {"acc": 0.9, "loss": 1},
                "params": {"p": "2", "lr": "0.2"},
                "tags": {"t": "X"},
            },
            "c": {"start_time": 300, "run_name": "gamma", "metrics": {"acc": "Infinity"}, "params": {"p": "10"}}
            | {"tags": {"t": "xy"}},
            "d": {
                "start_time": 400,
                "run_name": "delta",
                "metrics": {"acc": "-Infinity", "loss": 0},
                "tags": {"q": "it's", "d": 'say "hi"', "and": "a AND b"},
            },
        },
    )


@pytest.fixture(scope="module")
def search_filtered(rest: Rest, filtered: Corpus) -> Search:
    return searcher(rest, filtered)


FILTERS = {
    "": "dcba",
    # Metrics: the latest value; NaN is different from every number, infinities are the largest numbers there are.
    "metrics.acc > 0.5": "cb",
    "metrics.acc >= 0.5": "cba",
    "metrics.acc = 0.5": "a",
    "metrics.acc = 0.50": "a",
    "metrics.acc = .5": "a",
    "metrics.acc = 5e-1": "a",
    "metrics.acc != 0.5": "dcb",
    "metrics.acc < 0.9": "da",
    "metrics.acc <= 0.9": "dba",
    "metrics.acc > -1": "cba",
    "metrics.acc > 1e308": "c",
    "metrics.acc < -1.5e308": "d",
    "metrics.loss = 0": "d",
    "metrics.loss != 0": "ba",
    "metrics.loss != 1": "da",
    "metrics.loss < 5": "db",
    "metrics.loss > -5": "db",
    "metrics.loss <= 0": "d",
    "metrics.none > 0": "",
    "metrics.none != 0": "",
    "metric.acc = 0.5": "a",
    "metrics.`acc` = 0.5": "a",
    'metrics."acc" = 0.5': "a",
    "metrics.`val acc` = 1": "a",
    'metrics."val acc" = 1': "a",
    "metrics.a.b = 2": "a",
    "metrics.`a.b` = 2": "a",
    "metrics.`a/b` = 3": "a",
    "metrics.acc>0.5 and metrics.acc<1": "b",
    "metrics.acc > 0.1 AND metrics.acc < 1 AND metrics.loss = 1": "b",
    # Params.
    "params.p = '1'": "a",
    'params.p = "1"': "a",
    "param.p = '1'": "a",
    "parameter.p = '1'": "a",
    "parameters.p = '1'": "a",
    "params.`p` = '1'": "a",
    "params.\"p\" = '1'": "a",
    "params.`with space` = 'x'": "a",
    "params.p != '1'": "cb",
    "params.lr != '0.1'": "b",
    "params.p LIKE '1%'": "ca",
    "params.p LIKE '_'": "ba",
    "params.p LIKE '_0'": "c",
    "params.p LIKE '%'": "cba",
    "params.p ILIKE '1%'": "ca",
    "params.p = '%'": "",
    "params.P = '1'": "",
    "params.p IS NULL": "d",
    "params.p IS NOT NULL": "cba",
    "params.lr is null": "dc",
    "params.lr is not null": "ba",
    "params.none IS NULL": "dcba",
    "params.none = 'x'": "",
    "params.p = '1' AND params.p = '2'": "",
    # Tags.
    "tags.t = 'x'": "a",
    "tag.t = 'x'": "a",
    "tags.t != 'x'": "cb",
    "tags.t LIKE 'x%'": "ca",
    "tags.t LIKE 'X%'": "b",
    "tags.t like 'X%'": "b",
    "tags.t LIKE '%Y'": "",
    "tags.t ILIKE 'X%'": "cba",
    "tags.t ilike '%Y'": "c",
    "tags.u ILIKE '%CODE'": "a",
    "tags.u LIKE 'Ü%'": "a",
    "tags.`my tag` = 'sp'": "a",
    "tags.\"my tag\" = 'sp'": "a",
    "tags.a.b = 'dot'": "a",
    "tags.`a.b` = 'dot'": "a",
    "tags.`a-b` = 'dash'": "a",
    'tags.q = "it\'s"': "d",
    "tags.d = 'say \"hi\"'": "d",
    "tags.and = 'a AND b'": "d",
    "tags.q LIKE '%''%'": "",
    "tags.t IS NULL": "d",
    "tags.t IS NOT NULL": "cba",
    "tags.t IS NULL AND tags.q IS NOT NULL": "d",
    "tags.mlflow.runName = 'Beta'": "b",
    "tags.`mlflow.runName` LIKE '%a'": "dcba",
    # Attributes.
    "attributes.run_id = '{b}'": "b",
    "run_id = '{b}'": "b",
    "attributes.run_id != '{b}'": "dca",
    "run_id IN ('{b}')": "b",
    "run_id IN ('{b}', '{a}')": "ba",
    "attributes.run_id IN ('{b}','{a}','none')": "ba",
    "run_id NOT IN ('{b}', '{a}')": "dc",
    "run_id in ('{b}')": "b",
    "run_id not in ('{b}')": "dca",
    'run_id IN ("{b}")': "b",
    "run_id LIKE '%'": "dcba",
    "run_name = 'Beta'": "b",
    "run.run_name = 'Beta'": "b",
    "attr.run_name = 'Beta'": "b",
    "attribute.run_name = 'Beta'": "b",
    "attributes.run_name != 'Beta'": "dca",
    "run_name LIKE 'b%'": "",
    "run_name ILIKE 'b%'": "b",
    "`run name` = 'Beta'": "b",
    "attributes.`run name` = 'Beta'": "b",
    "attributes.\"Run name\" = 'Beta'": "b",
    "attributes.`Run Name` = 'Beta'": "b",
    "user_id = 'ann'": "a",
    "user_id != 'ann'": "dcb",
    "user_id = ''": "dc",
    "user_id LIKE 'A%'": "",
    "user_id ILIKE 'A%'": "a",
    "status = 'RUNNING'": "dcba",
    "attributes.status = 'running'": "",
    "status != 'RUNNING'": "",
    "status LIKE 'RUN%'": "dcba",
    "status ILIKE 'run%'": "dcba",
    "artifact_uri LIKE '%{c}%'": "c",
    "start_time > 100": "dcb",
    "start_time >= 100": "dcba",
    "start_time = 300": "c",
    "start_time != 300": "dba",
    "start_time < 300": "ba",
    "start_time <= 300": "cba",
    "start_time > 150.5": "dcb",
    "start_time > -1": "dcba",
    "attributes.start_time >= 200 AND attributes.start_time < 400": "cb",
    "created > 300": "d",
    "attributes.Created <= 100": "a",
    "end_time > 0": "",
    # All together.
    "params.p = '1' AND tags.t = 'x' AND metrics.acc = 0.5 AND start_time = 100": "a",
    "params.p\n=\n'1'": "a",
    "params.p='1'and tags.t='x'": "a",
}

NOT_QUOTED = (
    "Parameter value is either not quoted or unidentified quote types used for string value {}."
    " Use either single or double quotes."
)
ENTITIES = "['metric', 'parameter', 'tag', 'attribute', 'dataset']"
INVALID_FILTERS = {
    "metrics.acc = '0.5'": "Expected numeric value type for metric. Found '0.5'",
    "metrics.acc = abc": "Expected numeric value type for metric. Found abc",
    "metrics.acc = NaN": "Expected numeric value type for metric. Found NaN",
    "metrics.acc LIKE '1'": "Expected numeric value type for metric. Found '1'",
    "metrics.acc IN (1)": "Expected numeric value type for metric. Found (1)",
    "metrics.acc IS NULL": "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'acc'",
    "params.p = 1": "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 1",
    "params.p IN ('1', '2')": "Expected a quoted string value for parameter (e.g. 'my-value'). Got value ('1', '2')",
    "params.p = abc": NOT_QUOTED.format("abc"),
    "params.p = `1`": NOT_QUOTED.format("`1`"),
    "tags.t = 1": "Expected a quoted string value for tag (e.g. 'my-value'). Got value 1",
    "tags.t IN ('x')": "Expected a quoted string value for tag (e.g. 'my-value'). Got value ('x')",
    "tags.t NOT IN ('x')": "Expected a quoted string value for tag (e.g. 'my-value'). Got value ('x')",
    "tags.t = x": NOT_QUOTED.format("x"),
    "run_id = 5": "Expected a quoted string value for attributes. Got value 5",
    "run_id = abc": NOT_QUOTED.format("abc"),
    "run_id IN ()": "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
    "run_id IN (1)": (
        "While parsing a list in the query, expected string value, punctuation, or whitespace,"
        " but got different type in list: (1,)"
    ),
    "status IN ('RUNNING')": ("Only ['run_id'] attributes support comparison with a list of quoted string values."),
    "run_name IN ('x')": "Only ['run_id'] attributes support comparison with a list of quoted string values.",
    "start_time = '300'": "Expected numeric value type for numeric attribute: start_time. Found '300'",
    "start_time LIKE '3%'": "Expected numeric value type for numeric attribute: start_time. Found '3%'",
    "start_time IN (100)": "Expected numeric value type for numeric attribute: start_time. Found (100)",
    "end_time IS NULL": ("IS NULL / IS NOT NULL is only supported for tags and params, not for 'attribute' 'end_time'"),
    "datasets.name IS NULL": "IS NULL / IS NOT NULL is only supported for tags and params, not for 'dataset' 'name'",
    "datasets.name = 5": "Expected a quoted string value for dataset attributes. Got value 5",
    "foo.bar = 'x'": f"Invalid entity type 'foo'. Valid values are {ENTITIES}",
    "METRICS.acc > 0.5": f"Invalid entity type 'METRICS'. Valid values are {ENTITIES}",
    "metrics.acc > 0.5 OR params.p = '1'": "Invalid clause(s) in filter string: 'OR'",
    "NOT metrics.acc > 0.5": "Invalid clause(s) in filter string: 'NOT'",
    "(metrics.acc > 0.5)": "Invalid clause(s) in filter string: '(metrics.acc > 0.5)'",
    "metrics.acc": "Invalid clause(s) in filter string: 'metrics.acc'",
    "metrics.acc >": "Invalid clause(s) in filter string: 'metrics.acc', '>'",
    "metrics.acc > 0.5;": "Invalid clause(s) in filter string: ';'",
    "metrics.acc > 1; metrics.acc < 2": (
        "Search filter contained multiple expression 'metrics.acc > 1; metrics.acc < 2'."
        " Provide AND-ed expression list."
    ),
    " ": "Invalid filter ' '. Could not be parsed.",
}
INVALID_BEGINNINGS = {
    "metrics.acc == 0.5": "Invalid comparator '==' not one of '",
    "metrics.acc <> 0.5": "Invalid comparator '<>' not one of '",
    "params.p > '1'": "Invalid comparator '>' not one of '",
    "tags.t RLIKE 'x'": "Invalid comparator 'RLIKE' not one of '",
    "status > 'A'": "Invalid comparator '>' not one of '",
    "datasets.name > 'a'": "Invalid comparator '>' not one of '",
    "attributes.foo = 'x'": "Invalid attribute key 'foo' specified. Valid keys are '",
    "foo = 'x'": "Invalid attribute key 'foo' specified. Valid keys are '",
    "experiment_id = '1'": "Invalid attribute key 'experiment_id' specified. Valid keys are '",
    "lifecycle_stage = 'active'": "Invalid attribute key 'lifecycle_stage' specified. Valid keys are '",
    "datasets.foo = 'x'": "Invalid dataset key 'foo' specified. Valid keys are '",
    "params.p = '1": "Invalid clause(s) in filter string: 'params.p', '=', '",
    "params.p BETWEEN '1' AND '2'": "Invalid clause(s) in filter string: 'params.p', 'BETWEEN'",
    "params.p = '1' -- comment": "Invalid clause(s) in filter string: '",
    "0.5 < metrics.acc": "Invalid comparison clause",
}


@pytest.mark.parametrize("clause", FILTERS)
def test_a_filter_finds(search_filtered: Search, filtered: Corpus, clause: str) -> None:
    assert search_filtered(filter=filtered.filled(clause)) == FILTERS[clause]


@pytest.mark.parametrize("clause", INVALID_FILTERS)
def test_a_filter_is_refused(rest: Rest, clause: str) -> None:
    refused = rest.refused_post("runs/search", experiment_ids=["0"], filter=clause)

    assert refused == invalid(INVALID_FILTERS[clause])


@pytest.mark.parametrize("clause", INVALID_BEGINNINGS)
def test_a_filter_is_refused_with_the_choices(rest: Rest, clause: str) -> None:
    refused = rest.refused_post("runs/search", experiment_ids=["0"], filter=clause)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(INVALID_BEGINNINGS[clause])


@pytest.mark.departure("stock answers 500 with the text of its database driver")
def test_a_number_beyond_64_bits_is_refused(rest: Rest) -> None:
    refused = rest.refused_post("runs/search", experiment_ids=["0"], filter=f"start_time < {2**64}")

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("fields", [{}, {"filter": None}, {"order_by": None}, {"order_by": []}], ids=str)
def test_runs_come_latest_started_first_unless_asked_otherwise(search_filtered: Search, fields: Json) -> None:
    assert search_filtered(**fields) == "dcba"


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
    "foo.bar": f"Invalid entity type 'foo'. Valid values are {ENTITIES}",
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


def test_a_search_may_name_several_experiments(rest: Rest, filtered: Corpus, ordered: Corpus) -> None:
    ids = [filtered.experiment_id, ordered.experiment_id, filtered.experiment_id, factories.UNKNOWN_EXPERIMENT]

    found = rest.post("runs/search", experiment_ids=ids)["runs"]

    assert sorted(run["info"]["run_id"] for run in found) == sorted([*filtered.runs.values(), *ordered.runs.values()])


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


def test_filters_see_the_latest_metric(rest: Rest) -> None:
    corpus = new_corpus(rest, {"a": {}})
    factories.log(rest, corpus.runs["a"], metrics=[factories.metric("m", 9.0, 1, 1), factories.metric("m", 1.0, 1, 2)])
    search = searcher(rest, corpus)

    assert [search(filter=clause) for clause in ("metrics.m = 1", "metrics.m = 9")] == ["a", ""]


def test_filters_see_a_renamed_run_by_its_new_name(rest: Rest) -> None:
    corpus = new_corpus(rest, {"a": {"run_name": "old"}})
    rest.post("runs/set-tag", run_id=corpus.runs["a"], key="mlflow.runName", value="new")
    search = searcher(rest, corpus)

    assert [search(filter=f"run_name = '{name}'") for name in ("old", "new")] == ["", "a"]


def _with_another_beginning(token: str) -> str:
    return ("B" if token.startswith("A") else "A") + token[1:]
