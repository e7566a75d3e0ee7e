"""Brings events to webhooks: makes the deliveries, sends those that are due, notes what came of it. Every replica has
one courier, and they share the work through the database.

A delivery that is being sent is nobody else's for 15 s. If the process ends meanwhile, another one sends it after that:
each delivery is sent at least once, and at times twice. A delivery of a model waits for the one before it.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable

import prometheus_client

from services.common.database import Database
from services.common.errors import DataLoss, ServiceError
from services.registry.deliveries import store
from services.registry.deliveries.model import Claim, Schedule, Status
from services.registry.deliveries.noting import note
from services.registry.deliveries.planning import plan
from services.registry.webhooks import payloads
from services.registry.webhooks.outcomes import Failure, Outcome
from services.registry.webhooks.payloads import Target
from services.registry.webhooks.sealing import Sealer
from services.registry.webhooks.sending import ATTEMPT_S_MAX, Sender

# How much is sent at a time by one process, and how much of it to one webhook, so that slow receivers hold up others
# only where there are dozens of them.
IN_FLIGHT_MAX = 200
IN_FLIGHT_OF_WEBHOOK_MAX = 4
LEASE_S = ATTEMPT_S_MAX + 5.0
# What has to be noted after an attempt within the lease.
_MARGIN_S = 2.0
_POLL_S_MIN, _POLL_S_MAX = 0.05, 2.0
_STOP_S = 3.0

ATTEMPTS = prometheus_client.Counter(
    "modelstead_webhook_attempts", "Attempts to deliver to webhooks, by what was wrong.", ["failure"]
)

_log = logging.getLogger("modelstead.webhooks")


class Courier:
    """Delivers while `run` runs. `now_s` returns seconds since the Unix epoch, `jitter` a number from 0 to 1."""

    def __init__(
        self,
        *,
        db: Database,
        sender: Sender,
        sealer: Sealer,
        schedule: Schedule,
        now_s: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._sender = sender
        self._sealer = sealer
        self._schedule = schedule
        self._now_s = now_s
        self._jitter = jitter
        self._woken = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], str] = {}

    def wake(self) -> None:
        """Say that something may be to be done."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled; then give what is under way a moment to end."""
        poll_s = _POLL_S_MIN
        try:
            while True:
                due_s = await self._round()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(poll_s, due_s)):
                        await self._woken.wait()
                        # Transactions that are still open may hold back what was told of: look again soon.
                        poll_s = _POLL_S_MIN
                poll_s = min(2 * poll_s, _POLL_S_MAX)
        finally:
            await self._stop()

    async def _round(self) -> float:
        """Do what is to be done and return in how many seconds there will be more, as far as that is known."""
        self._woken.clear()
        try:
            while await plan(self._db):
                pass
            async with self._db.pipeline() as tx:
                # Before it is asked for, as the lease runs from the beginning of the transaction.
                claimed = time.monotonic()
                claims = await store.claim(
                    tx,
                    busy=Counter(self._under_way.values()),
                    each_max=IN_FLIGHT_OF_WEBHOOK_MAX,
                    limit=IN_FLIGHT_MAX - len(self._under_way),
                    lease_s=LEASE_S,
                )
                due_s = await store.next_due_s(tx)
        except ServiceError as error:
            _log.warning("webhooks wait for the database", extra={"code": error.reason})
            return _POLL_S_MAX
        except Exception:  # noqa: BLE001 -- the boundary of a task whose end nobody would notice
            _log.exception("webhooks not delivered")
            return _POLL_S_MAX
        for claim in claims:
            task = asyncio.create_task(self._deliver(claim, claimed))
            self._under_way[task] = claim.webhook_id
            task.add_done_callback(self._done)
        return _POLL_S_MAX if due_s is None else due_s

    def _done(self, task: "asyncio.Task[None]") -> None:
        del self._under_way[task]
        if not task.cancelled() and (error := task.exception()):
            _log.error("webhook delivery failed here", exc_info=error)
        self.wake()

    async def _stop(self) -> None:
        tasks = list(self._under_way)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _deliver(self, claim: Claim, claimed: float) -> None:
        if time.monotonic() > claimed + LEASE_S - ATTEMPT_S_MAX - _MARGIN_S:
            # This process stood still, and somebody else may be about to send it.
            return
        outcome = await self._attempt(claim)
        ATTEMPTS.labels(outcome.failure.value if outcome.failure else "").inc()
        verdict = self._schedule.verdict(outcome, attempts=claim.attempts, age_s=claim.age_s, jitter=self._jitter())
        if verdict.status is Status.DEAD:
            _log.warning(
                "webhook delivery given up",
                extra={"webhook_id": claim.webhook_id, "id": claim.delivery_id, "failure": outcome.failure},
            )
        try:
            await note(self._db, claim, outcome, verdict)
        except ServiceError as error:
            # It will be sent again when the lease is over.
            _log.warning("webhook delivery not noted", extra={"id": claim.delivery_id, "code": error.reason})

    async def _attempt(self, claim: Claim) -> Outcome:
        try:
            target = Target(
                webhook_id=claim.webhook_id,
                dialect=claim.dialect,
                url=claim.url,
                secret=self._sealer.open(claim.sealed_secret),
                authorization=self._sealer.open(claim.sealed_authorization),
                enable_ssl_verification=claim.enable_ssl_verification,
            )
            message = payloads.message(
                target, claim.happening, claim.event, delivery_id=claim.delivery_id, now_s=int(self._now_s())
            )
            return await self._sender.send(target, message)
        except DataLoss:
            return Outcome(duration_ms=0, failure=Failure.SECRET_UNREADABLE)
        except Exception:  # noqa: BLE001 -- one delivery that cannot be made must not be tried without end
            _log.exception("webhook delivery failed here", extra={"id": claim.delivery_id})
            return Outcome(duration_ms=0, failure=Failure.INTERNAL)
