"""Who may do what with a registered model: grants, what everyone may, administrators, and what each change tells."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from services.common.auth import ANONYMOUS, Caller
from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound, PermissionDenied
from services.registry.__main__ import SCHEMA
from services.registry.permissions import service, store
from services.registry.permissions.granting import Permissions
from services.registry.permissions.model import Defaults, Level
from services.registry.registered_models import store as registered_models_store
from services.registry.webhooks.model import Dialect
from tests.store.registry import factories
from tests.store.registry.factories import CALLER, Registry
from tests.store.registry.webhooks import Hooks

ALICE, BOB = Caller(name="alice"), Caller(name="bob", groups=frozenset({"leads"}))
ADMIN = Caller(name="root", groups=frozenset({"admins"}))


@dataclass(frozen=True)
class Entry:
    """A line of an access control list, as a request has it."""

    user_name: str = ""
    group_name: str = ""
    service_principal_name: str = ""
    permission_level: int = Level.READ


@pytest.fixture(params=[Level.NONE, Level.READ], ids=lambda level: level.name)
async def defaults(request: pytest.FixtureRequest) -> Defaults:
    return Defaults(level=request.param)


@pytest.fixture
async def strict_db(registry_url: str, defaults: Defaults) -> AsyncIterator[Database]:
    """Connections that know what everyone may: nothing, or reading."""
    database = Database(registry_url, schema=SCHEMA, parameters=store.parameters(defaults))
    yield database
    await database.close()


@pytest.fixture
def registry(strict_db: Database, defaults: Defaults) -> Registry:
    return Registry.over(strict_db, defaults=defaults)


async def _level(db: Database, name: str, caller: Caller) -> Level:
    async with db.pipeline() as tx:
        found = await registered_models_store.find(tx, name)
        assert found
        return await service.level_of(tx, found, caller)


async def _id(registry: Registry, name: str, caller: Caller = ADMIN) -> str:
    return (await registry.granting.standing(name, caller=caller)).id


def _held(permissions: Permissions) -> list[tuple[str | None, list[tuple[str, bool]]]]:
    return [
        (
            line.user_name or line.group_name or line.service_principal_name,
            [(Level(permission.permission_level).name, permission.inherited) for permission in line.all_permissions],
        )
        for line in permissions.access_control_list
    ]


async def test_whoever_creates_a_model_manages_it(registry: Registry, strict_db: Database, defaults: Defaults) -> None:
    name = await registry.new_model()

    assert await _level(strict_db, name, CALLER) is Level.MANAGE
    assert await _level(strict_db, name, ALICE) is defaults.level
    assert await _level(strict_db, name, ADMIN) is Level.MANAGE
    assert [event["kind"] for event in await factories.events_of(strict_db, name)] == ["REGISTERED_MODEL_CREATED"]


async def test_nobody_in_particular_is_granted_nothing(registry: Registry, strict_db: Database) -> None:
    name = factories.new_name()
    await registry.models.create(name=name, description="", tags={}, caller=ANONYMOUS, request_id="")

    assert _held(await registry.granting.get(await _id(registry, name), caller=ADMIN)) == [
        ("admins", [("MANAGE", True)])
    ]


async def test_without_settings_everyone_may_do_everything(registry_db: Database) -> None:
    name = await Registry.over(registry_db).new_model()

    assert await _level(registry_db, name, ANONYMOUS) is Level.MANAGE


@pytest.mark.parametrize(
    ("entry", "caller", "level"),
    [
        (Entry(user_name="alice", permission_level=Level.EDIT), ALICE, Level.EDIT),
        (Entry(user_name="alice", permission_level=Level.EDIT), BOB, None),
        (Entry(group_name="leads", permission_level=Level.MANAGE_STAGING_VERSIONS), BOB, Level.MANAGE_STAGING_VERSIONS),
        (Entry(group_name="leads", permission_level=Level.EDIT), Caller(name="leads"), None),
        (Entry(user_name="leads", permission_level=Level.EDIT), BOB, None),
        (Entry(service_principal_name="ci", permission_level=Level.EDIT), Caller(name="ci"), Level.EDIT),
        (Entry(user_name="root", permission_level=Level.READ), ADMIN, Level.MANAGE),
    ],
)
async def test_a_caller_holds_what_is_granted_to_them_and_their_groups(
    registry: Registry, strict_db: Database, defaults: Defaults, entry: Entry, caller: Caller, level: Level | None
) -> None:
    name = await registry.new_model()

    await registry.granting.update(await _id(registry, name), [entry], caller=CALLER)

    assert await _level(strict_db, name, caller) is (defaults.level if level is None else level)


async def test_the_highest_of_several_grants_counts(registry: Registry, strict_db: Database) -> None:
    name = await registry.new_model()
    caller = Caller(name="eve", groups=frozenset({"a", "b"}))
    entries = [
        Entry(user_name="eve", permission_level=Level.READ),
        Entry(group_name="a", permission_level=Level.MANAGE_PRODUCTION_VERSIONS),
        Entry(group_name="b", permission_level=Level.EDIT),
    ]

    await registry.granting.update(await _id(registry, name), entries, caller=CALLER)

    assert await _level(strict_db, name, caller) is Level.MANAGE_PRODUCTION_VERSIONS


async def test_a_list_replaces_and_an_update_adds(registry: Registry, strict_db: Database) -> None:
    name = await registry.new_model()
    id_ = await _id(registry, name)

    updated = await registry.granting.update(
        id_, [Entry(group_name="leads", permission_level=Level.EDIT)], caller=CALLER
    )
    replaced = await registry.granting.set(
        id_, [Entry(user_name="alice", permission_level=Level.MANAGE), Entry(group_name="admins")], caller=CALLER
    )

    assert _held(updated) == [
        ("tester", [("MANAGE", False)]),
        ("admins", [("MANAGE", True)]),
        ("leads", [("EDIT", False)]),
    ]
    assert _held(replaced) == [("alice", [("MANAGE", False)]), ("admins", [("READ", False), ("MANAGE", True)])]
    assert replaced.object_id == f"/registered-models/{id_}"
    events = [(event["kind"], event["actor"], event["changes"]) for event in await factories.events_of(strict_db, name)]
    assert events[1:] == [
        ("REGISTERED_MODEL_PERMISSIONS_SET", "tester", {"permissions.group:leads": {"to": "EDIT"}}),
        (
            "REGISTERED_MODEL_PERMISSIONS_SET",
            "tester",
            {
                "permissions.user:tester": {"from": "MANAGE"},
                "permissions.group:leads": {"from": "EDIT"},
                "permissions.user:alice": {"to": "MANAGE"},
                "permissions.group:admins": {"to": "READ"},
            },
        ),
    ]


async def test_what_changes_no_grant_is_not_told(registry: Registry, strict_db: Database) -> None:
    name = await registry.new_model()
    id_ = await _id(registry, name)

    await registry.granting.update(id_, [], caller=CALLER)
    await registry.granting.set(id_, [Entry(user_name="tester", permission_level=Level.MANAGE)], caller=CALLER)

    assert len(await factories.events_of(strict_db, name)) == 1


@pytest.mark.parametrize("level", [Level.READ, Level.EDIT, Level.MANAGE_PRODUCTION_VERSIONS])
async def test_who_may_not_manage_may_not_grant(registry: Registry, strict_db: Database, level: Level) -> None:
    name = await registry.new_model()
    id_ = await _id(registry, name)
    await registry.granting.update(id_, [Entry(user_name="alice", permission_level=level)], caller=CALLER)

    for change in (registry.granting.set, registry.granting.update):
        with pytest.raises(PermissionDenied):
            await change(id_, [Entry(user_name="alice", permission_level=Level.MANAGE)], caller=ALICE)

    assert await _level(strict_db, name, ALICE) is level


@pytest.mark.parametrize("entries", [[], [Entry(user_name="tester", permission_level=Level.EDIT)]])
async def test_the_last_who_manages_is_taken_away_by_administrators_alone(
    registry: Registry, strict_db: Database, entries: list[Entry]
) -> None:
    name = await registry.new_model()
    id_ = await _id(registry, name)

    with pytest.raises(InvalidArgument, match="leaves nobody with CAN_MANAGE"):
        await registry.granting.set(id_, entries, caller=CALLER)
    assert await _level(strict_db, name, CALLER) is Level.MANAGE
    await registry.granting.set(id_, entries, caller=ADMIN)

    assert await _level(strict_db, name, CALLER) < Level.MANAGE


async def test_where_everyone_manages_a_list_may_be_empty(registry_db: Database) -> None:
    registry = Registry.over(registry_db)
    id_ = await _id(registry, await registry.new_model())

    assert _held(await registry.granting.set(id_, [], caller=ALICE)) == [("admins", [("MANAGE", True)])]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry(), "exactly one of"),
        (Entry(user_name="a", group_name="b"), "but has 2"),
        (Entry(user_name="a", permission_level=0), "permission_level"),
        (Entry(user_name="a" * 257), "maximum length of 256"),
    ],
)
async def test_a_malformed_line_is_refused(registry: Registry, entry: Entry, message: str) -> None:
    id_ = await _id(registry, await registry.new_model())

    for change in (registry.granting.set, registry.granting.update):
        with pytest.raises(InvalidArgument, match=message):
            await change(id_, [entry], caller=CALLER)


async def test_a_list_is_bounded_and_names_nobody_twice(registry: Registry) -> None:
    id_ = await _id(registry, await registry.new_model())
    many = [Entry(user_name=f"u{number}") for number in range(1000)]
    manager = Entry(user_name="u0", permission_level=Level.MANAGE)

    assert await registry.granting.set(id_, [manager, *many[1:]], caller=CALLER)
    with pytest.raises(InvalidArgument, match="at most 1000 grants"):
        await registry.granting.update(id_, [Entry(group_name="one-more")], caller=ADMIN)
    with pytest.raises(InvalidArgument, match="at most 1000 entries"):
        await registry.granting.set(id_, [*many, Entry(group_name="one-more")], caller=ADMIN)
    with pytest.raises(InvalidArgument, match="second time"):
        await registry.granting.set(id_, [manager, manager], caller=ADMIN)


async def test_a_rename_keeps_grants_and_a_new_model_of_the_name_starts_anew(
    registry: Registry, strict_db: Database, defaults: Defaults
) -> None:
    name, renamed = await registry.new_model(), factories.new_name()
    id_ = await _id(registry, name)
    await registry.granting.update(id_, [Entry(user_name="alice", permission_level=Level.EDIT)], caller=CALLER)

    await registry.models.rename(name, new_name=renamed, caller=CALLER)
    assert await _id(registry, renamed) == id_
    assert await _level(strict_db, renamed, ALICE) is Level.EDIT
    await registry.models.delete(renamed, caller=CALLER)
    await registry.new_model(renamed)

    assert await _id(registry, renamed) != id_
    assert await _level(strict_db, renamed, ALICE) is defaults.level


@pytest.mark.parametrize("id_", ["", "1", "x" * 32, "0" * 32, "f" * 32, f"{2**62:032x}"])
async def test_an_unknown_id_is_not_found(registry: Registry, id_: str) -> None:
    for ask in (registry.granting.get, registry.granting.levels):
        with pytest.raises(NotFound):
            await ask(id_, caller=ADMIN)
    with pytest.raises(NotFound):
        await registry.granting.set(id_, [], caller=ADMIN)


async def test_a_standing_tells_who_made_a_model_and_what_the_caller_may(registry: Registry) -> None:
    name = await registry.new_model(description="text", tags={"a": "1"})
    await registry.new_version(name)

    standing = await registry.granting.standing(name, caller=CALLER)

    assert (standing.name, standing.user_id, standing.permission_level) == (name, "tester", Level.MANAGE)
    assert (standing.description, standing.tags) == ("text", {"a": "1"})
    assert [version.version for version in standing.latest_versions] == ["1"]


async def test_a_search_finds_what_the_caller_may_read(registry: Registry, defaults: Defaults) -> None:
    prefix = uuid.uuid4().hex
    names = [await registry.new_model(f"{prefix}-{number}") for number in range(5)]
    for name in names:
        await registry.new_version(name)
    for name in names[:2]:
        id_ = await _id(registry, name)
        await registry.granting.update(id_, [Entry(user_name="alice")], caller=CALLER)
    await registry.granting.update(await _id(registry, names[2]), [Entry(group_name="leads")], caller=CALLER)
    everything = defaults.level >= Level.READ

    for caller, readable in ((ALICE, names[:2]), (BOB, names[2:3]), (CALLER, names), (ADMIN, names), (ANONYMOUS, [])):
        expected = names if everything else readable
        for search in (registry.models.search, registry.versions.search):
            found = await _all(search, filter_text=f"name LIKE '{prefix}%'", order_by=["name"], caller=caller)
            assert [item.name for item in found] == expected, (caller.name, search)


async def test_a_version_is_copied_by_those_who_may_read_it(registry: Registry, defaults: Defaults) -> None:
    source = await registry.new_model()
    await registry.new_version(source)
    target = await registry.new_model()
    id_ = await _id(registry, target)
    await registry.granting.update(id_, [Entry(user_name="alice", permission_level=Level.EDIT)], caller=CALLER)

    if defaults.level < Level.READ:
        with pytest.raises(PermissionDenied):
            await registry.new_version(target, source=f"models:/{source}/1", caller=ALICE)
    else:
        await registry.new_version(target, source=f"models:/{source}/1", caller=ALICE)
    copied = await registry.new_version(target, source=f"models:/{source}/1", caller=CALLER)

    assert copied.source == f"models:/{source}/1"


async def test_webhooks_are_for_who_manages_their_model_and_those_of_all_models_for_administrators(
    registry: Registry, strict_db: Database
) -> None:
    hooks = Hooks.over(strict_db)
    name = await registry.new_model()
    of_model = await hooks.add(dialect=Dialect.DATABRICKS, model_name=name)
    of_all = await hooks.add(dialect=Dialect.DATABRICKS)

    for webhook, managers, others in ((of_model, (CALLER, ADMIN), (ALICE,)), (of_all, (ADMIN,), (CALLER, ALICE))):
        for caller in managers:
            assert await hooks.webhooks.get(webhook.webhook_id, dialect=webhook.dialect, caller=caller) == webhook
        for caller in others:
            with pytest.raises(PermissionDenied):
                await hooks.webhooks.get(webhook.webhook_id, dialect=webhook.dialect, caller=caller)


async def _all(search: Any, **query: Any) -> list[Any]:
    found: list[Any] = []
    token: str | None = ""
    while token is not None:
        page, token = await search(**query, max_results=2, page_token=token)
        found += page
    return found
