"""Lists of bytes, as they come to Postgres and back."""

import pytest

from services.common.database import Database

LISTS = {
    "none": [],
    "one": [b"abc"],
    "every byte": [bytes(range(256))],
    "what text would have to quote": [b'"', b"\\", b"{", b"}", b",", b"NULL", b" ", b"\x00"],
    "empty ones": [b"", b"a", b""],
    "large ones": [b"\xff" * 3_000_000, b"\x00" * 10],
    "missing ones": [b"a", None, b""],
    "only missing ones": [None, None],
}


@pytest.mark.parametrize("blobs", LISTS.values(), ids=LISTS)
async def test_bytes_come_back_as_they_were(db: Database, blobs: list[bytes | None]) -> None:
    query = "SELECT blob FROM unnest(%(blobs)s::bytea[]) WITH ORDINALITY AS i (blob, place) ORDER BY place"
    async with db.pipeline() as tx:
        rows = await (await tx.execute(query, {"blobs": blobs}, binary=True)).fetchall()

    assert [blob for (blob,) in rows] == blobs
