"""The open requests of all models: which are found, by whom, in which order."""

from collections.abc import AsyncIterator

import pytest

from services.common.auth import Caller
from services.common.database import Database
from services.registry.__main__ import SCHEMA
from services.registry.permissions import store
from services.registry.permissions.model import Defaults, Level
from services.registry.transition_requests.model import OpenTransitionRequest
from tests.store.registry.factories import CALLER, Registry

BOB, EVE = Caller(name="bob"), Caller(name="eve")
LEA = Caller(name="lea", groups=frozenset({"leads"}))
ADMIN = Caller(name="root", groups=frozenset({"admins"}))
TWO_LEADS = "rules: {Production: {approvals: 2, approvers: {groups: [leads]}}}\nrequest_expires: 7d"


class Clock:
    now = 1_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def closed_db(registry_url: str) -> AsyncIterator[Database]:
    """Connections that know that nobody may read what was not granted to him."""
    database = Database(registry_url, schema=SCHEMA, parameters=store.parameters(Defaults(level=Level.NONE)))
    yield database
    await database.close()


async def _found(
    registry: Registry, *names: str, caller: Caller = ADMIN, page: int = 1000
) -> list[OpenTransitionRequest]:
    """All pages of a search, of which only the requests about some models count: others use the database too."""
    found, token = await registry.requests.search("", max_results=page, page_token="", caller=caller)
    while token:
        more, token = await registry.requests.search("", max_results=page, page_token=token, caller=caller)
        found += more
    return [one for one in found if one.name in names]


async def test_open_requests_of_all_models_are_found_oldest_first(registry_db: Database) -> None:
    clock = Clock()
    registry = Registry.over(registry_db, clock)
    one, other = await registry.new_model(), await registry.new_model()
    for name in (one, one, other):
        await registry.new_version(name)
    await registry.set_policy(one, TWO_LEADS)

    await registry.request(one, "2", "Production", caller=BOB)
    clock.now += 1
    await registry.request(other, "1", "Staging", caller=EVE)
    clock.now += 1
    await registry.request(one, "1", "Production", caller=EVE)
    await registry.approve(one, "1", "Production", caller=LEA)
    found = await _found(registry, one, other, page=1)

    assert [(request.name, request.version, request.user_id) for request in found] == [
        (one, "2", "bob"), (other, "1", "eve"), (one, "1", "eve"),
    ]  # fmt: skip
    assert [list(request.approved_by) for request in found] == [[], [], ["lea"]]
    assert [request.expire_timestamp for request in found] == [1_000 + 7 * 86_400_000, None, 1_002 + 7 * 86_400_000]
    assert (found[0].current_stage, found[0].to_stage) == ("None", "Production")


async def test_what_is_decided_or_expired_is_not_found(registry_db: Database) -> None:
    clock = Clock()
    registry = Registry.over(registry_db, clock)
    name = await registry.new_model()
    for _ in range(3):
        await registry.new_version(name)
    await registry.set_policy(name, TWO_LEADS)
    for version in ("1", "2", "3"):
        await registry.request(name, version, "Production", caller=BOB)

    await registry.requests.reject(name, "1", stage="Production", comment="", caller=LEA)
    await registry.requests.cancel(name, "2", stage="Production", creator="bob", comment="", caller=BOB)
    assert [request.version for request in await _found(registry, name)] == ["3"]
    clock.now += 7 * 86_400_000

    assert await _found(registry, name) == []


async def test_only_requests_about_readable_models_are_found(closed_db: Database) -> None:
    registry = Registry.over(closed_db, defaults=Defaults(level=Level.NONE))
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.request(name, "1", "Staging")

    assert len(await _found(registry, name, caller=CALLER)) == 1
    assert len(await _found(registry, name, caller=ADMIN)) == 1
    assert await _found(registry, name, caller=BOB) == []
    assert (await registry.requests.search(name, max_results=1, page_token="", caller=BOB))[0] == []
