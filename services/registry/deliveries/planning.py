"""Makes deliveries of events: which webhooks are told of which, exactly once each, in the order of events."""

import uuid
from collections.abc import Sequence

from services.common.database import Database, Driver
from services.registry.deliveries import store
from services.registry.deliveries.model import Draft, Follower
from services.registry.events import store as events_store
from services.registry.events.model import Position, Told
from services.registry.webhooks.vocabulary import happening, names_of

_EVENTS_MAX = 500


async def plan(db: Database) -> bool:
    """Make the deliveries of some events for some webhooks. Returns whether there may be more to be made.

    Reading on, making deliveries and noting how far it came are one transaction, so that nothing is lost or doubled
    whenever a process ends; several may do it at a time.
    """
    async with db.pipeline() as tx:
        followers = await store.lock_behind(tx)
        # Nearly all are at the same place. One that is far behind must not make the others wait for it.
        for position in sorted({follower.position for follower in followers}):
            await _tell(tx, [follower for follower in followers if follower.position == position], position)
    return bool(followers)


async def _tell(tx: Driver, followers: Sequence[Follower], position: Position) -> None:
    """Make deliveries of the events that come next after a position, at which these webhooks are."""
    told = await events_store.read_after(tx, position, limit=_EVENTS_MAX)
    if not told:
        return
    drafts = await _drafts(tx, followers, told)
    webhook_ids = [follower.webhook_id for follower in followers]
    if drafts:
        await store.add(tx, drafts)
        await store.release(tx, webhook_ids)
    await store.advance(tx, webhook_ids, told[-1].position)


async def _drafts(tx: Driver, followers: Sequence[Follower], told: Sequence[Told]) -> list[Draft]:
    models = {event.model.registered_model_id for event in told}
    prompts = await store.prompts_among(tx, sorted(models))
    return [
        draft
        for follower in followers
        for event in told
        for draft in _drafts_of(follower, event, of_prompt=event.model.registered_model_id in prompts)
    ]


def _drafts_of(follower: Follower, told: Told, *, of_prompt: bool) -> list[Draft]:
    registered_model_id = told.model.registered_model_id
    if follower.registered_model_id not in (None, registered_model_id):
        return []
    names = names_of(happening(told), follower.dialect, of_prompt=of_prompt)
    return [
        Draft(
            delivery_id=str(uuid.uuid4()),
            webhook_id=follower.webhook_id,
            position=told.position,
            event=name,
            registered_model_id=registered_model_id,
        )
        for name in names
        if name in follower.subscriptions
    ]
