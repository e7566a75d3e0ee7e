"""What people and auditors read of what happened: activities of a model, and all events of all of them."""

from typing import Any

import pytest

from services.common.auth import Caller
from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound
from services.registry.audit.model import Entry, Question
from tests.store.registry import factories
from tests.store.registry.factories import CALLER, Registry

ANN = Caller(name="ann")


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


def _question(name: str = "", **given: Any) -> Question:
    unset: dict[str, Any] = {"actor": "", "kind": "", "from_timestamp": None, "to_timestamp": None}
    return Question(name=name, **unset | given)


async def _pages(ask: Any, *given: Any, size: int = 2, **named: Any) -> list[Any]:
    found: list[Any] = []
    token: str | None = ""
    while token is not None:
        page, token = await ask(*given, max_results=size, page_token=token, **named)
        assert len(page) <= size
        found += page
    return found


async def _audit(registry: Registry, question: Question) -> list[Entry]:
    entries: list[Entry] = await _pages(registry.audit.list, question)
    return entries


async def test_activities_are_what_happened_to_versions_newest_first(registry: Registry) -> None:
    name = await registry.new_model(tags={"a": "1"})
    await registry.new_version(name)
    await registry.new_version(name)
    await registry.transition(name, "1", "Staging")
    await registry.comments.create(name, "1", comment="good", caller=ANN, request_id="")
    await registry.versions.set_tag(name, "1", key="k", value="v", caller=ANN)
    await registry.transition(name, "2", "Production")

    activities = await _pages(registry.activities.list, name, version="")

    assert [
        (found.activity_type, found.user_id, found.version, found.from_stage, found.to_stage, found.comment)
        for found in activities
    ] == [
        ("APPLIED_TRANSITION", "tester", "2", "None", "Production", None),
        ("NEW_COMMENT", "ann", "1", None, None, "good"),
        ("APPLIED_TRANSITION", "tester", "1", "None", "Staging", None),
    ]
    assert len({found.id for found in activities}) == 3
    assert await _pages(registry.activities.list, name, version="1") == activities[1:]


async def test_activities_stay_with_a_model_that_is_renamed(registry: Registry) -> None:
    name, renamed = await registry.new_model(), factories.new_name()
    await registry.new_version(name)
    await registry.transition(name, "1", "Staging")
    await registry.models.rename(name, new_name=renamed, caller=CALLER)
    await registry.versions.delete(renamed, "1", caller=CALLER)

    assert len(await _pages(registry.activities.list, renamed, version="1")) == 1
    with pytest.raises(NotFound):
        await registry.activities.list(name, version="", max_results=1, page_token="")


async def test_the_audit_tells_everything_newest_first(registry: Registry) -> None:
    name, renamed = await registry.new_model(), factories.new_name()
    await registry.new_version(name)
    await registry.aliases.set(name, "champion", version="1", caller=ANN)
    await registry.models.rename(name, new_name=renamed, caller=CALLER)

    entries = await _audit(registry, _question(renamed))

    assert [(entry.kind, entry.name, entry.version, entry.actor, entry.revision) for entry in entries] == [
        ("REGISTERED_MODEL_RENAMED", renamed, None, "tester", 4),
        ("REGISTERED_MODEL_ALIAS_SET", name, "1", "ann", 3),
        ("MODEL_VERSION_CREATED", name, "1", "tester", 2),
        ("REGISTERED_MODEL_CREATED", name, None, "tester", 1),
    ]
    (change,) = entries[1].changes
    assert (change.field, change.before, change.after) == ("aliases.champion", None, "1")
    assert [entry.id for entry in await _audit(registry, _question(name))] == [entry.id for entry in entries]


async def test_the_audit_finds_by_actor_kind_and_time(registry: Registry) -> None:
    name, actor = await registry.new_model(), factories.new_name()
    caller = Caller(name=actor)
    for value in ("1", "2", "3"):
        await registry.models.set_tag(name, key="k", value=value, caller=caller)
    await registry.models.delete_tag(name, key="k", caller=caller)
    everything = await _audit(registry, _question(actor=actor))
    times = [entry.creation_timestamp for entry in everything]

    by_kind = await _audit(registry, _question(actor=actor, kind="REGISTERED_MODEL_TAG_SET"))
    by_time = await _audit(registry, _question(name, from_timestamp=times[2], to_timestamp=times[1]))

    assert [entry.kind for entry in everything] == ["REGISTERED_MODEL_TAG_DELETED", *["REGISTERED_MODEL_TAG_SET"] * 3]
    assert by_kind == everything[1:]
    assert by_time == everything[1:3]


async def test_the_audit_tells_of_models_that_are_gone(registry: Registry) -> None:
    name = await registry.new_model()
    await registry.models.delete(name, caller=CALLER)
    gone = await _audit(registry, _question(name))

    await registry.new_model(name)
    present = await _audit(registry, _question(name))

    assert [entry.kind for entry in gone] == ["REGISTERED_MODEL_DELETED", "REGISTERED_MODEL_CREATED"]
    assert [entry.kind for entry in present] == ["REGISTERED_MODEL_CREATED"]
    assert present[0].id not in {entry.id for entry in gone}


async def test_a_question_that_cannot_be_answered_is_refused(registry: Registry) -> None:
    for question in (_question(kind="UNKNOWN"), _question(actor="a" * 257), _question("a/b")):
        with pytest.raises(InvalidArgument):
            await registry.audit.list(question, max_results=1, page_token="")
    with pytest.raises(NotFound):
        await registry.audit.list(_question(factories.new_name()), max_results=1, page_token="")
    for size in (0, 1001, -1):
        with pytest.raises(InvalidArgument, match="max_results"):
            await registry.audit.list(_question(), max_results=size, page_token="")
        with pytest.raises(InvalidArgument, match="max_results"):
            await registry.activities.list("a", version="", max_results=size, page_token="")


async def test_a_page_token_is_good_for_its_question_alone(registry: Registry) -> None:
    name = await registry.new_model(tags={"a": "1"})
    await registry.models.delete_tag(name, key="a", caller=ANN)
    _, token = await registry.audit.list(_question(name), max_results=1, page_token="")
    assert token

    with pytest.raises(InvalidArgument, match="page token"):
        await registry.audit.list(_question(name, actor="ann"), max_results=1, page_token=token)
