"""What can be done with registered models, but for their aliases: one public method is one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.common import idempotency
from services.common.auth import Caller
from services.common.database import Database, Driver, driver_of
from services.common.errors import AlreadyExists
from services.common.filters import parse_filter, parse_order_by
from services.common.pages import PageTokens
from services.registry import prompts, rules
from services.registry.events import store as events_store
from services.registry.events.model import By, Event, Kind, Subject, change, changes
from services.registry.events.service import record
from services.registry.model_versions import store as versions_store
from services.registry.model_versions.model import ModelVersion
from services.registry.permissions.service import grant_to_creator
from services.registry.promotions import store as promotions_store
from services.registry.registered_models import model, store
from services.registry.registered_models.model import RegisteredModel
from services.registry.searches import store as searches_store
from services.registry.searches.grammars import REGISTERED_MODEL_ORDER, REGISTERED_MODELS


@dataclass(frozen=True, kw_only=True, slots=True)
class RegisteredModels:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch; `changed` is told of each name once it stands
    for another model than before, or for none.
    """

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]
    changed: Callable[[str], None]

    async def create(
        self, *, name: str, description: str, tags: Mapping[str, str], caller: Caller, request_id: str
    ) -> RegisteredModel:
        """Create a registered model. Raises InvalidArgument, AlreadyExists."""
        rules.check_name(name)
        rules.check_description(description)
        for key, value in tags.items():
            rules.check_tag(key, value)
        by = By(caller=caller, now_ms=self.now_ms())

        async with self.db.pipeline() as tx:

            async def create() -> str:
                return str((await _add(tx, name, description=description, tags=tags, by=by)).registered_model_id)

            registered_model_id = await idempotency.once(
                tx,
                caller=caller.name,
                operation="CreateRegisteredModel",
                request_id=request_id,
                fingerprint=idempotency.fingerprint(name, description, sorted(tags.items())),
                create=create,
            )
            found = await store.with_details(tx, [int(registered_model_id)])
        self.changed(name)
        if not found:
            # The key made a model that is deleted since.
            raise model.not_found(name)
        return found[0]

    async def get(self, name: str) -> RegisteredModel:
        """Return a registered model. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        async with self.db.pipeline(snapshot=True) as tx:
            return await _details(tx, await _found(tx, name))

    async def describe(self, name: str, *, description: str, caller: Caller) -> RegisteredModel:
        """Set the description. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        rules.check_description(description)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await hold(tx, name)
            before = await _details(tx, held)
            changed = changes({"description": before.description}, {"description": description or None})
            await record(tx, held, *_events(Kind.MODEL_UPDATED, changed), by=by)
            await store.describe(tx, held, description=description, now_ms=by.now_ms)
            return await _details(tx, held)

    async def rename(self, name: str, *, new_name: str, caller: Caller) -> RegisteredModel:
        """Give a model another name; what belongs to it stays. Raises NotFound, InvalidArgument, AlreadyExists."""
        rules.check_new_name(new_name)
        rules.check_name(name)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            # In the order of names, so that opposite renames do not wait for each other.
            held = {each: await store.hold(tx, each) for each in sorted({name, new_name})}
            subject = held[name]
            if subject is None:
                raise model.not_found(name)
            renamed = await store.rename(tx, subject, name=new_name, now_ms=by.now_ms)
            if renamed is None:
                raise AlreadyExists(f"Registered Model (name={new_name}) already exists.")
            if new_name != name:
                await events_store.catch_up(tx, renamed)
                await record(
                    tx, renamed, Event(kind=Kind.MODEL_RENAMED, changes={"name": change(name, new_name)}), by=by
                )
            details = await _details(tx, renamed)
        self.changed(name)
        self.changed(new_name)
        return details

    async def delete(self, name: str, *, caller: Caller) -> None:
        """Delete a model with all its versions. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await hold(tx, name)
            await record(tx, held, Event(kind=Kind.MODEL_DELETED, changes={"name": change(name, None)}), by=by)
            await store.delete(tx, held)
        self.changed(name)

    async def set_tag(self, name: str, *, key: str, value: str, caller: Caller) -> None:
        """Set a tag, over an older value. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        rules.check_tag(key, value)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await hold(tx, name)
            before = (await store.tags_of(tx, held)).get(key)
            changed = changes({f"tags.{key}": before}, {f"tags.{key}": value})
            await record(tx, held, *_events(Kind.MODEL_TAG_SET, changed), by=by)
            await store.set_tag(tx, held, key=key, value=value)

    async def delete_tag(self, name: str, *, key: str, caller: Caller) -> None:
        """Remove a tag if it is set. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        rules.check_tag_key(key)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await hold(tx, name)
            before = (await store.tags_of(tx, held)).get(key)
            changed = changes({f"tags.{key}": before}, {})
            await record(tx, held, *_events(Kind.MODEL_TAG_DELETED, changed), by=by)
            await store.delete_tag(tx, held, key=key)

    async def latest_versions(self, name: str, *, stages: Sequence[str]) -> list[ModelVersion]:
        """Return the newest version in each stage, or in each of the given ones. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        async with self.db.pipeline(snapshot=True) as tx:
            found = await _found(tx, name)
            policy = await promotions_store.policy_of(tx, found)
            wanted = {policy.stage_of(stage) for stage in stages}
            latest = await versions_store.latest_of(tx, [found.registered_model_id], with_aliases=True)
        versions = latest[found.registered_model_id]
        return [version for version in versions if version.current_stage in wanted] if wanted else versions

    async def search(
        self, *, filter_text: str, order_by: Sequence[str], max_results: int, page_token: str, caller: Caller
    ) -> tuple[list[RegisteredModel], str | None]:
        """Return a page of the registered models that the caller may read and the token of the next one.
        Raises InvalidArgument.
        """
        model.check_page_size(max_results)
        terms, with_prompts = prompts.split(parse_filter(filter_text, REGISTERED_MODELS))
        order = parse_order_by(order_by, REGISTERED_MODEL_ORDER)
        query = ["registered-models", filter_text, list(order_by)]
        position = self.pages.decode(page_token, query) if page_token else None
        async with self.db.begin(snapshot=True) as tx:
            found, positions = await searches_store.registered_model_ids(
                tx,
                caller=caller,
                terms=terms,
                with_prompts=with_prompts,
                order=order,
                position=position,
                limit=max_results + 1,
            )
            models = await store.with_details(await driver_of(tx), found[:max_results])
        token = self.pages.encode(positions[max_results - 1], query) if len(found) > max_results else None
        return models, token


async def hold(tx: Driver, name: str) -> Subject:
    """Return the model of a name and keep others from changing it until the transaction ends. Raises NotFound."""
    held = await store.hold(tx, name)
    if held is None:
        raise model.not_found(name)
    return held


async def _add(tx: Driver, name: str, *, description: str, tags: Mapping[str, str], by: By) -> Subject:
    added = await store.add(tx, name, description=description, tags=tags, now_ms=by.now_ms)
    if added is None:
        owner = await store.find(tx, name)
        raise model.taken(name, by=await store.tags_of(tx, owner) if owner else {}, wanted_for=tags)
    await events_store.catch_up(tx, added)
    fields = {"name": name, "description": description or None, **{f"tags.{key}": tags[key] for key in tags}}
    await record(tx, added, Event(kind=Kind.MODEL_CREATED, changes=changes({}, fields)), by=by)
    await grant_to_creator(tx, added, by)
    return added


async def _found(tx: Driver, name: str) -> Subject:
    found = await store.find(tx, name)
    if found is None:
        raise model.not_found(name)
    return found


async def _details(tx: Driver, subject: Subject) -> RegisteredModel:
    return (await store.with_details(tx, [subject.registered_model_id]))[0]


def _events(kind: Kind, changed: Mapping[str, Mapping[str, object]]) -> list[Event]:
    return [Event(kind=kind, changes=changed)] if changed else []
