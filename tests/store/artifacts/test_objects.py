"""The object store's client keeps to its bounds."""

import pytest

from services.artifacts.objects import Objects
from services.common.errors import ResourceExhausted
from tests.artifacts import chunks, location
from tests.s3 import S3


async def test_more_transfers_than_the_bound_are_refused_and_leave_room_when_they_end(s3: S3, bucket: str) -> None:
    objects = Objects(location(s3, bucket), transfers_max=1)
    await objects.put("a", chunks(bytes(3_000_000)), size=3_000_000)
    reading = objects.read("a", 0, 3_000_000, size=3_000_000)
    await anext(reading)

    with pytest.raises(ResourceExhausted):
        await objects.put("b", chunks(b"x"), size=1)
    with pytest.raises(ResourceExhausted):
        await anext(objects.read("a", 0, 1, size=3_000_000))
    await reading.aclose()

    await objects.put("b", chunks(b"x"), size=1)
    assert (await objects.stat("b")) is not None
    objects.close()
