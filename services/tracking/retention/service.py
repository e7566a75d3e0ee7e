"""What removes deleted resources for good. Unlike elsewhere, one public method may take several transactions."""

from collections.abc import Callable
from dataclasses import dataclass

from services.common import idempotency
from services.common.database import Database
from services.common.pages import PageTokens
from services.tracking.experiments.model import parse_id
from services.tracking.retention import model, store
from services.tracking.retention.model import Kind, Purgeable

# At a few hundredths of a second each, a call stays far from its deadline.
STEPS_A_CALL = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Retention:
    """The use-cases. `now_ms` returns milliseconds since the Unix epoch; `artifact_root` is a URI."""

    db: Database
    pages: PageTokens
    artifact_root: str
    now_ms: Callable[[], int]

    async def list_purgeable(
        self, kind_name: str, *, deleted_before_ms: int, max_results: int, page_token: str
    ) -> tuple[list[Purgeable], str | None]:
        """Return a page of what can be purged and the token of the next one. Raises InvalidArgument."""
        kind = model.parse_kind(kind_name)
        model.check_page_size(max_results)
        query = ["purgeable", kind.name, deleted_before_ms]
        [after] = self.pages.decode(page_token, query) if page_token else (store.FIRST[kind],)
        async with self.db.begin(snapshot=True) as tx:
            rows = await store.find(tx, kind, deleted_before=deleted_before_ms, after=after, limit=max_results + 1)
        found = [
            Purgeable(kind=kind.name, id=str(number), artifact_uri=self._tree(kind, str(number), uri, is_shared))
            for number, uri, is_shared in rows[:max_results]
        ]
        is_last = len(rows) <= max_results
        return found, None if is_last else self.pages.encode([rows[max_results - 1][0]], query)

    async def begin(self, kind_name: str, resource_id: str, *, deleted_before_ms: int) -> None:
        """Make a deletion final. Raises InvalidArgument unless it was deleted before that time and holds nothing."""
        kind = model.parse_kind(kind_name)
        key = _key(kind, resource_id)
        async with self.db.begin() as tx:
            if await store.lock(tx, kind, key) is None:
                return
            if not await store.begin(tx, kind, key, deleted_before=deleted_before_ms, now=self.now_ms()):
                raise model.not_purgeable(kind, resource_id)

    async def purge(self, kind_name: str, resource_id: str) -> bool:
        """Delete what a purge was begun of, or a bounded part of it. Returns whether it is gone.

        Raises InvalidArgument if no purge was begun.
        """
        kind = model.parse_kind(kind_name)
        key = _key(kind, resource_id)
        for _ in range(STEPS_A_CALL):
            if await self._purge_some(kind, key, resource_id):
                return True
        return False

    async def forget_request_ids(self) -> int:
        """Delete idempotency keys older than seven days, or a bounded part of them. Returns how many."""
        return await idempotency.forget(self.db, now_ms=self.now_ms())

    async def _purge_some(self, kind: Kind, key: store.Id, resource_id: str) -> bool:
        async with self.db.begin() as tx:
            has_begun = await store.lock(tx, kind, key)
            if has_begun is None:
                return True
            if not has_begun:
                raise model.not_begun(kind, resource_id)
            return await store.delete_some(tx, kind, key)

    def _tree(self, kind: Kind, resource_id: str, uri: str, is_shared: bool) -> str | None:
        if kind is not Kind.EXPERIMENT:
            return uri
        return model.own_tree(resource_id, artifact_location=uri, artifact_root=self.artifact_root, is_shared=is_shared)


def _key(kind: Kind, resource_id: str) -> store.Id:
    return parse_id(resource_id) if kind is Kind.EXPERIMENT else resource_id
