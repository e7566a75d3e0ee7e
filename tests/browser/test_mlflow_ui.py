"""MLflow's own web UI on our gateway, as a data scientist clicks through it: nothing on its pages goes wrong."""

import json
import re
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from playwright.async_api import Page, expect

from tests.browser.harness import Problems, shot
from tests.browser.scene import RATES, Scene
from tests.stack import Stack

# Different ones: each is drawn twice, as it is and smoothed. What has a single value is a point and no curve.
_COUNT_CURVES = """() => new Set(
    [...document.querySelectorAll(".js-plotly-plot .js-line")]
        .map((line) => line.getAttribute("d"))
        .filter((path) => path.includes("L"))
).size"""

# Browsers and a platform start with the first of them, on a machine that does other work too.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(autouse=True)
def no_login(problems: Problems) -> None:
    """The UI asks who is signed in, and takes a 404 for a server where nobody needs to be."""
    problems.expect(r"^request: GET .*/users/current: 404$")


def experiment(scene: Scene) -> str:
    return f"/#/experiments/{scene.experiment_id}"


def run_page(scene: Scene, number: int = 1) -> str:
    return f"{experiment(scene)}/runs/{scene.runs[number]}"


async def test_the_first_page_leads_to_experiments_and_their_runs(page: Page, scene: Scene) -> None:
    await page.goto("/")
    await expect(page).to_have_title("Home - MLflow")
    await expect(page.get_by_role("heading", name="Recent Experiments")).to_be_visible()
    await expect(page.get_by_role("link", name=scene.experiment_name)).to_be_visible()
    await shot(page, "mlflow/home")

    await page.get_by_role("link", name="Experiments", exact=True).click()
    await expect(page).to_have_title("Experiments - MLflow")
    await page.get_by_placeholder("Search experiments").fill("CHURN")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="Default")).to_have_count(0)
    await shot(page, "mlflow/experiments")

    await page.get_by_role("link", name=scene.experiment_name).click()
    await page.get_by_role("link", name="Training runs").click()
    await expect(page.get_by_text("Which rate is best?")).to_be_visible()
    await expect(page.get_by_role("link", name="rate-0.003")).to_be_visible()


async def test_runs_are_searched_and_sorted(page: Page, scene: Scene) -> None:
    await page.goto(f"{experiment(scene)}/runs")
    await expect(page.get_by_text(f"{len(RATES)} matching runs")).to_be_visible()
    await shot(page, "mlflow/runs")

    await page.get_by_role("button", name="Sort: Created").click()
    await page.get_by_role("menuitemcheckbox", name="accuracy").click()
    await expect(page.get_by_role("button", name="Sort: accuracy")).to_be_visible()
    # Links without a text are icons.
    names = page.get_by_role("link", name=re.compile("^rate-")).filter(has_text="rate-")
    await expect(names).to_have_text([f"rate-{rate}" for rate in reversed(RATES)])

    await page.get_by_role("combobox").or_(page.get_by_placeholder("metrics.rmse")).first.fill("metrics.accuracy > 0.9")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("2 matching runs")).to_be_visible()
    await expect(page.get_by_role("link", name="rate-0.003")).to_have_count(0)
    await shot(page, "mlflow/runs-searched")


async def test_runs_are_drawn_as_charts(page: Page, scene: Scene) -> None:
    await page.goto(f"{experiment(scene)}/runs?compareRunsMode=CHART")

    for metric in ("accuracy", "final_loss", "loss"):
        await expect(page.get_by_role("heading", name=metric, exact=True)).to_be_visible()
    await page.wait_for_function(f"({_COUNT_CURVES})() === {2 * len(RATES)}")
    await shot(page, "mlflow/runs-charts")


async def test_a_run_shows_what_was_logged(page: Page, scene: Scene) -> None:
    await page.goto(run_page(scene))

    for text in ("Finished", scene.runs[1], "customers (5eed)", "learning_rate", "optimizer", "final_loss"):
        await expect(page.get_by_text(text).first).to_be_visible()
    await expect(page.get_by_role("link", name=scene.model_name).first).to_be_visible()
    await shot(page, "mlflow/run")

    await page.get_by_role("tab", name="Model metrics").or_(page.get_by_text("Model metrics", exact=True)).first.click()
    await expect(page.locator(".js-plotly-plot .scatterlayer .trace").first).to_be_visible()
    await shot(page, "mlflow/run-charts")


async def test_a_run_with_a_value_that_is_no_number_is_shown(page: Page, scene: Scene) -> None:
    await page.goto(run_page(scene, -1))

    await expect(page.get_by_text("Failed", exact=True)).to_be_visible()
    # As with MLflow's own server: GraphQL has null for NaN, and the page leaves such a metric out.
    await expect(page.get_by_role("heading", name="Metrics (2)")).to_be_visible()
    await expect(page.get_by_role("link", name="accuracy", exact=True)).to_be_visible()
    await expect(page.get_by_role("link", name="loss", exact=True)).to_be_visible()
    await shot(page, "mlflow/run-nan")


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

    await page.get_by_role("tab", name="Scatter Plot").click()
    await expect(page.locator(".js-plotly-plot .xtitle")).to_have_text("learning_rate")
    await expect(page.locator(".js-plotly-plot .ytitle")).to_have_text("accuracy")
    await expect(page.get_by_text("WebGL is not supported")).to_have_count(0)
    await shot(page, "mlflow/compare-scatter")


async def test_a_logged_model_is_shown(page: Page, scene: Scene) -> None:
    await page.goto(f"{experiment(scene)}/models")
    await expect(page.get_by_role("gridcell").get_by_text("Ready")).to_be_visible()
    await shot(page, "mlflow/logged-models")

    await page.get_by_role("gridcell").get_by_role("link", name="classifier").click()
    await expect(page).to_have_url(re.compile(f"/models/{scene.logged_model_id}"))
    await expect(page.get_by_text("About this logged model")).to_be_visible()
    await expect(page.get_by_role("link", name="rate-0.003").first).to_be_visible()
    await shot(page, "mlflow/logged-model")

    await page.get_by_text("Artifacts", exact=True).click()
    await page.get_by_text("MLmodel", exact=True).first.click()
    await expect(page.get_by_text("sklearn_version").first).to_be_visible()
    await shot(page, "mlflow/logged-model-artifacts")


async def test_models_lead_to_their_versions(page: Page, scene: Scene) -> None:
    await page.goto("/")
    await page.get_by_role("button", name="Model training").click()
    await page.get_by_role("link", name="Model registry").click()
    # What is new is told in front of the page, once to each browser.
    await page.get_by_role("dialog").get_by_role("button", name="Try it now").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=scene.model_name, exact=True))
    await expect(row).to_contain_text("owner: growth")
    await expect(row.get_by_role("link", name="champion")).to_have_attribute("href", re.compile("/versions/2$"))
    await shot(page, "mlflow/models")

    await row.get_by_role("link", name=scene.model_name, exact=True).click()
    await expect(page.get_by_text("Who is about to leave.")).to_be_visible()
    await expect(page.get_by_role("row").filter(has_text="The second.")).to_contain_text("champion")
    await shot(page, "mlflow/model")

    await page.get_by_role("link", name="Version 2").click()
    await expect(page.get_by_role("heading", name="Version 2")).to_be_visible()
    await expect(page.get_by_text("Inputs (2)")).to_be_visible()
    await expect(page.get_by_role("link", name="rate-0.003")).to_be_visible()
    await shot(page, "mlflow/version")


async def test_a_stage_is_changed(page: Page, scene: Scene, stack: Stack) -> None:
    client = MlflowClient(tracking_uri=stack.url, registry_uri=stack.url)
    client.create_registered_model("staged")
    model_id = scene.logged_model_id
    client.create_model_version("staged", f"models:/{model_id}", scene.runs[1], model_id=model_id)
    await page.goto("/#/models/staged/versions/1")
    # Stages are changed on the page as it was before aliases.
    await page.get_by_role("switch", name="New model registry UI").click()
    await page.get_by_role("dialog").get_by_role("button", name="Disable").click()

    await page.get_by_role("main").get_by_role("status").filter(has_text="None").click()
    await page.get_by_role("menuitem").filter(has_text="Staging").click()
    await page.get_by_role("dialog").get_by_role("textbox", name="Comment").fill("Good enough.")
    await page.get_by_role("dialog").get_by_role("button", name="OK").click()

    await expect(page.get_by_role("main").get_by_role("status").filter(has_text="Staging")).to_be_visible()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert client.get_model_version("staged", "1").current_stage == "Staging"
    await shot(page, "mlflow/stage")


async def test_traces_are_an_empty_page(page: Page, scene: Scene, problems: Problems) -> None:
    # A film of how traces look is on MLflow's own site, and pages load nothing from elsewhere.
    problems.expect(r"^console: Loading media from  ?'https://mlflow\.org/")
    await page.goto(f"{experiment(scene)}/traces")

    await expect(page.get_by_role("heading", name="Start tracing your LLM application")).to_be_visible()
    await shot(page, "mlflow/traces")


async def test_a_run_that_does_not_exist_is_told(page: Page, scene: Scene) -> None:
    await page.goto(f"{experiment(scene)}/runs/nothing")

    await expect(page.get_by_role("heading", name="Page Not Found")).to_be_visible()
    await expect(page.get_by_text("Run ID nothing does not exist")).to_be_visible()
    await shot(page, "mlflow/run-missing")
