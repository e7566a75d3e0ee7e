"""What runs read and wrote: dataset inputs, model inputs and outputs, and searching for them."""

import pytest

from tests.compat import factories, texts
from tests.compat.factories import dataset, dataset_input
from tests.compat.rest import AJAX, Json, Rest, invalid, not_found

SEARCH = f"{AJAX}experiments/search-datasets"
TOO_LONG = {
    "name": (dataset_input("n" * 501), texts.too_long("name", 500)),
    "digest": (dataset_input(digest="d" * 37), texts.too_long("digest", 36)),
    "source": (dataset_input(source="s" * 65536), texts.too_long("source", 65535)),
    "schema": (dataset_input(schema="s" * 1048576), texts.too_long("schema", 1048575)),
    "tag key": (dataset_input() | {"tags": [{"key": "k" * 256, "value": "v"}]}, texts.too_long("key", 255)),
    "tag value": (dataset_input() | {"tags": [{"key": "k", "value": "v" * 501}]}, texts.too_long("value", 500)),
}


def inputs_of(rest: Rest, run_id: str) -> list[Json]:
    return list(factories.get_run(rest, run_id)["inputs"].get("dataset_inputs", []))


def in_order(inputs: list[Json]) -> list[Json]:
    return sorted(inputs, key=lambda entry: (entry["dataset"]["name"], entry["dataset"]["digest"]))


def test_a_dataset_is_an_input_of_its_run(rest: Rest, run_id: str) -> None:
    given = dataset_input(context="training", schema='{"a": 1}', profile="{}")

    assert rest.post("runs/log-inputs", run_id=run_id, datasets=[given]) == {}

    run = factories.get_run(rest, run_id)
    assert run["inputs"] == {"dataset_inputs": [given]}
    assert rest.post("runs/search", experiment_ids=[run["info"]["experiment_id"]]) == {"runs": [run]}


def test_what_a_dataset_lacks_is_left_out(rest: Rest, run_id: str) -> None:
    rest.post("runs/log-inputs", run_id=run_id, datasets=[{"dataset": dataset()}])

    assert inputs_of(rest, run_id) == [{"dataset": dataset()}]


@pytest.mark.parametrize("body", [{}, {"datasets": []}, {"datasets": [], "models": []}], ids=str)
def test_no_inputs_are_granted(rest: Rest, run_id: str, body: Json) -> None:
    assert rest.post("runs/log-inputs", run_id=run_id, **body) == {}

    assert factories.get_run(rest, run_id)["inputs"] == {}


def test_an_input_logged_again_keeps_its_first_tags(rest: Rest, run_id: str) -> None:
    rest.post("runs/log-inputs", run_id=run_id, datasets=[dataset_input(context="training")])

    rest.post("runs/log-inputs", run_id=run_id, datasets=[dataset_input(context="test", source="other")])

    assert inputs_of(rest, run_id) == [dataset_input(context="training")]


def test_an_input_given_twice_is_the_first(rest: Rest, run_id: str) -> None:
    given = [dataset_input(context="training"), dataset_input(context="test", source="other")]

    rest.post("runs/log-inputs", run_id=run_id, datasets=given)

    assert inputs_of(rest, run_id) == given[:1]


def test_a_dataset_is_known_by_name_and_digest(rest: Rest, run_id: str) -> None:
    given = [dataset_input("a", "1"), dataset_input("a", "2"), dataset_input("b", "1")]

    rest.post("runs/log-inputs", run_id=run_id, datasets=given)

    assert [entry["dataset"] for entry in in_order(inputs_of(rest, run_id))] == [entry["dataset"] for entry in given]


def test_runs_of_an_experiment_share_their_datasets(rest: Rest, experiment_id: str) -> None:
    first, second = factories.new_run(rest, experiment_id), factories.new_run(rest, experiment_id)
    rest.post("runs/log-inputs", run_id=first, datasets=[dataset_input(context="training", source="first")])

    rest.post("runs/log-inputs", run_id=second, datasets=[dataset_input(context="test", source="second")])

    assert inputs_of(rest, second) == [dataset_input(context="test", source="first")]


def test_experiments_do_not_share_their_datasets(rest: Rest) -> None:
    first, second = factories.new_run(rest), factories.new_run(rest)
    rest.post("runs/log-inputs", run_id=first, datasets=[dataset_input(context="training", source="first")])

    rest.post("runs/log-inputs", run_id=second, datasets=[dataset_input(context="training", source="second")])

    assert inputs_of(rest, second) == [dataset_input(context="training", source="second")]


def test_an_input_may_have_any_tags(rest: Rest, run_id: str) -> None:
    tags = {"a$/../b": "1", "empty": "", "k" * 255: "v" * 500}
    given = dataset_input() | {"tags": [*factories.pairs(tags), {"key": "valueless"}]}

    rest.post("runs/log-inputs", run_id=run_id, datasets=[given])

    assert factories.as_dict(inputs_of(rest, run_id)[0]["tags"]) == {**tags, "valueless": ""}


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
def test_an_input_with_a_tag_twice_is_refused(rest: Rest, run_id: str) -> None:
    given = dataset_input() | {"tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}

    refused = rest.refused_post("runs/log-inputs", run_id=run_id, datasets=[given])

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert inputs_of(rest, run_id) == []


@pytest.mark.parametrize("case", TOO_LONG)
def test_a_dataset_is_bounded(rest: Rest, run_id: str, case: str) -> None:
    given, message = TOO_LONG[case]

    refused = rest.refused_post("runs/log-inputs", run_id=run_id, datasets=[dataset_input("fine"), given])

    assert refused == invalid(message)
    assert inputs_of(rest, run_id) == []


def test_a_dataset_may_be_this_large(rest: Rest, run_id: str) -> None:
    given = dataset_input("n" * 500, "d" * 36, context="c", source="s" * 65535, schema="s" * 100000)

    rest.post("runs/log-inputs", run_id=run_id, datasets=[given])

    assert inputs_of(rest, run_id) == [given]


def test_inputs_need_a_run(rest: Rest) -> None:
    malformed = rest.refused_post("runs/log-inputs", run_id="bad id", datasets=[dataset_input()])
    unknown = rest.refused_post("runs/log-inputs", run_id="nope", datasets=[dataset_input()])

    assert malformed == invalid("Invalid value \"bad id\" for parameter 'run_id' supplied.")
    assert unknown == not_found(texts.no_run("nope"))


@pytest.mark.parametrize("name", ["datasets", "models"])
@pytest.mark.parametrize("value", ["x", {"a": 1}, 5], ids=str)
def test_inputs_are_lists(rest: Rest, run_id: str, name: str, value: object) -> None:
    assert rest.refused_post("runs/log-inputs", run_id=run_id, **{name: value}) == invalid(
        texts.wrong_type(name, value)
    )


def test_models_can_be_inputs(rest: Rest, run_id: str, model_id: str) -> None:
    for _ in range(2):
        rest.post("runs/log-inputs", run_id=run_id, models=[{"model_id": model_id}])

    assert factories.get_run(rest, run_id)["inputs"] == {"model_inputs": [{"model_id": model_id}]}


def test_models_can_be_outputs(rest: Rest, run_id: str) -> None:
    models = [{"model_id": "m-a", "step": 3}, {"model_id": "m-b", "step": 0}]

    assert rest.post("runs/outputs", run_id=run_id, models=models) == {}

    run = factories.get_run(rest, run_id)
    assert sorted(run["outputs"]["model_outputs"], key=lambda model: model["model_id"]) == models
    assert rest.post("runs/search", experiment_ids=[run["info"]["experiment_id"]]) == {"runs": [run]}


@pytest.mark.parametrize(("fields", "step"), [({}, 0), ({"step": "7"}, 7), ({"step": None}, 0)], ids=str)
def test_the_step_of_an_output_is_0_unless_given(rest: Rest, run_id: str, fields: Json, step: int) -> None:
    rest.post("runs/outputs", run_id=run_id, models=[{"model_id": "m-a", **fields}])

    assert factories.get_run(rest, run_id)["outputs"] == {"model_outputs": [{"model_id": "m-a", "step": step}]}


def test_no_outputs_are_granted(rest: Rest, run_id: str) -> None:
    assert rest.post("runs/outputs", run_id=run_id, models=[]) == {}

    assert factories.get_run(rest, run_id)["outputs"] == {}


@pytest.mark.parametrize("value", ["x", {"a": 1}], ids=str)
def test_outputs_are_a_list(rest: Rest, run_id: str, value: object) -> None:
    assert rest.refused_post("runs/outputs", run_id=run_id, models=value) == invalid(texts.wrong_type("models", value))


@pytest.mark.departure("stock answers BAD_REQUEST with the text of the SQL statement")
def test_an_output_logged_again_is_told_apart_from_a_fault(rest: Rest, run_id: str) -> None:
    rest.post("runs/outputs", run_id=run_id, models=[{"model_id": "m-a", "step": 3}])

    response = rest.call("POST", "runs/outputs", json={"run_id": run_id, "models": [{"model_id": "m-a", "step": 3}]})

    assert response.status_code == 200 or response.json()["error_code"] != "BAD_REQUEST"
    assert "INSERT" not in response.text
    assert len(factories.get_run(rest, run_id)["outputs"]["model_outputs"]) == 1


def summaries(rest: Rest, *experiment_ids: str) -> list[tuple[str, str, str | None]]:
    found = rest.post(SEARCH, experiment_ids=list(experiment_ids)).get("dataset_summaries", [])
    assert {summary["experiment_id"] for summary in found} <= set(experiment_ids)
    return sorted(
        ((summary["name"], summary["digest"], summary.get("context")) for summary in found),
        key=lambda summary: (summary[0], summary[1], summary[2] or ""),
    )


def test_datasets_are_found_once_for_each_context(rest: Rest, experiment_id: str) -> None:
    for context in ("training", "training", "test"):
        run_id = factories.new_run(rest, experiment_id)
        rest.post("runs/log-inputs", run_id=run_id, datasets=[dataset_input(context=context), dataset_input("other")])

    assert summaries(rest, experiment_id) == [
        ("iris", "d1", "test"),
        ("iris", "d1", "training"),
        ("other", "d1", None),
    ]


def test_datasets_of_several_experiments_are_found(rest: Rest) -> None:
    experiments = [factories.new_experiment(rest) for _ in range(2)]
    for number, experiment_id in enumerate(experiments):
        run_id = factories.new_run(rest, experiment_id)
        rest.post("runs/log-inputs", run_id=run_id, datasets=[dataset_input(f"data{number}")])

    assert summaries(rest, *experiments) == [("data0", "d1", None), ("data1", "d1", None)]


def test_datasets_of_deleted_runs_are_found(rest: Rest, experiment_id: str) -> None:
    run_id = factories.new_run(rest, experiment_id)
    rest.post("runs/log-inputs", run_id=run_id, datasets=[dataset_input()])
    rest.post("runs/delete", run_id=run_id)

    assert summaries(rest, experiment_id) == [("iris", "d1", None)]


@pytest.mark.parametrize("experiment_ids", [[factories.UNKNOWN_EXPERIMENT]])
def test_no_datasets_found_is_an_empty_object(rest: Rest, experiment_id: str, experiment_ids: list[str]) -> None:
    assert rest.post(SEARCH, experiment_ids=[experiment_id]) == {}
    assert rest.post(SEARCH, experiment_ids=experiment_ids) == {}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "SearchDatasets request must specify at least one experiment_id."),
        ({"experiment_ids": []}, "SearchDatasets request must specify at least one experiment_id."),
        (
            {"experiment_ids": [str(number) for number in range(21)]},
            "SearchDatasets request cannot specify more than 20 experiment_ids. Received 21 experiment_ids.",
        ),
        ({"experiment_ids": ["abc"]}, texts.bad_experiment_id("abc")),
    ],
    ids=["nothing", "none", "too many", "no number"],
)
def test_a_search_for_datasets_is_refused(rest: Rest, body: Json, message: str) -> None:
    assert rest.refused_post(SEARCH, **body) == invalid(message)


def test_datasets_are_searched_by_the_web_ui_only(rest: Rest) -> None:
    assert rest.call("POST", "experiments/search-datasets", json={"experiment_ids": ["0"]}).status_code == 404
    assert rest.call("GET", SEARCH).status_code == 405


@pytest.fixture(scope="module")
def runs_by_dataset(rest: Rest) -> tuple[str, dict[str, str]]:
    """Runs a, b, c of one experiment: a and b train on iris, c tests on it, a also reads Wine without a context."""
    experiment_id = factories.new_experiment(rest)
    runs = {factories.new_run(rest, experiment_id): label for label in "abc"}
    contexts = {"a": "training", "b": "training", "c": "test"}
    for run_id, label in runs.items():
        given = [dataset_input(context=contexts[label])]
        if label == "a":
            given.append(dataset_input("Wine", "d2"))
        rest.post("runs/log-inputs", run_id=run_id, datasets=given)
    return experiment_id, runs


DATASET_FILTERS = {
    "datasets.name = 'iris'": "abc",
    "dataset.name = 'Wine'": "a",
    "datasets.`name` = 'iris'": "abc",
    'datasets."name" = "iris"': "abc",
    "datasets.name != 'iris'": "a",
    "datasets.name LIKE 'w%'": "",
    "datasets.name ILIKE 'w%'": "a",
    "datasets.name IN ('iris', 'other')": "abc",
    "datasets.name NOT IN ('iris')": "a",
    "datasets.name NOT IN ('other')": "abc",
    "datasets.digest = 'd2'": "a",
    "datasets.digest IN ('d1')": "abc",
    "datasets.digest LIKE 'd_'": "abc",
    "datasets.context = 'training'": "ab",
    "datasets.context != 'training'": "c",
    "datasets.context IN ('training', 'test')": "abc",
    "datasets.context NOT IN ('training')": "c",
    "datasets.context LIKE 'T%'": "",
    "datasets.context ILIKE 'T%'": "abc",
    "datasets.name = 'iris' AND datasets.digest = 'd1' AND dataset.context = 'test'": "c",
    # Each clause may be met by another of the run's datasets.
    "datasets.name = 'Wine' AND datasets.context = 'training'": "a",
    "datasets.name = 'Wine' AND datasets.digest = 'd1'": "a",
    "datasets.name = 'none'": "",
    "datasets.name = 'iris' AND start_time > 0": "abc",
}


@pytest.mark.parametrize("clause", DATASET_FILTERS)
def test_a_filter_finds_runs_by_their_datasets(
    rest: Rest, runs_by_dataset: tuple[str, dict[str, str]], clause: str
) -> None:
    experiment_id, runs = runs_by_dataset

    found = rest.post("runs/search", experiment_ids=[experiment_id], filter=clause).get("runs", [])

    assert "".join(sorted(runs[run["info"]["run_id"]] for run in found)) == DATASET_FILTERS[clause]


def test_a_run_is_found_once_however_many_of_its_datasets_match(rest: Rest, experiment_id: str) -> None:
    run_id = factories.new_run(rest, experiment_id)
    rest.post("runs/log-inputs", run_id=run_id, datasets=[dataset_input("a"), dataset_input("b"), dataset_input("c")])

    answer = rest.post("runs/search", experiment_ids=[experiment_id], filter="datasets.digest = 'd1'", max_results=1)

    assert [run["info"]["run_id"] for run in answer["runs"]] == [run_id]
    assert "next_page_token" not in answer
