"""The console's modules by themselves, in the browser that runs them."""

from typing import Any

import pytest
from playwright.async_api import Page


@pytest.fixture
async def scripts(page: Page) -> Any:
    """Calls a function that a module exports."""
    await page.goto("/console/static/any/js/points.js")

    async def call(module: str, function: str, *values: Any) -> Any:
        return await page.evaluate(
            f"([address, values]) => import(address).then((module) => module.{function}(...values))",
            [f"/console/static/any/js/{module}.js", list(values)],
        )

    return call


async def test_a_sample_keeps_the_ends_and_the_extremes(scripts: Any) -> None:
    ys = [0.0] * 10_000
    ys[1234], ys[7777] = 50.0, -50.0

    places = await scripts("points", "sample", list(range(10_000)), ys, 320)

    assert len(places) <= 320
    assert places == sorted(places)
    assert {0, 1234, 7777, 9999} <= set(places)


async def test_a_sample_keeps_a_gap(scripts: Any) -> None:
    ys = [float("nan") if 4000 <= x < 5000 else float(x) for x in range(10_000)]

    places = await scripts("points", "sample", list(range(10_000)), ys, 320)

    assert any(4000 <= place < 5000 for place in places)


@pytest.mark.parametrize("count", [1, 2, 319, 320])
async def test_few_points_are_all_kept(scripts: Any, count: int) -> None:
    places = await scripts("points", "sample", list(range(count)), [1.0] * count, 320)

    assert places == list(range(count))


async def test_a_sample_of_points_at_one_step_is_no_more_than_its_extremes(scripts: Any) -> None:
    places = await scripts("points", "sample", [5] * 1000, [float(y % 7) for y in range(1000)], 320)

    assert places == [0, 6, 7, 999]


async def test_smoothing_does_not_lean_to_the_first_value(scripts: Any) -> None:
    smooth = await scripts("points", "smooth", [4.0, 4.0, 4.0], 0.9)
    turn = await scripts("points", "smooth", [0.0, 1.0], 0.5)

    assert smooth == pytest.approx([4, 4, 4])
    assert turn == pytest.approx([0, 2 / 3])


@pytest.mark.parametrize(("x", "place"), [(-5, 0), (0, 0), (14, 1), (15, 2), (16, 2), (99, 3)])
async def test_the_nearest_point_is_found(scripts: Any, x: int, place: int) -> None:
    assert await scripts("points", "nearest", [0, 10, 20, 30], x) == place


@pytest.mark.parametrize(
    ("function", "low", "high", "texts"),
    [
        ("linear", 0, 10, ["0", "2", "4", "6", "8", "10"]),
        ("linear", 0.1, 0.13, ["0.10", "0.11", "0.12", "0.13"]),
        ("linear", 5, 5, ["4.8", "4.9", "5.0", "5.1", "5.2"]),
        ("linear", 0, 4e9, ["0", "1e9", "2e9", "3e9", "4e9"]),
        ("logarithmic", 0.001, 1000, ["0.01", "1", "100"]),
        ("logarithmic", 2, 8, ["2", "5"]),
        ("duration", 0, 7_200_000, ["0 s", "30 min", "1 h", "1 h 30 min", "2 h"]),
        ("duration", 0, 400, ["0 s", "0.1 s", "0.2 s", "0.3 s", "0.4 s"]),
    ],
)
async def test_ticks_are_round(scripts: Any, function: str, low: float, high: float, texts: list[str]) -> None:
    scale = await scripts("scale", function, low, high, 4 if function == "duration" else 5)

    assert [text for _, text in scale["ticks"]] == texts


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.123456, "0.1235"), (1234567, "1.235e6"), (-0.00002, "-2e-5"), (1500.25, "1500.25"), (None, "NaN")],
)
async def test_numbers_have_the_digits_that_count(scripts: Any, value: float | None, text: str) -> None:
    assert await scripts("scale", "short", value) == text
