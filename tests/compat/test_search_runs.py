"""Searching runs: every operator on every entity, quoting, and what is refused."""

import pytest

from tests.compat import factories, texts
from tests.compat.corpora import Corpus, Search, new_corpus, searcher
from tests.compat.rest import Json, Rest, invalid


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
                "params": {"p": "1", "lr": "0.1", "with space": "x", "dir": "C:\\x\\"},
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
    "params.dir LIKE 'C:\\x%'": "a",
    "params.dir ILIKE 'c:\\X\\%'": "a",
    "params.dir LIKE '%\\'": "a",
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
    "foo.bar = 'x'": f"Invalid entity type 'foo'. Valid values are {texts.RUN_ENTITIES}",
    "METRICS.acc > 0.5": f"Invalid entity type 'METRICS'. Valid values are {texts.RUN_ENTITIES}",
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


def test_a_list_has_room_for_the_ids_of_a_sweep(rest: Rest, experiment_id: str) -> None:
    made = {factories.new_run(rest, experiment_id) for _ in range(2)}
    ids = ", ".join(f"'{run_id}'" for run_id in [*(f"{number:032x}" for number in range(2000)), *made])

    page = rest.post("runs/search", experiment_ids=[experiment_id], filter=f"attributes.run_id IN ({ids})")

    assert {run["info"]["run_id"] for run in page["runs"]} == made


def test_runs_that_are_too_large_for_one_answer_come_in_several(rest: Rest, experiment_id: str) -> None:
    params = [{"key": f"p{number}", "value": "x" * 6000} for number in range(100)]
    made = [factories.new_run(rest, experiment_id) for _ in range(120)]
    for run_id in made:
        rest.post("runs/log-batch", run_id=run_id, params=params)

    found: list[str] = []
    token: str | None = ""
    while token is not None:
        page = rest.post("runs/search", experiment_ids=[experiment_id], max_results=1000, page_token=token)
        found += [run["info"]["run_id"] for run in page["runs"]]
        token = page.get("next_page_token")

    assert sorted(found) == sorted(made)
