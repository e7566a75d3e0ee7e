"""Searching logged models: their own filter language, order, datasets, pages."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.factories import metric, pairs
from tests.compat.rest import Json, Rest, invalid

PATH = "logged-models/search"
KEYS = "Expected one of ['attributes', 'metrics', 'params', 'tags']."
STRING_OPERATORS = "Expected one of ('=', '!=', 'LIKE', 'ILIKE', 'IN', 'NOT IN')."
NUMBER_OPERATORS = "Expected one of ('<', '<=', '>', '>=', '=', '!=')."
NOT_COMPARISONS = (
    "Invalid filter string: {!r}. Expected a list of comparisons separated by 'AND'"
    " (e.g. 'metrics.loss > 0.1 AND params.lr = 0.01')."
)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Four models, newest first: d, c, b, a."""

    experiment_id: str
    run_id: str
    models: dict[str, str]

    def word(self, answer: Json) -> str:
        by_id = {model_id: label for label, model_id in self.models.items()}
        return "".join(by_id[model["info"]["model_id"]] for model in answer.get("models", []))

    def filled(self, clause: str) -> str:
        for label, model_id in self.models.items():
            clause = clause.replace("{" + label + "}", model_id)
        return clause.replace("{run}", self.run_id)


@pytest.fixture(scope="module")
def corpus(rest: Rest) -> Corpus:
    experiment_id = factories.new_experiment(rest)
    run_id = factories.new_run(rest, experiment_id)
    fields: dict[str, Json] = {
        "a": {"name": "alpha", "model_type": "T", "source_run_id": run_id}
        | {"params": pairs({"lr": "0.1"}), "tags": pairs({"t": "x"})},
        "b": {"name": "Beta", "model_type": "t"}
        | {"params": pairs({"lr": "0.2"}), "tags": pairs({"t": "X", "sp ace": "1"})},
        "c": {"name": "gamma"},
        "d": {"name": "delta", "tags": pairs({"t": "xy"})},
    }
    models = {label: _new_model(rest, experiment_id, given) for label, given in fields.items()}
    points = [
        metric("acc", 0.9, 1, 0, model_id=models["a"]),
        metric("acc", 0.5, 1, 1, model_id=models["a"]),
        metric("acc", 0.7, 1, 0, model_id=models["b"], dataset_name="iris", dataset_digest="1"),
        metric("acc", 0.6, 1, 5, model_id=models["b"], dataset_name="wine", dataset_digest="9"),
        metric("loss", 3.0, model_id=models["c"]),
        metric("loss", "Infinity", model_id=models["a"]),
        metric("m space", 1.0, model_id=models["a"]),
    ]
    rest.post("runs/log-batch", run_id=run_id, metrics=points)
    for label, status in (("b", "LOGGED_MODEL_READY"), ("c", "LOGGED_MODEL_UPLOAD_FAILED")):
        rest.patch(f"logged-models/{models[label]}", model_id=models[label], status=status)
    return Corpus(experiment_id=experiment_id, run_id=run_id, models=models)


def _new_model(rest: Rest, experiment_id: str, fields: Json) -> str:
    """Make a model at a millisecond of its own, for models are ordered by it."""
    model = rest.post("logged-models", experiment_id=experiment_id, **fields)["model"]["info"]
    made = model["creation_timestamp_ms"]
    while rest.post("logged-models", experiment_id="0")["model"]["info"]["creation_timestamp_ms"] == made:
        pass
    return str(model["model_id"])


Search = Callable[..., str]


@pytest.fixture
def search(rest: Rest, corpus: Corpus) -> Search:
    def find(**query: Any) -> str:
        return corpus.word(rest.post(PATH, experiment_ids=[corpus.experiment_id], **query))

    return find


FILTERS = {
    "": "dcba",
    "name = 'alpha'": "a",
    "name != 'alpha'": "dcb",
    "name LIKE '%a'": "dcba",
    "name LIKE 'b%'": "",
    "name like 'B%'": "b",
    "name ILIKE 'b%'": "b",
    "name ilike 'b%'": "b",
    "name IN ('alpha', 'gamma')": "ca",
    "name IN ('alpha')": "a",
    "name in ('alpha')": "a",
    "name NOT IN ('alpha', 'gamma')": "db",
    "`name` = 'alpha'": "a",
    "attributes.name = 'alpha'": "a",
    "attributes.`name` = 'alpha'": "a",
    "model_id = '{a}'": "a",
    "model_id IN ('{a}', '{b}')": "ba",
    "model_type = 'T'": "a",
    "model_type ILIKE 'T'": "ba",
    "model_type = ''": "dc",
    "source_run_id = '{run}'": "a",
    "status = 'READY'": "b",
    "status != 'READY'": "dca",
    "status = 'PENDING'": "da",
    "status IN ('READY', 'FAILED')": "cb",
    "status NOT IN ('READY')": "dca",
    "creation_timestamp > 0": "dcba",
    "creation_timestamp <= 5": "",
    "creation_time > 1e3": "dcba",
    "creation_timestamp != 0": "dcba",
    "last_updated_timestamp > 0": "dcba",
    "metrics.acc = 0.5": "a",
    "metrics.acc > 0.55": "b",
    "metrics.acc >= 0.5": "ba",
    "metrics.acc < 1": "ba",
    "metrics.acc != 0.5": "b",
    "metrics.acc = 0.9": "",
    "metrics.loss > 100": "a",
    "metrics.`acc` = 0.5": "a",
    "metrics.`m space` = 1": "a",
    "metrics.none > 0": "",
    "metrics.acc > 0.4 AND metrics.acc < 0.55": "a",
    "metrics.acc > 0.4 AND metrics.loss > 0": "a",
    "params.lr = '0.1'": "a",
    "params.lr != '0.1'": "b",
    "params.lr LIKE '0%'": "ba",
    "params.lr IN ('0.1', '0.2')": "ba",
    "params.lr NOT IN ('0.1')": "b",
    "params.`lr` = '0.1'": "a",
    "params.lr = '0.1' AND params.lr = '0.2'": "",
    "tags.t = 'x'": "a",
    "tags.t != 'x'": "db",
    "tags.t LIKE 'x%'": "da",
    "tags.t ILIKE 'X%'": "dba",
    "tags.t IN ('x', 'X')": "ba",
    "tags.`sp ace` = '1'": "b",
    "name = 'alpha' AND params.lr = '0.1' AND metrics.acc = 0.5 AND tags.t = 'x'": "a",
    "tags.t = 'x' and name = 'alpha'": "a",
}
INVALID_FILTERS = {
    "name > 'a'": f"Invalid comparison operator for attributes.name: '>'. {STRING_OPERATORS}",
    "params.lr > '0.1'": f"Invalid comparison operator for params.lr: '>'. {STRING_OPERATORS}",
    "metrics.acc LIKE '1'": f"Invalid comparison operator for metrics.acc: 'LIKE'. {NUMBER_OPERATORS}",
    "creation_timestamp LIKE '5'": (
        f"Invalid comparison operator for attributes.creation_timestamp_ms: 'LIKE'. {NUMBER_OPERATORS}"
    ),
    "status LIKE 'R%'": "Invalid comparison operator for status: LIKE",
    "status = 'BOGUS'": "Unknown model status in filter: 'BOGUS'",
    "status = 'LOGGED_MODEL_READY'": "Unknown model status in filter: 'LOGGED_MODEL_READY'",
    "attribute.name = 'a'": f"Invalid entity type: 'attribute'. {KEYS}",
    "metric.acc > 0": f"Invalid entity type: 'metric'. {KEYS}",
    "param.lr = '1'": f"Invalid entity type: 'param'. {KEYS}",
    "tag.t = 'x'": f"Invalid entity type: 'tag'. {KEYS}",
    "foo.bar = 'x'": f"Invalid entity type: 'foo'. {KEYS}",
    "name = 'a' OR name = 'b'": NOT_COMPARISONS.format("name = 'a' OR name = 'b'"),
    "(name = 'a')": NOT_COMPARISONS.format("(name = 'a')"),
    "name": NOT_COMPARISONS.format("name"),
    "name = 'a'; name = 'b'": "Invalid filter string: \"name = 'a'; name = 'b'\". Expected a single SQL expression.",
    " ": "Invalid filter string: ' '. Expected a single SQL expression.",
}
UNREADABLE = ["foo = 'x'", "metrics.acc > 'x'", "metrics.acc > abc", "creation_timestamp = '5'", "name IN (1)"]


@pytest.mark.parametrize("clause", FILTERS)
def test_a_filter_finds(search: Search, corpus: Corpus, clause: str) -> None:
    assert search(filter=corpus.filled(clause)) == FILTERS[clause]


@pytest.mark.parametrize("clause", INVALID_FILTERS)
def test_a_filter_is_refused(rest: Rest, clause: str) -> None:
    assert rest.refused_post(PATH, experiment_ids=["0"], filter=clause) == invalid(INVALID_FILTERS[clause])


@pytest.mark.departure("stock answers 500, or BAD_REQUEST with the text of its database library")
@pytest.mark.parametrize("clause", UNREADABLE)
def test_a_filter_that_cannot_be_read_is_refused(rest: Rest, clause: str) -> None:
    refused = rest.refused_post(PATH, experiment_ids=["0"], filter=clause)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


def field(name: str, ascending: bool | None = None, **dataset: str) -> Json:
    return {"field_name": name, **({} if ascending is None else {"ascending": ascending}), **dataset}


# What follows a plus has no such value: it comes last, both ways.
ORDERS: dict[str, tuple[list[Json], str]] = {
    "name": ([field("name")], "badc"),
    "name up": ([field("name", ascending=True)], "badc"),
    "name down": ([field("name", ascending=False)], "cdab"),
    "metric": ([field("metrics.acc")], "ab" + "dc"),
    "metric down": ([field("metrics.acc", ascending=False)], "ba" + "dc"),
    "infinite metric down": ([field("metrics.loss", ascending=False)], "ac" + "db"),
    "metric on a dataset": ([field("metrics.acc", dataset_name="iris")], "b" + "dca"),
    "metric on a digest": ([field("metrics.acc", dataset_name="iris", dataset_digest="2")], "dcba"),
    "no such metric": ([field("metrics.none")], "dcba"),
    "created": ([field("creation_timestamp")], "abcd"),
    "created, other name": ([field("creation_time", ascending=True)], "abcd"),
    "created down": ([field("creation_timestamp_ms", ascending=False)], "dcba"),
    "updated down": ([field("last_updated_timestamp", ascending=False)], "cbda"),
    "type": ([field("model_type")], "dcab"),
    "type and metric down": ([field("model_type"), field("metrics.loss", ascending=False)], "cdab"),
    "none": ([], "dcba"),
}
INVALID_ORDERS = {
    "foo": "Invalid order by field name: foo",
    "": "Invalid order by field name: ",
    "params.lr": "Invalid order by field name: params.lr. Only metrics are supported.",
    "tags.t": "Invalid order by field name: tags.t. Only metrics are supported.",
    "attributes.name": "Invalid order by field name: attributes.name. Only metrics are supported.",
}


@pytest.mark.parametrize("case", ORDERS)
def test_an_order_is_kept(search: Search, case: str) -> None:
    order_by, word = ORDERS[case]

    assert search(order_by=order_by) == word


def test_an_order_by_identity_is_kept(search: Search, corpus: Corpus) -> None:
    by_id = "".join(sorted(corpus.models, key=lambda label: corpus.models[label]))

    assert search(order_by=[field("model_id")]) == by_id


@pytest.mark.parametrize("name", INVALID_ORDERS)
def test_an_order_is_refused(rest: Rest, name: str) -> None:
    assert rest.refused_post(PATH, experiment_ids=["0"], order_by=[field(name)]) == invalid(INVALID_ORDERS[name])


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"datasets": [{"dataset_name": "iris", "dataset_digest": "1"}]}, "b"),
        ({"datasets": [{"dataset_name": "iris", "dataset_digest": "2"}]}, ""),
        ({"datasets": [{"dataset_name": name, "dataset_digest": "9"} for name in ("iris", "wine")]}, "b"),
        ({"datasets": []}, "dcba"),
        ({"datasets": [{"dataset_name": "iris", "dataset_digest": "1"}], "filter": "metrics.acc > 0.65"}, "b"),
        ({"datasets": [{"dataset_name": "wine", "dataset_digest": "9"}], "filter": "metrics.acc > 0.65"}, ""),
        ({"datasets": [{"dataset_name": "iris", "dataset_digest": "1"}], "filter": "name = 'alpha'"}, ""),
    ],
    ids=str,
)
def test_datasets_choose_the_metrics_that_count(search: Search, query: Json, word: str) -> None:
    assert search(**query) == word


@pytest.mark.departure("stock takes a dataset without a digest for one whose digest is NULL")
def test_a_dataset_without_a_digest_has_any_digest(search: Search) -> None:
    assert search(datasets=[{"dataset_name": "iris"}]) == "b"


@pytest.mark.parametrize("dataset", [{}, {"dataset_digest": "1"}], ids=str)
def test_a_dataset_needs_a_name(rest: Rest, dataset: Json) -> None:
    refused = rest.refused_post(PATH, experiment_ids=["0"], datasets=[dataset])

    assert refused == invalid("`dataset_name` in the `datasets` clause must be specified.")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("order_by", [[], [field("metrics.acc")], [field("name", ascending=False)]], ids=str)
def test_pages_hold_every_model_once(rest: Rest, corpus: Corpus, size: int, order_by: list[Json]) -> None:
    query = {"experiment_ids": [corpus.experiment_id], "order_by": order_by}
    whole = corpus.word(rest.post(PATH, **query))

    pages = [rest.post(PATH, max_results=size, **query)]
    while token := pages[-1].get("next_page_token"):
        pages.append(rest.post(PATH, max_results=size, page_token=token, **query))

    assert "".join(corpus.word(page) for page in pages) == whole
    assert len(pages) == -(-4 // size)


@pytest.mark.parametrize("fields", [{}, {"max_results": None}], ids=str)
def test_a_page_holds_fifty_models_unless_asked_otherwise(rest: Rest, experiment_id: str, fields: Json) -> None:
    for _ in range(51):
        factories.new_model(rest, experiment_id)

    answer = rest.post(PATH, experiment_ids=[experiment_id], **fields)

    assert len(answer["models"]) == 50
    assert "next_page_token" in answer


@pytest.mark.parametrize(
    "changed",
    [{"filter": "name = 'a'"}, {"order_by": [field("name")]}, {"experiment_ids": ["0"]}],
    ids=str,
)
def test_a_token_of_another_query_is_refused(rest: Rest, corpus: Corpus, changed: Json) -> None:
    query = {"experiment_ids": [corpus.experiment_id], "max_results": 2}
    token = rest.post(PATH, **query)["next_page_token"]

    refused = rest.refused_post(PATH, **{**query, **changed, "page_token": token})

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "token", [pytest.param("garbage", marks=pytest.mark.departure("stock answers 500")), "!", "e30="]
)
def test_a_made_up_token_is_refused(rest: Rest, token: str) -> None:
    refused = rest.refused_post(PATH, experiment_ids=["0"], page_token=token)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.departure("stock answers nothing, and a token for it")
def test_max_results_is_not_negative(rest: Rest) -> None:
    refused = rest.refused_post(PATH, experiment_ids=["0"], max_results=-1)

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("experiment_ids", "1"),
        ("experiment_ids", [1]),
        ("filter", 5),
        ("datasets", "x"),
        ("order_by", "name"),
        ("page_token", 5),
        ("max_results", "x"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(rest: Rest, name: str, value: object) -> None:
    refused = rest.refused_post(PATH, **{"experiment_ids": ["0"], name: value})

    assert refused == invalid(texts.wrong_type(name, value))


@pytest.mark.parametrize("ids", [[], [factories.UNKNOWN_EXPERIMENT]], ids=str)
def test_a_search_of_no_experiment_finds_nothing(rest: Rest, ids: list[str]) -> None:
    assert rest.post(PATH, experiment_ids=ids) == {}


def test_a_search_names_its_experiments_by_number(rest: Rest) -> None:
    assert rest.refused_post(PATH, experiment_ids=["abc"]) == invalid(texts.bad_experiment_id("abc"))


def test_a_model_that_is_found_is_the_model_that_is_read(rest: Rest, corpus: Corpus) -> None:
    found = rest.post(PATH, experiment_ids=[corpus.experiment_id], filter="name = 'Beta'")

    assert found == {"models": [factories.get_model(rest, corpus.models["b"])]}


@pytest.mark.departure("stock stores 0.0")
def test_nan_is_the_worst_and_never_more_than_a_number(rest: Rest) -> None:
    experiment_id = factories.new_experiment(rest)
    run_id = factories.new_run(rest, experiment_id)
    models = {label: _new_model(rest, experiment_id, {"name": label}) for label in "abcd"}
    values = {"a": 0.95, "b": "NaN", "c": 0.1}
    points = [metric("acc", value, model_id=models[label]) for label, value in values.items()]
    rest.post("runs/log-batch", run_id=run_id, metrics=points)

    def found(size: int = 10, **query: Any) -> str:
        names: list[str] = []
        token: str | None = ""
        while token is not None:
            body = {"experiment_ids": [experiment_id], "max_results": size, "page_token": token, **query}
            page = rest.post("logged-models/search", **body)
            names += [model["info"]["name"] for model in page.get("models", [])]
            token = page.get("next_page_token")
        return "".join(names)

    for size in (1, 10):
        assert found(size, order_by=[field("metrics.acc", ascending=False)]) == "acbd"
        assert found(size, order_by=[field("metrics.acc", ascending=True)]) == "cabd"
    assert found(filter="metrics.acc > 0.5") == "a"
    assert found(filter="metrics.acc >= 0.1") == "ca"
    assert found(filter="metrics.acc != 0.1") == "ba"
