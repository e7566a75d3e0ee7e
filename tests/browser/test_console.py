"""The console's pages of the registry, as people use them: each is opened, read, clicked through and signed in to."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser import harness, legibility
from tests.browser.harness import Problems, shot
from tests.browser.office import Office, key_of, write_tokens
from tests.stack import Stack

# Several people with a browser each, on a machine that does other work too.
pytestmark = pytest.mark.timeout(1200)

OpenAs = Callable[..., Awaitable[Page]]

# Paths of every page, with what its title begins with.
PAGES = {
    "": "Overview",
    "login": "Sign in",
    "models": "Models",
    "models?q=fraud": "Models",
    "models/fraud": "fraud",
    "models/fraud/versions/3": "fraud v3",
    "models/fraud/policy": "Policy of fraud",
    "models/fraud/history": "History of fraud",
    "models/fraud/as-of?revision=9": "fraud at a time",
    "policy": "Default policy",
    "models/nothing": "Not found",
}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A platform where callers need keys, with a model that is governed and one that is not."""
    path = tmp_path_factory.mktemp("office")
    with Stack(path / "stack", tokens_file=write_tokens(path / "tokens")) as stack:
        office = Office(stack.url)
        _furnish(office)
        yield office
        office.close()


def _furnish(office: Office) -> None:
    experiment = office.post("bob", "experiments/create", name="fraud-detection")["experiment_id"]
    for depth in (4, 5, 6):
        run = office.post("bob", "runs/create", experiment_id=experiment, run_name=f"depth-{depth}", start_time=depth)
        if depth > 4:
            office.post("bob", "runs/update", run_id=run["run"]["info"]["run_id"], status="FINISHED", end_time=9)
    office.register("fraud", "Archived", "Production", "Staging", "None", "None")
    office.register("churn", "None", "None")
    office.post("bob", "registered-models/alias", name="fraud", alias="champion", version="2")
    office.post("bob", "registered-models/set-tag", name="fraud", key="tier", value="1")
    office.post("bob", "model-versions/set-tag", name="fraud", version="3", key="auc", value="0.973")
    office.govern("fraud", "rules: {Production: {approvals: 1}}\n")
    office.govern("fraud")
    office.check("fraud", "3", "unit-tests")
    office.check("fraud", "3", "bias-report", "FAILED")
    office.ask("bob", "fraud", "3", "Production", "Two weeks of shadow traffic.")
    office.post(
        "carol", "transition-requests/approve", name="fraud", version="3", stage="Production",
        archive_existing_versions=True, comment="Fine by risk.",
    )  # fmt: skip
    office.post("alice", "comments/create", name="fraud", version="3", comment="Look at the bias report:\n<b>it</b>.")


@pytest.fixture
def problems(office: Office) -> Problems:
    return Problems(url=office.url)


@pytest.fixture
async def open_as(browser: Browser, office: Office, problems: Problems) -> AsyncIterator[OpenAs]:
    """Signs somebody in with a browser of his own, and returns its page at a path below /console/."""
    pages: list[Page] = []

    async def open_one(who: str, path: str = "", **context: object) -> Page:
        page = await harness.new_page(browser, office.url, problems, **context)
        pages.append(page)
        await page.goto("/console/login")
        await page.get_by_label("API key").fill(key_of(who))
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator(".viewer")).to_contain_text(who)
        if path:
            await page.goto(f"/console/{path}")
        return page

    yield open_one
    for page in pages:
        await page.context.close()
    assert not problems.unexpected, "\n".join(problems.unexpected)


@pytest.fixture
def model(office: Office, request: pytest.FixtureRequest) -> str:
    """A model of the test's own: version 1 is in Production, version 2, whose checks have passed, in Staging."""
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_"))[:60]
    office.register(name, "Production", "Staging")
    office.govern(name)
    for check in ("unit-tests", "bias-report"):
        office.check(name, "2", check)
    return name


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_can_be_read(open_as: OpenAs, problems: Problems, scheme: str) -> None:
    problems.expect("/console/models/nothing: 404")
    # Without scripts nothing changes while the focus goes through a page.
    page = await open_as("alice", color_scheme=scheme, java_script_enabled=False)

    for path, title in PAGES.items():
        await page.goto(f"/console/{path}")
        await expect(page).to_have_title(f"{title} · Modelstead")
        await shot(page, f"console/{_file_name(path)}-{scheme}")
        assert await legibility.low_contrast(page) == [], path
        assert await legibility.unnamed(page) == [], path
        assert await page.get_attribute("html", "lang") == "en"
        places, count = await legibility.focus_order(page)
        assert places == list(range(count)), path


async def test_every_page_fits_a_phone_and_is_light(open_as: OpenAs, problems: Problems) -> None:
    problems.expect("/console/models/nothing: 404")
    page = await open_as("alice", viewport={"width": 390, "height": 844})

    for path in PAGES:
        await page.goto(f"/console/{path}")
        await shot(page, f"console/{_file_name(path)}-phone")
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert await legibility.transferred_bytes(page) < legibility.TRANSFERRED_BYTES_MAX, path


def _file_name(path: str) -> str:
    return re.sub(r"\W+", "-", path) or "overview"


async def test_a_promotion_that_is_approved_in_one_browser_shows_in_the_other(
    open_as: OpenAs, office: Office, model: str
) -> None:
    bob = await open_as("bob", f"models?q={model}")
    row = bob.get_by_role("row").filter(has=bob.get_by_role("rowheader", name=model, exact=True))
    await expect(row.get_by_role("link", name="v2")).to_be_visible()
    alice = await open_as("alice", f"models/{model}/versions/2")
    carol = await open_as("carol", f"models/{model}/versions/2")

    await row.get_by_role("link", name="v2").click()
    await expect(bob.get_by_label("Move to")).to_have_value("Production")
    await bob.get_by_label("Why").fill("Better on all of last week.")
    await bob.get_by_role("button", name="Request", exact=True).click()
    await expect(bob.locator("#said")).to_have_text("The request is open.")
    await bob.goto(f"/console/models?q={model}")
    await expect(bob.get_by_text("Better on all of last week.")).to_be_visible()

    # Nobody has to load a page again.
    for approver, comment in ((alice, "Fine by leads."), (carol, "Fine by risk.")):
        request = approver.get_by_role("article", name="Request for Production")
        await expect(request).to_contain_text("Better on all of last week.")
        await request.get_by_label("Comment").fill(comment)
        await request.get_by_label("Move those that are there to Archived").check()
        await request.get_by_role("button", name="Approve").click()
        await expect(approver.locator("#said")).to_have_text("The approval counts.")

    cells = row.get_by_role("cell")
    await expect(cells.nth(2)).to_contain_text("v2")
    await expect(cells.nth(3)).to_contain_text("v1")
    await expect(bob.get_by_text("Better on all of last week.")).to_have_count(0)
    await expect(alice.locator("dl.facts").first).to_contain_text("Production")
    assert (office.stage(model, "1"), office.stage(model, "2")) == ("Archived", "Production")
    await shot(bob, "console/board-after-promotion")


async def test_what_is_missing_is_told_in_sentences(open_as: OpenAs) -> None:
    page = await open_as("alice", "models/fraud/versions/3")

    request = page.get_by_role("article", name="Request for Production")
    await expect(request.get_by_role("list", name="Missing")).to_have_text("Check bias-report is FAILED")
    await expect(request).to_contain_text("2 of 2 approvals if you approve")
    await expect(page.get_by_role("row", name="@champion")).to_contain_text("It has 0 of 1 approval by group leads")
    comment = page.get_by_role("article").filter(has_text="Look at the bias report")
    await expect(comment).to_contain_text("<b>it</b>.")


async def test_who_may_not_decide_is_offered_no_decision(open_as: OpenAs) -> None:
    page = await open_as("bob", "models/fraud/versions/3")

    request = page.get_by_role("article", name="Request for Production")
    await expect(request).to_contain_text("You are not among those who decide about it.")
    await expect(request.get_by_role("button")).to_have_text(["Cancel the request of bob for Production"])


async def test_what_is_refused_is_told_beside_its_field(open_as: OpenAs, problems: Problems, model: str) -> None:
    problems.expect(f"POST .*/models/{model}/versions/2/ask: 400")
    page = await open_as("bob", f"models/{model}/versions/2")
    await page.get_by_label("Why").fill("Once.")
    await page.get_by_role("button", name="Request", exact=True).click()
    await expect(page.locator("#said")).to_be_visible()

    await page.get_by_label("Move to").select_option("Production")
    await page.get_by_label("Why").fill("Twice.")
    await page.get_by_role("button", name="Request", exact=True).click()

    field = page.get_by_label("Move to")
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_be_focused()
    await expect(field).to_have_accessible_description(re.compile("already exists"))
    await expect(page.get_by_label("Why")).to_have_value("Twice.")
    assert await legibility.low_contrast(page) == []
    await shot(page, "console/refused")


async def test_a_request_is_rejected_and_another_taken_back(open_as: OpenAs, office: Office, model: str) -> None:
    office.ask("bob", model, "2", "Production")
    office.ask("bob", model, "2", "@champion")
    alice, bob = await open_as("alice", f"models/{model}/versions/2"), await open_as("bob")

    await alice.get_by_role("article", name="Request for Production").get_by_role("button", name="Reject").click()
    await expect(alice.locator("#said")).to_have_text("The requests are rejected.")
    await bob.goto(f"/console/models/{model}/versions/2")
    await bob.get_by_role("button", name="Cancel the request of bob for @champion").click()
    await expect(bob.locator("#said")).to_have_text("The request is taken back.")

    # Alice's page learns of it.
    await expect(alice.get_by_role("article", name=re.compile("Request for"))).to_have_count(0)
    await expect(alice.get_by_role("listitem").filter(has_text="rejected")).to_have_count(1)


async def test_a_version_moves_at_once_where_nothing_is_missing(open_as: OpenAs, office: Office, model: str) -> None:
    page = await open_as("bob", f"models/{model}/versions/2")

    await page.get_by_label("Move to").select_option("Archived")
    await page.get_by_label("Why").fill("Not needed.")
    await page.get_by_role("button", name="Move now").click()

    await expect(page.locator("#said")).to_have_text("The version has moved.")
    assert office.stage(model, "2") == "Archived"


async def test_who_decides_on_what_is_no_longer_so_is_told(
    open_as: OpenAs, office: Office, problems: Problems, model: str
) -> None:
    problems.expect(r"/approve: 409")
    office.ask("bob", model, "2", "Production")
    # A browser that does not run scripts sees no change by itself.
    page = await open_as("alice", f"models/{model}/versions/2", java_script_enabled=False)
    office.post(
        "bob", "model-versions/transition-stage", name=model, version="2", stage="None",
        archive_existing_versions=False,
    )  # fmt: skip

    await page.get_by_role("button", name="Approve").click()

    await expect(page.get_by_role("alert")).to_contain_text("is in stage None, not in 'Staging'")
    assert office.stage(model, "2") == "None"


async def test_everything_works_without_scripts(open_as: OpenAs, office: Office, model: str) -> None:
    office.ask("bob", model, "2", "Production", "By hand.")

    for who in ("alice", "carol"):
        page = await open_as(who, "models", java_script_enabled=False)
        await page.get_by_role("searchbox").fill(model)
        await page.get_by_role("button", name="Search").click()
        await page.get_by_role("link", name=f"{model} v2").click()
        await page.get_by_role("button", name="Approve").click()
        await expect(page.locator("#said")).to_have_text("The approval counts.")
        await page.get_by_label("Say something").fill(f"{who} was here")
        await page.get_by_role("button", name="Comment", exact=True).click()
        await expect(page.get_by_role("article").filter(has_text=f"{who} was here")).to_be_visible()

    assert office.stage(model, "2") == "Production"


async def test_a_comment_is_deleted_by_its_author(open_as: OpenAs, office: Office, model: str) -> None:
    office.post("carol", "comments/create", name=model, version="1", comment="Never mind.")
    page = await open_as("carol", f"models/{model}/versions/1")

    await page.get_by_role("button", name="Delete the comment of carol").click()

    await expect(page.locator("#said")).to_have_text("The comment is deleted.")
    await expect(page.get_by_role("article").filter(has_text="Never mind.")).to_have_count(0)


async def test_what_is_being_written_is_not_taken_away(open_as: OpenAs, office: Office, model: str) -> None:
    page, other = [await open_as("alice", f"models/{model}/versions/2") for _ in range(2)]
    await page.get_by_label("Say something").fill("I am not yet")

    office.check(model, "2", "bias-report", "FAILED")

    await expect(other.get_by_role("row", name="bias-report")).to_contain_text("failed")
    await expect(page.get_by_label("Say something")).to_have_value("I am not yet")
    await page.get_by_label("Say something").fill("")
    await page.get_by_role("heading", level=1).click()
    # Once it is empty again, the page catches up.
    await expect(page.get_by_role("row", name="bias-report")).to_contain_text("failed")


async def test_a_policy_is_set_and_its_revisions_are_compared(
    open_as: OpenAs, office: Office, problems: Problems, model: str
) -> None:
    problems.expect(r"/policy: (400|409)")
    page = await open_as("root", f"models/{model}/policy")
    text = page.get_by_label("Policy, in YAML")

    await text.fill("rules:\n  Production: {approvals: many}\n")
    await page.get_by_role("button", name="Set").click()
    await expect(text).to_have_attribute("aria-invalid", "true")
    await expect(text).to_have_accessible_description(re.compile("line 2"))
    await expect(text).to_have_value("rules:\n  Production: {approvals: many}\n")
    await text.fill("rules:\n  Production: {approvals: 3}\n")
    await page.get_by_role("button", name="Set").click()

    await expect(page.get_by_role("status")).to_have_text("The policy is set.")
    await expect(page.locator("section", has_text="What applies").first).to_contain_text("3 approvals")
    newest = page.locator("details").first
    await expect(newest).to_contain_text("Revision 2 set by root")
    await expect(newest.locator("[data-sign='-']").first).to_contain_text("Staging:")
    await expect(newest.locator("[data-sign='+']")).to_contain_text("Production: {approvals: 3}")
    # Somebody else was faster: nothing of theirs is overwritten.
    office.govern(model, "rules: {Production: {approvals: 4}}\n")
    await text.fill("rules: {Production: {approvals: 5}}\n")
    await page.get_by_role("button", name="Set").click()
    await expect(text).to_have_accessible_description(re.compile("is at revision 3, not 2"))


async def test_a_policy_is_shown_to_who_may_not_change_it(open_as: OpenAs, office: Office, model: str) -> None:
    office.govern(model, "rules: {Production: {approvals: 1}}\nowners: {groups: [admins]}\n")
    page = await open_as("bob", f"models/{model}/policy")

    await expect(page.get_by_role("button", name="Set")).to_have_count(0)
    await expect(page.locator("section").last).to_contain_text("owners: {groups: [admins]}")


async def test_an_earlier_page_of_revisions_shows_the_policy_that_is_there(
    open_as: OpenAs, office: Office, model: str
) -> None:
    for number in range(1, 22):
        office.govern(model, f"rules: {{Production: {{approvals: {number}}}}}\n")
    page = await open_as("root", f"models/{model}/policy")

    await page.get_by_role("link", name="Next page").click()

    await expect(page.locator("details").last).to_contain_text("Revision 1 set by")
    await expect(page.get_by_label("Policy, in YAML")).to_have_value("rules: {Production: {approvals: 21}}\n")


async def test_every_change_is_told_and_leads_to_the_state_then(open_as: OpenAs, office: Office, model: str) -> None:
    office.post("bob", "registered-models/alias", name=model, alias="shadow", version="2")
    page = await open_as("root", f"models/{model}")

    await page.get_by_role("link", name="History").first.click()
    await page.get_by_label("Who").fill("bob")
    await page.get_by_label("What", exact=False).fill("MODEL_VERSION_TRANSITIONED_STAGE")
    await page.get_by_role("button", name="Filter").click()
    rows = page.get_by_role("row").filter(has_text="model version transitioned stage")
    await expect(rows).to_have_count(2)
    await expect(rows.first).to_contain_text("NoneStaging")
    await rows.last.get_by_role("rowheader").get_by_role("link").click()

    await expect(page.get_by_role("heading", level=2)).to_contain_text("At revision")
    first = page.get_by_role("row", name=re.compile("^v1"))
    await expect(first).to_contain_text("Production")
    await expect(first).to_contain_text("the same")
    second = page.get_by_role("row", name=re.compile("^v2"))
    await expect(second).to_have_count(0)
    for _ in range(2):
        await page.get_by_role("link", name="Revision after").click()
    await expect(page.get_by_role("row", name=re.compile("^v2"))).to_contain_text("Staging")


async def test_a_session_comes_with_links_of_other_sites_and_not_with_their_forms(
    open_as: OpenAs, office: Office, problems: Problems, model: str
) -> None:
    problems.expect(r"/move: 403")
    page = await open_as("bob")

    await page.goto("about:blank")
    await page.set_content(f'<a href="{office.url}/console/models/{model}">see</a>')
    await page.get_by_role("link", name="see").click()
    await expect(page).to_have_title(f"{model} · Modelstead")
    await expect(page.locator(".viewer")).to_contain_text("bob")

    await page.goto("about:blank")
    await page.set_content(
        f'<form method="post" action="{office.url}/console/models/{model}/versions/2/move">'
        '<input name="stage" value="Archived"><button>win</button></form>'
    )
    await page.get_by_role("button", name="win").click()
    await expect(page.locator("body")).to_have_text("Cross-origin request blocked")
    assert office.stage(model, "2") == "Staging"


async def test_scripts_use_the_session_and_cannot_read_it(open_as: OpenAs) -> None:
    page = await open_as("carol", "models")

    assert await page.evaluate("document.cookie") == ""
    status = await page.evaluate(
        "fetch('/ajax-api/2.0/mlflow/registered-models/search').then((answer) => answer.status)"
    )
    assert status == 200


async def test_who_signs_out_is_out(open_as: OpenAs) -> None:
    page = await open_as("carol", "models")

    await page.get_by_role("button", name="Sign out").click()
    await expect(page).to_have_title("Sign in · Modelstead")
    await page.goto("/console/models")

    await expect(page).to_have_title("Sign in · Modelstead")


async def test_a_wrong_key_lets_nobody_in(browser: Browser, office: Office) -> None:
    problems = Problems(url=office.url)
    problems.expect(r"POST .*/console/login: 400")
    page = await harness.new_page(browser, office.url, problems)
    await page.goto("/console/models/fraud")
    key = page.get_by_label("API key")

    await key.fill("guess")
    await key.press("Enter")
    await expect(key).to_have_accessible_description(re.compile("No caller is known by this key."))
    await key.fill(key_of("bob"))
    await key.press("Enter")

    # Back to where he wanted to be.
    await expect(page).to_have_title("fraud · Modelstead")
    await page.context.close()
    assert not problems.unexpected, "\n".join(problems.unexpected)


async def test_any_name_is_shown_as_it_is(open_as: OpenAs, office: Office) -> None:
    name = office.register('it\'s "100%" <img src=x> & ünïcode #1?', "None", "Staging")
    page = await open_as("alice", "models")

    await page.get_by_role("searchbox").fill("<IMG src")
    await page.get_by_role("searchbox").press("Enter")
    await page.get_by_role("link", name=name, exact=True).click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    await page.get_by_role("table").get_by_role("link", name="v2").click()
    await page.get_by_label("Move to").select_option("Production")
    await page.get_by_label("Why").fill("<script>document.title = 'ran'</script>")
    await page.get_by_role("button", name="Request", exact=True).click()

    await expect(page.get_by_role("article", name="Request for Production")).to_contain_text("<script>document.title")
    await expect(page).to_have_title(f"{name} v2 · Modelstead")


async def test_many_models_come_in_pages(open_as: OpenAs, office: Office) -> None:
    for number in range(52):
        office.register(f"one-of-many-{number:02}")
    page = await open_as("alice", "models?q=one-of-many")

    models = page.get_by_role("region", name="Models by stage").get_by_role("rowheader")
    await expect(models).to_have_count(50)
    await page.get_by_role("link", name="Next page").click()

    await expect(models).to_have_text(["one-of-many-50", "one-of-many-51"])
    await expect(page.get_by_role("searchbox")).to_have_value("one-of-many")
    await expect(page.get_by_role("link", name="Next page")).to_have_count(0)


async def test_a_run_is_followed_live_by_who_is_signed_in(open_as: OpenAs, office: Office) -> None:
    run_id = office.post("bob", "runs/create", experiment_id="0")["run"]["info"]["run_id"]
    office.post("bob", "runs/log-metric", run_id=run_id, key="loss", value=1.0, timestamp=1, step=0)
    page = await open_as("bob", f"runs/{run_id}")
    await expect(page.locator("#feed")).to_have_text("Live")

    office.post("bob", "runs/log-metric", run_id=run_id, key="loss", value=0.5, timestamp=2, step=1)

    await expect(page.locator(".chart .latest")).to_have_text("0.5")
