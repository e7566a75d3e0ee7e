"""The console's pages for who runs the platform: how it is doing, webhooks, and what happened to models."""

import re
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from modelstead.runs.run import start_run
from tests.browser import legibility
from tests.browser.harness import shot
from tests.compat.rest import Json, Rest
from tests.receivers import Answer, Receiver
from tests.stack import Stack

SCHEMES = ("light", "dark")
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
REFUSED = 422
RELOADED_S = 60
WORDLESS = re.compile(r"\W+")
# What an SVG draws of at least two values.
LINE = re.compile(r"^M[\d. ]+L")

# Browsers and a platform start with the first of them, on a machine that does other work too.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def rest(stack: Stack) -> Iterator[Rest]:
    caller = Rest(stack.url)
    yield caller
    caller.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def webhook(rest: Rest, receiver: Receiver) -> Iterator[Json]:
    """A webhook, told of new versions, that goes at the end."""
    made = rest.post(
        "webhooks",
        name=f"hook-{uuid.uuid4().hex[:12]}",
        url=receiver.url,
        description="For the release channel.",
        events=[{"entity": "MODEL_VERSION", "action": "CREATED"}],
    )["webhook"]
    yield made
    rest.delete(f"webhooks/{made['webhook_id']}")


def _new_version(rest: Rest) -> str:
    # Behind those that MLflow's page shows first, of which others ask something.
    name = f"operations-{uuid.uuid4().hex}"
    rest.post("registered-models/create", name=name)
    rest.post("model-versions/create", name=name, source="s3://bucket/model")
    return name


async def test_the_system_page_follows_what_is_logged(
    page: Page, stack: Stack, rest: Rest, process: None, tmp_path: Path
) -> None:
    await page.goto("/console/system")
    count = page.locator('[data-service="tracking"] [data-field="point_count"]')
    before = rest.get("status/tracking")["point_count"]

    with start_run(stack.grpc_address, spool_dir=tmp_path, experiment="system page") as run:
        for step in range(200):
            run.log({"loss": 1 / (step + 1)}, step=step)
        assert run.flush(60)

    await expect(count).to_have_text(f"{before + 200:,}".replace(",", "\u202f"))
    await expect(page.locator('[data-service="tracking"] [data-spark] .line')).to_have_attribute("d", LINE)
    for service in ("Tracking", "Registry", "Artifacts"):
        panel = page.locator("section[data-service]", has=page.get_by_role("heading", name=service, exact=True))
        await expect(panel.locator(".state")).to_have_text("answers")
        await expect(panel.locator('[data-field="process.version"]')).not_to_have_text("–")
    await shot(page, "console/system")


async def test_the_system_page_tells_as_much_without_scripts(browser: Browser, stack: Stack) -> None:
    context = await browser.new_context(java_script_enabled=False, base_url=stack.url)
    page = await context.new_page()

    await page.goto("/console/system")

    await expect(page.locator('[data-field="bytes_under_way_max"]')).to_have_text("256.0 MiB")
    await context.close()


async def test_a_delivery_that_was_given_up_is_found_and_sent_again(
    page: Page, rest: Rest, receiver: Receiver, webhook: Json
) -> None:
    receiver.answers = lambda _: Answer(status=410)
    name = _new_version(rest)
    receiver.wait_for(1)
    await page.goto("/console/webhooks")
    await page.get_by_role("link", name=f"Dead letters of {webhook['name']}").click()
    dead = page.locator("tr[data-delivery]", has_text=name)
    await _reload_until(page, dead)
    await expect(dead).to_contain_text("410")

    # Upon that answer a webhook is disabled, and only one that is not gets anything.
    receiver.answers = lambda _: Answer()
    rest.patch(f"webhooks/{webhook['webhook_id']}", status="ACTIVE")
    await dead.get_by_role("button", name="Send again").click()

    assert len(receiver.wait_for(2)) == 2
    await page.get_by_role("link", name="Delivered").click()
    await _reload_until(page, page.locator("tr[data-delivery]", has_text=name))
    await shot(page, "console/webhook")


async def test_a_webhook_is_tried_out_and_the_answer_is_shown(page: Page, receiver: Receiver, webhook: Json) -> None:
    receiver.answers = lambda _: Answer(status=REFUSED, body=b"<b>no such channel</b>")
    await page.goto(f"/console/webhooks/mlflow/{webhook['webhook_id']}")

    await page.get_by_role("button", name="Send a test").click()

    await expect(page.get_by_role("alert")).to_have_text(f"The receiver answered {REFUSED}.")
    await expect(page.locator("pre")).to_have_text("<b>no such channel</b>")
    await shot(page, "console/webhook-test")


async def test_webhooks_of_databricks_have_the_same_page(page: Page, rest: Rest, receiver: Receiver) -> None:
    created = rest.post(
        "registry-webhooks/create", events=["MODEL_VERSION_CREATED"], http_url_spec={"url": receiver.url}
    )["webhook"]
    name = _new_version(rest)
    receiver.wait_for(1)

    await page.goto("/console/webhooks")
    await page.get_by_role("link", name=receiver.url, exact=True).click()

    await _reload_until(page, page.locator("tr[data-delivery]", has_text=name))
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_role("status").first).to_have_text("The receiver answered 200.")
    rest.delete("registry-webhooks/delete", id=created["id"])


async def test_the_audit_is_searched_by_model_kind_and_time_and_read_page_by_page(page: Page, rest: Rest) -> None:
    name = uuid.uuid4().hex
    rest.post("registered-models/create", name=name)
    for number in range(60):
        rest.post("registered-models/set-tag", name=name, key="number", value=str(number))
    rows = page.locator("tr[data-event]")

    await page.goto("/console/audit")
    await page.get_by_label("Model").fill(name)
    await page.get_by_role("button", name="Search").click()
    await expect(rows).to_have_count(50)
    await expect(rows.first).to_contain_text("58 → 59")
    await shot(page, "console/audit")
    await page.get_by_role("link", name="Older events").click()
    await expect(rows).to_have_count(11)
    await expect(rows.last).to_contain_text("registered model created")

    await page.get_by_label("What happened").select_option("REGISTERED_MODEL_CREATED")
    await page.get_by_label("To (UTC)").fill(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M"))
    await page.get_by_role("button", name="Search").click()
    await expect(rows).to_have_count(1)
    await page.get_by_label("To (UTC)").fill("2020-01-01T00:00")
    await page.get_by_role("button", name="Search").click()
    await expect(page.get_by_text("Nothing was found.")).to_be_visible()


async def test_a_model_that_never_was_is_said_so(page: Page) -> None:
    await page.goto("/console/audit?name=no-such-model")

    await expect(page.get_by_role("alert")).to_contain_text("no-such-model")


@pytest.mark.parametrize("path", ["system", "webhooks", "webhooks/mlflow/{webhook_id}", "audit"])
async def test_pages_are_light_legible_and_fit_a_phone(page: Page, rest: Rest, webhook: Json, path: str) -> None:
    _new_version(rest)
    path, name = path.format(webhook_id=webhook["webhook_id"]), WORDLESS.sub("-", path)
    for size, (width, height) in SIZES.items():
        await page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            await page.goto(f"/console/{path}")
            assert await legibility.transferred_bytes(page) < legibility.TRANSFERRED_BYTES_MAX
            assert await legibility.low_contrast(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            await shot(page, f"console/{name}-{size}-{scheme}")
    assert await legibility.unnamed(page) == []
    places, count = await legibility.focus_order(page)
    assert places == list(range(count))


async def _reload_until(page: Page, row: Locator) -> None:
    """Load the page again until it shows a row: these pages tell what was when they were loaded."""
    deadline = time.monotonic() + RELOADED_S
    while not await row.count():
        assert time.monotonic() < deadline, "the row did not come"
        await page.reload()
