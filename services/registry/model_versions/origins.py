"""Finds out where a new version comes from, and refuses what its caller may not name. A part of creating versions."""

from dataclasses import dataclass

from services.common.artifact_hosts import check_host
from services.common.artifact_stores import Stores
from services.common.auth import Asker, Caller
from services.common.database import Database, Driver
from services.common.errors import NotFound
from services.registry import prompts, rules
from services.registry.aliases.service import version_of_alias
from services.registry.model_versions import sources, store
from services.registry.model_versions.model import (
    Artifacts,
    Draft,
    LoggedModel,
    ModelVersion,
    Origin,
    Tracking,
    not_found,
)
from services.registry.model_versions.sources import ModelUri
from services.registry.permissions.model import Level
from services.registry.permissions.service import require
from services.registry.promotions import store as promotions_store
from services.registry.registered_models import model as registered_models
from services.registry.registered_models import store as registered_models_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Origins:
    """`stores` are those beside the platform's own that the operator allows, also under URIs that name a host.

    `artifacts` is asked whether there is anything at a source; None where there need not be.
    """

    db: Database
    tracking: Tracking
    stores: Stores
    artifacts: Artifacts | None

    async def of(self, draft: Draft, *, caller: Caller, asker: Asker) -> Origin:
        """Return what a draft is made from. Raises InvalidArgument, NotFound, PermissionDenied, Unavailable."""
        if draft.is_prompt:
            prompts.check_source(draft.source)
            return _origin(draft, storage_location=draft.source)
        origin = await self._claimed(draft, caller, asker)
        if self.artifacts is not None and not await self.artifacts.exist(origin.storage_location, asker):
            raise sources.absent(draft.source)
        return origin

    async def _claimed(self, draft: Draft, caller: Caller, asker: Asker) -> Origin:
        """Return what a draft is made from, if it may be."""
        check_host(draft.source, field="source", stores=self.stores)
        uri = sources.parse_model_uri(draft.source)
        if uri is not None and uri.model_id is None:
            return await self._of_copy(draft, uri, caller)
        if draft.model_id:
            return await self._of_logged_model(draft, draft.model_id, asker)
        return await self._of_run(draft, asker)

    async def _of_run(self, draft: Draft, asker: Asker) -> Origin:
        run_id, root = draft.run_id or "", None
        if run_id and sources.is_contained(draft.source):
            root = await self.tracking.run_artifact_uri(run_id, asker)
        sources.check_of_run(draft.source, run_id=run_id, root=root)
        return _origin(draft, storage_location=draft.source)

    async def _of_logged_model(self, draft: Draft, model_id: str, asker: Asker) -> Origin:
        logged = await self.tracking.logged_model(model_id, asker)
        sources.check_of_model(draft.source, model_id=model_id, root=logged.artifact_uri if logged else None)
        if logged is None:
            raise NotFound(f"Logged model with ID '{model_id}' not found.")
        return _origin(draft, storage_location=_location(draft, logged), source_run_id=logged.source_run_id)

    async def _of_copy(self, draft: Draft, uri: ModelUri, caller: Caller) -> Origin:
        async with self.db.pipeline(snapshot=True) as tx:
            version = await _named(tx, uri, caller, source=draft.source)
            copied = await store.origin_of(tx, uri.name, int(version.version))
        assert copied is not None, "the snapshot has the version"
        _check_same(draft, copied)
        return Origin(
            source=f"models:/{uri.name}/{version.version}",
            storage_location=copied.storage_location,
            run_id=copied.run_id,
            model_id=copied.model_id,
        )


async def _named(tx: Driver, uri: ModelUri, caller: Caller, *, source: str) -> ModelVersion:
    """Return the version that a URI names. Raises InvalidArgument, also if it is a prompt's, NotFound, and
    PermissionDenied if the caller may not read it.
    """
    rules.check_name(uri.name)
    subject = await registered_models_store.find(tx, uri.name)
    if subject is None:
        raise registered_models.not_found(uri.name)
    await require(tx, subject, caller, Level.READ)
    if prompts.is_prompt(await registered_models_store.tags_of(tx, subject)):
        raise sources.of_prompt(source)
    if uri.alias is not None:
        return await version_of_alias(tx, uri.name, uri.alias)
    if uri.version is not None:
        number = rules.parse_version(uri.version)
        found = await store.get(tx, uri.name, number)
        if found is None:
            raise not_found(uri.name, number)
        return found
    stage = None
    if uri.stage is not None:
        stage = (await promotions_store.policy_of(tx, subject)).stage_of(uri.stage)
    found = await store.get_newest(tx, uri.name, stage=stage)
    if found is None:
        in_stage = f" and stage '{uri.stage}'" if uri.stage is not None else ""
        raise NotFound(f"No versions of model with name '{uri.name}'{in_stage} found")
    return found


def _check_same(draft: Draft, copied: Origin) -> None:
    given = ((draft.run_id, copied.run_id), (draft.model_id, copied.model_id))
    if any(claimed is not None and claimed != (actual or "") for claimed, actual in given):
        raise sources.mismatched(draft.source)


def _location(draft: Draft, logged: LoggedModel) -> str:
    return logged.artifact_uri if draft.source.startswith("models:") else draft.source


def _origin(draft: Draft, *, storage_location: str, source_run_id: str = "") -> Origin:
    return Origin(
        source=draft.source,
        storage_location=storage_location,
        run_id=draft.run_id or source_run_id,
        model_id=draft.model_id or None,
    )
