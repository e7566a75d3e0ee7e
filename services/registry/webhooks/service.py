"""What can be done with webhooks of either dialect: one public method is one transaction, but for tests, which send."""

import dataclasses
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from services.common import idempotency
from services.common.auth import Caller
from services.common.database import Database, Driver
from services.common.errors import ACCESS_DENIED, InvalidArgument, PermissionDenied
from services.common.pages import PageTokens
from services.registry import rules
from services.registry.deliveries import store as deliveries_store
from services.registry.events.model import Subject
from services.registry.permissions.model import Level
from services.registry.permissions.service import level_of
from services.registry.registered_models import model as registered_models
from services.registry.registered_models import store as registered_models_store
from services.registry.webhooks import model, payloads, store
from services.registry.webhooks.model import Status, Wanted, Webhook
from services.registry.webhooks.networks import Networks
from services.registry.webhooks.outcomes import Outcome
from services.registry.webhooks.payloads import Target
from services.registry.webhooks.sealing import Sealer
from services.registry.webhooks.sending import Sender
from services.registry.webhooks.vocabulary import Dialect


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhooks:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch.

    A webhook of one model is for those who manage the model; who manages the platform, the access stage says.
    """

    db: Database
    pages: PageTokens
    now_ms: Callable[[], int]
    networks: Networks
    sealer: Sealer
    sender: Sender

    async def create(
        self, wanted: Wanted, *, dialect: Dialect, model_name: str, caller: Caller, request_id: str
    ) -> Webhook:
        """Create a webhook, of all models without a name. Raises InvalidArgument, NotFound, PermissionDenied,
        NotImplemented_.
        """
        wanted.check(dialect, self.networks)
        model.check_scope(wanted.subscriptions or (), of_one_model=bool(model_name))
        webhook = self._drafted(wanted, dialect)
        async with self.db.pipeline() as tx:
            if model_name:
                about = await _managed_model(tx, model_name, caller)
                webhook = dataclasses.replace(
                    webhook, registered_model_id=about.registered_model_id, model_name=about.name
                )

            async def create() -> str:
                if await store.count(tx) >= model.WEBHOOKS_MAX:
                    raise InvalidArgument(f"There are {model.WEBHOOKS_MAX} webhooks, and may be no more.")
                await store.add(tx, webhook)
                return webhook.webhook_id

            webhook_id = await idempotency.once(
                tx,
                caller=caller.name,
                operation=f"CreateWebhook/{dialect.value}",
                request_id=request_id,
                fingerprint=idempotency.fingerprint(model_name, wanted, *self._fingerprints(wanted)),
                create=create,
            )
            return await _existing(tx, webhook_id, dialect)

    async def get(self, webhook_id: str, *, dialect: Dialect, caller: Caller) -> Webhook:
        """Return a webhook. Raises NotFound, PermissionDenied."""
        async with self.db.pipeline() as tx:
            return await _managed(tx, await store.get(tx, webhook_id, dialect), webhook_id, caller)

    async def list(
        self,
        *,
        dialect: Dialect,
        model_name: str,
        events: Sequence[str],
        max_results: int,
        page_token: str,
        caller: Caller,
    ) -> tuple[list[Webhook], str | None]:
        """Return a page of webhooks, the newest first, and the token of the next one: those of a model, or all; those
        that are told of one of the events, or all. Raises InvalidArgument, NotFound, PermissionDenied.
        """
        limit = model.check_page_size(max_results)
        if events:
            model.check_subscriptions(events, dialect)
        query = ["webhooks", dialect.value, model_name, list(events)]
        position = self.pages.decode(page_token, query) if page_token else None
        async with self.db.pipeline() as tx:
            about = await _managed_model(tx, model_name, caller) if model_name else None
            found = await store.read_page(
                tx,
                dialect,
                registered_model_id=about.registered_model_id if about else None,
                events=events,
                before=(position[0], position[1]) if position else None,
                limit=limit + 1,
            )
        page = found[:limit]
        token = None
        if len(found) > limit:
            token = self.pages.encode([page[-1].creation_timestamp, page[-1].webhook_id], query)
        return page, token

    async def update(self, webhook_id: str, wanted: Wanted, *, dialect: Dialect, caller: Caller) -> Webhook:
        """Change what is wanted. Raises NotFound, InvalidArgument, PermissionDenied, NotImplemented_."""
        wanted.check(dialect, self.networks)
        async with self.db.pipeline() as tx:
            before = await _managed(tx, await store.hold(tx, webhook_id, dialect), webhook_id, caller)
            model.check_scope(wanted.subscriptions or (), of_one_model=before.registered_model_id is not None)
            await store.update(
                tx,
                webhook_id,
                wanted,
                secret=self._sealed(wanted.secret),
                authorization=self._sealed(wanted.authorization),
                now_ms=self.now_ms(),
            )
            status = wanted.status or before.status
            if status is Status.ACTIVE and before.status is not Status.ACTIVE:
                await store.start(tx, webhook_id)
            if status is not Status.ACTIVE:
                await deliveries_store.end_pending(tx, webhook_id)
            return await _existing(tx, webhook_id, dialect)

    async def delete(self, webhook_id: str, *, dialect: Dialect, caller: Caller) -> None:
        """Delete a webhook; its deliveries go with it. Raises NotFound, PermissionDenied."""
        async with self.db.pipeline() as tx:
            await _managed(tx, await store.hold(tx, webhook_id, dialect), webhook_id, caller)
            await store.mark_deleted(tx, webhook_id, now_ms=self.now_ms())

    async def test(self, webhook_id: str, *, event: str | None, dialect: Dialect, caller: Caller) -> Outcome:
        """Send an example of an event, the webhook's first unless given, and return what came of it. Raises NotFound,
        InvalidArgument, PermissionDenied, DataLoss.
        """
        webhook = await self.get(webhook_id, dialect=dialect, caller=caller)
        name = event or webhook.subscriptions[0]
        model.check_event(name, dialect)
        target = Target(
            webhook_id=webhook.webhook_id,
            dialect=webhook.dialect,
            url=webhook.url,
            secret=self.sealer.open(webhook.sealed_secret),
            authorization=self.sealer.open(webhook.sealed_authorization),
            enable_ssl_verification=webhook.enable_ssl_verification,
        )
        now_ms = self.now_ms()
        happening = payloads.example(name, now_ms=now_ms)
        message = payloads.message(target, happening, name, delivery_id=str(uuid.uuid4()), now_s=now_ms // 1000)
        return await self.sender.send(target, message)

    async def test_for_answer(self, webhook_id: str, *, event: str | None, dialect: Dialect, caller: Caller) -> Outcome:
        """Do as `test`, and raise InvalidArgument if no answer came."""
        outcome = await self.test(webhook_id, event=event, dialect=dialect, caller=caller)
        if outcome.response_status is None:
            raise InvalidArgument(f"The webhook could not be tested. {model.sentence(outcome.failure)}")
        return outcome

    def _drafted(self, wanted: Wanted, dialect: Dialect) -> Webhook:
        now_ms = self.now_ms()
        assert wanted.url is not None, "a new webhook has a URL"
        return Webhook(
            webhook_id=str(uuid.uuid4()),
            dialect=dialect,
            registered_model_id=None,
            model_name=None,
            name=wanted.name or "",
            description=wanted.description,
            url=wanted.url,
            subscriptions=tuple(dict.fromkeys(wanted.subscriptions or ())),
            sealed_secret=self.sealer.seal(wanted.secret or ""),
            sealed_authorization=self.sealer.seal(wanted.authorization or ""),
            enable_ssl_verification=wanted.enable_ssl_verification is not False,
            status=wanted.status or Status.ACTIVE,
            creation_timestamp=now_ms,
            last_updated_timestamp=now_ms,
        )

    def _fingerprints(self, wanted: Wanted) -> Iterator[tuple[str, str]]:
        """Yield what tells the secrets that are wanted from others: they are no part of `repr`."""
        for name in ("secret", "authorization"):
            if given := getattr(wanted, name):
                yield name, self.sealer.fingerprint(given)

    def _sealed(self, secret: str | None) -> str | None:
        return None if secret is None else self.sealer.seal(secret)


async def managed(tx: Driver, webhook_id: str, caller: Caller, *, hold: bool = False) -> Webhook:
    """Return a webhook of any dialect that a caller manages. Raises NotFound, PermissionDenied."""
    found = await (store.hold if hold else store.get)(tx, webhook_id)
    return await _managed(tx, found, webhook_id, caller)


async def _managed(tx: Driver, webhook: Webhook | None, webhook_id: str, caller: Caller) -> Webhook:
    if webhook is None:
        raise model.not_found(webhook_id)
    # One of all models is for who manages models without a grant on them: there is no model 0.
    subject = Subject(registered_model_id=webhook.registered_model_id or 0, name=webhook.model_name or "")
    await _check_manages(tx, subject, caller)
    return webhook


async def _managed_model(tx: Driver, name: str, caller: Caller) -> Subject:
    rules.check_name(name)
    found = await registered_models_store.find(tx, name)
    if found is None:
        raise registered_models.not_found(name)
    await _check_manages(tx, found, caller)
    return found


async def _check_manages(tx: Driver, subject: Subject, caller: Caller) -> None:
    if await level_of(tx, subject, caller) < Level.MANAGE:
        raise PermissionDenied(ACCESS_DENIED)


async def _existing(tx: Driver, webhook_id: str, dialect: Dialect) -> Webhook:
    found = await store.get(tx, webhook_id, dialect)
    if found is None:
        # A key made a webhook that is deleted since.
        raise model.not_found(webhook_id)
    return found
