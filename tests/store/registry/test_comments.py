"""Comments on versions: who may say, change and delete them, and that the audit knows their words."""

from collections.abc import AsyncIterator

import pytest

from services.common.auth import Caller
from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound, PermissionDenied
from services.registry.__main__ import SCHEMA
from services.registry.permissions import store
from services.registry.permissions.model import Defaults, Level
from tests.store.registry import factories
from tests.store.registry.factories import CALLER, Registry

ANN, BOB = Caller(name="ann"), Caller(name="bob")
_AUTHOR, _MANAGER = ["EDIT_COMMENT", "DELETE_COMMENT"], ["DELETE_COMMENT"]


@pytest.fixture(scope="module")
async def reading_db(registry_url: str) -> AsyncIterator[Database]:
    """Connections on which everyone may read every model."""
    database = Database(registry_url, schema=SCHEMA, parameters=store.parameters(Defaults(level=Level.READ)))
    yield database
    await database.close()


@pytest.fixture(scope="module")
async def secret_db(registry_url: str) -> AsyncIterator[Database]:
    """Connections on which nobody may read a model of others."""
    database = Database(registry_url, schema=SCHEMA, parameters=store.parameters(Defaults(level=Level.NONE)))
    yield database
    await database.close()


@pytest.fixture
def registry(reading_db: Database) -> Registry:
    return Registry.over(reading_db)


async def _new_name(registry: Registry) -> str:
    name = await registry.new_model()
    await registry.new_version(name)
    return name


async def test_a_comment_is_seen_with_what_may_be_done_about_it(registry: Registry) -> None:
    name = await _new_name(registry)

    made = await registry.comments.create(name, "1", comment="good", caller=ANN, request_id="")

    assert (made.user_id, made.comment, made.available_actions) == ("ann", "good", _AUTHOR)
    for caller, actions in ((ANN, _AUTHOR), (BOB, []), (CALLER, _MANAGER)):
        (seen,), _ = await registry.comments.list(name, "1", max_results=10, page_token="", caller=caller)
        assert (seen.id, seen.comment, list(seen.available_actions)) == (made.id, "good", actions)


async def test_only_its_author_changes_a_comment(registry: Registry) -> None:
    name = await _new_name(registry)
    made = await registry.comments.create(name, "1", comment="good", caller=ANN, request_id="")

    changed = await registry.comments.update(made.id, comment="bad", caller=ANN)
    for other in (BOB, CALLER):
        with pytest.raises(PermissionDenied):
            await registry.comments.update(made.id, comment="ugly", caller=other)

    (seen,), _ = await registry.comments.list(name, "1", max_results=10, page_token="", caller=ANN)
    assert seen == changed
    assert (seen.comment, seen.creation_timestamp) == ("bad", made.creation_timestamp)
    assert seen.last_updated_timestamp > made.last_updated_timestamp


async def test_its_author_and_managers_delete_a_comment(registry: Registry) -> None:
    name = await _new_name(registry)
    made = [await registry.comments.create(name, "1", comment="x", caller=ANN, request_id="") for _ in range(2)]

    with pytest.raises(PermissionDenied):
        await registry.comments.delete(made[0].id, caller=BOB)
    await registry.comments.delete(made[0].id, caller=ANN)
    await registry.comments.delete(made[1].id, caller=CALLER)

    assert await registry.comments.list(name, "1", max_results=10, page_token="", caller=ANN) == ([], None)
    for use in (
        registry.comments.delete(made[0].id, caller=ANN),
        registry.comments.update("1", comment="x", caller=ANN),
    ):
        with pytest.raises(NotFound):
            await use


async def test_every_change_is_told_with_its_words(registry: Registry, reading_db: Database) -> None:
    name = await _new_name(registry)
    made = await registry.comments.create(name, "1", comment="good", caller=ANN, request_id="")
    await registry.comments.update(made.id, comment="bad", caller=ANN)
    await registry.comments.update(made.id, comment="bad", caller=ANN)
    await registry.comments.delete(made.id, caller=CALLER)

    id_ = {"comment_id": {"to": made.id}}
    assert [
        (event["kind"], event["version"], event["actor"], event["changes"])
        for event in (await factories.events_of(reading_db, name))[2:]
    ] == [
        ("COMMENT_CREATED", 1, "ann", {"comment": {"to": "good"}, **id_}),
        ("COMMENT_UPDATED", 1, "ann", {"comment": {"from": "good", "to": "bad"}, **id_}),
        ("COMMENT_DELETED", 1, "tester", {"comment": {"from": "bad"}, **id_}),
    ]


async def test_the_same_key_comments_once(registry: Registry) -> None:
    name = await _new_name(registry)

    first = await registry.comments.create(name, "1", comment="good", caller=ANN, request_id=name)
    again = await registry.comments.create(name, "1", comment="good", caller=ANN, request_id=name)

    assert again == first
    with pytest.raises(InvalidArgument, match="used for another request"):
        await registry.comments.create(name, "1", comment="bad", caller=ANN, request_id=name)


async def test_comments_come_in_pages_oldest_first(registry: Registry) -> None:
    name = await _new_name(registry)
    await registry.new_version(name)
    for number in range(5):
        await registry.comments.create(name, "1", comment=str(number), caller=ANN, request_id="")
        await registry.comments.create(name, "2", comment="other", caller=ANN, request_id="")

    said: list[str] = []
    token: str | None = ""
    while token is not None:
        page, token = await registry.comments.list(name, "1", max_results=2, page_token=token, caller=ANN)
        said += [comment.comment for comment in page]

    assert said == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(("length", "is_taken"), [(0, False), (1, True), (65_535, True), (65_536, False)])
async def test_a_comment_is_bounded(registry: Registry, length: int, is_taken: bool) -> None:
    name = await _new_name(registry)

    if is_taken:
        made = await registry.comments.create(name, "1", comment="é" * length, caller=ANN, request_id="")
        assert len(made.comment) == length
    else:
        with pytest.raises(InvalidArgument, match="1 to 65535 characters"):
            await registry.comments.create(name, "1", comment="é" * length, caller=ANN, request_id="")


async def test_there_is_no_comment_without_its_version(registry: Registry) -> None:
    name = await _new_name(registry)
    made = await registry.comments.create(name, "1", comment="good", caller=ANN, request_id="")

    for missing in ("2", "0"):
        with pytest.raises(NotFound):
            await registry.comments.create(name, missing, comment="x", caller=ANN, request_id="")
    await registry.versions.delete(name, "1", caller=CALLER)

    with pytest.raises(NotFound):
        await registry.comments.update(made.id, comment="x", caller=ANN)
    with pytest.raises(NotFound):
        await registry.comments.list(name, "1", max_results=1, page_token="", caller=ANN)


async def test_who_may_not_read_a_model_finds_no_comment_on_it(registry: Registry, secret_db: Database) -> None:
    name = await _new_name(registry)
    made = await registry.comments.create(name, "1", comment="good", caller=ANN, request_id="")
    secret = Registry.over(secret_db)

    for use in (secret.comments.update(made.id, comment="x", caller=ANN), secret.comments.delete(made.id, caller=ANN)):
        with pytest.raises(NotFound):
            await use
    await secret.comments.delete(made.id, caller=CALLER)
