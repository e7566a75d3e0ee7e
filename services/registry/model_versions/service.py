"""What can be done with versions: one public method is one transaction."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.common import idempotency
from services.common.auth import ANONYMOUS, Asker, Caller
from services.common.database import Database, Driver, driver_of
from services.common.errors import ServiceError
from services.common.filters import parse_filter, parse_order_by
from services.common.pages import PageTokens
from services.registry import prompts, rules
from services.registry.events.model import By, Event, Kind, Subject, change, changes
from services.registry.events.service import record
from services.registry.model_versions import model, store
from services.registry.model_versions.model import Draft, ModelVersion, Origin, Tracking, not_found
from services.registry.model_versions.origins import Origins
from services.registry.promotions import store as promotions_store
from services.registry.registered_models import model as registered_models
from services.registry.registered_models import store as registered_models_store
from services.registry.searches import store as searches_store
from services.registry.searches.grammars import MODEL_VERSION_ORDER, MODEL_VERSIONS
from services.registry.transitions import service as transitions
from services.registry.transitions.model import Expected, Wish

_DEFAULT_ORDER = ("last_updated_timestamp DESC", "name ASC", "version_number DESC")
# How a logged model tells of the versions that it became.
_VERSIONS_TAG = "mlflow.modelVersions"

_log = logging.getLogger("modelstead.registry")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelVersions:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch."""

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]
    origins: Origins
    tracking: Tracking

    async def create(self, draft: Draft, *, caller: Caller, asker: Asker, request_id: str) -> ModelVersion:
        """Create the next version of a model. Raises NotFound, InvalidArgument, PermissionDenied, Unavailable."""
        draft.check()
        origin = await self.origins.of(draft, caller=caller, asker=asker)
        by = By(caller=caller, now_ms=self.now_ms())

        async with self.db.pipeline() as tx:

            async def create() -> str:
                subject, number = await _add(tx, draft, origin, by=by)
                return f"{subject.registered_model_id}/{number}"

            key = await idempotency.once(
                tx,
                caller=caller.name,
                operation="CreateModelVersion",
                request_id=request_id,
                fingerprint=idempotency.fingerprint(*draft.fields()),
                create=create,
            )
            registered_model_id, number = map(int, key.split("/"))
            subject = Subject(registered_model_id=registered_model_id, name=draft.name)
            version = await _existing(tx, subject, number)
        if draft.model_id and not draft.is_prompt:
            await self._tell_logged_model(draft.model_id, asker)
        return version

    async def get(self, name: str, version: str) -> ModelVersion:
        """Return a version. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        number = rules.parse_version(version)
        async with self.db.reading() as tx:
            found = await store.get(tx, name, number)
        if found is None:
            raise not_found(name, number)
        return found

    async def download_uri(self, name: str, version: str) -> str:
        """Return where a version's files are. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        number = rules.parse_version(version)
        async with self.db.reading() as tx:
            origin = await store.origin_of(tx, name, number)
        if origin is None:
            raise not_found(name, number)
        return origin.storage_location

    async def describe(self, name: str, version: str, *, description: str | None, caller: Caller) -> ModelVersion:
        """Set the description. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        number = rules.parse_version(version)
        rules.check_description(description)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held, before = await _hold(tx, name, number)
            changed = changes({"description": before.description}, {"description": description})
            if changed:
                await record(tx, held, Event(kind=Kind.VERSION_UPDATED, version=number, changes=changed), by=by)
            await store.describe(tx, held, number, description=description, now_ms=by.now_ms)
            return await _existing(tx, held, number)

    async def transition(
        self,
        name: str,
        version: str,
        *,
        stage: str,
        archive_existing_versions: bool,
        caller: Caller,
        expected: Expected | None = None,
    ) -> ModelVersion:
        """Move a version to a stage and, if asked, those that are there to the archive. Raises NotFound,
        InvalidArgument, Conflict, PermissionDenied.
        """
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held = await registered_models_store.hold(tx, name)
            policy = await promotions_store.policy_of(tx, held)
            target = policy.stage_of(stage)
            if archive_existing_versions:
                policy.check_archiving(target, stage)
            wish = Wish.of(policy, target, archive=archive_existing_versions, expected=expected)
            rules.check_name(name)
            number = rules.parse_version(version)
            if held is None:
                raise not_found(name, number)
            await transitions.make(tx, held, number, wish, by=by)
            return await _existing(tx, held, number)

    async def delete(self, name: str, version: str, *, caller: Caller) -> None:
        """Delete a version and the aliases that point at it. Raises NotFound, InvalidArgument, PermissionDenied."""
        number = rules.parse_version(version)
        rules.check_name(name)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held, before = await _hold(tx, name, number)
            gone = [
                Event(kind=Kind.ALIAS_DELETED, version=number, changes={f"aliases.{alias}": change(number, None)})
                for alias in before.aliases
            ]
            fields = changes({"current_stage": before.current_stage, "source": before.source}, {})
            await record(tx, held, *gone, Event(kind=Kind.VERSION_DELETED, version=number, changes=fields), by=by)
            await store.delete(tx, held, number)
            await registered_models_store.touch(tx, held, now_ms=by.now_ms)

    async def set_tag(self, name: str, version: str, *, key: str, value: str, caller: Caller) -> None:
        """Set a tag, over an older value. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        number = rules.parse_version(version)
        model.check_tag(key, value)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held, before = await _hold(tx, name, number)
            changed = changes({f"tags.{key}": before.tags.get(key)}, {f"tags.{key}": value})
            if changed:
                await record(tx, held, Event(kind=Kind.VERSION_TAG_SET, version=number, changes=changed), by=by)
                await store.set_tag(tx, held, number, key=key, value=value)

    async def delete_tag(self, name: str, version: str, *, key: str, caller: Caller) -> None:
        """Remove a tag if it is set. Raises NotFound, InvalidArgument."""
        rules.check_name(name)
        number = rules.parse_version(version)
        rules.check_tag_key(key)
        by = By(caller=caller, now_ms=self.now_ms())
        async with self.db.pipeline() as tx:
            held, before = await _hold(tx, name, number)
            changed = changes({f"tags.{key}": before.tags.get(key)}, {})
            if changed:
                await record(tx, held, Event(kind=Kind.VERSION_TAG_DELETED, version=number, changes=changed), by=by)
                await store.delete_tag(tx, held, number, key=key)

    async def search(
        self, *, filter_text: str, order_by: Sequence[str], max_results: int, page_token: str, caller: Caller
    ) -> tuple[list[ModelVersion], str | None]:
        """Return a page of the versions that the caller may read, without aliases, and the token of the next one.
        Raises InvalidArgument.
        """
        model.check_page_size(max_results)
        terms, with_prompts = prompts.split(parse_filter(filter_text, MODEL_VERSIONS))
        order = parse_order_by(order_by or _DEFAULT_ORDER, MODEL_VERSION_ORDER)
        query = ["model-versions", filter_text, list(order_by)]
        position = self.pages.decode(page_token, query) if page_token else None
        async with self.db.begin(snapshot=True) as tx:
            found, positions = await searches_store.version_keys(
                tx,
                caller=caller,
                terms=terms,
                with_prompts=with_prompts,
                order=order,
                position=position,
                limit=max_results + 1,
            )
            versions = await store.get_many(await driver_of(tx), found[:max_results])
        token = self.pages.encode(positions[max_results - 1], query) if len(found) > max_results else None
        return versions, token

    async def _tell_logged_model(self, model_id: str, asker: Asker) -> None:
        """Note at a logged model which versions it is. The version is there already, so a failure is only logged."""
        async with self.db.pipeline() as tx:
            versions = await store.of_logged_model(tx, model_id)
        tag = json.dumps([{"name": name, "version": version} for name, version in versions])
        try:
            await self.tracking.tag_logged_model(model_id, {_VERSIONS_TAG: tag}, asker)
        except ServiceError as error:
            _log.warning("logged model not told of its versions", extra={"model_id": model_id, "code": error.reason})


async def _add(tx: Driver, draft: Draft, origin: Origin, *, by: By) -> tuple[Subject, int]:
    taken = await store.take_number(tx, draft.name, now_ms=by.now_ms)
    if taken is None:
        raise registered_models.not_found(draft.name)
    subject, number = taken
    fields = {
        "current_stage": rules.NO_STAGE,
        "source": origin.source,
        "storage_location": origin.storage_location,
        "run_id": origin.run_id or None,
        "model_id": origin.model_id,
        "run_link": draft.run_link or None,
        "description": draft.description or None,
        **{f"tags.{key}": value for key, value in draft.tags.items()},
    }
    await record(tx, subject, Event(kind=Kind.VERSION_CREATED, version=number, changes=changes({}, fields)), by=by)
    await store.add(
        tx,
        subject,
        number,
        origin=origin,
        run_link=draft.run_link,
        description=draft.description,
        tags=draft.tags,
        user_id=by.actor if by.actor != ANONYMOUS.name else None,
        now_ms=by.now_ms,
    )
    return taken


async def _hold(tx: Driver, name: str, version: int) -> tuple[Subject, ModelVersion]:
    """Return a model that nobody else changes until the transaction ends, and a version of it. Raises NotFound."""
    held = await registered_models_store.hold(tx, name)
    if held is None:
        raise not_found(name, version)
    return held, await _existing(tx, held, version)


async def _existing(tx: Driver, subject: Subject, version: int) -> ModelVersion:
    found = await store.get_of(tx, subject, version)
    if found is None:
        raise not_found(subject.name, version)
    return found
