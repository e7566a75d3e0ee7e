"""Each change and its event are one transaction, each under the model's next revision."""

from typing import Any

import pytest

from services.common.auth import Asker, Caller
from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound, PermissionDenied, Unavailable
from services.registry.events import store
from services.registry.events.model import Kind, Position, Told
from services.registry.model_versions.model import LoggedModel
from services.registry.promotions import service as promotions
from tests.store.registry import factories
from tests.store.registry.factories import Registry


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


async def _told(db: Database, name: str) -> list[tuple[str, int | None, dict[str, Any]]]:
    return [(event["kind"], event["version"], event["changes"]) for event in await factories.events_of(db, name)]


async def test_everything_that_happens_is_told(registry: Registry, registry_db: Database) -> None:
    name, renamed = await registry.new_model(description="text", tags={"a": "1"}), factories.new_name()
    await registry.new_version(name, tags={"b": "2"})
    await registry.models.describe(name, description="", caller=Caller(name="ann"))
    await registry.models.set_tag(name, key="a", value="2", caller=Caller(name="ann"))
    await registry.models.delete_tag(name, key="a", caller=Caller(name="ann"))
    await registry.aliases.set(name, "champion", version="1", caller=Caller(name="ann"))
    await registry.versions.describe(name, "1", description="new", caller=Caller(name="ann"))
    await registry.versions.set_tag(name, "1", key="b", value="3", caller=Caller(name="ann"))
    await registry.versions.delete_tag(name, "1", key="b", caller=Caller(name="ann"))
    await registry.transition(name, "1", "Staging")
    await registry.models.rename(name, new_name=renamed, caller=Caller(name="ann"))
    await registry.versions.delete(renamed, "1", caller=Caller(name="ann"))
    await registry.models.delete(renamed, caller=Caller(name="ann"))

    origin = {"source": {"to": factories.SOURCE}, "storage_location": {"to": factories.SOURCE}}
    assert await _told(registry_db, name) == [
        (
            "REGISTERED_MODEL_CREATED",
            None,
            {"name": {"to": name}, "description": {"to": "text"}, "tags.a": {"to": "1"}},
        ),
        ("MODEL_VERSION_CREATED", 1, {"current_stage": {"to": "None"}, **origin, "tags.b": {"to": "2"}}),
        ("REGISTERED_MODEL_UPDATED", None, {"description": {"from": "text"}}),
        ("REGISTERED_MODEL_TAG_SET", None, {"tags.a": {"from": "1", "to": "2"}}),
        ("REGISTERED_MODEL_TAG_DELETED", None, {"tags.a": {"from": "2"}}),
        ("REGISTERED_MODEL_ALIAS_SET", 1, {"aliases.champion": {"to": 1}}),
        ("MODEL_VERSION_UPDATED", 1, {"description": {"from": "", "to": "new"}}),
        ("MODEL_VERSION_TAG_SET", 1, {"tags.b": {"from": "2", "to": "3"}}),
        ("MODEL_VERSION_TAG_DELETED", 1, {"tags.b": {"from": "3"}}),
        ("MODEL_VERSION_TRANSITIONED_STAGE", 1, {"current_stage": {"from": "None", "to": "Staging"}}),
        ("REGISTERED_MODEL_RENAMED", None, {"name": {"from": name, "to": renamed}}),
        ("REGISTERED_MODEL_ALIAS_DELETED", 1, {"aliases.champion": {"from": 1}}),
        (
            "MODEL_VERSION_DELETED",
            1,
            {"current_stage": {"from": "Staging"}, "source": {"from": factories.SOURCE}},
        ),
        ("REGISTERED_MODEL_DELETED", None, {"name": {"from": renamed}}),
    ]


async def test_an_event_says_who_and_which_revision(registry: Registry, registry_db: Database) -> None:
    name = await registry.new_model()
    await registry.models.set_tag(name, key="a", value="1", caller=Caller(name="ann"))
    await registry.new_version(name, caller=Caller(name="bob"))

    events = await factories.events_of(registry_db, name)

    assert [(event["revision"], event["actor"]) for event in events] == [(1, "tester"), (2, "ann"), (3, "bob")]


async def test_archived_versions_are_told_one_by_one(registry: Registry, registry_db: Database) -> None:
    name = await registry.new_model()
    for _ in range(3):
        await registry.new_version(name)
    await registry.transition(name, "1", "Production")
    await registry.transition(name, "2", "Production")

    await registry.transition(name, "3", "Production", archive=True)

    assert [(version, changes["current_stage"]) for _, version, changes in (await _told(registry_db, name))[-3:]] == [
        (1, {"from": "Production", "to": "Archived"}),
        (2, {"from": "Production", "to": "Archived"}),
        (3, {"from": "None", "to": "Production"}),
    ]


async def test_what_changes_nothing_is_not_told(registry: Registry, registry_db: Database) -> None:
    name = await registry.new_model(tags={"a": "1"})
    await registry.new_version(name)
    await registry.aliases.set(name, "champion", version="1", caller=Caller(name="ann"))
    before = await _told(registry_db, name)

    await registry.models.set_tag(name, key="a", value="1", caller=Caller(name="ann"))
    await registry.models.delete_tag(name, key="none", caller=Caller(name="ann"))
    await registry.models.describe(name, description="", caller=Caller(name="ann"))
    await registry.models.rename(name, new_name=name, caller=Caller(name="ann"))
    await registry.aliases.set(name, "champion", version="1", caller=Caller(name="ann"))
    await registry.aliases.delete(name, "none", caller=Caller(name="ann"))
    await registry.transition(name, "1", "None")
    await registry.versions.delete_tag(name, "1", key="none", caller=Caller(name="ann"))

    assert await _told(registry_db, name) == before


async def test_what_is_refused_is_not_told(registry: Registry, registry_db: Database) -> None:
    name, other = await registry.new_model(), await registry.new_model()
    await registry.new_version(name)
    before = await _told(registry_db, name)

    with pytest.raises(NotFound):
        await registry.transition(name, "9", "Staging")
    with pytest.raises(InvalidArgument):
        await registry.transition(name, "1", "bad")
    with pytest.raises(NotFound):
        await registry.aliases.set(name, "champion", version="9", caller=Caller(name="ann"))
    with pytest.raises(Exception, match="already exists"):
        await registry.models.rename(name, new_name=other, caller=Caller(name="ann"))

    assert await _told(registry_db, name) == before


async def test_an_event_that_cannot_be_written_takes_its_change_with_it(
    registry: Registry, registry_db: Database, registry_url: str
) -> None:
    name = await registry.new_model()
    await registry.new_version(name)
    async with registry_db.pipeline() as tx:
        await tx.execute("ALTER TABLE events ADD CONSTRAINT full_check CHECK (actor <> 'nobody') NOT VALID")

    try:
        with pytest.raises(Exception, match="full_check"):
            await registry.aliases.set(name, "champion", version="1", caller=Caller(name="nobody"))
        with pytest.raises(Exception, match="full_check"):
            await registry.new_version(name, caller=Caller(name="nobody"))
    finally:
        async with registry_db.pipeline() as tx:
            await tx.execute("ALTER TABLE events DROP CONSTRAINT full_check")

    with pytest.raises(InvalidArgument):
        await registry.aliases.get(name, "champion")
    assert (await registry.new_version(name)).version == "2"


async def test_under_a_name_revisions_never_fall(registry: Registry, registry_db: Database) -> None:
    name, other = await registry.new_model(), await registry.new_model()
    for _ in range(5):
        await registry.new_version(name)
    await registry.models.delete(name, caller=Caller(name="ann"))

    await registry.new_model(name)
    await registry.models.delete(name, caller=Caller(name="ann"))
    await registry.models.rename(other, new_name=name, caller=Caller(name="ann"))

    async with registry_db.pipeline() as tx:
        found = await tx.execute("SELECT revision FROM events WHERE name = %(name)s ORDER BY event_id", {"name": name})
        revisions = [row[0] for row in await found.fetchall()]
    assert revisions == sorted(set(revisions))
    assert len(revisions) == 10


async def test_the_policy_sees_every_change_before_it_happens(
    registry: Registry, registry_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await registry.new_model()
    for _ in range(2):
        await registry.new_version(name)
    await registry.transition(name, "1", "Production")
    await registry.aliases.set(name, "champion", version="1", caller=Caller(name="ann"))
    before = await _told(registry_db, name)

    async def refuse(*_: object) -> None:
        raise PermissionDenied("not allowed")

    monkeypatch.setattr(promotions, "check", refuse)
    for attempt in (
        registry.transition(name, "2", "Production"),
        registry.transition(name, "2", "Production", archive=True),
        registry.aliases.set(name, "champion", version="2", caller=Caller(name="ann")),
        registry.aliases.delete(name, "champion", caller=Caller(name="ann")),
        registry.versions.delete(name, "1", caller=Caller(name="ann")),
        registry.models.delete(name, caller=Caller(name="ann")),
        registry.models.rename(name, new_name=factories.new_name(), caller=Caller(name="ann")),
    ):
        with pytest.raises(PermissionDenied):
            await attempt

    assert await _told(registry_db, name) == before
    assert (await registry.aliases.get(name, "champion")).version == "1"
    assert [(await registry.versions.get(name, number)).current_stage for number in "12"] == ["Production", "None"]


async def test_the_source_is_asked_for_with_the_callers_credentials(registry: Registry) -> None:
    name, asker = await registry.new_model(), Asker(authorization="Bearer x", request_id="r")
    registry.tracking.runs["run"] = "mlflow-artifacts:/1/run/artifacts"

    version = await registry.new_version(
        name, source="mlflow-artifacts:/1/run/artifacts/model", run_id="run", asker=asker
    )

    assert version.source == "mlflow-artifacts:/1/run/artifacts/model"
    assert registry.tracking.askers == [asker]


async def test_nothing_is_made_while_tracking_is_away(registry: Registry) -> None:
    name = await registry.new_model()
    registry.tracking.failure = Unavailable("away")

    with pytest.raises(Unavailable):
        await registry.new_version(name, source="mlflow-artifacts:/1/run/artifacts/model", run_id="run")

    assert (await registry.new_version(name)).version == "1"


async def test_a_version_stays_though_its_logged_model_could_not_be_told(registry: Registry) -> None:
    name = await registry.new_model()
    registry.tracking.models["m-1"] = LoggedModel(artifact_uri="s3://bucket/m-1", source_run_id="run")
    tag = registry.tracking.tag_logged_model

    async def fail(*arguments: Any) -> None:
        await tag(*arguments)
        raise Unavailable("away")

    registry.tracking.tag_logged_model = fail  # type: ignore[method-assign]
    version = await registry.new_version(name, source="models:/m-1", model_id="m-1")

    assert (version.version, version.run_id) == ("1", "run")
    assert await registry.versions.download_uri(name, "1") == "s3://bucket/m-1"


async def test_events_are_read_in_order_once_their_order_is_final(registry: Registry, registry_db: Database) -> None:
    name = await registry.new_model()
    start = await _end(registry_db)

    async with registry_db.pipeline() as open_tx:
        await open_tx.execute("SELECT pg_current_xact_id()")
        await registry.models.set_tag(name, key="a", value="1", caller=Caller(name="ann"))
        held_back = await _read(registry_db, start)
    told = await _read(registry_db, start)

    assert held_back == []
    assert [(one.model.name, one.actor, one.event.kind) for one in told] == [(name, "ann", Kind.MODEL_TAG_SET)]
    assert told[0].event.changes == {"tags.a": {"to": "1"}}
    assert await _read(registry_db, told[0].position) == []


async def _read(db: Database, position: Position) -> list[Told]:
    async with db.pipeline() as tx:
        return await store.read_after(tx, position, limit=100)


async def _end(db: Database) -> Position:
    """Return the position of the newest event that there is."""
    position = Position(transaction_id=0, event_id=0)
    while told := await _read(db, position):
        position = told[-1].position
    return position
