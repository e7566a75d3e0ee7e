"""The live page of a run: points and state come by themselves, and its charts can be read by everyone."""

import math
import re
import statistics
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from playwright.async_api import Browser, Locator, Page, expect

from modelstead.runs.run import Run, start_run
from tests.browser import legibility
from tests.browser.harness import Problems, shot
from tests.stack import Stack

FLUSH_S = 60
# What is promised is a second; a machine that does a hundred things besides gets more.
SHOWN_MS_MAX = 20_000
POINTS = 10
RANKS, STRAGGLER = 12, 6
# Notes when each value showed in a chart's corner, by the clock that the machine's processes share.
NOTE_VALUES = """
    window.seen = {};
    const latest = document.querySelector(".chart .latest");
    new MutationObserver(() => { window.seen[latest.dataset.step] ??= Date.now(); })
        .observe(latest, { childList: true, characterData: true, subtree: true, attributes: true });
"""
GAP = re.compile(r"^M.*M.*$")

# Browsers and a platform start with the first of them, on a machine that does other work too.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def client(stack: Stack) -> MlflowClient:
    return MlflowClient(tracking_uri=stack.url, registry_uri=stack.url)


@pytest.fixture
def run(stack: Stack, process: None, tmp_path: Path) -> Iterator[Run]:
    """A run that goes on."""
    name = f"run-{uuid.uuid4().hex[:8]}"
    with start_run(stack.grpc_address, spool_dir=tmp_path, experiment="live", run_name=name) as running:
        yield running


def _log(run: Run, steps: range, *keys: str) -> None:
    for step in steps:
        run.log({key: math.exp(-step / 50) + place for place, key in enumerate(keys)}, step=step)
    assert run.flush(FLUSH_S)


def _chart(page: Page, title: str) -> Locator:
    return page.locator("figure.chart", has=page.locator(".name", has_text=re.compile(f"^{re.escape(title)}$")))


async def _open(page: Page, run_id: str, query: str = "") -> None:
    await page.goto(f"/console/runs/{run_id}{query}")
    await expect(page.locator("#feed")).to_have_text("Live")


@pytest.mark.alone
async def test_points_of_the_client_show_on_an_open_page_within_a_second(page: Page, run: Run) -> None:
    _log(run, range(1), "loss")
    await _open(page, run.run_id)
    await expect(_chart(page, "loss").locator(".latest")).to_have_text("1")
    await page.evaluate(NOTE_VALUES)

    logged = {}
    for step in range(1, POINTS + 1):
        run.log({"loss": 1 / (step + 1)}, step=step)
        assert run.flush(FLUSH_S)
        logged[step] = time.time() * 1000
        await expect(_chart(page, "loss").locator(".latest")).to_have_attribute("data-step", str(step))

    _judge("modelstead", await page.evaluate("window.seen"), logged)


@pytest.mark.alone
async def test_points_of_the_mlflow_client_show_on_an_open_page_within_a_second(
    page: Page, client: MlflowClient
) -> None:
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "loss", 1.0, step=0)
    await _open(page, run_id)
    await expect(_chart(page, "loss").locator(".latest")).to_have_text("1")
    await page.evaluate(NOTE_VALUES)

    logged = {}
    for step in range(1, POINTS + 1):
        client.log_metric(run_id, "loss", 1 / (step + 1), step=step)
        logged[step] = time.time() * 1000
        await expect(_chart(page, "loss").locator(".latest")).to_have_attribute("data-step", str(step))

    _judge("mlflow", await page.evaluate("window.seen"), logged)


def _judge(client: str, seen: dict[str, float], logged: dict[int, float]) -> None:
    delays_ms = [seen[str(step)] - at for step, at in logged.items()]
    print(f"\n{client}: flushed → shown in {statistics.median(delays_ms):.0f} ms, at most {max(delays_ms):.0f} ms")
    assert max(delays_ms) < SHOWN_MS_MAX


async def test_a_page_that_loses_the_gateway_goes_on_where_it_was(
    page: Page, stack: Stack, run: Run, problems: Problems
) -> None:
    problems.expect(r"ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|: 503$")
    _log(run, range(20), "loss")
    await _open(page, run.run_id)
    await expect(_chart(page, "loss").locator(".latest")).to_have_attribute("data-step", "19")

    stack.kill("gateway")
    try:
        await expect(page.locator("#feed")).not_to_have_text("Live")
        _log(run, range(20, 40), "loss")
    finally:
        # Others have this platform after us.
        stack.start("gateway")
        stack.wait_until_ready()

    await expect(page.locator("#feed")).to_have_text("Live")
    await expect(_chart(page, "loss").locator(".latest")).to_have_attribute("data-step", "39")
    # Each point once: as many as there are steps.
    assert await page.evaluate("document.querySelector('figure.chart').chart.lines.get('loss').points.steps") == [
        *range(40)
    ]


async def test_state_parameters_and_tags_come_by_themselves(
    page: Page, stack: Stack, process: None, tmp_path: Path
) -> None:
    with start_run(stack.grpc_address, spool_dir=tmp_path, experiment="live", run_name="first name") as run:
        _log(run, range(2), "loss")
        await _open(page, run.run_id)
        await expect(page.locator("#status")).to_have_text("running")

        run.log_params({"rate": 0.1})
        run.set_tags({"team": "vision", "mlflow.runName": "second name"})
        assert run.flush(FLUSH_S)

        await expect(page.locator("#params tr")).to_have_text(re.compile(r"rate\s*0.1"))
        await expect(page.locator("#tags tr")).to_have_text(re.compile(r"team\s*vision"))
        await expect(page.get_by_role("heading", level=1)).to_have_text("second name")
    assert run.flush(FLUSH_S)

    await expect(page.locator("#status")).to_have_text("finished")
    await expect(page.locator("#ended")).to_have_text(re.compile(r"UTC$"))


async def test_ranks_that_are_behind_stand_first_and_their_end_is_told(
    page: Page, stack: Stack, process: None, tmp_path: Path
) -> None:
    launch = uuid.uuid4().hex
    ranks = [
        start_run(stack.grpc_address, spool_dir=tmp_path, launch_id=launch, rank=rank, world_size=RANKS, node="node")
        for rank in range(RANKS)
    ]
    for rank, run in enumerate(ranks):
        _log(run, range(40 if rank == STRAGGLER else 100), "loss")
    rows = page.locator("#ranks tr")
    await _open(page, ranks[0].run_id)

    await expect(page.locator("#ranks-summary")).to_have_text(f"{RANKS} running · 1 behind")
    await expect(rows).to_have_count(8)
    await expect(rows.first).to_have_text(re.compile(rf"{STRAGGLER} of {RANKS}\s*node\s*running\s*39\s*60"))
    await expect(rows.first).to_have_attribute("data-behind", "")
    await page.get_by_role("button", name=f"Show all {RANKS}").click()
    await expect(rows).to_have_count(RANKS)
    await shot(page, "console/run-ranks")
    for run in ranks:
        run.end("FINISHED")

    await expect(page.locator("#ranks-summary")).to_have_text(f"{RANKS} finished")
    await expect(page.locator("#status")).to_have_text("finished")


async def test_a_chart_is_read_out_by_pointer_and_by_keys(page: Page, run: Run) -> None:
    _log(run, range(101), "loss")
    await _open(page, run.run_id)
    chart = _chart(page, "loss")
    await expect(chart.locator(".latest")).to_have_attribute("data-step", "100")
    await expect(chart.locator(".front path")).to_have_attribute("d", re.compile(r"L"))

    box = await chart.locator("svg").bounding_box()
    assert box
    await page.mouse.move(box["x"] + 54 + (box["width"] - 66) / 2, box["y"] + 60)
    await expect(chart.locator(".readout")).to_contain_text("step 50")
    await page.mouse.move(0, 0)
    await expect(chart.locator(".readout")).to_be_hidden()
    await chart.locator("svg").focus()
    for key in ("End", "ArrowLeft", "Shift+ArrowLeft"):
        await page.keyboard.press(key)

    await expect(chart.locator("[aria-live]")).to_have_text("step 89: loss 0.1686")
    await expect(chart.locator(".readout")).to_contain_text("step 89")
    await page.keyboard.press("Escape")
    await expect(chart.locator(".readout")).to_be_hidden()


async def test_lines_whose_names_differ_in_numbers_share_a_chart_and_can_be_told_apart(page: Page, run: Run) -> None:
    _log(run, range(30), *(f"rank_{rank}/loss" for rank in range(12)))
    await _open(page, run.run_id)
    chart = _chart(page, "rank_*/loss")
    await expect(chart.locator(".front path")).to_have_count(12)

    looks = await chart.locator(".front path").evaluate_all(
        "lines => lines.map(line => getComputedStyle(line).stroke + getComputedStyle(line).strokeDasharray)"
    )
    await chart.get_by_role("button", name="rank_3/loss", exact=True).hover()
    lit = chart.locator(".front path[data-lit]")
    await expect(lit).to_have_count(1)
    await chart.get_by_role("button", name="rank_3/loss", exact=True).click()

    assert len(set(looks)) == 12
    await expect(lit).to_have_attribute("d", "")
    await expect(chart.get_by_role("button", name="rank_3/loss", exact=True)).to_have_attribute("aria-pressed", "false")
    await shot(page, "console/run-many-lines")


async def test_what_is_no_number_is_a_gap_and_a_log_scale_shows_what_is_above_zero(page: Page, run: Run) -> None:
    for step in range(40):
        run.log({"loss": math.nan if 10 <= step < 20 else 10.0**-step, "below": -1.0}, step=step)
    assert run.flush(FLUSH_S)
    await _open(page, run.run_id)
    line = _chart(page, "loss").locator(".front path")
    await expect(line).to_have_attribute("d", GAP)

    await page.get_by_label("Log scale").check()

    await expect(_chart(page, "loss").locator(".grid")).to_contain_text("1e-16")
    await expect(_chart(page, "below").locator(".note")).to_have_text("Nothing above zero to show on a log scale.")
    await expect(page).to_have_url(re.compile("scale=log"))
    await page.reload()
    await expect(page.get_by_label("Log scale")).to_be_checked()
    await expect(line).to_have_attribute("d", GAP)


async def test_a_line_is_smoothed_and_metrics_are_found_by_name(page: Page, run: Run) -> None:
    _log(run, range(50), "train/loss", "accuracy")
    await _open(page, run.run_id)
    chart = _chart(page, "train/loss")
    await expect(chart.locator(".front path")).to_have_attribute("d", re.compile(r"L"))
    plain = await chart.locator(".front path").get_attribute("d")

    await page.get_by_label("Smoothing").fill("0.9")
    await page.get_by_label("Over").select_option("time")
    await page.get_by_label("Find").fill("LOSS")

    await expect(chart.locator(".front path")).not_to_have_attribute("d", plain or "")
    await expect(chart.locator(".raw path")).to_have_attribute("d", re.compile(r"L"))
    await expect(_chart(page, "accuracy")).to_be_hidden()
    await expect(page).to_have_url(re.compile(r"smoothing=0.9&x=time&match=LOSS"))


async def test_no_more_than_320_points_of_a_line_are_drawn(page: Page, run: Run) -> None:
    _log(run, range(5000), "loss")
    await _open(page, run.run_id)
    _log(run, range(5000, 10_000), "loss")
    await expect(_chart(page, "loss").locator(".latest")).to_have_attribute("data-step", "9999")
    await page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")

    path = await _chart(page, "loss").locator(".front path").get_attribute("d")

    assert path is not None
    assert 200 < len(re.findall("[ML]", path)) <= 320


async def test_the_page_tells_the_latest_values_without_scripts(browser: Browser, stack: Stack, run: Run) -> None:
    _log(run, range(3), "loss")
    context = await browser.new_context(java_script_enabled=False, base_url=stack.url)
    page = await context.new_page()

    await page.goto(f"/console/runs/{run.run_id}")

    await expect(page.locator("#latest tbody tr")).to_have_text(re.compile(r"loss\s*0\.9608\s*2"))
    await expect(page.locator("#controls")).to_be_hidden()
    await context.close()


async def test_the_page_leads_to_the_same_run_in_mlflows_ui(page: Page, stack: Stack, run: Run) -> None:
    _log(run, range(1), "loss")
    await page.goto(f"/console/runs/{run.run_id}")

    link = page.get_by_role("link", name="Open in MLflow’s UI")

    await expect(link).to_have_attribute("href", re.compile(rf"^/#/experiments/\d+/runs/{run.run_id}$"))


async def test_a_run_that_is_not_there_is_said_so(page: Page, problems: Problems) -> None:
    problems.expect(r"/console/runs/.*: 404$")

    await page.goto(f"/console/runs/{uuid.uuid4().hex}")

    await expect(page.get_by_role("alert")).to_contain_text("not found")


async def test_the_page_is_light_legible_and_fits_a_phone(page: Page, run: Run) -> None:
    _log(run, range(300), "loss", "accuracy", "val/loss", *(f"gpu_{gpu}/memory" for gpu in range(4)))
    run.log_params({"rate": 0.1, "layers": [64, 32]})
    await _open(page, run.run_id)
    assert await legibility.transferred_bytes(page) < legibility.TRANSFERRED_BYTES_MAX
    assert await legibility.unnamed(page) == []
    for size, width, height in (("desktop", 1440, 900), ("phone", 390, 844)):
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for figure in await page.locator("figure.chart").all():
                await figure.scroll_into_view_if_needed()
                await expect(figure.locator(".front path").first).to_have_attribute("d", re.compile(r"L"))
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            assert await legibility.low_contrast(page) == []
            await shot(page, f"console/run-{size}-{scheme}")
