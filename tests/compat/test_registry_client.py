"""MLflow's own client against the registry: what its users call, end to end."""

import json
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus
from mlflow.exceptions import MlflowException, RestException

from tests.compat import factories

TEMPLATE = "Hello, {{name}}!"

pytestmark = pytest.mark.usefixtures("fluent")


@pytest.fixture
def name(client: MlflowClient) -> str:
    return str(client.create_registered_model(factories.unique(), tags={"team": "a"}, description="text").name)


def _version(client: MlflowClient, name: str) -> str:
    return str(client.create_model_version(name, factories.SOURCE).version)


def test_a_registered_model_is_made_and_read(client: MlflowClient, name: str) -> None:
    model = client.get_registered_model(name)

    assert (model.name, model.description, model.tags) == (name, "text", {"team": "a"})
    assert model.latest_versions == []
    assert model.aliases == {}


def test_a_taken_name_raises_what_clients_look_for(client: MlflowClient, name: str) -> None:
    with pytest.raises(RestException, match="RESOURCE_ALREADY_EXISTS: Registered Model"):
        client.create_registered_model(name)


def test_a_model_that_is_not_there_raises_what_clients_look_for(client: MlflowClient) -> None:
    with pytest.raises(MlflowException, match="RESOURCE_DOES_NOT_EXIST") as raised:
        client.get_registered_model(factories.unique())

    assert raised.value.error_code == "RESOURCE_DOES_NOT_EXIST"


def test_a_life_of_a_registered_model(client: MlflowClient, name: str) -> None:
    client.update_registered_model(name, description="new")
    client.set_registered_model_tag(name, "stage", "1")
    client.delete_registered_model_tag(name, "team")
    new_name = factories.unique()
    client.rename_registered_model(name, new_name)

    model = client.get_registered_model(new_name)
    assert (model.description, model.tags) == ("new", {"stage": "1"})

    client.delete_registered_model(new_name)
    assert client.search_registered_models(f"name = '{new_name}'") == []


def test_a_life_of_a_version(client: MlflowClient, name: str) -> None:
    made = client.create_model_version(
        name, factories.SOURCE, run_id="abc", run_link="http://link", tags={"a": "1"}, description="text"
    )
    client.update_model_version(name, made.version, description="new")
    client.set_model_version_tag(name, made.version, "b", "2")
    client.delete_model_version_tag(name, made.version, "a")

    version = client.get_model_version(name, made.version)
    assert (version.version, version.description, version.tags) == ("1", "new", {"b": "2"})
    assert (version.run_id, version.run_link, version.status) == ("abc", "http://link", "READY")
    assert client.get_model_version_download_uri(name, made.version) == factories.SOURCE

    client.delete_model_version(name, made.version)
    assert client.search_model_versions(f"name = '{name}'") == []


@pytest.mark.filterwarnings("ignore:.*deprecated since 2.9.0:FutureWarning")
def test_stages_and_latest_versions(client: MlflowClient, name: str) -> None:
    first, second = _version(client, name), _version(client, name)
    client.transition_model_version_stage(name, first, "Production")

    client.transition_model_version_stage(name, second, "Production", archive_existing_versions=True)

    latest = client.get_latest_versions(name)
    assert {version.current_stage: version.version for version in latest} == {"Archived": "1", "Production": "2"}
    assert [version.version for version in client.get_latest_versions(name, ["Production"])] == ["2"]


def test_aliases(client: MlflowClient, name: str) -> None:
    version = _version(client, name)
    client.set_registered_model_alias(name, "champion", version)

    assert client.get_model_version_by_alias(name, "champion").version == version
    assert client.get_model_version(name, version).aliases == ["champion"]
    assert {alias: str(number) for alias, number in client.get_registered_model(name).aliases.items()} == {
        "champion": version
    }

    client.delete_registered_model_alias(name, "champion")
    with pytest.raises(MlflowException, match="Registered model alias champion not found"):
        client.get_model_version_by_alias(name, "champion")


def test_pages_of_a_search(client: MlflowClient) -> None:
    group = factories.unique()
    for number in range(5):
        client.create_registered_model(f"{group}-{number}", tags={"group": group})

    query = f"tags.group = '{group}'"
    first = client.search_registered_models(query, max_results=3, order_by=["name DESC"])
    rest = client.search_registered_models(query, max_results=3, order_by=["name DESC"], page_token=first.token)

    assert [model.name[-1] for model in [*first, *rest]] == ["4", "3", "2", "1", "0"]
    assert not rest.token


def test_registering_makes_the_registered_model_and_then_versions(client: MlflowClient, model_id: str) -> None:
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    name = factories.unique()

    mlflow.register_model(f"models:/{model_id}", name, tags={"a": "1"})
    mlflow.register_model(f"models:/{model_id}", name)

    found = client.search_model_versions(f"name = '{name}'", order_by=["version_number"])
    assert [(version.version, version.tags) for version in found] == [("1", {"a": "1"}), ("2", {})]


def test_a_logged_model_is_registered_and_knows_it(client: MlflowClient, model_id: str) -> None:
    client.finalize_logged_model(model_id, LoggedModelStatus.READY)
    name = factories.unique()

    version = mlflow.register_model(f"models:/{model_id}", name)

    assert (version.version, version.source) == ("1", f"models:/{model_id}")
    tags = client.get_logged_model(model_id).tags
    assert {"name": name, "version": 1} in json.loads(tags["mlflow.modelVersions"])


def test_a_version_is_copied(client: MlflowClient, name: str) -> None:
    version = _version(client, name)
    client.set_model_version_tag(name, version, "a", "1")
    target = factories.unique()

    copy = client.copy_model_version(f"models:/{name}/{version}", target)

    assert (copy.name, copy.version, copy.source, copy.tags) == (target, "1", f"models:/{name}/1", {"a": "1"})
    assert client.get_model_version_download_uri(target, "1") == factories.SOURCE


def test_a_registered_models_files_are_found_by_alias(
    client: MlflowClient, name: str, run_id: str, tmp_path: Path
) -> None:
    (tmp_path / "model.txt").write_text("weights")
    client.log_artifact(run_id, str(tmp_path / "model.txt"), "model")
    version = client.create_model_version(name, f"runs:/{run_id}/model", run_id)
    client.set_registered_model_alias(name, "champion", version.version)

    path = mlflow.artifacts.download_artifacts(f"models:/{name}@champion", dst_path=str(tmp_path / "got"))

    assert (Path(path) / "model.txt").read_text() == "weights"


def test_a_life_of_a_prompt(client: MlflowClient) -> None:
    name = factories.unique("prompt")

    first = client.register_prompt(name, TEMPLATE, commit_message="first", tags={"a": "1"})
    client.register_prompt(name, "Bye, {{name}}!")
    client.set_prompt_alias(name, "live", 1)

    assert first.version == 1
    assert client.load_prompt(f"prompts:/{name}/2").template == "Bye, {{name}}!"
    loaded = client.load_prompt(f"prompts:/{name}@live")
    assert (loaded.version, loaded.template, loaded.commit_message) == (1, TEMPLATE, "first")
    assert loaded.format(name="Ann") == "Hello, Ann!"


def test_prompts_and_models_are_searched_apart(client: MlflowClient) -> None:
    group = factories.unique()
    client.register_prompt(f"{group}-prompt", TEMPLATE)
    client.create_registered_model(f"{group}-model")

    prompts = client.search_prompts(filter_string=f"name LIKE '{group}%'")
    models = client.search_registered_models(f"name LIKE '{group}%'")

    assert [prompt.name for prompt in prompts] == [f"{group}-prompt"]
    assert [model.name for model in models] == [f"{group}-model"]


def test_a_prompts_name_is_no_models(client: MlflowClient, name: str) -> None:
    prompt = factories.unique("prompt")
    client.register_prompt(prompt, TEMPLATE)

    with pytest.raises(MlflowException, match="model and a prompt with the same name"):
        client.create_registered_model(prompt)
    with pytest.raises(MlflowException, match="model"):
        client.register_prompt(name, TEMPLATE)
