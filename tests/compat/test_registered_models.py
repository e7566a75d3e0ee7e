"""Registered models: what create, get, update, rename and delete do, their tags and their aliases."""

import time
from typing import Any

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Rest, invalid, not_found, refusal

REFUSED_NAMES = {
    " ": texts.missing_plainly("name"),
    "\t\n": texts.missing_plainly("name"),
    "a/b": texts.bad_model_name("a/b"),
    "a:b": texts.bad_model_name("a:b"),
    "./x": texts.bad_model_name("./x"),
    ".": texts.bad_path("name", ".", "."),
    "..": texts.bad_path("name", "..", ".."),
    "..a": texts.bad_path("name", "..a", "..a"),
}
ODD_NAMES = ["a.b", "100%", "é☃😀", "<script>", "'quoted'", " leading", "n" * 200, "a@b", "a\\b", "@"]
REFUSED_TAGS = {
    "bad character": ({"key": "a$b", "value": "1"}, texts.bad_characters("key", "a$b")),
    "no key": ({"value": "1"}, texts.bad_path("key", "", ".")),
    "climbing": ({"key": "../a", "value": "1"}, texts.bad_path("key", "../a", "../a")),
    "long key": ({"key": "k" * 251, "value": "1"}, texts.too_long("key", 250)),
    "long value": ({"key": "k", "value": "v" * 100_001}, texts.too_long("value", 100_000)),
}
ALIASES = ["a", "A-b_c", "é", "1", "-", "_", "v1x", "v", "latest1", "a" * 255]
REFUSED_ALIASES = {
    "latest": "'latest' alias name (case insensitive) is reserved.",
    "LaTeST": "'latest' alias name (case insensitive) is reserved.",
    "v1": "Version alias name 'v1' is reserved.",
    "V22": "Version alias name 'V22' is reserved.",
    "a b": texts.bad_alias("a b"),
    "a.b": texts.bad_alias("a.b"),
    "a/b": texts.bad_alias("a/b"),
    "a" * 256: texts.too_long("Registered model alias name", 255),
}
IS_PROMPT = [factories.PROMPT_TAG]


@pytest.fixture
def name(rest: Rest) -> str:
    return factories.new_registered_model(rest)


def test_a_registered_model_has_these_fields_and_no_others(rest: Rest) -> None:
    name = factories.unique()

    answer = rest.post("registered-models/create", name=name)

    created = answer["registered_model"]["creation_timestamp"]
    assert answer["registered_model"] == {
        "name": name,
        "creation_timestamp": created,
        "last_updated_timestamp": created,
    }
    assert type(created) is int
    assert rest.get("registered-models/get", name=name) == answer


def test_description_and_tags_are_kept(rest: Rest) -> None:
    tags = [{"key": "a", "value": "1"}, {"key": "b"}]

    name = factories.new_registered_model(rest, description="text", tags=tags)

    model = factories.get_registered_model(rest, name)
    assert model["description"] == "text"
    assert factories.as_dict(model["tags"]) == {"a": "1", "b": ""}


def test_of_equal_keys_the_last_tag_counts(rest: Rest) -> None:
    name = factories.new_registered_model(rest, tags=[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}])

    assert factories.get_registered_model(rest, name)["tags"] == [{"key": "a", "value": "2"}]


def test_an_empty_description_is_none(rest: Rest) -> None:
    name = factories.new_registered_model(rest, description="")

    assert "description" not in factories.get_registered_model(rest, name)


def test_a_deployment_job_is_not_kept(rest: Rest) -> None:
    name = factories.new_registered_model(rest, deployment_job_id="job")

    assert "deployment_job_id" not in factories.get_registered_model(rest, name)


@pytest.mark.parametrize("odd", ODD_NAMES, ids=lambda name: name[:10])
def test_nearly_any_text_can_be_a_name(rest: Rest, odd: str) -> None:
    name = odd + factories.unique("")[:30]

    factories.new_registered_model(rest, name=name)

    assert factories.get_registered_model(rest, name)["name"] == name


@pytest.mark.parametrize("name", REFUSED_NAMES, ids=repr)
def test_a_name_that_could_be_a_path_is_refused(rest: Rest, name: str) -> None:
    expected = invalid(REFUSED_NAMES[name])

    assert rest.refused_post("registered-models/create", name=name) == expected
    assert rest.refused_get("registered-models/get", name=name) == expected
    assert rest.refused_patch("registered-models/update", name=name) == expected
    assert rest.refused_delete("registered-models/delete", name=name) == expected
    assert rest.refused_post("registered-models/set-tag", name=name, key="a", value="1") == expected
    assert rest.refused_post("registered-models/alias", name=name, alias="a", version="1") == expected
    assert rest.refused_get("registered-models/alias", name=name, alias="a") == expected
    assert rest.refused_get("registered-models/get-latest-versions", name=name) == expected


@pytest.mark.departure("stock stores what its own column is declared too short for, as SQLite lets it")
def test_a_name_has_at_most_256_characters(rest: Rest) -> None:
    name = factories.unique() + "n" * 256

    assert rest.refused_post("registered-models/create", name=name) == invalid(texts.too_long("name", 256))


def test_a_taken_name_is_refused(rest: Rest, name: str) -> None:
    refused = rest.refused_post("registered-models/create", name=name)

    assert (refused.status, refused.error_code) == (400, "RESOURCE_ALREADY_EXISTS")
    assert refused.message == f"Registered Model (name={name}) already exists."


def test_a_prompts_name_is_refused_with_its_own_words(rest: Rest) -> None:
    name = factories.new_registered_model(rest, tags=IS_PROMPT)

    as_prompt = rest.refused_post("registered-models/create", name=name, tags=IS_PROMPT)
    as_model = rest.refused_post("registered-models/create", name=name)

    assert as_prompt.message == f"Prompt (name={name}) already exists."
    assert as_model.message == (
        f"Tried to create a registered model with name '{name}', but the name is already taken by a prompt."
        " MLflow does not allow creating a model and a prompt with the same name."
    )


def test_a_prompt_cannot_take_a_models_name(rest: Rest, name: str) -> None:
    refused = rest.refused_post("registered-models/create", name=name, tags=IS_PROMPT)

    assert refused.error_code == "RESOURCE_ALREADY_EXISTS"
    assert refused.message.startswith(f"Tried to create a prompt with name '{name}', but the name is already taken by")


@pytest.mark.parametrize("case", REFUSED_TAGS)
def test_a_malformed_tag_is_refused(rest: Rest, name: str, case: str) -> None:
    tag, message = REFUSED_TAGS[case]

    assert rest.refused_post("registered-models/create", name=factories.unique(), tags=[tag]) == invalid(message)
    if "key" in tag:
        assert rest.refused_post("registered-models/set-tag", name=name, **tag) == invalid(message)


def test_an_unknown_model_is_not_found(rest: Rest) -> None:
    name = factories.unique()
    expected = not_found(texts.no_registered_model(name))

    assert rest.refused_get("registered-models/get", name=name) == expected
    assert rest.refused_patch("registered-models/update", name=name, description="x") == expected
    assert rest.refused_post("registered-models/rename", name=name, new_name=factories.unique()) == expected
    assert rest.refused_delete("registered-models/delete", name=name) == expected
    assert rest.refused_post("registered-models/set-tag", name=name, key="a", value="1") == expected
    assert rest.refused_delete("registered-models/delete-tag", name=name, key="a") == expected
    assert rest.refused_delete("registered-models/alias", name=name, alias="a") == expected
    assert rest.refused_get("registered-models/alias", name=name, alias="a") == expected
    assert rest.refused_get("registered-models/alias", name=name, alias="latest") == expected
    assert rest.refused_post("registered-models/get-latest-versions", name=name, stages=["bad"]) == expected


def test_an_update_sets_the_description_and_without_one_removes_it(rest: Rest, name: str) -> None:
    before = factories.get_registered_model(rest, name)
    time.sleep(0.002)

    described = rest.patch("registered-models/update", name=name, description="new")["registered_model"]
    cleared = rest.patch("registered-models/update", name=name)["registered_model"]

    assert described["description"] == "new"
    assert described["last_updated_timestamp"] > before["last_updated_timestamp"]
    assert "description" not in cleared
    assert factories.get_registered_model(rest, name) == cleared


def test_a_tag_is_set_and_replaced_and_removed(rest: Rest, name: str) -> None:
    assert rest.post("registered-models/set-tag", name=name, key="a", value="1") == {}
    assert rest.post("registered-models/set-tag", name=name, key="a", value="2") == {}
    assert factories.get_registered_model(rest, name)["tags"] == [{"key": "a", "value": "2"}]

    assert rest.delete("registered-models/delete-tag", name=name, key="a") == {}
    assert rest.delete("registered-models/delete-tag", name=name, key="a") == {}
    assert "tags" not in factories.get_registered_model(rest, name)


def test_a_tag_without_a_value_is_empty(rest: Rest, name: str) -> None:
    rest.post("registered-models/set-tag", name=name, key="a")

    assert factories.get_registered_model(rest, name)["tags"] == [{"key": "a", "value": ""}]


def test_tags_and_aliases_are_no_update(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)
    before = factories.get_registered_model(rest, name)["last_updated_timestamp"]
    time.sleep(0.002)

    rest.post("registered-models/set-tag", name=name, key="a", value="1")
    factories.set_alias(rest, name, "champion", "1")

    assert factories.get_registered_model(rest, name)["last_updated_timestamp"] == before


def test_a_deleted_model_is_gone_with_its_versions(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)

    assert rest.delete("registered-models/delete", name=name) == {}

    assert rest.refused_get("registered-models/get", name=name) == not_found(texts.no_registered_model(name))
    refused = rest.refused_get("model-versions/get", name=name, version="1")
    assert refused == not_found(texts.no_version(name, 1))


def test_a_name_can_be_used_again_and_counts_from_1(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)
    rest.delete("registered-models/delete", name=name)

    factories.new_registered_model(rest, name=name)

    assert factories.new_version(rest, name)["version"] == "1"


def test_what_is_to_be_deleted_stands_in_the_body(rest: Rest, name: str) -> None:
    response = rest.call("DELETE", "registered-models/delete", params={"name": name}, json={})

    assert refusal(response) == invalid(texts.missing("name"))


@pytest.mark.departure("stock reads no query string of a DELETE, where the client of Databricks says what to delete")
def test_without_a_body_what_is_to_be_deleted_stands_in_the_query(rest: Rest, name: str) -> None:
    response = rest.call("DELETE", "registered-models/delete", params={"name": name})

    assert response.json() == {}
    assert rest.refused_get("registered-models/get", name=name).error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_rename_keeps_versions_tags_and_aliases(rest: Rest, name: str) -> None:
    factories.new_version(rest, name, tags=[{"key": "t", "value": "1"}], description="text")
    rest.post("registered-models/set-tag", name=name, key="a", value="1")
    factories.set_alias(rest, name, "champion", "1")
    rest.post("model-versions/transition-stage", name=name, version="1", stage="Staging")
    before = factories.get_registered_model(rest, name)
    new_name = factories.unique()
    time.sleep(0.002)

    renamed = rest.post("registered-models/rename", name=name, new_name=new_name)["registered_model"]

    now = renamed["last_updated_timestamp"]
    [version] = before["latest_versions"]
    assert now > before["last_updated_timestamp"]
    assert renamed == {
        **before,
        "name": new_name,
        "last_updated_timestamp": now,
        "latest_versions": [{**version, "name": new_name, "last_updated_timestamp": now}],
    }
    assert rest.refused_get("registered-models/get", name=name) == not_found(texts.no_registered_model(name))
    by_alias = rest.get("registered-models/alias", name=new_name, alias="champion")["model_version"]
    assert (by_alias["version"], by_alias["name"]) == ("1", new_name)


def test_a_rename_to_the_same_name_is_allowed(rest: Rest, name: str) -> None:
    renamed = rest.post("registered-models/rename", name=name, new_name=name)

    assert renamed["registered_model"]["name"] == name


def test_a_rename_to_a_taken_name_is_refused(rest: Rest, name: str) -> None:
    other = factories.new_registered_model(rest)

    refused = rest.refused_post("registered-models/rename", name=name, new_name=other)

    assert (refused.status, refused.error_code) == (400, "RESOURCE_ALREADY_EXISTS")
    assert refused.message.startswith(f"Registered Model (name={other}) already exists.")
    assert factories.get_registered_model(rest, name)["name"] == name


@pytest.mark.parametrize(
    ("new_name", "message"),
    [(" ", texts.missing_plainly("new_name")), ("a/b", texts.bad_model_name("a/b"))],
)
def test_a_rename_to_no_name_is_refused(rest: Rest, name: str, new_name: str, message: str) -> None:
    assert rest.refused_post("registered-models/rename", name=name, new_name=new_name) == invalid(message)


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias[:10])
def test_an_alias_names_a_version(rest: Rest, name: str, alias: str) -> None:
    version = factories.new_version(rest, name)

    factories.set_alias(rest, name, alias, "1")

    found = rest.get("registered-models/alias", name=name, alias=alias)["model_version"]
    assert found == {**version, "aliases": [alias]}
    assert factories.get_registered_model(rest, name)["aliases"] == [{"alias": alias, "version": "1"}]


def test_an_alias_moves(rest: Rest, name: str) -> None:
    for _ in range(2):
        factories.new_version(rest, name)
    factories.set_alias(rest, name, "champion", "1")

    factories.set_alias(rest, name, "champion", "2")

    assert rest.get("registered-models/alias", name=name, alias="champion")["model_version"]["version"] == "2"
    assert "aliases" not in factories.get_version(rest, name, "1")


def test_aliases_differ_by_case_and_stand_in_order(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)
    for alias in ("b", "a", "B"):
        factories.set_alias(rest, name, alias, "1")

    assert factories.get_version(rest, name, "1")["aliases"] == ["B", "a", "b"]


@pytest.mark.parametrize("alias", REFUSED_ALIASES, ids=lambda alias: alias[:10])
def test_an_alias_that_means_something_else_is_refused(rest: Rest, name: str, alias: str) -> None:
    factories.new_version(rest, name)

    refused = rest.refused_post("registered-models/alias", name=name, alias=alias, version="1")

    assert refused == invalid(REFUSED_ALIASES[alias])


@pytest.mark.parametrize(("version", "shown"), [("99", "99"), ("0", "0"), ("-1", "-1"), ("099", "99")])
def test_an_alias_of_an_unknown_version_is_refused(rest: Rest, name: str, version: str, shown: str) -> None:
    refused = rest.refused_post("registered-models/alias", name=name, alias="a", version=version)

    assert refused == not_found(texts.no_version(name, shown))


def test_an_alias_of_an_unknown_model_is_refused_for_its_version(rest: Rest) -> None:
    name = factories.unique()

    refused = rest.refused_post("registered-models/alias", name=name, alias="a", version="1")

    assert refused == not_found(texts.no_version(name, 1))


def test_an_unknown_alias_is_an_invalid_parameter(rest: Rest, name: str) -> None:
    refused = rest.refused_get("registered-models/alias", name=name, alias="none")

    assert refused == invalid("Registered model alias none not found.")


def test_a_removed_alias_is_gone_and_may_be_removed_again(rest: Rest, name: str) -> None:
    factories.new_version(rest, name)
    factories.set_alias(rest, name, "a", "1")

    assert rest.delete("registered-models/alias", name=name, alias="a") == {}
    assert rest.delete("registered-models/alias", name=name, alias="a") == {}

    assert "aliases" not in factories.get_registered_model(rest, name)


@pytest.mark.parametrize("alias", ["latest", "LATEST"])
def test_latest_is_the_newest_version(rest: Rest, name: str, alias: str) -> None:
    assert rest.refused_get("registered-models/alias", name=name, alias=alias) == not_found(
        f"Latest version not found for model {name}."
    )
    for _ in range(3):
        factories.new_version(rest, name)
    rest.delete("model-versions/delete", name=name, version="3")
    rest.post("model-versions/transition-stage", name=name, version="1", stage="Production")

    assert rest.get("registered-models/alias", name=name, alias=alias)["model_version"]["version"] == "2"


def _versions(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(version["current_stage"], version["version"]) for version in answer.get("model_versions", [])]


@pytest.fixture
def staged(rest: Rest, name: str) -> str:
    """A model with versions 1 Production, 2 None, 3 Archived, 4 Production, 5 None."""
    for _ in range(5):
        factories.new_version(rest, name)
    for version, stage in (("1", "Production"), ("3", "Archived"), ("4", "Production")):
        rest.post("model-versions/transition-stage", name=name, version=version, stage=stage)
    return name


def test_latest_versions_are_the_newest_of_each_stage(rest: Rest, staged: str) -> None:
    factories.set_alias(rest, staged, "champion", "4")

    latest = rest.post("registered-models/get-latest-versions", name=staged)

    assert _versions(latest) == [("Production", "4"), ("None", "5"), ("Archived", "3")]
    assert latest["model_versions"][0]["aliases"] == ["champion"]
    assert rest.get("registered-models/get-latest-versions", name=staged) == latest


def test_a_registered_model_shows_its_latest_versions_without_aliases(rest: Rest, staged: str) -> None:
    factories.set_alias(rest, staged, "champion", "4")
    latest = rest.post("registered-models/get-latest-versions", name=staged)["model_versions"]

    shown = factories.get_registered_model(rest, staged)["latest_versions"]

    assert shown == [{key: value for key, value in version.items() if key != "aliases"} for version in latest]


@pytest.mark.parametrize(
    ("stages", "versions"),
    [(["production"], ["4"]), (["Archived", "NONE"], ["5", "3"]), (["Staging"], []), ([], ["4", "5", "3"])],
)
def test_latest_versions_of_some_stages(rest: Rest, staged: str, stages: list[str], versions: list[str]) -> None:
    latest = rest.post("registered-models/get-latest-versions", name=staged, stages=stages)

    assert [version for _, version in _versions(latest)] == versions
    assert rest.get("registered-models/get-latest-versions", name=staged, stages=stages) == latest


def test_latest_versions_of_a_stage_that_there_is_not_are_refused(rest: Rest, name: str) -> None:
    refused = rest.refused_post("registered-models/get-latest-versions", name=name, stages=["None", "bad"])

    assert refused == invalid(texts.bad_stage("bad"))


@pytest.mark.departure("stock knows no idempotency keys")
def test_the_same_idempotency_key_creates_once(rest: Rest) -> None:
    name = factories.unique()
    headers = {"Idempotency-Key": factories.unique()}

    first = rest.call("POST", "registered-models/create", json={"name": name}, headers=headers)
    again = rest.call("POST", "registered-models/create", json={"name": name}, headers=headers)

    assert first.status_code == 200
    assert again.json() == first.json()
