"""Names, tags and params of runs, logged one by one."""

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Json, Rest, invalid, not_found, refusal

RUN_NAME = "mlflow.runName"
BAD_KEYS = {
    "bad character": ("a$b", texts.bad_characters("key", "a$b")),
    "climbing": ("../a", texts.bad_path("key", "../a", "../a")),
    "absolute": ("/a", texts.bad_path("key", "/a", "/a")),
    "double slash": ("a//b", texts.bad_path("key", "a//b", "a/b")),
    "dot": (".", texts.bad_path("key", ".", ".")),
    "emoji": ("😀", texts.bad_characters("key", "😀")),
}
GOOD_KEYS = ["a b:c/d-e.f_g", "é_ü", "k" * 250, "a..b", "1"]


def test_a_new_name_is_also_the_tag(rest: Rest, run_id: str) -> None:
    rest.post("runs/update", run_id=run_id, run_name="new")

    assert factories.tags_of(rest, run_id)[RUN_NAME] == "new"


def test_the_name_tag_renames_the_run(rest: Rest, run_id: str) -> None:
    rest.post("runs/set-tag", run_id=run_id, key=RUN_NAME, value="new")

    run = factories.get_run(rest, run_id)
    assert run["info"]["run_name"] == factories.as_dict(run["data"]["tags"])[RUN_NAME] == "new"


def test_the_name_tag_in_a_batch_renames_the_run(rest: Rest, run_id: str) -> None:
    factories.log(rest, run_id, tags={RUN_NAME: "new", "other": "1"})

    run = factories.get_run(rest, run_id)
    assert run["info"]["run_name"] == "new"
    assert factories.as_dict(run["data"]["tags"]) == {RUN_NAME: "new", "other": "1"}


@pytest.mark.parametrize("path", ["runs/set-tag", "runs/log-batch"])
def test_an_empty_name_tag_changes_nothing(rest: Rest, path: str) -> None:
    run_id = factories.new_run(rest, run_name="kept")
    tag = {"key": RUN_NAME, "value": ""}

    rest.post(path, run_id=run_id, **(tag if path == "runs/set-tag" else {"tags": [tag]}))

    run = factories.get_run(rest, run_id)
    assert run["info"]["run_name"] == factories.as_dict(run["data"]["tags"])[RUN_NAME] == "kept"


def test_deleting_the_name_tag_keeps_the_name(rest: Rest) -> None:
    run_id = factories.new_run(rest, run_name="kept")

    rest.post("runs/delete-tag", run_id=run_id, key=RUN_NAME)

    run = factories.get_run(rest, run_id)
    assert run["info"]["run_name"] == "kept"
    assert run["data"] == {}


def test_renaming_brings_a_deleted_name_tag_back(rest: Rest, run_id: str) -> None:
    rest.post("runs/delete-tag", run_id=run_id, key=RUN_NAME)

    rest.post("runs/update", run_id=run_id, run_name="again")

    assert factories.tags_of(rest, run_id) == {RUN_NAME: "again"}


@pytest.mark.parametrize("tag", [{"value": "b"}, {"value": ""}, {}, {"value": None}], ids=str)
def test_setting_a_tag_again_replaces_it(rest: Rest, run_id: str, tag: Json) -> None:
    rest.post("runs/set-tag", run_id=run_id, key="a", value="first")

    assert rest.post("runs/set-tag", run_id=run_id, key="a", **tag) == {}

    assert factories.tags_of(rest, run_id)["a"] == (tag.get("value") or "")


@pytest.mark.parametrize("key", GOOD_KEYS)
def test_keys_of_these_characters_are_taken(rest: Rest, run_id: str, key: str) -> None:
    rest.post("runs/set-tag", run_id=run_id, key=key, value="1")
    rest.post("runs/log-parameter", run_id=run_id, key=key, value="1")
    rest.post("runs/log-metric", run_id=run_id, key=key, value=1, timestamp=1)

    assert factories.tags_of(rest, run_id)[key] == "1"
    assert factories.params_of(rest, run_id) == {key: "1"}
    assert set(factories.metrics_of(rest, run_id)) == {key}


@pytest.mark.parametrize("path", ["runs/set-tag", "runs/log-parameter"])
@pytest.mark.parametrize("case", BAD_KEYS)
def test_a_key_is_checked_before_its_run_is_looked_up(rest: Rest, path: str, case: str) -> None:
    key, message = BAD_KEYS[case]

    assert rest.refused_post(path, run_id="nope", key=key, value="1") == invalid(message)


@pytest.mark.parametrize(("path", "what"), [("runs/set-tag", "key"), ("runs/log-parameter", "Param key")])
def test_a_key_has_at_most_250_characters(rest: Rest, run_id: str, path: str, what: str) -> None:
    refused = rest.refused_post(path, run_id=run_id, key="k" * 251, value="1")

    assert refused == invalid(texts.too_long(what, 250))


def test_a_long_tag_value_is_cut_to_8000_characters(rest: Rest, run_id: str) -> None:
    rest.post("runs/set-tag", run_id=run_id, key="long", value="é" * 8001)

    assert factories.tags_of(rest, run_id)["long"] == "é" * 8000


def test_a_long_param_value_is_cut_to_6000_characters(rest: Rest, run_id: str) -> None:
    rest.post("runs/log-parameter", run_id=run_id, key="long", value="é" * 6001)

    assert factories.params_of(rest, run_id)["long"] == "é" * 6000


def test_tags_given_at_creation_are_not_cut(rest: Rest) -> None:
    run_id = factories.new_run(rest, tags=[{"key": "long", "value": "v" * 8001}])

    assert factories.tags_of(rest, run_id)["long"] == "v" * 8001


def test_a_long_run_name_is_kept(rest: Rest) -> None:
    run_id = factories.new_run(rest, run_name="n" * 300)

    assert factories.get_run(rest, run_id)["info"]["run_name"] == "n" * 300


def test_a_deleted_tag_is_gone(rest: Rest, run_id: str) -> None:
    rest.post("runs/set-tag", run_id=run_id, key="a", value="1")

    assert rest.post("runs/delete-tag", run_id=run_id, key="a") == {}

    assert "a" not in factories.tags_of(rest, run_id)


@pytest.mark.parametrize("key", ["missing", "not$valid"])
def test_deleting_a_tag_that_is_not_there_is_refused(rest: Rest, run_id: str, key: str) -> None:
    refused = rest.refused_post("runs/delete-tag", run_id=run_id, key=key)

    assert refused == not_found(f"No tag with name: {key} in run with id {run_id}")


@pytest.mark.parametrize("param", [{"value": "1"}, {"value": ""}, {}, {"value": None}, {"value": "😀\n'\""}], ids=str)
def test_logging_a_param_again_with_its_value_is_granted(rest: Rest, run_id: str, param: Json) -> None:
    rest.post("runs/log-parameter", run_id=run_id, key="p", **param)

    assert rest.post("runs/log-parameter", run_id=run_id, key="p", **param) == {}

    assert factories.params_of(rest, run_id) == {"p": param.get("value") or ""}


@pytest.mark.parametrize(("old", "new"), [("1", "2"), ("1", ""), ("", "1"), ("it's", 'a "b"')])
def test_a_param_cannot_change(rest: Rest, run_id: str, old: str, new: str) -> None:
    rest.post("runs/log-parameter", run_id=run_id, key="p", value=old)

    refused = rest.refused_post("runs/log-parameter", run_id=run_id, key="p", value=new)

    assert refused == invalid(
        f"Changing param values is not allowed. Param with key='p' was already logged with value='{old}'"
        f" for run ID='{run_id}'. Attempted logging new value '{new}'."
    )
    assert factories.params_of(rest, run_id) == {"p": old}


def test_params_that_are_equal_once_cut_are_equal(rest: Rest, run_id: str) -> None:
    rest.post("runs/log-parameter", run_id=run_id, key="p", value="v" * 6001)

    assert rest.post("runs/log-parameter", run_id=run_id, key="p", value="v" * 7000) == {}


def test_log_model_keeps_a_history_in_a_tag(rest: Rest, run_id: str) -> None:
    for path in ("first", "second"):
        model = (
            f'{{"artifact_path": "{path}", "flavors": {{"python_function": {{"env": 1}}}}, "run_id": "{run_id}",'
            ' "utc_time_created": "2026-01-01 00:00:00"}'
        )
        assert rest.post("runs/log-model", run_id=run_id, model_json=model) == {}

    entry = (
        f'{{"run_id": "{run_id}", "artifact_path": "%s", "utc_time_created": "2026-01-01 00:00:00",'
        ' "model_uuid": null, "flavors": {"python_function": {"env": 1}}}'
    )
    history = factories.tags_of(rest, run_id)["mlflow.log-model.history"]
    assert history == f"[{entry % 'first'}, {entry % 'second'}]"


@pytest.mark.parametrize("model_json", ["{", "model", "{'a': 1}"])
def test_a_model_that_is_not_json_is_refused(rest: Rest, run_id: str, model_json: str) -> None:
    refused = rest.refused_post("runs/log-model", run_id=run_id, model_json=model_json)

    assert refused == invalid(f"Malformed model info. \n {model_json} \n is not a valid JSON.")


def test_a_model_without_its_mandatory_fields_is_refused(rest: Rest, run_id: str) -> None:
    model = '{"artifact_path": "a", "utc_time_created": "2026-01-01 00:00:00", "run_id": "r"}'

    refused = rest.refused_post("runs/log-model", run_id=run_id, model_json=model)

    assert refused == invalid("Model json is missing mandatory fields: {'flavors'}")


@pytest.mark.departure("stock answers 500 to JSON that is no object")
@pytest.mark.parametrize("model_json", ["[]", "5", '"text"', "null"])
def test_a_model_that_is_no_object_is_refused(rest: Rest, run_id: str, model_json: str) -> None:
    refused = refusal(rest.call("POST", "runs/log-model", json={"run_id": run_id, "model_json": model_json}))

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
