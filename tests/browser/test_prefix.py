"""The pages of a platform that has a prefix of its host's path, as behind a proxy: none of them leaves it."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient
from playwright.async_api import Browser, expect

from tests import s3
from tests.browser.harness import Problems, new_page, shot
from tests.stack import Stack

# Browsers and a platform start with the first of them, on a machine that does other work too.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the platform is, for clients and browsers."""
    with Stack(tmp_path_factory.mktemp("prefix"), s3=s3.from_environment(), root_path="/ml/flow") as stack:
        yield f"{stack.url}/ml/flow"


async def test_pages_at_a_prefix_stay_below_it(browser: Browser, url: str) -> None:
    client = MlflowClient(tracking_uri=url, registry_uri=url)
    experiment_id = client.create_experiment("prefixed")
    run_id = client.create_run(experiment_id, run_name="below").info.run_id
    client.log_param(run_id, "depth", "2")
    client.log_text(run_id, "kept here", "notes.txt")
    # A request that is not below this URL is a problem.
    problems = Problems(url=url)
    problems.expect(r"^request: GET .*/users/current: 404$")
    page = await new_page(browser, url, problems)

    await page.goto(f"{url}/")
    await expect(page.get_by_role("link", name="prefixed")).to_be_visible()
    await page.goto(f"{url}/#/experiments/{experiment_id}/runs")
    await page.get_by_role("link", name="below").click()
    await expect(page.get_by_text("depth", exact=True)).to_be_visible()
    await page.get_by_role("tab", name="Artifacts").click()
    await page.get_by_text("notes.txt").click()
    await expect(page.get_by_text("kept here")).to_be_visible()
    await shot(page, "mlflow/prefix")

    await page.goto(f"{url}/console/")
    sections = page.get_by_role("navigation", name="Console").get_by_role("link")
    titles = await sections.all_inner_texts()
    for title in titles[:-1]:
        await sections.get_by_text(title, exact=True).click()
        await expect(page.locator("a[aria-current=page]")).to_have_text(title)
    await shot(page, "console/prefix")
    await sections.last.click()
    await expect(page).to_have_title("Home - MLflow")

    assert not problems.unexpected, "\n".join(problems.unexpected)
    await page.context.close()
