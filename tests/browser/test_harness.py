"""The tools of these tests: a page is open to what was logged, and what goes wrong on it is not missed."""

from playwright.async_api import Page

from tests.browser.harness import Problems
from tests.browser.scene import Scene


async def test_a_page_can_be_asked_about_what_was_logged(page: Page, scene: Scene) -> None:
    answer = await page.goto(f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={scene.experiment_name}")

    assert answer is not None
    assert (await answer.json())["experiment"]["experiment_id"] == scene.experiment_id


async def test_what_goes_wrong_on_a_page_is_found(page: Page, problems: Problems) -> None:
    await page.goto("/health")
    problems.expect(r"^request: GET .*/api/2\.0/nothing: 404$")
    async with page.expect_event("pageerror"):
        await page.evaluate("setTimeout(() => { throw new Error('nobody caught it') })")
    async with page.expect_console_message(lambda message: message.text == "heard"):
        await page.evaluate("fetch('/api/2.0/nothing').then(() => console.error('heard'))")
    async with page.expect_event("requestfailed", lambda request: "elsewhere" in request.url):
        await page.evaluate("fetch('http://elsewhere.invalid/').catch(() => 0)")

    found = "\n".join(problems.unexpected)
    assert all(text in found for text in ("console: heard", "exception: Error: nobody caught it", "goes elsewhere"))
    assert "/api/2.0/nothing" not in found
    problems.found.clear()
