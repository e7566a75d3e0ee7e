"""A promotion policy binds every way to move a version or an alias, and says all that is missing."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from services.common.auth import Caller
from services.common.database import Database
from services.common.errors import AlreadyExists, Conflict, InvalidArgument, NotFound, PermissionDenied
from services.registry.__main__ import SCHEMA
from services.registry.permissions import store as permissions_store
from services.registry.permissions.model import Defaults, Level
from services.registry.releases.model import ReleaseMove
from services.registry.transitions.model import Expected
from tests.store.registry import factories
from tests.store.registry.factories import CALLER, Registry
from tests.store.registry.test_permissions import Entry

ANN, BOB, EVE = (Caller(name=name) for name in ("ann", "bob", "eve"))
LEA, LOU = (Caller(name=name, groups=frozenset({"leads"})) for name in ("lea", "lou"))
CI = Caller(name="ci")
ONE_LEAD = "rules: {Production: {approvals: 1, approvers: {groups: [leads]}}}"
TWO_LEADS = "rules: {Production: {approvals: 2, approvers: {groups: [leads]}}}"
CHAMPION = "aliases: {champion: {approvals: 1, approvers: {groups: [leads]}}}\nowners: {users: [ann]}"
DAY_MS = 24 * 3_600_000


@dataclass
class Clock:
    now: int = 1_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def registry(registry_db: Database) -> Registry:
    return Registry.over(registry_db)


@pytest.fixture
async def name(registry: Registry) -> str:
    name = await registry.new_model()
    for _ in range(3):
        await registry.new_version(name)
    return name


async def _stage(registry: Registry, name: str, version: str = "1") -> str:
    return (await registry.versions.get(name, version)).current_stage


def refused(text: str) -> "pytest.RaisesExc[PermissionDenied]":
    return pytest.raises(PermissionDenied, match=re.escape(text))


async def test_a_refusal_says_everything_that_is_missing(registry: Registry, name: str) -> None:
    await registry.set_policy(
        name,
        """
        edges: [{from: None, to: Staging}]
        rules: {Production: {approvals: 2, approvers: {users: [ann], groups: [leads]}, checks: [tests, bias]}}
        freezes: [{from: 1970-01-01T00:00:00Z, to: 2970-01-01T00:00:00Z, reason: holidays, stages: [Production]}]
        """,
    )
    await registry.check(name, "1", "bias", "FAILED")

    with pytest.raises(PermissionDenied) as raised:
        await registry.transition(name, "1", "Production", caller=EVE)

    assert raised.value.message == (
        f"The promotion policy of model {name} refuses moving version 1 from None to Production: the policy has no "
        "edge from None to Production, only to Staging; it is frozen until 2970-01-01T00:00:00Z: holidays; check tests "
        "is not posted; check bias is FAILED; it has 0 of 2 approvals by user ann or group leads."
    )
    assert await _stage(registry, name) == "None"


async def test_the_last_approval_moves_the_version(registry: Registry, name: str) -> None:
    await registry.set_policy(name, TWO_LEADS)
    await registry.request(name, "1", "production", caller=BOB)

    first = await registry.approve(name, "1", "Production", caller=LEA, comment="fine")

    assert await _stage(registry, name) == "None"
    assert first.system_comment == "Not moved yet: it has 1 of 2 approvals by group leads."
    again = await registry.approve(name, "1", "Production", caller=LEA)
    assert again.system_comment == first.system_comment

    last = await registry.approve(name, "1", "Production", caller=LOU)

    assert await _stage(registry, name) == "Production"
    assert (last.activity_type, last.user_id, last.from_stage, last.to_stage, last.system_comment) == (
        "APPROVED_REQUEST", "lou", "None", "Production", None,
    )  # fmt: skip
    assert await registry.requests.list(name, "1", caller=BOB) == []


async def test_who_asks_does_not_approve_unless_the_policy_says_so(registry: Registry, name: str) -> None:
    await registry.set_policy(name, ONE_LEAD)
    await registry.request(name, "1", "Production", caller=LEA)

    with refused("who asks for a move does not approve it"):
        await registry.approve(name, "1", "Production", caller=LEA)
    with refused("it has 0 of 1 approval by group leads; who asks for a move does not approve it"):
        await registry.transition(name, "1", "Production", caller=LEA)

    await registry.set_policy(name, ONE_LEAD.replace("}}}", "}, self_approval: true}}"))
    await registry.transition(name, "1", "Production", caller=LEA)
    assert await _stage(registry, name) == "Production"


async def test_two_who_ask_do_not_make_two_approvals_of_each_other(registry: Registry, name: str) -> None:
    await registry.set_policy(name, TWO_LEADS)
    for asking in (LEA, LOU):
        await registry.request(name, "1", "Production", caller=asking)

    for approving in (LEA, LOU):
        waiting = await registry.approve(name, "1", "Production", caller=approving)
        assert waiting.system_comment == "Not moved yet: it has 1 of 2 approvals by group leads."

    assert await _stage(registry, name) == "None"


async def test_only_approvers_approve_and_reject(registry: Registry, name: str) -> None:
    await registry.set_policy(name, ONE_LEAD)
    await registry.request(name, "1", "Production", caller=BOB)

    with refused("it needs group leads"):
        await registry.approve(name, "1", "Production", caller=EVE)
    with refused("it needs group leads"):
        await registry.requests.reject(name, "1", stage="Production", comment="", caller=EVE)

    assert await registry.requests.list(name, "1", caller=EVE) != []


async def test_a_move_by_an_approver_is_the_approval_of_who_asked(
    registry: Registry, registry_db: Database, name: str
) -> None:
    await registry.set_policy(name, ONE_LEAD)
    await registry.request(name, "1", "Production", caller=BOB)

    await registry.transition(name, "1", "Production", caller=LEA)

    *_, approval, move = await factories.events_of(registry_db, name)
    assert (approval["kind"], approval["actor"], approval["changes"]["requesters"]) == (
        "TRANSITION_REQUEST_APPROVED", "lea", {"to": ["bob"]},
    )  # fmt: skip
    assert move["changes"] == {"current_stage": {"from": "None", "to": "Production"}, "approved": {"to": True}}
    assert await registry.requests.list(name, "1", caller=BOB) == []


async def test_approvals_wait_for_checks_and_anybody_moves_then(registry: Registry, name: str) -> None:
    await registry.set_policy(
        name,
        "rules: {Production: {approvals: 1, approvers: {groups: [leads]}, "
        "checks: [{name: tests, posted_by: {users: [ci]}}]}}",
    )
    await registry.request(name, "1", "Production", caller=BOB)
    waiting = await registry.approve(name, "1", "Production", caller=LEA)
    assert waiting.system_comment == "Not moved yet: check tests is not posted."

    with refused("posting check tests: it needs user ci"):
        await registry.check(name, "1", "tests", caller=EVE)
    await registry.check(name, "1", "tests", "PENDING", caller=CI)
    with refused("check tests is PENDING"):
        await registry.transition(name, "1", "Production", caller=BOB)
    await registry.check(name, "1", "tests", caller=CI)
    with refused("check tests is not posted"):
        await registry.transition(name, "2", "Production", caller=LEA)

    await registry.transition(name, "1", "Production", caller=BOB)
    assert await _stage(registry, name) == "Production"


async def test_what_was_posted_before_the_policy_named_posters_does_not_count(registry: Registry, name: str) -> None:
    await registry.check(name, "1", "tests", caller=EVE)
    await registry.set_policy(name, "rules: {Production: {checks: [{name: tests, posted_by: {users: [ci]}}]}}")

    with refused("check tests must be posted by user ci, not by eve"):
        await registry.transition(name, "1", "Production", caller=EVE)


async def test_an_approval_counts_by_the_policy_of_the_moment(registry: Registry, name: str) -> None:
    await registry.set_policy(name, TWO_LEADS)
    await registry.request(name, "1", "Production", caller=BOB)
    await registry.approve(name, "1", "Production", caller=LEA)

    await registry.set_policy(name, "rules: {Production: {approvals: 1, approvers: {users: [ann]}}}")

    with refused("it has 0 of 1 approval by user ann"):
        await registry.transition(name, "1", "Production", caller=BOB)


async def test_without_approvers_an_approval_counts_while_its_giver_may_make_the_move(
    name: str, registry_url: str
) -> None:
    async with _where_everybody_has(Level.READ, registry_url) as registry:
        id_ = (await registry.granting.standing(name, caller=CALLER)).id

        async def grant(**levels: Level) -> None:
            levels[CALLER.name] = Level.MANAGE
            entries = [Entry(user_name=user, permission_level=level) for user, level in levels.items()]
            await registry.granting.set(id_, entries, caller=CALLER)

        await registry.set_policy(name, "rules: {Production: {approvals: 2}}")
        await registry.request(name, "1", "Production", caller=BOB)
        await grant(ann=Level.MANAGE_PRODUCTION_VERSIONS, eve=Level.MANAGE_PRODUCTION_VERSIONS)
        await registry.approve(name, "1", "Production", caller=ANN)

        await grant(ann=Level.MANAGE_STAGING_VERSIONS, eve=Level.MANAGE_PRODUCTION_VERSIONS)
        await registry.approve(name, "1", "Production", caller=EVE)
        waiting = await _stage(registry, name)
        await grant(ann=Level.MANAGE_PRODUCTION_VERSIONS, eve=Level.MANAGE_PRODUCTION_VERSIONS)
        await registry.transition(name, "1", "Production", caller=EVE)

        assert waiting == "None"
        assert await _stage(registry, name) == "Production"


async def test_requests_expire(registry_db: Database) -> None:
    clock = Clock()
    registry = Registry.over(registry_db, clock)
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.set_policy(name, ONE_LEAD + "\nrequest_expires: 7d")
    await registry.request(name, "1", "Production", caller=BOB)

    clock.now += 7 * DAY_MS - 1
    assert len(await registry.requests.list(name, "1", caller=BOB)) == 1
    clock.now += 1

    assert await registry.requests.list(name, "1", caller=BOB) == []
    with pytest.raises(NotFound, match="No open transition request"):
        await registry.approve(name, "1", "Production", caller=LEA)
    with refused("who asks for a move does not approve it"):
        await registry.transition(name, "1", "Production", caller=LEA)
    await registry.request(name, "1", "Production", caller=BOB)
    expired = [event for event in await factories.events_of(registry_db, name) if "EXPIRED" in event["kind"]]
    assert [(event["actor"], event["changes"]["requesters"]) for event in expired] == [("bob", {"to": ["bob"]})]


async def test_nothing_moves_while_it_is_frozen(registry_db: Database) -> None:
    clock = Clock()
    registry = Registry.over(registry_db, clock)
    name = await registry.new_model()
    await registry.new_version(name)
    await registry.transition(name, "1", "Production")
    await registry.set_policy(
        name,
        "freezes: [{from: 1970-01-01T01:00:00Z, to: 1970-01-01T02:00:00+00:00, reason: peak, stages: [production]}]",
    )

    for now, is_frozen in ((3_599_999, False), (3_600_000, True), (7_199_999, True), (7_200_000, False)):
        clock.now = now
        for stage in ("Archived", "Production"):
            if is_frozen and stage == "Archived":
                with refused("it is frozen until 1970-01-01T02:00:00Z: peak"):
                    await registry.transition(name, "1", stage)
            else:
                await registry.transition(name, "1", stage)


async def test_edges_have_rules_of_their_own(registry: Registry, name: str) -> None:
    await registry.set_policy(
        name,
        """
        stages: [Dev, Live]
        edges: [{from: None, to: Dev}, {from: Dev, to: Live, approvals: 1}, {from: Live, to: Dev}]
        rules: {Live: {approvals: 2}, Dev: {checks: [tests]}}
        """,
    )

    with refused("check tests is not posted"):
        await registry.transition(name, "1", "dev")
    await registry.check(name, "1", "tests")
    await registry.transition(name, "1", "DEV")
    with refused("it has 0 of 1 approval; who asks"):
        await registry.transition(name, "1", "live")
    await registry.request(name, "1", "live", caller=BOB)
    await registry.approve(name, "1", "live", caller=EVE)
    assert await _stage(registry, name) == "Live"
    with refused("the policy has no edge from Live to None, only to Dev"):
        await registry.transition(name, "1", "None")


async def test_custom_stages_are_valid_wherever_a_stage_is_named(registry: Registry, name: str) -> None:
    await registry.set_policy(name, "stages: [Dev, Live, Old]\narchive: Old")
    await registry.transition(name, "1", "live")
    await registry.transition(name, "2", "LIVE", archive=True)

    (live,) = await registry.models.latest_versions(name, stages=["lIVE"])

    assert (live.version, await _stage(registry, name)) == ("2", "Old")
    with pytest.raises(InvalidArgument, match=r"stage: Staging. Value must be one of None, Dev, Live, Old"):
        await registry.transition(name, "1", "Staging")
    with pytest.raises(InvalidArgument, match="Invalid Model Version stage: Staging"):
        await registry.models.latest_versions(name, stages=["Staging"])
    with pytest.raises(InvalidArgument, match=r"not an Active stage. Valid stages are \['Dev', 'Live'\]"):
        await registry.transition(name, "1", "old", archive=True)


async def test_from_a_stage_that_is_no_more_a_version_moves_to_none(registry: Registry, name: str) -> None:
    await registry.transition(name, "1", "Staging")
    await registry.set_policy(name, "stages: [Dev, Live]\nedges: [{from: None, to: Dev}]")

    with refused("the policy has no stage Staging"):
        await registry.transition(name, "1", "Live")
    await registry.transition(name, "1", "None")
    await registry.transition(name, "1", "Dev")


async def test_an_approved_move_covers_the_archiving_of_those_it_replaces(registry: Registry, name: str) -> None:
    await registry.transition(name, "1", "Production")
    policy = ONE_LEAD[:-1] + ", Archived: {approvals: 100}}"
    await registry.set_policy(name, policy)
    await registry.request(name, "2", "Production", caller=BOB)

    with refused("it has 0 of 100 approvals"):
        await registry.transition(name, "1", "Archived", caller=LEA)
    await registry.approve(name, "2", "Production", caller=LEA, archive=True)
    assert (await _stage(registry, name), await _stage(registry, name, "2")) == ("Archived", "Production")

    await registry.set_policy(name, ONE_LEAD + "\nedges: [{from: None, to: Production}]")
    await registry.request(name, "3", "Production", caller=BOB)
    with refused("moving version 2 from Production to Archived: the policy has no edge from Production to Archived"):
        await registry.approve(name, "3", "Production", caller=LEA, archive=True)
    # What is refused leaves no approval behind.
    with refused("it has 0 of 1 approval by group leads"):
        await registry.transition(name, "3", "Production", caller=BOB)


async def test_a_protected_alias_behaves_as_a_stage(registry: Registry, name: str) -> None:
    await registry.set_policy(name, CHAMPION, caller=ANN)
    with refused("pointing alias champion at version 1: it has 0 of 1 approval by group leads"):
        await registry.aliases.set(name, "champion", version="1", caller=BOB)
    await registry.aliases.set(name, "shadow", version="1", caller=BOB)
    with pytest.raises(InvalidArgument, match=r"Alias shadow of model .* is not protected"):
        await registry.request(name, "2", "@shadow", caller=BOB)

    await registry.request(name, "1", "@champion", caller=BOB)
    await registry.approve(name, "1", "@champion", caller=LEA)

    assert (await registry.aliases.get(name, "champion")).version == "1"
    with pytest.raises(InvalidArgument, match="is at @champion already"):
        await registry.request(name, "1", "@champion", caller=BOB)
    with refused("removing alias champion of version 1: it needs user ann"):
        await registry.aliases.delete(name, "champion", caller=LEA)
    with refused("removing alias champion of version 1: it needs user ann"):
        await registry.versions.delete(name, "1", caller=LEA)
    await registry.aliases.delete(name, "champion", caller=ANN)
    await registry.versions.delete(name, "1", caller=LEA)


async def test_what_is_protected_is_deleted_by_owners_only(registry: Registry, name: str) -> None:
    await registry.transition(name, "1", "Production")
    await registry.set_policy(name, ONE_LEAD + "\nowners: {users: [ann]}")

    with refused("deleting version 1 from stage Production: it needs user ann"):
        await registry.versions.delete(name, "1", caller=LEA)
    with refused("deleting the model: it needs user ann"):
        await registry.models.delete(name, caller=LEA)
    with refused("renaming the model: it needs user ann"):
        await registry.models.rename(name, new_name=factories.new_name(), caller=LEA)
    await registry.versions.delete(name, "2", caller=LEA)
    await registry.versions.delete(name, "1", caller=ANN)


async def test_a_policy_goes_with_its_model_and_not_with_the_name(registry: Registry, name: str) -> None:
    await registry.set_policy(name, ONE_LEAD + "\nowners: {users: [ann]}")
    renamed = factories.new_name()

    await registry.models.rename(name, new_name=renamed, caller=ANN)

    with refused(f"The promotion policy of model {renamed} refuses"):
        await registry.transition(renamed, "1", "Production", caller=EVE)
    await registry.new_model(name)
    await registry.new_version(name)
    await registry.transition(name, "1", "Production", caller=EVE)


async def test_only_owners_change_a_policy_and_every_revision_is_kept(registry: Registry, name: str) -> None:
    owned = ONE_LEAD + "\nowners: {groups: [leads]}"
    await registry.set_policy(name, owned, caller=EVE)
    with refused("changing it: it needs group leads"):
        await registry.set_policy(name, "archive: Archived", caller=EVE)
    with refused("changing it: it needs group leads"):
        await registry.policies.delete(name, caller=EVE)

    await registry.policies.delete(name, caller=LEA)

    with pytest.raises(NotFound, match=r"Promotion policy of model .* not found"):
        await registry.policies.get(name)
    await registry.set_policy(name, ONE_LEAD, caller=BOB)
    first, token = await registry.policies.revisions(name, max_results=2, page_token="")
    rest, end = await registry.policies.revisions(name, max_results=2, page_token=token or "")
    assert [(one.revision, one.policy_yaml, one.set_by) for one in [*first, *rest]] == [
        (3, ONE_LEAD, "bob"), (2, None, "lea"), (1, owned, "eve"),
    ]  # fmt: skip
    assert end is None


async def test_a_revision_is_set_over_the_expected_one_only(registry: Registry, name: str) -> None:
    await registry.policies.set(name, policy_yaml=ONE_LEAD, if_revision=0, caller=ANN)

    with pytest.raises(Conflict, match="is at revision 1, not 0 as if_revision expects"):
        await registry.policies.set(name, policy_yaml=ONE_LEAD, if_revision=0, caller=ANN)

    assert (await registry.policies.set(name, policy_yaml=ONE_LEAD, if_revision=1, caller=ANN)).revision == 2


async def test_the_default_applies_to_models_without_a_policy_of_their_own(registry: Registry, name: str) -> None:
    await registry.set_policy("", ONE_LEAD + "\nowners: {users: [ann]}", caller=ANN)
    try:
        with refused("it has 0 of 1 approval by group leads"):
            await registry.transition(name, "1", "Production", caller=EVE)
        with refused("changing it: it needs user ann"):
            await registry.set_policy(name, "archive: Archived", caller=EVE)
        with refused("The default promotion policy refuses changing it: it needs user ann"):
            await registry.policies.delete("", caller=EVE)
        with refused("deleting the model: it needs user ann"):
            await registry.models.delete(name, caller=EVE)
        await registry.set_policy(name, "archive: Archived", caller=ANN)
        await registry.transition(name, "1", "Production", caller=EVE)
    finally:
        await registry.policies.delete("", caller=ANN)
    await registry.transition(await _other(registry), "1", "Production", caller=EVE)


async def _other(registry: Registry) -> str:
    name = await registry.new_model()
    await registry.new_version(name)
    return name


async def test_a_release_moves_all_or_none(registry: Registry, name: str) -> None:
    other = await _other(registry)
    await registry.set_policy(name, "rules: {Production: {checks: [tests]}}")
    moves = [
        ReleaseMove(name=model, version="1", stage=stage, expected=Expected(), archive_existing_versions=False)
        for model, stage in ((other, "Production"), (name, "production"), (other, "@champion"))
    ]

    with refused("check tests is not posted"):
        await registry.releases.create(moves, comment="", caller=BOB)
    assert await _stage(registry, other) == "None"
    with pytest.raises(InvalidArgument, match="Registered model alias champion not found"):
        await registry.aliases.get(other, "champion")

    await registry.check(name, "1", "tests")
    made = await registry.releases.create(moves, comment="", caller=BOB)
    assert [(version.name, version.current_stage, list(version.aliases)) for version in made] == [
        (other, "Production", ["champion"]), (name, "Production", []), (other, "Production", ["champion"]),
    ]  # fmt: skip
    with pytest.raises(NotFound):
        await registry.releases.create([moves[0], _gone(moves[1])], comment="", caller=BOB)


def _gone(move: ReleaseMove) -> ReleaseMove:
    return ReleaseMove(
        name=move.name, version="9", stage=move.stage, expected=Expected(), archive_existing_versions=False
    )


async def test_one_request_of_everybody_for_a_target(registry: Registry, name: str) -> None:
    await registry.request(name, "1", "Production", caller=BOB)
    await registry.request(name, "1", "Production", caller=ANN)
    await registry.request(name, "1", "Staging", caller=BOB)

    with pytest.raises(AlreadyExists, match="by bob already exists"):
        await registry.request(name, "1", "production", caller=BOB)
    with pytest.raises(InvalidArgument, match="is at None already"):
        await registry.request(name, "1", "None", caller=BOB)

    await registry.transition(name, "1", "Production", caller=EVE)
    assert [one.to_stage for one in await registry.requests.list(name, "1", caller=BOB)] == ["Staging"]


@contextlib.asynccontextmanager
async def _where_everybody_has(level: Level, registry_url: str) -> AsyncIterator[Registry]:
    parameters = permissions_store.parameters(Defaults(level=level, admin_group="leads"))
    db = Database(registry_url, schema=SCHEMA, parameters=parameters)
    yield Registry.over(db)
    await db.close()


async def test_actions_are_those_of_the_caller(registry: Registry, name: str, registry_url: str) -> None:
    await registry.set_policy(name, ONE_LEAD.replace("leads", "risk"))
    await registry.request(name, "1", "Production", caller=BOB)
    risk, manager = Caller(name="rik", groups=frozenset({"risk"})), Caller(name="mia", groups=frozenset({"leads"}))
    both = Caller(name="bo", groups=risk.groups | manager.groups)

    async with _where_everybody_has(Level.READ, registry_url) as registry:
        await _check_actions(registry, name, both=both, manager=manager, risk=risk)


async def _check_actions(registry: Registry, name: str, *, both: Caller, manager: Caller, risk: Caller) -> None:
    actions = {}
    for caller in (both, manager, BOB, EVE, risk):
        (request,) = await registry.requests.list(name, "1", caller=caller)
        actions[caller.name] = [action.partition("_")[0] for action in request.available_actions]
    assert actions == {
        "bo": ["APPROVE", "REJECT", "CANCEL"],
        "mia": ["CANCEL"],
        "bob": ["CANCEL"],
        "eve": [],
        "rik": [],
    }
    with refused("it needs the permission MANAGE_PRODUCTION_VERSIONS on the model"):
        await registry.approve(name, "1", "Production", caller=risk)
    with refused("can be cancelled by bob and with the permission MANAGE on the model"):
        await registry.requests.cancel(name, "1", stage="Production", creator="bob", comment="", caller=EVE)

    cancelled = await registry.requests.cancel(
        name, "1", stage="Production", creator="bob", comment="no more", caller=BOB
    )
    assert (cancelled.activity_type, cancelled.comment) == ("CANCELLED_REQUEST", "no more")


@pytest.mark.parametrize(
    ("level", "allowed"),
    [
        # What moves nothing needs nothing.
        (Level.EDIT, ["None"]),
        (Level.MANAGE_STAGING_VERSIONS, ["Staging", "Archived", "None"]),
        (Level.MANAGE_PRODUCTION_VERSIONS, ["Staging", "Production", "Archived", "None"]),
    ],
)
async def test_without_a_policy_moves_need_their_permission(
    name: str, level: Level, allowed: list[str], registry_url: str
) -> None:
    moved = []
    async with _where_everybody_has(level, registry_url) as registry:
        for stage in ("Staging", "Production", "Archived", "None"):
            with contextlib.suppress(PermissionDenied):
                await registry.transition(name, "1", stage, caller=EVE)
                moved.append(stage)

    assert moved == allowed


async def test_the_default_is_set_by_who_manages_every_model_if_it_names_no_owners(registry_url: str) -> None:
    async with _where_everybody_has(Level.EDIT, registry_url) as registry:
        with refused("The default promotion policy refuses changing it: it needs the permission MANAGE"):
            await registry.set_policy("", "archive: Archived", caller=EVE)
        await registry.set_policy("", "archive: Archived", caller=LEA)
        with refused("The default promotion policy refuses changing it"):
            await registry.policies.delete("", caller=EVE)
        await registry.policies.delete("", caller=LEA)


async def test_evaluate_says_what_the_move_would_meet(registry: Registry, name: str) -> None:
    await registry.set_policy(name, ONE_LEAD)
    await registry.request(name, "1", "Production", caller=BOB)

    for caller, allowed, approvals in ((LEA, True, 1), (EVE, False, 0)):
        found = await registry.policies.evaluate(name, "1", stage="production", caller=caller)
        assert (found.allowed, found.approvals, found.approvals_required) == (allowed, approvals, 1)
        assert bool(found.missing) is not allowed


async def test_a_version_has_at_most_64_checks(registry: Registry, name: str) -> None:
    for number in range(64):
        await registry.check(name, "1", f"check {number}")

    with pytest.raises(InvalidArgument, match="has 64 checks, the most"):
        await registry.check(name, "1", "one more")

    await registry.check(name, "1", "check 5", "FAILED")
    states = {check.check: check.state for check in await registry.checks.list(name, "1")}
    assert (len(states), states["check 5"]) == (64, "FAILED")


async def test_a_policy_is_described_in_parts(registry: Registry, name: str) -> None:
    assert (await registry.policies.describe(name, caller=BOB)).origin == "NOWHERE"
    await registry.set_policy(
        name,
        """
        stages: [dev, live, old]
        edges:
          - {from: None, to: dev}
          - {from: dev, to: live}
          - {from: old, to: live, approvals: 1, approvers: {users: [ann]}, self_approval: true}
        rules:
          live:
            approvals: 2
            approvers: {groups: [risk, leads]}
            checks: [tests, {name: bias, posted_by: {users: [ci]}}]
        aliases: {champion: {approvals: 1}}
        freezes:
          - {from: 2026-12-20T00:00:00Z, to: 2026-12-21T00:00:00Z, reason: Holidays., stages: [live, "@champion"]}
        request_expires: 2d
        archive: old
        owners: {users: [ann]}
        """,
    )

    described = await registry.policies.describe(name, caller=BOB)

    assert (described.origin, described.may_change) == ("MODEL", False)
    assert (await registry.policies.describe(name, caller=ANN)).may_change
    assert list(described.stages) == ["None", "dev", "live", "old"]
    assert [(rule.from_stage, rule.to_stage, rule.approvals) for rule in described.rules] == [
        (None, "live", 2), (None, "@champion", 1), ("old", "live", 1),
    ]  # fmt: skip
    live = described.rules[0]
    assert live.approvers is not None
    assert list(live.approvers.groups) == ["leads", "risk"]
    assert [(check.check, check.posted_by is not None) for check in live.checks] == [("tests", False), ("bias", True)]
    assert described.has_edges
    assert [(edge.from_stage, edge.to_stage) for edge in described.edges] == [
        ("None", "dev"), ("dev", "live"), ("old", "live"),
    ]  # fmt: skip
    assert described.freezes[0].end_timestamp - described.freezes[0].start_timestamp == DAY_MS
    assert list(described.freezes[0].stages) == ["@champion", "live"]
    assert (described.request_expires_ms, described.archive) == (2 * DAY_MS, "old")
