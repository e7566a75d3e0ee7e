"""Lets go of deliveries that ended long ago, and of webhooks that are deleted or whose model is."""

import asyncio
import logging
import random
from collections.abc import Callable

from services.common.database import Database
from services.common.errors import ServiceError
from services.registry.delivery_logs import store

_PERIOD_S = 60.0
_BATCH = 1000

_log = logging.getLogger("modelstead.webhooks")


async def run(db: Database, *, days: int, now_ms: Callable[[], int]) -> None:
    """Clean up once a minute until cancelled. Several processes may."""
    while True:
        await asyncio.sleep(_PERIOD_S * random.uniform(0.5, 1))  # noqa: S311 -- spreads replicas, keeps no secret
        try:
            await clean_up(db, days=days, now_ms=now_ms())
        except ServiceError as error:
            _log.warning("old webhook deliveries stay for now", extra={"code": error.reason})
        except Exception:  # noqa: BLE001 -- the boundary of a task whose end nobody would notice
            _log.exception("old webhook deliveries stay for now")


async def clean_up(db: Database, *, days: int, now_ms: int) -> None:
    """Delete what ended more than so many days ago, and what is deleted, in pieces that lock little."""
    deleted = _BATCH
    while deleted == _BATCH:
        async with db.pipeline() as tx:
            deleted = max(
                await store.delete_ended(tx, days=days, limit=_BATCH),
                await store.delete_of_deleted(tx, limit=_BATCH),
            )
    async with db.pipeline() as tx:
        await store.delete_webhooks(tx, now_ms=now_ms)
