"""Which sources a version may have: nobody registers files that are in another run or model, or on a server's disk."""

import json
from dataclasses import dataclass

import pytest

from tests.compat import factories, texts
from tests.compat.rest import Json, Rest, invalid, not_found

RELATIVE = (
    "If supplying a source as an http, https, local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute"
    " path must be provided without relative path references present. Please provide an absolute path."
)
NOT_OF_RUN = "The run_id request parameter must identify the resource that contains the source."
NOT_OF_MODEL = "The model_id request parameter must identify the resource that contains the source."
LOCAL = (
    "To use a local path as a model version source, the {0} request parameter has to be specified and the local path"
    " has to be contained within the artifact directory of the run specified by the {0}."
)
LOCAL_OF_RUN, LOCAL_OF_MODEL = LOCAL.format("run_id"), LOCAL.format("model_id")
MISMATCH = "The run_id and model_id request parameters must match the referenced model version."


@dataclass(frozen=True, kw_only=True)
class World:
    """`run` and `model` belong to each other, and have the roots `run_root` and `model_root`."""

    name: str
    experiment_id: str
    run: str
    other_run: str
    deleted_run: str
    model: str
    other_model: str

    def filled(self, text: str) -> str:
        places = {
            "{root}": f"mlflow-artifacts:/{self.experiment_id}/{self.run}/artifacts",
            "{other_root}": f"mlflow-artifacts:/{self.experiment_id}/{self.other_run}/artifacts",
            "{deleted_root}": f"mlflow-artifacts:/{self.experiment_id}/{self.deleted_run}/artifacts",
            "{model_root}": f"mlflow-artifacts:/{self.experiment_id}/models/{self.model}/artifacts",
            "{path}": f"{self.experiment_id}/{self.run}/artifacts",
            "{run}": self.run,
            "{other_run}": self.other_run,
            "{deleted_run}": self.deleted_run,
            "{model}": self.model,
            "{other_model}": self.other_model,
            "{no_run}": factories.UNKNOWN_RUN,
            "{no_model}": factories.UNKNOWN_MODEL,
        }
        for place, value in places.items():
            text = text.replace(place, value)
        return text

    def body(self, source: str, **ids: str) -> Json:
        return {"name": self.name, "source": self.filled(source), **{key: self.filled(i) for key, i in ids.items()}}


@pytest.fixture(scope="module")
def world(rest: Rest) -> World:
    experiment_id = factories.new_experiment(rest)
    run = factories.new_run(rest, experiment_id)
    deleted_run = factories.new_run(rest, experiment_id)
    rest.post("runs/delete", run_id=deleted_run)
    return World(
        name=factories.new_registered_model(rest),
        experiment_id=experiment_id,
        run=run,
        other_run=factories.new_run(rest, experiment_id),
        deleted_run=deleted_run,
        model=factories.new_model(rest, experiment_id, source_run_id=run),
        other_model=factories.new_model(rest, experiment_id),
    )


ALLOWED = [
    *("s3://b/x", "gs://b/x", "dbfs:/x", "wasbs://c@a.blob.core.windows.net/x", "s3://b/x/", "s3://b//x", "s3:/b/x"),
    *("s3://b/x?y=1", "s3://b/x#f", "s3://b/a%20b", "s3://b/a+b", "s3://b/..a", "S3://b/x", "custom://b/x"),
]
REFUSED = {
    "/etc": LOCAL_OF_RUN,
    "rel/x": LOCAL_OF_RUN,
    "dummy-source": LOCAL_OF_RUN,
    "file:///etc": LOCAL_OF_RUN,
    "file:/x": LOCAL_OF_RUN,
    "FILE:///x": LOCAL_OF_RUN,
    "s3://b/../x": RELATIVE,
    "s3://b/x/..": RELATIVE,
    "s3://b/%2e%2e/x": RELATIVE,
    "s3://b/%252e%252e/x": RELATIVE,
    "s3://b/a/./x": RELATIVE,
    "s3://b/x%00": RELATIVE,
    "s3://b": RELATIVE,
    "x:y": RELATIVE,
    "C:\\x": RELATIVE,
    "runs:/": RELATIVE,
    "runs:/{run}": NOT_OF_RUN,
    "runs:/{run}/model": NOT_OF_RUN,
    "runs://profile/{run}": NOT_OF_RUN,
    "models:/{model}": NOT_OF_MODEL,
    "models:/": NOT_OF_MODEL,
    "models:": NOT_OF_MODEL,
    "models:/a/1/2": NOT_OF_MODEL,
    "models:/a/": NOT_OF_MODEL,
    "models:/a@": NOT_OF_MODEL,
    "models://registry/a/1": "Registered model sources must use the active model registry.",
    "{root}": NOT_OF_RUN,
    "{root}/model": NOT_OF_RUN,
}
HOST_SCHEMES = ["ftp", "sftp", "hdfs", "viewfs", "http", "https", "r2", "b2", "abfss", "mlflow-artifacts"]
ALLOWED_OF_RUN = [
    *("s3://b/x", "runs:/{run}", "runs:/{run}/model", "{root}", "{root}/", "{root}/model", "{root}/model/"),
    *("mlflow-artifacts:///{path}", "MLFLOW-ARTIFACTS:/{path}", "{root}/a b"),
]
REFUSED_OF_RUN = {
    "runs:/{other_run}/model": NOT_OF_RUN,
    "runs:/{run}/../x": RELATIVE,
    "{root}x": NOT_OF_RUN,
    "mlflow-artifacts:/": RELATIVE,
    "{root}/../x": RELATIVE,
    "{root}/%2e%2e/x": RELATIVE,
    "{other_root}/model": NOT_OF_RUN,
    "{model_root}": NOT_OF_RUN,
    "mlflow-artifacts:{path}": RELATIVE,
    "/etc": LOCAL_OF_RUN,
    "models:/{model}": NOT_OF_MODEL,
}
ALLOWED_OF_MODEL = ["s3://b/x", "models:/{model}", "{model_root}", "{model_root}/x"]
REFUSED_OF_MODEL = {
    "models:/{other_model}": NOT_OF_MODEL,
    "{root}": NOT_OF_MODEL,
    "runs:/{run}/model": NOT_OF_MODEL,
    "/etc": LOCAL_OF_MODEL,
    "s3://b/../x": RELATIVE,
}


@pytest.mark.parametrize("source", ALLOWED)
def test_a_source_elsewhere_needs_no_run(rest: Rest, world: World, source: str) -> None:
    version = factories.new_version(rest, world.name, source=source)

    assert (version["source"], version["run_id"]) == (source, "")


@pytest.mark.parametrize("source", REFUSED)
def test_a_source_that_is_nobodys_is_refused(rest: Rest, world: World, source: str) -> None:
    body = world.body(source)

    refused = rest.refused_post("model-versions/create", **body)

    assert refused == invalid(texts.bad_source(body["source"], REFUSED[source]))


@pytest.mark.parametrize("scheme", HOST_SCHEMES)
def test_a_source_that_names_a_host_is_refused(rest: Rest, world: World, scheme: str) -> None:
    refused = rest.refused_post("model-versions/create", **world.body(f"{scheme}://host/{{path}}", run_id="{run}"))

    assert (refused.status, refused.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert refused.message.startswith(f"'source' cannot use the '{scheme}' scheme")


@pytest.mark.parametrize("source", ALLOWED_OF_RUN)
def test_a_source_in_the_run_is_allowed(rest: Rest, world: World, source: str) -> None:
    body = world.body(source, run_id="{run}")

    version = factories.new_version(rest, **body)

    assert (version["source"], version["run_id"]) == (body["source"], world.run)
    uri = rest.get("model-versions/get-download-uri", name=world.name, version=version["version"])
    assert uri == {"artifact_uri": body["source"]}


@pytest.mark.parametrize("source", REFUSED_OF_RUN)
def test_a_source_out_of_the_run_is_refused(rest: Rest, world: World, source: str) -> None:
    body = world.body(source, run_id="{run}")

    refused = rest.refused_post("model-versions/create", **body)

    assert refused == invalid(texts.bad_source(body["source"], REFUSED_OF_RUN[source]))


@pytest.mark.departure("stock takes what it would have to decode or clean first")
@pytest.mark.parametrize("source", ["{root}/a%2Fb", "{root}//model"])
def test_a_source_that_can_be_read_in_two_ways_is_refused(rest: Rest, world: World, source: str) -> None:
    body = world.body(source, run_id="{run}")

    refused = rest.refused_post("model-versions/create", **body)

    assert refused == invalid(texts.bad_source(body["source"], NOT_OF_RUN))


@pytest.mark.parametrize("source", ["{root}/model", "/etc"])
def test_an_unknown_run_has_no_source(rest: Rest, world: World, source: str) -> None:
    body = world.body(source, run_id="{no_run}")

    refused = rest.refused_post("model-versions/create", **body)

    assert refused == invalid(texts.bad_source(body["source"], NOT_OF_RUN))


def test_a_deleted_runs_files_can_be_registered(rest: Rest, world: World) -> None:
    version = factories.new_version(rest, **world.body("{deleted_root}/model", run_id="{deleted_run}"))

    assert version["run_id"] == world.deleted_run


def test_a_source_elsewhere_does_not_ask_for_the_run(rest: Rest, world: World) -> None:
    version = factories.new_version(rest, **world.body("s3://b/x", run_id="{no_run}"))

    assert version["run_id"] == factories.UNKNOWN_RUN


@pytest.mark.parametrize("source", ALLOWED_OF_MODEL)
def test_a_source_of_the_logged_model_is_allowed_and_tells_the_run(rest: Rest, world: World, source: str) -> None:
    body = world.body(source, model_id="{model}")

    version = factories.new_version(rest, **body)

    assert (version["source"], version["run_id"]) == (body["source"], world.run)


def test_a_logged_models_uri_leads_to_its_files(rest: Rest, world: World) -> None:
    version = factories.new_version(rest, **world.body("models:/{model}", model_id="{model}"))

    uri = rest.get("model-versions/get-download-uri", name=world.name, version=version["version"])

    assert uri == {"artifact_uri": world.filled("{model_root}")}


def test_the_run_that_is_given_goes_before_the_logged_models(rest: Rest, world: World) -> None:
    version = factories.new_version(rest, **world.body("models:/{model}", model_id="{model}", run_id="{other_run}"))

    assert version["run_id"] == world.other_run


@pytest.mark.parametrize("source", REFUSED_OF_MODEL)
def test_a_source_out_of_the_logged_model_is_refused(rest: Rest, world: World, source: str) -> None:
    body = world.body(source, model_id="{model}")

    refused = rest.refused_post("model-versions/create", **body)

    assert refused == invalid(texts.bad_source(body["source"], REFUSED_OF_MODEL[source]))


@pytest.mark.parametrize("source", ["models:/{model}", "{model_root}"])
def test_an_unknown_logged_model_has_no_source(rest: Rest, world: World, source: str) -> None:
    body = world.body(source, model_id="{no_model}")

    refused = rest.refused_post("model-versions/create", **body)

    assert refused == invalid(texts.bad_source(body["source"], NOT_OF_MODEL))


@pytest.mark.parametrize(
    "source",
    [
        "s3://b/x",
        pytest.param("models:/{no_model}", marks=pytest.mark.departure("stock answers 500")),
    ],
)
def test_an_unknown_logged_model_is_not_found(rest: Rest, world: World, source: str) -> None:
    refused = rest.refused_post("model-versions/create", **world.body(source, model_id="{no_model}"))

    assert refused == not_found(texts.no_model(factories.UNKNOWN_MODEL))


def test_a_logged_model_is_told_of_its_versions(rest: Rest) -> None:
    name, model_id = factories.new_registered_model(rest), factories.new_model(rest)

    for _ in range(2):
        factories.new_version(rest, name, source=f"models:/{model_id}", model_id=model_id)

    tags = factories.as_dict(factories.get_model(rest, model_id)["info"]["tags"])
    assert json.loads(tags["mlflow.modelVersions"]) == [{"name": name, "version": 1}, {"name": name, "version": 2}]


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A model with versions 1 of a run (Staging, alias champion), 2 elsewhere, 3 of a logged model."""

    name: str
    world: World


@pytest.fixture(scope="module")
def copied(rest: Rest, world: World) -> Copied:
    name = factories.new_registered_model(rest)
    factories.new_version(rest, **{**world.body("{root}/model", run_id="{run}"), "name": name, "description": "text"})
    factories.new_version(rest, name)
    factories.new_version(rest, **{**world.body("models:/{model}", model_id="{model}"), "name": name})
    factories.set_alias(rest, name, "champion", "1")
    rest.post("model-versions/transition-stage", name=name, version="1", stage="Staging")
    return Copied(name=name, world=world)


@pytest.mark.parametrize(
    ("suffix", "number", "run_id", "uri"),
    [
        ("/1", "1", "{run}", "{root}/model"),
        ("/2", "2", "", factories.SOURCE),
        ("/3", "3", "{run}", "{model_root}"),
        ("@champion", "1", "{run}", "{root}/model"),
        ("/staging", "1", "{run}", "{root}/model"),
        ("/latest", "3", "{run}", "{model_root}"),
    ],
)
def test_a_copy_names_the_version_it_copies_and_leads_to_its_files(
    rest: Rest, copied: Copied, suffix: str, number: str, run_id: str, uri: str
) -> None:
    copy = factories.new_version(rest, source=f"models:/{copied.name}{suffix}")

    assert (copy["source"], copy["run_id"]) == (f"models:/{copied.name}/{number}", copied.world.filled(run_id))
    assert copy["description"] == ""
    found = rest.get("model-versions/get-download-uri", name=copy["name"], version="1")
    assert found == {"artifact_uri": copied.world.filled(uri)}


def test_a_copy_of_a_copy_leads_to_the_first_ones_files(rest: Rest, copied: Copied) -> None:
    first = factories.new_version(rest, source=f"models:/{copied.name}/1")

    second = factories.new_version(rest, source=f"models:/{first['name']}/1")

    found = rest.get("model-versions/get-download-uri", name=second["name"], version="1")
    assert found == {"artifact_uri": copied.world.filled("{root}/model")}


@pytest.mark.parametrize(
    ("number", "ids", "granted"),
    [
        ("1", {"run_id": "{run}"}, True),
        ("1", {"run_id": "{other_run}"}, False),
        ("1", {"run_id": ""}, False),
        ("2", {"run_id": ""}, True),
        ("1", {"model_id": "{model}"}, False),
        ("3", {"model_id": ""}, True),
        ("3", {"model_id": "{other_model}"}, False),
        pytest.param(
            "3", {"model_id": "{model}"}, True, marks=pytest.mark.departure("stock forgot which logged model it was")
        ),
    ],
)
def test_a_copy_cannot_be_said_to_come_from_elsewhere(
    rest: Rest, copied: Copied, number: str, ids: dict[str, str], granted: bool
) -> None:
    source = f"models:/{copied.name}/{number}"
    body = {**copied.world.body(source, **ids), "name": factories.new_registered_model(rest)}

    response = rest.call("POST", "model-versions/create", json=body)

    assert (response.status_code == 200) == granted
    if not granted:
        assert response.json()["message"] == texts.bad_source(source, MISMATCH)


def test_a_copy_of_what_there_is_not_is_refused(rest: Rest, copied: Copied) -> None:
    name, nobody = factories.new_registered_model(rest), factories.unique()

    refusals = {
        suffix: rest.refused_post("model-versions/create", name=name, source=f"models:/{suffix}")
        for suffix in (f"{copied.name}/99", f"{copied.name}@none", f"{copied.name}/bad", f"{nobody}/1")
    }

    assert list(refusals.values()) == [
        not_found(texts.no_version(copied.name, 99)),
        invalid("Registered model alias none not found."),
        invalid(texts.bad_stage("bad")),
        not_found(texts.no_registered_model(nobody)),
    ]


@pytest.mark.departure("stock answers 500, which clients retry")
def test_a_copy_of_an_empty_stage_is_refused(rest: Rest, copied: Copied) -> None:
    source = f"models:/{copied.name}/Production"

    refused = rest.refused_post("model-versions/create", name=copied.name, source=source)

    assert refused == not_found(f"No versions of model with name '{copied.name}' and stage 'Production' found")


def test_a_prompt_is_no_source(rest: Rest) -> None:
    prompt = factories.new_registered_model(rest, tags=[factories.PROMPT_TAG])
    factories.new_version(rest, prompt, source="dummy-source", tags=[factories.PROMPT_TAG])
    source = f"models:/{prompt}/1"

    refused = rest.refused_post("model-versions/create", name=factories.new_registered_model(rest), source=source)

    assert refused == invalid(texts.bad_source(source, "Prompt versions cannot be used as model version sources."))
