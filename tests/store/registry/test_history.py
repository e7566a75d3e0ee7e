"""What a model was at a revision, read from its events, is what the tables held at that revision."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.auth import Caller
from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound, ServiceError
from services.registry.__main__ import SCHEMA
from services.registry.history import service as history_service
from services.registry.permissions import store
from services.registry.permissions.model import Defaults, Level
from tests.store.registry import factories
from tests.store.registry.factories import CALLER, Registry

_SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_TEXTS, _NAMES = st.sampled_from(["", "a", "b"]), st.sampled_from([0, 1])
_STAGES = st.sampled_from(["None", "Staging", "Production", "Archived"])
_VERSIONS, _ALIASES = st.sampled_from(["1", "2", "3"]), st.sampled_from(["x", "y"])


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


def _step(kind: str, *given: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(kind), _NAMES, *given)


_STEPS = st.one_of(
    _step("create", _TEXTS, _TEXTS),
    _step("describe", _TEXTS),
    _step("set_tag", _ALIASES, _TEXTS),
    _step("delete_tag", _ALIASES),
    _step("rename"),
    _step("delete"),
    *[_step("new_version", _TEXTS, _TEXTS)] * 3,
    _step("describe_version", _VERSIONS, _TEXTS),
    _step("set_version_tag", _VERSIONS, _ALIASES, _TEXTS),
    _step("delete_version_tag", _VERSIONS, _ALIASES),
    *[_step("transition", _VERSIONS, _STAGES, st.booleans())] * 2,
    *[_step("set_alias", _ALIASES, _VERSIONS)] * 2,
    _step("delete_alias", _ALIASES),
    _step("comment", _VERSIONS),
    _step("delete_version", _VERSIONS),
)


@dataclass
class Run:
    """Steps on two names, and what the tables held under each after every step."""

    registry: Registry
    db: Database
    names: list[str] = field(default_factory=lambda: [factories.new_name(), factories.new_name()])
    # Name, revision, time, what there was.
    seen: list[tuple[str, int | None, int, Any]] = field(default_factory=list)

    async def take(self, step: tuple[Any, ...]) -> None:
        kind, index, *rest = step
        with contextlib.suppress(ServiceError):
            await self._actions()[kind](self.names[index], *rest)
        now_ms = factories.now_ms()
        for name in self.names:
            self.seen.append((name, await self._revision(name), now_ms, await self._tables(name)))

    def _actions(self) -> dict[str, Callable[..., Awaitable[Any]]]:
        models, versions, aliases = self.registry.models, self.registry.versions, self.registry.aliases
        by: dict[str, Any] = {"caller": CALLER}
        return {
            "create": lambda name, text, tag: self.registry.new_model(name, description=text, tags={"x": tag}),
            "describe": lambda name, text: models.describe(name, description=text, **by),
            "set_tag": lambda name, key, text: models.set_tag(name, key=key, value=text, **by),
            "delete_tag": lambda name, key: models.delete_tag(name, key=key, **by),
            "rename": lambda name: models.rename(name, new_name=self.names[1 - self.names.index(name)], **by),
            "delete": lambda name: models.delete(name, **by),
            "new_version": lambda name, text, tag: self.registry.new_version(name, description=text, tags={"x": tag}),
            "describe_version": lambda name, version, text: versions.describe(name, version, description=text, **by),
            "set_version_tag": lambda name, version, key, text: versions.set_tag(
                name, version, key=key, value=text, **by
            ),
            "delete_version_tag": lambda name, version, key: versions.delete_tag(name, version, key=key, **by),
            "transition": lambda name, version, stage, archive: self.registry.transition(
                name, version, stage, archive=archive
            ),
            "set_alias": lambda name, alias, version: aliases.set(name, alias, version=version, **by),
            "delete_alias": lambda name, alias: aliases.delete(name, alias, **by),
            "comment": lambda name, version: self.registry.comments.create(
                name, version, comment="x", request_id="", **by
            ),
            "delete_version": lambda name, version: versions.delete(name, version, **by),
        }

    async def _revision(self, name: str) -> int | None:
        async with self.db.pipeline() as tx:
            found = await tx.execute("SELECT revision FROM registered_models WHERE name = %(name)s", {"name": name})
            row = await found.fetchone()
        return row[0] if row else None

    async def _tables(self, name: str) -> Any:
        try:
            model = await self.registry.models.get(name)
        except NotFound:
            return None
        found, _ = await self.registry.versions.search(
            filter_text=f"name = '{name}'", order_by=["version_number ASC"], max_results=100, page_token="",
            caller=CALLER,
        )  # fmt: skip
        versions = [await self.registry.versions.get(name, version.version) for version in found]
        return _comparable(model, versions)

    async def past(self, name: str, **when: Any) -> Any:
        try:
            state = await self.registry.history.as_of(
                name, caller=CALLER, **{"revision": None, "timestamp": None} | when
            )
        except NotFound:
            return None
        return _comparable(state.registered_model(), state.model_versions())


def _comparable(model: Any, versions: list[Any]) -> Any:
    """What is told of a model, but for when it was last touched without a change."""
    return (
        dataclasses.replace(model, last_updated_timestamp=0, latest_versions=[_told(v) for v in model.latest_versions]),
        [_told(version) for version in versions],
    )


def _told(version: Any) -> Any:
    return dataclasses.replace(
        version, last_updated_timestamp=0, description=version.description or None, aliases=list(version.aliases)
    )


@_SETTINGS
@given(steps=st.lists(_STEPS, min_size=1, max_size=25))
async def test_the_past_is_what_the_tables_held(registry: Registry, registry_db: Database, steps: list[Any]) -> None:
    run = Run(registry=registry, db=registry_db)
    await run.take(("create", 0, "", "a"))
    for step in steps:
        await run.take(step)

    for name, revision, now_ms, held in run.seen:
        assert await run.past(name, timestamp=now_ms) == held
        if revision is not None:
            assert await run.past(name, revision=revision) == held


async def test_what_is_read_in_pieces_is_the_same(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await registry.new_model(tags={"a": "1"})
    for number in range(1, 8):
        await registry.new_version(name)
        await registry.aliases.set(name, "newest", version=str(number), caller=CALLER)
    at_once = await registry.history.as_of(name, revision=12, timestamp=None, caller=CALLER)

    monkeypatch.setattr(history_service, "_READ_AT_ONCE", 2)
    in_pieces = await registry.history.as_of(name, revision=12, timestamp=None, caller=CALLER)

    assert in_pieces == at_once
    assert (at_once.revision, len(at_once.versions), at_once.aliases) == (12, 6, {"newest": 5})


async def test_the_versions_of_then_come_in_pages_of_one_revision(registry: Registry) -> None:
    name = await registry.new_model()
    for _ in range(5):
        await registry.new_version(name)
    moment: dict[str, Any] = {"revision": None, "timestamp": factories.now_ms() + 60_000, "caller": CALLER}

    numbers, token = [], ""
    while token is not None:
        state, page, token = await registry.history.page_as_of(name, max_results=2, page_token=token, **moment)
        numbers.append([version.version for version in page])
        await registry.new_version(name)

    assert numbers == [["1", "2"], ["3", "4"], ["5"]]
    assert state.revision == 6
    _, _, token = await registry.history.page_as_of(name, max_results=2, page_token="", **moment)
    with pytest.raises(InvalidArgument, match="not made for this query"):
        await registry.history.page_as_of(name, max_results=2, page_token=token, **moment | {"timestamp": 1})
    with pytest.raises(InvalidArgument, match="from 1 to 1000"):
        await registry.history.page_as_of(name, max_results=1001, page_token="", **moment)


async def test_a_name_tells_of_the_model_that_had_it_then(registry: Registry) -> None:
    first, second = await registry.new_model(tags={"who": "first"}), factories.new_name()
    before = factories.now_ms()
    await registry.models.rename(first, new_name=second, caller=CALLER)
    between = factories.now_ms()
    await registry.new_model(first, tags={"who": "other"})
    after = factories.now_ms()

    async def who(name: str, timestamp: int) -> str | None:
        try:
            state = await registry.history.as_of(name, revision=None, timestamp=timestamp, caller=CALLER)
        except NotFound:
            return None
        assert state.name == name
        return state.tags["who"]

    assert [await who(first, moment) for moment in (before, between, after)] == ["first", None, "other"]
    assert [await who(second, moment) for moment in (before, between, after)] == [None, "first", "first"]


@pytest.mark.parametrize("when", [{}, {"revision": 1, "timestamp": 1}])
async def test_exactly_one_moment_is_asked_for(registry: Registry, when: dict[str, int]) -> None:
    name = await registry.new_model()

    with pytest.raises(InvalidArgument, match="Exactly one"):
        await registry.history.as_of(name, caller=CALLER, **{"revision": None, "timestamp": None} | when)


@pytest.fixture
async def secret_db(registry_url: str) -> AsyncIterator[Database]:
    database = Database(registry_url, schema=SCHEMA, parameters=store.parameters(Defaults(level=Level.NONE)))
    yield database
    await database.close()


async def test_the_past_is_for_who_may_read_the_model_that_had_the_name(secret_db: Database) -> None:
    registry = Registry.over(secret_db)
    name, ann = await registry.new_model(), Caller(name="ann")
    renamed = factories.new_name()
    await registry.models.rename(name, new_name=renamed, caller=CALLER)
    await registry.models.create(name=name, description="", tags={}, caller=ann, request_id="")

    # What Ann made has the name now, and what had it then is not hers.
    with pytest.raises(NotFound):
        await registry.history.as_of(name, revision=1, timestamp=None, caller=ann)
    assert (await registry.history.as_of(name, revision=1, timestamp=None, caller=CALLER)).exists
    assert (await registry.history.as_of(name, revision=99, timestamp=None, caller=ann)).exists
    with pytest.raises(NotFound):
        await registry.history.as_of(renamed, revision=99, timestamp=None, caller=ann)
