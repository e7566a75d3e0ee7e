"""When a service can answer: its database does, the schema is as new as the code, and what it makes first is made."""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.common.database import Database
from services.common.errors import ResourceExhausted, ServiceError


def newest_revision(scripts: Path) -> str:
    """Return the revision that a folder of migrations leads to, such as `0004`: they are called `NNNN_<what>.py`."""
    return max(path.name.partition("_")[0] for path in (scripts / "versions").glob("[0-9]*_*.py"))


@dataclass(slots=True)
class Readiness:
    """Tells whether a service can answer, each time it is called.

    A schema that is newer will do: migrations suit the release before as well. While calls have all connections to the
    database it is as it was: one that is busy turns away what is too much, and its share would make others so.
    """

    db: Database
    scripts: Path
    # Called once the schema is there, until it succeeds.
    prepare: Callable[[], Awaitable[None]] | None = None
    _needed: str = field(init=False)
    _is_prepared: bool = field(init=False, default=False)
    _was_ready: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._needed = newest_revision(self.scripts)

    async def __call__(self) -> bool:
        with contextlib.suppress(ResourceExhausted):
            self._was_ready = await self._look()
        return self._was_ready

    async def _look(self) -> bool:
        revision = await self.db.revision()
        if revision is None or revision < self._needed:
            return False
        if self.prepare is not None and not self._is_prepared:
            try:
                await self.prepare()
            except ServiceError:
                return False
            self._is_prepared = True
        return True
