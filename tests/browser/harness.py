"""A Chromium that tests open pages with, and what it saw go wrong on them."""

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright

# As Debian and others name it. `scripts/install-test-browser.sh` installs it.
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# In software: some charts are drawn with it.
_WAIT_MS = 60_000
_SCREENSHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
# Chromium says again on the console what each failed request has already told.
_FAILED_REQUEST = "Failed to load resource"
# A browser says so when a page's layout takes more than a frame to settle; nothing has gone wrong.
_SETTLING = "ResizeObserver loop completed with undelivered notifications"
# A page that is left, or a stream that is closed, breaks off what was under way.
_BROKEN_OFF = "net::ERR_ABORTED"


@dataclass(kw_only=True)
class Problems:
    """What went wrong on pages: exceptions nobody caught, errors on the console, requests that failed or left for
    another origin than `url`.
    """

    url: str
    found: list[str] = field(default_factory=list)
    _expected: list[re.Pattern[str]] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Let what matches this regular expression go wrong, before or after now: `request: GET .*/nothing: 404`."""
        self._expected.append(re.compile(pattern))

    @property
    def unexpected(self) -> list[str]:
        return [each for each in self.found if not any(pattern.search(each) for pattern in self._expected)]

    def watch(self, page: Page) -> None:
        """Take note of what goes wrong on a page from now on."""
        page.on("pageerror", lambda error: self.found.append(f"exception: {error.stack or error.message}"))
        page.on("console", self._heard)
        page.on("request", self._sent)
        page.on("requestfailed", self._failed)
        page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_FAILED_REQUEST) and _SETTLING not in message.text:
            self.found.append(f"console: {message.text}")

    def _sent(self, request: Request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self.found.append(f"request: {request.method} {request.url}: goes elsewhere")

    def _failed(self, request: Request) -> None:
        if request.failure != _BROKEN_OFF:
            self.found.append(f"request: {request.method} {request.url}: {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.found.append(f"request: {response.request.method} {response.url}: {response.status}")


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Chromium for the length of the block. Raises AssertionError where there is none: no test is skipped."""
    program = next((found for name in _PROGRAMS if (found := shutil.which(name))), None)
    assert program, "These tests need Chromium: scripts/install-test-browser.sh installs it, or says what is missing."
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program,
            # Its sandbox refuses root.
            chromium_sandbox=os.geteuid() != 0,
            # WebGL, which some charts are drawn with, in software.
            args=[
                "--disable-dev-shm-usage",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--ignore-gpu-blocklist",
            ],
            timeout=_WAIT_MS,
        )
        yield browser
        await browser.close()


async def new_page(browser: Browser, url: str, problems: Problems, **options: Any) -> Page:
    """Return a page of a profile of its own, so without the cookies of others; paths are relative to `url`. `options`
    are those of `browser.new_context`.
    """
    usual: dict[str, Any] = {
        "base_url": url,
        "viewport": {"width": 1440, "height": 900},
        "locale": "en-US",
        "timezone_id": "UTC",
        "reduced_motion": "reduce",
    }
    context = await browser.new_context(**usual | options)
    # A machine under load takes long; a test says what it waits for, not how long.
    context.set_default_timeout(_WAIT_MS)
    context.set_default_navigation_timeout(_WAIT_MS)
    page = await context.new_page()
    problems.watch(page)
    return page


async def shot(page: Page, name: str) -> Path:
    """Save what the page shows as `.cache/screenshots/<name>.png`, for people; `name` may have folders."""
    path = _SCREENSHOTS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=path, full_page=True, animations="disabled")
    return path
