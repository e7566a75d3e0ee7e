"""The platform as a browser sees it. A test fails for whatever went wrong on its pages, asked for or not."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser import harness
from tests.browser.harness import Problems
from tests.browser.scene import Scene, log_scene
from tests.stack import Stack

OpenPage = Callable[[], Awaitable[Page]]

# How long an `expect` waits: it says what comes, and a machine under load takes its time.
expect.set_options(timeout=60_000)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with harness.chromium() as running:
        yield running


@pytest.fixture(scope="session")
def scene(stack: Stack) -> Scene:
    """What a small team has logged with MLflow's own client. Tests that change something make their own."""
    return log_scene(stack.url)


@pytest.fixture
def problems(stack: Stack) -> Problems:
    """What went wrong on the pages of this test; `problems.expect(pattern)` excuses what is meant to."""
    return Problems(url=stack.url)


@pytest.fixture
async def open_page(
    browser: Browser, stack: Stack, problems: Problems, request: pytest.FixtureRequest
) -> AsyncIterator[OpenPage]:
    """Opens pages that have nothing in common, as of several people."""
    pages: list[Page] = []

    async def open_one() -> Page:
        pages.append(await harness.new_page(browser, stack.url, problems))
        return pages[-1]

    yield open_one

    for number, page in enumerate(pages):
        if not page.is_closed():
            await harness.shot(page, f"last/{request.node.name.replace('/', '_')}-{number}")
        await page.context.close()
    assert not problems.unexpected, "\n".join(problems.unexpected)


@pytest.fixture
async def page(open_page: OpenPage) -> Page:
    return await open_page()
