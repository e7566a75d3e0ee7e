"""Versions of registered models: what create, get, update, transition and delete do, and their tags."""

import time
from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Rest, invalid, not_found

PROMPT_TEXT = {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}
PROMPT = [factories.PROMPT_TAG, PROMPT_TEXT]
REFUSED_TAGS = {
    "bad character": ({"key": "a$b", "value": "1"}, texts.bad_characters("key", "a$b")),
    "long key": ({"key": "k" * 251, "value": "1"}, texts.too_long("key", 250)),
    "long value": ({"key": "k", "value": "v" * 100_001}, texts.too_long("value", 100_000)),
    "long prompt": (
        {"key": "mlflow.prompt.text", "value": "v" * 100_001},
        "Prompt text exceeds max length of 100000 characters.",
    ),
}
BY_VERSION: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "model-versions/get", {}),
    ("GET", "model-versions/get-download-uri", {}),
    ("PATCH", "model-versions/update", {"description": "x"}),
    ("POST", "model-versions/transition-stage", {"stage": "Staging"}),
    ("DELETE", "model-versions/delete", {}),
    ("POST", "model-versions/set-tag", {"key": "a", "value": "1"}),
    ("DELETE", "model-versions/delete-tag", {"key": "a"}),
]
ids = pytest.mark.parametrize(("method", "path", "fields"), BY_VERSION, ids=lambda value: str(value)[:40])


@pytest.fixture
def name(rest: Rest) -> str:
    return factories.new_registered_model(rest)


def _refused(rest: Rest, method: str, path: str, **fields: Any) -> Any:
    return getattr(rest, f"refused_{method.lower()}")(path, **fields)


def test_a_version_has_these_fields_and_no_others(rest: Rest, name: str) -> None:
    version = factories.new_version(rest, name)

    created = version["creation_timestamp"]
    assert version == {
        "name": name,
        "version": "1",
        "creation_timestamp": created,
        "last_updated_timestamp": created,
        "current_stage": "None",
        "description": "",
        "source": factories.SOURCE,
        "run_id": "",
        "status": "READY",
        "run_link": "",
    }
    assert type(created) is int
    assert factories.get_version(rest, name, "1") == version


def test_all_that_is_given_is_kept(rest: Rest, name: str) -> None:
    given = {"run_id": "abc", "run_link": "http://link", "description": "text"}
    tags = [{"key": "a", "value": "1"}, {"key": "b"}, {"key": "a", "value": "2"}]

    version = factories.new_version(rest, name, tags=tags, **given)

    assert {key: version[key] for key in given} == given
    assert factories.as_dict(version["tags"]) == {"a": "2", "b": ""}


def test_versions_are_numbered_from_1_and_no_number_is_used_again(rest: Rest, name: str) -> None:
    numbers = [factories.new_version(rest, name)["version"] for _ in range(3)]
    rest.delete("model-versions/delete", name=name, version="3")

    assert [*numbers, factories.new_version(rest, name)["version"]] == ["1", "2", "3", "4"]


def test_a_new_version_updates_its_model(rest: Rest, name: str) -> None:
    time.sleep(0.002)
    version = factories.new_version(rest, name)

    model = factories.get_registered_model(rest, name)
    assert model["last_updated_timestamp"] == version["creation_timestamp"]
    assert model["latest_versions"] == [version]


def test_a_version_of_an_unknown_model_is_refused(rest: Rest) -> None:
    name = factories.unique()

    refused = rest.refused_post("model-versions/create", name=name, source=factories.SOURCE)

    assert refused == not_found(texts.no_registered_model(name))


@pytest.mark.parametrize("case", REFUSED_TAGS)
def test_a_malformed_tag_is_refused(rest: Rest, name: str, case: str) -> None:
    tag, message = REFUSED_TAGS[case]
    factories.new_version(rest, name)

    created = rest.refused_post("model-versions/create", name=name, source=factories.SOURCE, tags=[tag])
    changed = rest.refused_post("model-versions/set-tag", name=name, version="1", **tag)

    assert (created, changed) == (invalid(message), invalid(message))


@ids
@pytest.mark.parametrize(("version", "shown"), [("99", "99"), ("0", "0"), ("-1", "-1"), (" 99 ", "99")])
def test_an_unknown_version_is_not_found(
    rest: Rest, name: str, method: str, path: str, fields: dict[str, Any], version: str, shown: str
) -> None:
    refused = _refused(rest, method, path, name=name, version=version, **fields)

    assert refused == not_found(texts.no_version(name, shown))


@ids
def test_a_version_of_no_model_is_not_found(rest: Rest, method: str, path: str, fields: dict[str, Any]) -> None:
    name = factories.unique()

    assert _refused(rest, method, path, name=name, version="1", **fields) == not_found(texts.no_version(name, 1))


@ids
@pytest.mark.parametrize("version", ["x", "1.5", "1e3", "v1"])
def test_a_version_is_a_number(
    rest: Rest, name: str, method: str, path: str, fields: dict[str, Any], version: str
) -> None:
    refused = _refused(rest, method, path, name=name, version=version, **fields)

    assert refused == invalid(texts.bad_version(version))


@pytest.mark.departure("stock answers 500 with the text of its database driver")
@ids
def test_a_version_beyond_64_bits_is_not_found(
    rest: Rest, name: str, method: str, path: str, fields: dict[str, Any]
) -> None:
    refused = _refused(rest, method, path, name=name, version="9" * 30, **fields)

    assert refused == not_found(texts.no_version(name, "9" * 30))


@ids
def test_a_version_of_a_name_that_none_can_have_is_refused(
    rest: Rest, method: str, path: str, fields: dict[str, Any]
) -> None:
    refused = _refused(rest, method, path, name="a/b", version="1", **fields)

    assert refused == invalid(texts.bad_model_name("a/b"))


def test_a_download_uri_names_what_is_missing_in_its_own_words(rest: Rest, name: str) -> None:
    assert rest.refused_get("model-versions/get-download-uri") == invalid(texts.missing_plainly("name"))
    assert rest.refused_get("model-versions/get-download-uri", name=name) == invalid(texts.bad_version(""))


def test_the_download_uri_is_the_source(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)

    answer = rest.get("model-versions/get-download-uri", name=name, version="1")

    assert answer == {"artifact_uri": factories.SOURCE}


def test_an_update_sets_the_description_and_without_one_removes_it(rest: Rest, name: str) -> None:
    before = factories.new_version(rest, name)
    time.sleep(0.002)

    described = rest.patch("model-versions/update", name=name, version="1", description="new")["model_version"]
    emptied = rest.patch("model-versions/update", name=name, version="1", description="")["model_version"]
    cleared = rest.patch("model-versions/update", name=name, version="1")["model_version"]

    assert described == {
        **before,
        "description": "new",
        "last_updated_timestamp": described["last_updated_timestamp"],
    }
    assert described["last_updated_timestamp"] > before["last_updated_timestamp"]
    assert emptied["description"] == ""
    assert "description" not in cleared


def test_a_tag_is_set_and_replaced_and_removed(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)
    tag = {"name": name, "version": "1", "key": "a"}

    assert rest.post("model-versions/set-tag", **tag, value="1") == {}
    assert rest.post("model-versions/set-tag", **tag, value="2") == {}
    assert factories.get_version(rest, name, "1")["tags"] == [{"key": "a", "value": "2"}]

    assert rest.delete("model-versions/delete-tag", **tag) == {}
    assert rest.delete("model-versions/delete-tag", **tag) == {}
    assert "tags" not in factories.get_version(rest, name, "1")


def test_a_tag_is_no_update(rest: Rest, name: str) -> None:
    before = factories.new_version(rest, name)["last_updated_timestamp"]
    time.sleep(0.002)

    rest.post("model-versions/set-tag", name=name, version="1", key="a", value="1")

    assert factories.get_version(rest, name, "1")["last_updated_timestamp"] == before


def test_a_deleted_version_is_gone_with_its_aliases(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)
    factories.set_alias(rest, name, "champion", "1")

    assert rest.delete("model-versions/delete", name=name, version="1") == {}

    gone = not_found(texts.no_version(name, 1))
    assert rest.refused_get("model-versions/get", name=name, version="1") == gone
    assert rest.refused_delete("model-versions/delete", name=name, version="1") == gone
    assert rest.refused_get("registered-models/alias", name=name, alias="champion") == invalid(
        "Registered model alias champion not found."
    )
    model = factories.get_registered_model(rest, name)
    assert "latest_versions" not in model
    assert "aliases" not in model


def _transition(rest: Rest, name: str, version: str, stage: str, **fields: Any) -> dict[str, Any]:
    moved = rest.post("model-versions/transition-stage", name=name, version=version, stage=stage, **fields)
    return dict(moved["model_version"])


def _stages(rest: Rest, name: str) -> list[str]:
    found = rest.get("model-versions/search", filter=f"name = '{name}'", order_by=["version_number ASC"])
    return [version["current_stage"] for version in found["model_versions"]]


@pytest.mark.parametrize(
    ("stage", "canonical"),
    [("Staging", "Staging"), ("production", "Production"), ("ARCHIVED", "Archived"), ("none", "None")],
)
def test_a_version_moves_to_a_stage(rest: Rest, name: str, stage: str, canonical: str) -> None:
    before = factories.new_version(rest, name)
    time.sleep(0.002)

    moved = _transition(rest, name, "1", stage)

    now = moved["last_updated_timestamp"]
    assert moved == {**before, "current_stage": canonical, "last_updated_timestamp": now}
    assert now > before["last_updated_timestamp"]
    assert factories.get_registered_model(rest, name)["last_updated_timestamp"] == now


@pytest.mark.parametrize("stage", ["bad", "Deleted_Internal", "Prod"])
def test_a_stage_that_there_is_not_is_refused(rest: Rest, name: str, stage: str) -> None:
    factories.new_version(rest, name)

    refused = rest.refused_post("model-versions/transition-stage", name=name, version="1", stage=stage)

    assert refused == invalid(texts.bad_stage(stage))


def test_others_stay_in_a_stage_unless_they_are_to_be_archived(rest: Rest, name: str) -> None:
    for _ in range(4):
        factories.new_version(rest, name)
    _transition(rest, name, "4", "Staging")
    _transition(rest, name, "1", "Production")

    _transition(rest, name, "2", "Production", archive_existing_versions=False)
    assert _stages(rest, name) == ["Production", "Production", "None", "Staging"]

    moved = _transition(rest, name, "3", "production", archive_existing_versions=True)
    assert _stages(rest, name) == ["Archived", "Archived", "Production", "Staging"]
    archived = factories.get_version(rest, name, "1")
    assert archived["last_updated_timestamp"] == moved["last_updated_timestamp"]


def test_a_version_that_is_in_a_stage_already_does_not_archive_itself(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)
    _transition(rest, name, "1", "Production")

    assert _transition(rest, name, "1", "Production", archive_existing_versions=True)["current_stage"] == "Production"


@pytest.mark.departure("stock answers 500, which clients retry")
@pytest.mark.parametrize("stage", ["None", "Archived"])
def test_only_staging_and_production_archive_others(rest: Rest, name: str, stage: str) -> None:
    factories.new_version(rest, name)

    refused = rest.refused_post(
        "model-versions/transition-stage", name=name, version="1", stage=stage, archive_existing_versions=True
    )

    assert refused == invalid(
        f"Model version transition cannot archive existing model versions because '{stage}' is not an Active stage."
        " Valid stages are ['Staging', 'Production']"
    )


def test_a_yes_is_no_boolean(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)

    refused = rest.refused_post(
        "model-versions/transition-stage", name=name, version="1", stage="Staging", archive_existing_versions="yes"
    )

    assert refused == invalid(texts.wrong_type("archive_existing_versions", "yes"))


@pytest.mark.parametrize("source", ["dummy-source", "prompt-template"])
def test_a_prompts_source_is_a_placeholder(rest: Rest, source: str) -> None:
    name = factories.new_registered_model(rest, tags=[factories.PROMPT_TAG])

    version = factories.new_version(rest, name, source=source, tags=PROMPT)

    assert version["source"] == source
    assert factories.as_dict(version["tags"])["mlflow.prompt.text"] == PROMPT_TEXT["value"]


@pytest.mark.parametrize("source", ["s3://bucket/model", "/etc", "x"])
def test_a_prompt_has_no_other_source(rest: Rest, name: str, source: str) -> None:
    refused = rest.refused_post("model-versions/create", name=name, source=source, tags=PROMPT)

    assert refused == invalid(f"Invalid prompt source: '{source}'. Prompt sources must use an MLflow placeholder.")


@pytest.mark.departure("stock knows no idempotency keys")
def test_the_same_idempotency_key_creates_once(rest: Rest, name: str) -> None:
    body = {"name": name, "source": factories.SOURCE}
    headers = {"Idempotency-Key": factories.unique()}

    first = rest.call("POST", "model-versions/create", json=body, headers=headers)
    again = rest.call("POST", "model-versions/create", json=body, headers=headers)

    assert first.status_code == 200
    assert again.json() == first.json()
    assert _stages(rest, name) == ["None"]
