"""How many bytes are stored, as the artifact service's status tells it."""

from services.artifacts.status import store
from tests.artifacts import UseCases

_FILL = """
    INSERT INTO blobs (workspace, object_key, size, sha256, create_time)
    SELECT 'status', repeat('k', 200) || i, 1000, i::text, now()
    FROM generate_series(1, 20000) AS i
"""


async def test_bytes_are_exact_where_all_is_read_and_estimated_from_a_sample(use_cases: UseCases) -> None:
    async with use_cases.db.pipeline() as tx:
        await tx.execute(_FILL)
        exact = await store.object_bytes(tx)
        sampled = await store.object_bytes(tx, sampled_pages_max=200)
        await tx.rollback()

    assert exact == 20_000_000
    # A third of the pages: what is estimated is off by some percent.
    assert 0.7 * exact < sampled < 1.3 * exact
    assert sampled != exact


async def test_nothing_stored_has_no_bytes(use_cases: UseCases) -> None:
    async with use_cases.db.pipeline() as tx:
        assert await store.object_bytes(tx) == 0
        assert await store.count_pending(tx) == 0
