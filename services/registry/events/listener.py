"""Hears what is committed by any replica: one connection of a process that listens to the channel of the events.

What is told is only that a model changed. Whoever keeps something in memory forgets it then, and reads it anew.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from services.common.errors import Unavailable
from services.common.notifications import Notifications, listening
from services.common.secret_files import Secret
from services.registry.events.store import CHANNEL

# Takes the name of a model that changed, or None: any may have, for the connection is new. Must not raise.
Callback = Callable[[str | None], None]

# For how long after it asked, and was answered, a listener vouches for having told all.
LEASE_S = 0.25
_PERIOD_S = 0.1
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.05, 2.0
_NEVER = float("-inf")

_log = logging.getLogger("modelstead.listener")


class Listener:
    """Tells subscribers of each change once it is committed, by whichever replica.

    Nothing is kept for times without a connection: when there is one again, subscribers are told None.
    """

    def __init__(self, url: str | Secret, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._callbacks: list[Callback] = []
        self._vouched_until = _NEVER
        self._task: asyncio.Task[None] | None = None

    @property
    def hears(self) -> bool:
        """Whether subscribers have been told of everything that was committed more than 250 ms ago.

        While it is false, what they keep may be old by any time.
        """
        return self._clock() < self._vouched_until

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have a function called with each change from now on; return what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def start(self) -> None:
        """Begin to listen, within a running event loop, and go on through failures until closed."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        backoff_s = _BACKOFF_S_MIN
        while True:
            try:
                async with listening(self._url, CHANNEL) as notifications:
                    self._tell(None)
                    backoff_s = _BACKOFF_S_MIN
                    await self._follow(notifications)
            except Unavailable as error:
                _log.warning("listening interrupted", extra={"cause": type(error.__cause__).__name__})
            except Exception:  # noqa: BLE001 -- the boundary of a task whose end nobody would notice
                _log.exception("listening interrupted")
            finally:
                self._vouched_until = _NEVER
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1))  # noqa: S311 -- spreads replicas, keeps no secret
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)

    async def _follow(self, notifications: Notifications) -> None:
        while True:
            asked = self._clock()
            for name in await notifications.catch_up():
                self._tell(name)
            self._vouched_until = asked + LEASE_S
            for name in await notifications.next(_PERIOD_S):
                self._tell(name)

    def _tell(self, name: str | None) -> None:
        for callback in tuple(self._callbacks):
            callback(name)
