"""MLflow's own web UI on our gateway, as a data scientist clicks through it: nothing on its pages goes wrong."""

import json
import re
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from tests.browser.harness import Problems, shot
from tests.browser.scene import RATES, Scene


@pytest.fixture(autouse=True)
def no_login(problems: Problems) -> None:
    """The UI asks who is signed in, and takes a 404 for a server where nobody needs to be."""
    problems.expect(r"^request: GET .*/users/current: 404$")


def experiment(scene: Scene) -> str:
    return f"/#/experiments/{scene.experiment_id}"


def run_page(scene: Scene) -> str:
    return f"{experiment(scene)}/runs/{scene.runs[1]}"


async def names_of_runs(page: Page) -> list[str]:
    return [name for name in await page.get_by_role("link", name=re.compile("^rate-")).all_inner_texts() if name]


async def test_runs_are_searched_and_sorted(page: Page, scene: Scene) -> None:
    await page.goto(f"{experiment(scene)}/runs")
    await expect(page.get_by_text(f"{len(RATES)} matching runs")).to_be_visible()
    await shot(page, "mlflow/runs")

    await page.get_by_role("button", name="Sort: Created").click()
    await page.get_by_role("menuitemcheckbox", name="accuracy").click()
    await expect(page.get_by_role("button", name="Sort: accuracy")).to_be_visible()
    await expect(page.get_by_role("link", name=re.compile("^rate-")).first).to_have_text(f"rate-{RATES[-1]}")
    assert await names_of_runs(page) == [f"rate-{rate}" for rate in reversed(RATES)]

    await page.get_by_role("combobox").or_(page.get_by_placeholder("metrics.rmse")).first.fill("metrics.accuracy > 0.9")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("2 matching runs")).to_be_visible()
    await expect(page.get_by_role("link", name="rate-0.003")).to_have_count(0)
    await shot(page, "mlflow/runs-searched")


async def test_a_run_shows_what_was_logged(page: Page, scene: Scene) -> None:
    await page.goto(run_page(scene))

    for text in ("Finished", scene.runs[1], "customers (5eed)", "learning_rate", "optimizer", "final_loss"):
        await expect(page.get_by_text(text).first).to_be_visible()
    await expect(page.get_by_role("link", name=scene.model_name).first).to_be_visible()
    await shot(page, "mlflow/run")

    await page.get_by_role("tab", name="Model metrics").or_(page.get_by_text("Model metrics", exact=True)).first.click()
    await expect(page.locator(".js-plotly-plot .scatterlayer .trace").first).to_be_visible()
    await shot(page, "mlflow/run-charts")


async def test_artifacts_are_shown_and_run_nothing(page: Page, scene: Scene, problems: Problems) -> None:
    problems.expect(r"^console: Executing inline script violates the following Content Security Policy")
    problems.expect(r"^console: Blocked script execution in ")
    await page.goto(f"{run_page(scene)}/artifacts")

    await page.get_by_text("config.json").click()
    await expect(page.get_by_text('"layers"').first).to_be_visible()
    await shot(page, "mlflow/artifact-json")

    await page.get_by_text("reports", exact=True).click()
    await page.get_by_text("report.html").click()
    report = page.frame_locator("iframe")
    await expect(report.get_by_role("heading", name="report")).to_be_visible()
    await shot(page, "mlflow/artifact-html")
    assert [await frame.title() for frame in page.frames[1:]] == [""]
    assert not any("stolen" in each for each in problems.found)


async def test_runs_are_compared(page: Page, scene: Scene) -> None:
    runs, experiments = quote(json.dumps(scene.runs[:3])), quote(json.dumps([scene.experiment_id]))
    await page.goto(f"/#/compare-runs?runs={runs}&experiments={experiments}")

    await expect(page.get_by_text("Comparing 3 Runs from 1 Experiment")).to_be_visible()
    await expect(page.locator(".js-plotly-plot .parcoords").first).to_be_attached()
    await expect(page.get_by_text("WebGL is not supported")).to_have_count(0)
    await shot(page, "mlflow/compare")


async def test_a_logged_model_is_shown(page: Page, scene: Scene) -> None:
    await page.goto(f"{experiment(scene)}/models/{scene.logged_model_id}")

    await expect(page.get_by_text("About this logged model")).to_be_visible()
    await expect(page.get_by_role("link", name="rate-0.003").first).to_be_visible()
    await shot(page, "mlflow/logged-model")

    await page.get_by_text("Artifacts", exact=True).click()
    await page.get_by_text("MLmodel", exact=True).first.click()
    await expect(page.get_by_text("sklearn_version").first).to_be_visible()
    await shot(page, "mlflow/logged-model-artifacts")
