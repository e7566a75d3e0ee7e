"""Notes what came of an attempt, and what follows from it for the webhook's other deliveries: one transaction."""

from services.common.database import Database
from services.registry.deliveries import store
from services.registry.deliveries.model import Claim, Status, Verdict
from services.registry.webhooks import store as webhooks_store
from services.registry.webhooks.outcomes import Failure, Outcome


async def note(db: Database, claim: Claim, outcome: Outcome, verdict: Verdict) -> None:
    """Note an outcome, unless somebody else has the delivery by now; once it has ended, let the next one of its model
    go, and disable a webhook that is gone.
    """
    async with db.pipeline() as tx:
        if verdict.status is not Status.PENDING:
            await store.lock_webhook(tx, claim.webhook_id)
        if not await store.finish(tx, claim, outcome, verdict):
            return
        if outcome.failure is Failure.GONE:
            await webhooks_store.disable(tx, claim.webhook_id)
            await store.end_pending(tx, claim.webhook_id)
        elif verdict.status is not Status.PENDING:
            await store.release(tx, [claim.webhook_id], registered_model_id=claim.registered_model_id)
