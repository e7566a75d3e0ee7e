"""The check finds every object that is missing, truncated, changed or orphaned, and nothing else."""

import asyncio
import os

import pytest

from services.artifacts.maintenance.checking import Check
from services.artifacts.maintenance.model import Finding, Problem, Totals
from services.common.errors import DataLoss
from tests.artifacts import WORKSPACE, UseCases, chunks, put, read_all


async def _check(use_cases: UseCases, *, deep: bool) -> tuple[list[Finding], Totals]:
    results = [result async for result in Check(db=use_cases.db, objects=use_cases.objects, deep=deep).run()]
    assert isinstance(results[-1], Totals)
    return [result for result in results if isinstance(result, Finding)], results[-1]


async def _store(use_cases: UseCases, count: int) -> dict[str, str]:
    """Store files of different contents; return their names by their objects' keys."""
    keys = {}
    for number in range(count):
        contents = number.to_bytes(4, "big") + os.urandom(200)
        await use_cases.files.upload(WORKSPACE, ("f", str(number)), chunks(contents), size=len(contents))
        keys[(await use_cases.files.get(WORKSPACE, ("f", str(number)))).object_key] = f"f/{number}"
    return keys


async def test_every_flipped_bit_of_a_hundred_objects_is_found(use_cases: UseCases) -> None:
    keys = await _store(use_cases, 110)
    changed = dict(list(keys.items())[:100])
    for number, key in enumerate(changed):
        await use_cases.flip_bit(key, number * 2)

    findings, totals = await _check(use_cases, deep=True)

    assert {finding.object_key: finding.paths for finding in findings} == {key: [p] for key, p in changed.items()}
    assert {finding.problem for finding in findings} == {Problem.CHANGED}
    assert (totals.object_count, totals.byte_count) == (110, 110 * 204)
    for path in changed.values():
        with pytest.raises(DataLoss):
            await read_all(await use_cases.files.open(WORKSPACE, tuple(path.split("/"))))


async def test_missing_truncated_longer_and_orphaned_objects_are_found(use_cases: UseCases) -> None:
    keys = list(await _store(use_cases, 10))
    await use_cases.objects.remove([keys[0]])
    await use_cases.overwrite(keys[1], b"short")
    await use_cases.overwrite(keys[2], bytes(500))
    await use_cases.overwrite("default/00/orphan", b"x")
    await use_cases.overwrite("zzz", b"x")

    findings, totals = await _check(use_cases, deep=False)

    assert {finding.object_key: finding.problem for finding in findings} == {
        keys[0]: Problem.MISSING,
        keys[1]: Problem.TRUNCATED,
        keys[2]: Problem.CHANGED,
        "default/00/orphan": Problem.ORPHANED,
        "zzz": Problem.ORPHANED,
    }
    assert totals.object_count == 10


@pytest.mark.parametrize("deep", [True, False])
async def test_what_fits_is_not_reported(use_cases: UseCases, deep: bool) -> None:
    await _store(use_cases, 5)
    await use_cases.files.upload(WORKSPACE, ("empty",), chunks(b""), size=0)
    await use_cases.send_directly(("direct",), b"x" * 100)
    await use_cases.files.delete(WORKSPACE, ("f", "0"))
    sweeper = use_cases.sweeper
    await sweeper.sweep(upload_ttl=sweeper.upload_ttl, garbage_grace=sweeper.garbage_grace)
    _, target = await use_cases.uploads.create(WORKSPACE, ("under way",), size=5)
    await asyncio.to_thread(put, target.url, b"12345")

    findings, totals = await _check(use_cases, deep=deep)

    assert findings == []
    assert totals.object_count == 6
    assert len(await use_cases.keys()) == 8


@pytest.mark.parametrize("contents", [b"", b"short", bytes(500)])
async def test_contents_without_a_hash_are_held_against_their_size(use_cases: UseCases, contents: bytes) -> None:
    await use_cases.send_directly(("direct",), b"x" * 100)
    await use_cases.overwrite((await use_cases.keys())[0], contents)

    with pytest.raises(DataLoss):
        await read_all(await use_cases.files.open(WORKSPACE, ("direct",)))


async def test_an_empty_store_has_nothing_wrong(use_cases: UseCases) -> None:
    assert await _check(use_cases, deep=True) == ([], Totals(object_count=0, byte_count=0))
