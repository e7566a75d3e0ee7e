"""Deliveries are made once of each event, and of a model one at a time is sent, whoever does it and whoever dies."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from services.common.database import Database
from services.common.errors import InvalidArgument, NotFound
from services.registry.deliveries import courier, store
from services.registry.deliveries.courier import Courier
from services.registry.deliveries.model import Claim, Draft, Schedule, Status
from services.registry.deliveries.planning import plan
from services.registry.delivery_logs import retention
from services.registry.events import store as events_store
from services.registry.webhooks.model import Status as WebhookStatus
from services.registry.webhooks.model import Webhook
from services.registry.webhooks.outcomes import Failure, Outcome
from services.registry.webhooks.vocabulary import Dialect
from tests.receivers import Receiver
from tests.store.registry.factories import CALLER, Registry, now_ms
from tests.store.registry.webhooks import FAILED, SEALER, Hooks, versions

CREATED = "model_version.created"


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


@pytest.fixture
async def hooks(registry_db: Database) -> AsyncIterator[Hooks]:
    """Without webhooks of other tests."""
    hooks = Hooks.over(registry_db)
    yield hooks
    async with registry_db.pipeline() as tx:
        await tx.execute("DELETE FROM webhook_deliveries")
        await tx.execute("DELETE FROM webhooks")


async def _deliver_all(hooks: Hooks, webhook: Webhook) -> list[int | None]:
    """Deliver until nothing is due; return the versions in the order in which they were sent."""
    sent: list[int | None] = []
    await hooks.planned()
    while claims := [claim for claim in await hooks.claim() if claim.webhook_id == webhook.webhook_id]:
        sent += versions(claims)
        for claim in claims:
            await hooks.finish(claim)
    return sent


async def test_a_webhook_is_told_of_what_it_asked_for(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add(subscriptions=(CREATED, "model_version_alias.created"))
    name = await registry.new_model()
    version = await registry.new_version(name)
    await registry.aliases.set(name, "champion", version=version.version, caller=CALLER)
    await registry.transition(name, version.version, "Staging")
    await hooks.planned()

    assert await hooks.log(webhook) == [
        (CREATED, "PENDING", "1"),
        ("model_version_alias.created", "PENDING", "1"),
    ]


async def test_an_event_with_two_names_is_told_by_each_that_was_asked_for(registry: Registry, hooks: Hooks) -> None:
    both = await hooks.add(
        dialect=Dialect.DATABRICKS,
        subscriptions=("MODEL_VERSION_TRANSITIONED_STAGE", "MODEL_VERSION_TRANSITIONED_TO_STAGING"),
    )
    one = await hooks.add(dialect=Dialect.DATABRICKS, subscriptions=("MODEL_VERSION_TRANSITIONED_TO_PRODUCTION",))
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.transition(name, "1", "Staging")
    await hooks.planned()

    assert sorted(await hooks.events(both)) == [
        "MODEL_VERSION_TRANSITIONED_STAGE",
        "MODEL_VERSION_TRANSITIONED_TO_STAGING",
    ]
    assert await hooks.log(one) == []


async def test_a_webhook_of_a_model_is_told_of_that_model_through_renames(registry: Registry, hooks: Hooks) -> None:
    name, other = await registry.new_model(), await registry.new_model()
    webhook = await hooks.add(dialect=Dialect.DATABRICKS, model_name=name)
    await registry.models.rename(name, new_name=f"{name}-2", caller=CALLER)
    await registry.new_version(other)
    await registry.new_version(f"{name}-2")
    await hooks.planned()

    [claim] = await hooks.claim()
    assert claim.happening.name == f"{name}-2"
    assert (await hooks.webhooks.get(webhook.webhook_id, dialect=webhook.dialect, caller=CALLER)).model_name == (
        f"{name}-2"
    )


async def test_what_happened_before_a_webhook_was_made_is_not_told(registry: Registry, hooks: Hooks) -> None:
    name = await registry.new_model()
    await registry.new_version(name)
    webhook = await hooks.add()
    await registry.new_version(name)

    assert await _deliver_all(hooks, webhook) == [2]


async def test_prompts_are_told_as_prompts_also_when_they_are_gone(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add(subscriptions=("prompt.created", "prompt_tag.set", "prompt_alias.created", CREATED))
    prompt = await registry.new_model(tags={"mlflow.prompt.is_prompt": "true"})
    await registry.models.set_tag(prompt, key="a", value="b", caller=CALLER)
    await registry.models.delete(prompt, caller=CALLER)
    await hooks.planned()

    assert [event for event, _, _ in await hooks.log(webhook)] == ["prompt.created", "prompt_tag.set"]


async def test_planners_at_a_time_make_each_delivery_once(registry: Registry, hooks: Hooks) -> None:
    many = [await hooks.add() for _ in range(3)]
    names = [await registry.new_model() for _ in range(3)]

    async def change(name: str) -> None:
        for _ in range(10):
            await registry.new_version(name)

    await asyncio.gather(*(change(name) for name in names), *(hooks.planned(settles=False) for _ in range(8)))
    await hooks.planned()

    for webhook in many:
        assert await hooks.events(webhook) == {CREATED: 30}


async def test_an_event_is_not_told_while_an_older_transaction_is_open(
    registry: Registry, hooks: Hooks, registry_db: Database
) -> None:
    webhook = await hooks.add()
    name, other = await registry.new_model(), await registry.new_model()
    async with registry_db.pipeline() as tx:
        # Takes a number, as a transaction that is about to tell of something does.
        await tx.execute("UPDATE registered_models SET revision = revision WHERE name = %(name)s", {"name": other})
        await tx.execute("SELECT 1")
        await registry.new_version(name)
        await hooks.planned(settles=False)
        early = await hooks.log(webhook)
    await hooks.planned()

    assert early == []
    assert len(await hooks.log(webhook)) == 1


async def test_of_a_model_one_at_a_time_is_sent_the_oldest_first(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add()
    one, two = await registry.new_model(), await registry.new_model()
    for _ in range(3):
        await registry.new_version(one)
        await registry.new_version(two)
    await hooks.planned()

    first = await hooks.claim()
    again = await hooks.claim()
    await hooks.finish(first[0])
    second = await hooks.claim()

    assert versions(first) == [1, 1]
    assert again == []
    assert [(claim.happening.name, claim.happening.version) for claim in second] == [(first[0].happening.name, 2)]
    await hooks.finish(second[0])
    await hooks.finish(first[1])
    assert await _deliver_all(hooks, webhook) == [3, 2, 3]


async def test_a_delivery_that_failed_keeps_its_model_waiting_and_no_other(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add()
    one, two = await registry.new_model(), await registry.new_model()
    await registry.new_version(one)
    await registry.new_version(one)
    await hooks.planned()
    [claim] = await hooks.claim()
    await hooks.finish(claim, FAILED, delay_s=3600)
    await registry.new_version(two)

    assert await _deliver_all(hooks, webhook) == [1]
    assert [status for _, status, _ in await hooks.log(webhook)] == ["PENDING", "PENDING", "DELIVERED"]


async def test_after_a_dead_letter_the_next_one_goes(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add()
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.new_version(name)
    await hooks.planned()
    [claim] = await hooks.claim()

    await hooks.finish(claim, FAILED)

    assert await _deliver_all(hooks, webhook) == [2]
    assert await hooks.log(webhook) == [(CREATED, "DEAD", "1"), (CREATED, "DELIVERED", "2")]


async def test_what_a_dead_process_had_is_sent_by_another_and_its_word_counts_no_more(
    registry: Registry, hooks: Hooks
) -> None:
    webhook = await hooks.add()
    name = await registry.new_model()
    await registry.new_version(name)
    await hooks.planned()
    [lost] = await hooks.claim(lease_s=0)
    [taken_over] = await hooks.claim()

    await hooks.finish(lost, FAILED)

    assert (taken_over.delivery_id, taken_over.attempts) == (lost.delivery_id, 2)
    assert await hooks.log(webhook) == [(CREATED, "PENDING", "1")]
    await hooks.finish(taken_over)
    assert await hooks.log(webhook) == [(CREATED, "DELIVERED", "1")]


async def test_what_a_process_claimed_and_then_stood_still_is_left_to_others(
    registry: Registry, hooks: Hooks, registry_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claimed, lost_s = store.claim, asyncio.Semaphore(0), 0.0

    async def claim_and_stand_still(*given: Any, **how: Any) -> list[Claim]:
        nonlocal lost_s
        claims = await claim(*given, **how)
        lost_s += courier.LEASE_S
        claimed.release()
        return claims

    monkeypatch.setattr(store, "claim", claim_and_stand_still)
    monkeypatch.setattr(courier, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + lost_s))
    with Receiver() as receiver:
        await hooks.add(url=receiver.url)
        await registry.new_version(await registry.new_model())
        sender = hooks.webhooks.sender
        running = asyncio.create_task(Courier(db=registry_db, sender=sender, sealer=SEALER, schedule=Schedule()).run())
        async with asyncio.timeout(60):
            # The second time it has begun what it claimed the first time, which it ends before it stops.
            for _ in range(2):
                await claimed.acquire()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert receiver.received == []


async def test_claims_at_a_time_are_of_different_deliveries(registry: Registry, hooks: Hooks) -> None:
    await hooks.add()
    for _ in range(20):
        await registry.new_version(await registry.new_model())
    await hooks.planned()

    # One that is being looked at by somebody is passed over, and so some may be left.
    taken = await asyncio.gather(*(hooks.claim(limit=5, each_max=5) for _ in range(8)))
    left = await hooks.claim()

    ids = [claim.delivery_id for claims in (*taken, left) for claim in claims]
    assert len(ids) == len(set(ids)) == 20


async def test_one_webhook_gets_no_more_at_a_time_than_its_share(registry: Registry, hooks: Hooks) -> None:
    slow, quick = await hooks.add(), await hooks.add()
    for _ in range(6):
        await registry.new_version(await registry.new_model())
    await hooks.planned()

    claims = await hooks.claim(each_max=4, busy={slow.webhook_id: 3})

    assert sorted(claim.webhook_id == slow.webhook_id for claim in claims) == [False] * 4 + [True]
    assert quick.webhook_id in {claim.webhook_id for claim in claims}


async def test_a_delivery_made_while_the_one_before_it_ends_does_not_wait_for_ever(
    registry: Registry, hooks: Hooks, registry_db: Database
) -> None:
    webhook = await hooks.add()
    name = await registry.new_model()
    await registry.new_version(name)
    await hooks.planned()
    [first] = await hooks.claim()
    await registry.new_version(name)

    async with registry_db.pipeline() as tx:
        # A planner that has seen the first one under way, and has yet to commit.
        [follower] = await store.lock_behind(tx)
        [told] = await events_store.read_after(tx, follower.position, limit=10)
        draft = Draft(
            delivery_id="second",
            webhook_id=webhook.webhook_id,
            position=told.position,
            event=CREATED,
            registered_model_id=told.model.registered_model_id,
        )
        await store.add(tx, [draft])
        await store.release(tx, [webhook.webhook_id])
        await store.advance(tx, [webhook.webhook_id], told.position)
        finishing = asyncio.create_task(hooks.finish(first))
        # Nothing announces that it waits for a lock.
        while not finishing.done() and not await _waits_for_a_lock(registry_db):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await finishing

    assert versions(await hooks.claim()) == [2]


async def _waits_for_a_lock(db: Database) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%webhooks%%'"
    async with db.pipeline() as tx:
        row = await (await tx.execute(query)).fetchone()
    return bool(row and row[0])


async def test_a_webhook_far_behind_does_not_hold_up_the_others(
    registry: Registry, hooks: Hooks, registry_db: Database
) -> None:
    behind, other = await hooks.add(), await hooks.add()
    name = await registry.new_model()
    for _ in range(3):
        await registry.new_version(name)
    await hooks.planned()
    async with registry_db.pipeline() as tx:
        await tx.execute("DELETE FROM webhook_deliveries WHERE webhook_id = %(id)s", {"id": behind.webhook_id})
        await tx.execute(
            "UPDATE webhooks SET transaction_id = 0, event_id = 0 WHERE webhook_id = %(id)s", {"id": behind.webhook_id}
        )
    await registry.new_version(name)

    await plan(registry_db)

    assert await hooks.events(other) == {CREATED: 4}


async def test_what_a_receiver_that_is_down_would_get_waits_among_the_events(
    registry: Registry, hooks: Hooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.registry.deliveries.store.PENDING_MAX", 3)
    webhook = await hooks.add()
    name = await registry.new_model()
    for _ in range(3):
        await registry.new_version(name)
    await hooks.planned()
    await registry.new_version(name)
    await hooks.planned()
    waiting = await hooks.events(webhook)

    assert waiting == {CREATED: 3}
    assert await _deliver_all(hooks, webhook) == [1, 2, 3]
    assert await _deliver_all(hooks, webhook) == [4]


async def test_who_is_disabled_gives_up_what_was_pending_and_begins_anew(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add()
    name = await registry.new_model()
    await registry.new_version(name)
    await hooks.planned()
    await hooks.update(webhook, status=WebhookStatus.DISABLED)
    await registry.new_version(name)
    await hooks.planned()
    await hooks.update(webhook, status=WebhookStatus.ACTIVE)
    await registry.new_version(name)

    assert await _deliver_all(hooks, webhook) == [3]
    assert await hooks.log(webhook) == [(CREATED, "DEAD", "1"), (CREATED, "DELIVERED", "3")]


async def test_a_webhook_in_test_mode_is_told_nothing(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add(dialect=Dialect.DATABRICKS, status=WebhookStatus.TEST_MODE)
    await registry.new_version(await registry.new_model())

    assert await _deliver_all(hooks, webhook) == []


async def test_gone_disables_the_webhook(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add()
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.new_version(name)
    await hooks.planned()
    [claim] = await hooks.claim()

    await hooks.finish(claim, Outcome(duration_ms=1, response_status=410, failure=Failure.GONE))

    after = await hooks.webhooks.get(webhook.webhook_id, dialect=webhook.dialect, caller=CALLER)
    assert after.status is WebhookStatus.DISABLED
    assert await hooks.log(webhook) == [(CREATED, "DEAD", "1"), (CREATED, "DEAD", "2")]
    assert await _deliver_all(hooks, webhook) == []


async def test_a_delivery_is_sent_again_before_newer_ones_of_its_model(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add()
    name = await registry.new_model()
    for _ in range(3):
        await registry.new_version(name)
    await hooks.planned()
    [first] = await hooks.claim()
    await hooks.finish(first, FAILED)
    [second] = await hooks.claim()

    again = await hooks.logs.redeliver(webhook.webhook_id, first.delivery_id, caller=CALLER)
    meanwhile = await hooks.claim()
    await hooks.finish(second)

    assert (again.status, again.attempts, again.next_attempt_time) == (Status.PENDING, 0, None)
    assert meanwhile == []
    assert await _deliver_all(hooks, webhook) == [1, 3]


async def test_what_has_not_ended_is_not_sent_again_by_hand(registry: Registry, hooks: Hooks) -> None:
    webhook = await hooks.add()
    await registry.new_version(await registry.new_model())
    await hooks.planned()
    [claim] = await hooks.claim()

    with pytest.raises(InvalidArgument, match="has not ended"):
        await hooks.logs.redeliver(webhook.webhook_id, claim.delivery_id, caller=CALLER)
    with pytest.raises(NotFound, match="not found"):
        await hooks.logs.redeliver(webhook.webhook_id, "another", caller=CALLER)
    await hooks.update(webhook, status=WebhookStatus.DISABLED)
    with pytest.raises(InvalidArgument, match="DISABLED: nothing is sent to it"):
        await hooks.logs.redeliver(webhook.webhook_id, claim.delivery_id, caller=CALLER)


async def test_what_ended_long_ago_goes_and_what_is_pending_stays(
    registry: Registry, hooks: Hooks, registry_db: Database
) -> None:
    webhook = await hooks.add()
    name = await registry.new_model()
    for _ in range(3):
        await registry.new_version(name)
    await hooks.planned()
    [claim] = await hooks.claim()
    await hooks.finish(claim)
    async with registry_db.pipeline() as tx:
        await tx.execute("UPDATE webhook_deliveries SET create_time = now() - interval '31 days'")
    await hooks.finish((await hooks.claim())[0])

    await retention.clean_up(registry_db, days=30, now_ms=now_ms())

    assert await hooks.log(webhook) == [(CREATED, "PENDING", "3")]


async def test_a_deleted_webhook_goes_with_its_deliveries(
    registry: Registry, hooks: Hooks, registry_db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More pieces than one.
    monkeypatch.setattr(retention, "_BATCH", 1)
    webhook = await hooks.add()
    for _ in range(3):
        await registry.new_version(await registry.new_model())
    await hooks.planned()
    await hooks.webhooks.delete(webhook.webhook_id, dialect=webhook.dialect, caller=CALLER)
    due = await hooks.claim()

    await retention.clean_up(registry_db, days=30, now_ms=now_ms())

    assert due == []
    assert await _count(registry_db) == (0, 0)


async def test_the_webhook_of_a_deleted_model_tells_its_last_events_and_goes(
    registry: Registry, hooks: Hooks, registry_db: Database
) -> None:
    name = await registry.new_model()
    webhook = await hooks.add(dialect=Dialect.DATABRICKS, model_name=name)
    await registry.new_version(name)
    await registry.models.delete(name, caller=CALLER)
    await retention.clean_up(registry_db, days=30, now_ms=now_ms())
    with pytest.raises(NotFound):
        await hooks.webhooks.get(webhook.webhook_id, dialect=webhook.dialect, caller=CALLER)

    assert await _deliver_all(hooks, webhook) == [1]
    for _ in range(2):
        await retention.clean_up(registry_db, days=30, now_ms=now_ms())
    assert await _count(registry_db) == (0, 0)


async def _count(db: Database) -> tuple[int, int]:
    query = "SELECT (SELECT count(*) FROM webhooks), (SELECT count(*) FROM webhook_deliveries)"
    async with db.pipeline() as tx:
        row = await (await tx.execute(query)).fetchone()
    assert row
    return row[0], row[1]
