"""No sequence of calls gets past a promotion policy: the real use-cases on a real Postgres do what the oracle does.

Hypothesis draws policies, callers and calls, shrinks what disagrees, and prints the seed of a failure. After each call
the stages and aliases of every model are those of the oracle, so a version is in a protected stage, and a protected
alias points at it, only if the rules held when it got there.
"""

import asyncio
import itertools
import json
import uuid
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from services.common.auth import Caller
from services.common.database import Database
from services.common.errors import ServiceError
from services.registry.__main__ import SCHEMA
from services.registry.permissions import store as permissions_store
from services.registry.permissions.model import Defaults, Level, Principal, PrincipalKind
from services.registry.registered_models import store as models_store
from services.registry.releases.model import ReleaseMove
from services.registry.transitions.model import Expected
from tests.stateful import oracle
from tests.stateful.oracle import Json, Refused, World
from tests.store.registry.factories import Registry

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
STAGES = ["None", "Staging", "Production", "Archived", "Live"]
ALIASES = ["champion", "shadow"]
NAMES = ["a", "b", "c"]
GROUPS = {"ann": ["admins"], "lea": ["leads"], "lou": ["leads", "risk"], "bob": [], "eve": [], "ci": ["bots"]}
CALLERS = [Caller(name=name, groups=frozenset(groups)) for name, groups in GROUPS.items()]
LEVELS = {
    "ann": oracle.MANAGE, "lea": oracle.MANAGE, "lou": oracle.MANAGE_PRODUCTION, "bob": oracle.MANAGE,
    "eve": oracle.MANAGE_STAGING, "ci": oracle.EDIT,
}  # fmt: skip

# What is drawn more often leads further: a model with a policy, its first versions, and what is protected.
callers = st.sampled_from([*CALLERS, *CALLERS[1:4]])
names = st.sampled_from(["a", "a", "a", "b", "b", "c"])
numbers = st.sampled_from([1, 1, 2, 2, 3])
stages = st.sampled_from(["None", *["Staging"] * 2, *["Production"] * 5, "Archived", "Live"])
targets = st.one_of(stages, stages, st.just("@champion"))
people = st.sampled_from(
    [{"groups": ["leads"]}, {"users": ["ann", "bob", "lea"]}, {"users": ["bob"], "groups": ["risk"]}]
)
posts = st.tuples(st.sampled_from([1, 2]), st.sampled_from(["tests", "tests", "bias"]), callers)
by_ci = {"name": "tests", "posted_by": {"users": ["ci"]}}
checks = st.sampled_from([[by_ci], [by_ci, {"name": "bias"}], [{"name": "tests"}]])


@st.composite
def rules_of_a_target(draw: st.DrawFn) -> Json:
    found: Json = {"approvals": draw(st.sampled_from([0, 1, 1, 2])), "self_approval": draw(st.booleans())}
    if found["approvals"] and draw(st.booleans()):
        found["approvers"] = draw(people)
    if draw(st.booleans()):
        found["checks"] = draw(checks)
    return found


@st.composite
def policies(draw: st.DrawFn) -> Json:
    custom = draw(st.sampled_from([None, None, ["Staging", "Production", "Live"]]))
    policy: Json = {} if custom is None else {"stages": custom}
    mine = oracle.stages_of(policy)
    if draw(st.integers(0, 3)):
        policy["rules"] = {"Production": draw(rules_of_a_target())}
    if draw(st.booleans()):
        policy["rules"] = policy.get("rules", {}) | {draw(st.sampled_from(mine[1:])): draw(rules_of_a_target())}
    if draw(st.booleans()):
        policy["aliases"] = {"champion": draw(rules_of_a_target())}
    if draw(st.integers(0, 2)) == 0:
        others = draw(st.lists(st.sampled_from(list(itertools.permutations(mine, 2))), max_size=6))
        ways = dict.fromkeys([("None", "Staging"), ("None", "Production"), *others])
        policy["edges"] = [{"from": before, "to": after} for before, after in ways]
        for edge in policy["edges"]:
            if edge["to"] != "None" and draw(st.integers(0, 3)) == 0:
                edge |= draw(rules_of_a_target())
    if draw(st.integers(0, 2)) == 0:
        policy["request_expires"] = draw(st.sampled_from(["1h", "3h"]))
    if draw(st.integers(0, 3)) == 0:
        freeze = {"from": "2027-01-15T10:00:00+00:00", "to": "2027-01-15T12:00:00+00:00", "reason": "peak"}
        if draw(st.booleans()):
            freeze["stages"] = draw(st.sampled_from([["Production"], ["Staging"]]))  # type: ignore[assignment]
        policy["freezes"] = [freeze]
    if draw(st.booleans()):
        policy["owners"] = draw(st.sampled_from([{"users": ["ann"]}, {"groups": ["leads"]}]))
    if draw(st.integers(0, 3)) == 0:
        policy["archive"] = draw(st.sampled_from(mine[1:]))
    return policy or {"owners": {"users": ["ann"]}}


class PromotionPolicyMachine(RuleBasedStateMachine):
    """Callers do what they like; the registry and the oracle must agree on each call, and on all that is then."""

    db: ClassVar[Database]
    run: ClassVar[Callable[[Coroutine[Any, Any, Any]], Any]]

    @initialize(
        policy=policies(),
        default=st.one_of(st.none(), st.none(), policies()),
        posted=st.lists(
            st.tuples(st.sampled_from([1, 2]), st.sampled_from(["tests", "bias"]), callers), min_size=2, max_size=5
        ),
    )
    def begin(self, policy: Json, default: Json | None, posted: list[tuple[int, str, Caller]]) -> None:
        self.prefix = uuid.uuid4().hex[:8]
        self.world = World(levels=LEVELS, now=START_MS)
        self.registry = Registry.over(self.db, lambda: self.world.now)
        self.run(_forget_default(self.db))
        for name in NAMES[:2]:
            self._create(name)
            self.new_version(name)
            self.new_version(name)
        for number, check, caller in posted:
            self.post_check("a", number, check, "PASSED", caller)
        self.set_policy("a", policy, CALLERS[0])
        if default:
            self.set_policy("", default, CALLERS[0])

    def teardown(self) -> None:
        self.run(_forget_default(self.db))

    @rule(name=names)
    def new_version(self, name: str) -> None:
        if name in self.world.models and self.world.models[name].made < 3:
            self.run(self.registry.new_version(self._name(name)))
            self.world.new_version(name)

    @rule(name=st.sampled_from(["a", "b", ""]), policy=st.one_of(st.none(), policies(), policies()), caller=callers)
    def set_policy(self, name: str, policy: Json | None, caller: Caller) -> None:
        if name and name not in self.world.models:
            return
        given = self._name(name) if name else ""
        real = (
            self.registry.policies.delete(given, caller=caller)
            if policy is None
            else self.registry.set_policy(given, json.dumps(policy), caller=caller)
        )
        self._both(real, lambda: self.world.set_policy(name, policy, caller))

    @rule(name=names, number=numbers, stage=stages, archive=st.booleans(), plain=st.booleans(), caller=callers)
    def transition(self, name: str, number: int, stage: str, archive: bool, plain: bool, caller: Caller) -> None:
        given: Json = {"stage": stage.upper(), "archive_existing_versions": archive, "caller": caller}
        real = (
            self.registry.versions.transition(self._name(name), str(number), **given)
            if plain
            else self.registry.requests.transition(
                self._name(name), str(number), comment="", expected=Expected(), **given
            )
        )
        self._both(real, lambda: self.world.move(name, number, stage, caller, archive=archive))

    @rule(
        name=names,
        number=numbers,
        wanted=targets,
        requester=callers,
        approvers=st.lists(callers, min_size=1, max_size=3),
        archive=st.booleans(),
    )
    def ask_and_approve(
        self, name: str, number: int, wanted: str, requester: Caller, approvers: list[Caller], archive: bool
    ) -> None:
        self.request(name, number, wanted, requester)
        for approver in approvers:
            self._approve(name, number, wanted, approver, archive=archive)

    @rule(name=names, number=numbers, alias=st.sampled_from(ALIASES), caller=callers)
    def set_alias(self, name: str, number: int, alias: str, caller: Caller) -> None:
        real = self.registry.aliases.set(self._name(name), alias, version=str(number), caller=caller)
        self._both(real, lambda: self.world.move(name, number, f"@{alias}", caller))

    @rule(name=names, number=numbers, wanted=targets, caller=callers)
    def request(self, name: str, number: int, wanted: str, caller: Caller) -> None:
        real = self.registry.request(self._name(name), str(number), wanted, caller=caller)
        self._both(real, lambda: self.world.request(name, number, wanted, caller))

    @rule(data=st.data(), archive=st.booleans(), caller=callers)
    def approve(self, data: st.DataObject, archive: bool, caller: Caller) -> None:
        for name, number, target, _ in self._asked(data):
            self._approve(name, number, target, caller, archive=archive)

    @rule(data=st.data(), caller=callers)
    def reject(self, data: st.DataObject, caller: Caller) -> None:
        for name, number, target, _ in self._asked(data):
            real = self.registry.requests.reject(self._name(name), str(number), stage=target, comment="", caller=caller)
            self._both(real, lambda: self.world.reject(name, number, target, caller))  # noqa: B023

    @rule(data=st.data(), caller=callers)
    def cancel(self, data: st.DataObject, caller: Caller) -> None:
        for name, number, target, creator in self._asked(data):
            real = self.registry.requests.cancel(
                self._name(name), str(number), stage=target, creator=creator, comment="", caller=caller
            )
            self._both(real, lambda: self.world.cancel(name, number, target, creator, caller))  # noqa: B023

    @rule(
        name=names,
        number=numbers,
        check=st.sampled_from(["tests", "bias"]),
        state=st.sampled_from(["PASSED", "PASSED", "FAILED"]),
        caller=callers,
    )
    def post_check(self, name: str, number: int, check: str, state: str, caller: Caller) -> None:
        real = self.registry.check(self._name(name), str(number), check, state, caller=caller)
        self._both(real, lambda: self.world.check(name, number, check, state, caller))

    @rule(moves=st.lists(st.tuples(names, numbers, targets), min_size=1, max_size=3), caller=callers)
    def release(self, moves: list[tuple[str, int, str]], caller: Caller) -> None:
        given = [
            ReleaseMove(
                name=self._name(name), version=str(number), stage=target, expected=Expected(),
                archive_existing_versions=False,
            )
            for name, number, target in moves
        ]  # fmt: skip
        real = self.registry.releases.create(given, comment="", caller=caller)
        self._both(real, lambda: self.world.release(moves, caller))

    @rule(data=st.data(), name=names, number=numbers, caller=callers)
    def take_away(self, data: st.DataObject, name: str, number: int, caller: Caller) -> None:
        if name not in self.world.models:
            self._create(name)
            self.new_version(name)
        what = data.draw(st.sampled_from(["alias", "version", "model", "name"]))
        if what == "alias":
            alias = data.draw(st.sampled_from(ALIASES))
            real = self.registry.aliases.delete(self._name(name), alias, caller=caller)
            self._both(real, lambda: self.world.delete_alias(name, alias, caller))
        elif what == "version":
            real = self.registry.versions.delete(self._name(name), str(number), caller=caller)
            self._both(real, lambda: self.world.delete_version(name, number, caller))
        elif what == "model":
            real = self.registry.models.delete(self._name(name), caller=caller)
            self._both(real, lambda: self.world.delete_model(name, caller))
        elif (new_name := data.draw(st.sampled_from(NAMES))) != name:
            given = self._name(new_name)
            renamed = self.registry.models.rename(self._name(name), new_name=given, caller=caller)
            self._both(renamed, lambda: self.world.rename(name, new_name, caller))

    @rule(hours=st.sampled_from([1, 1, 2, 3]))
    def wait(self, hours: int) -> None:
        self.world.now += hours * HOUR_MS

    @invariant()
    def stages_and_aliases_are_those_that_the_rules_allow(self) -> None:
        if not hasattr(self, "world"):
            return
        found = self.run(_stages_and_aliases(self.db, self.prefix))
        allowed = {
            (self._name(name), number): (
                version.stage,
                sorted(alias for alias, pointed in model.aliases.items() if pointed == number),
            )
            for name, model in self.world.models.items()
            for number, version in model.versions.items()
        }
        assert found == allowed

    def _approve(self, name: str, number: int, target: str, caller: Caller, *, archive: bool) -> None:
        archive = archive and not target.startswith("@")
        real = self.registry.approve(self._name(name), str(number), target, caller=caller, archive=archive)
        self._both(real, lambda: self.world.approve(name, number, target, caller, archive=archive))

    def _both(self, real: Coroutine[Any, Any, Any], predicted: Callable[[], None]) -> None:
        """Make a call on the registry and on the oracle: both grant it or both refuse it."""
        is_allowed, refusal = True, ""
        try:
            predicted()
        except Refused:
            is_allowed = False
        try:
            self.run(real)
        except ServiceError as error:
            refusal = error.message
        assert is_allowed is not bool(refusal), refusal or "granted, and the rules forbid it"

    def _asked(self, data: st.DataObject) -> list[tuple[str, int, str, str]]:
        """One of the requests that were made and not decided, expired ones among them, or none."""
        asked = [
            (name, number, request.target, request.requester)
            for name, model in self.world.models.items()
            for number, version in model.versions.items()
            for request in version.requests
        ]
        return [data.draw(st.sampled_from(asked))] if asked else []

    def _create(self, name: str) -> None:
        self.run(self.registry.new_model(self._name(name)))
        self.run(_grant(self.db, self._name(name)))
        self.world.models[name] = oracle.Model()

    def _name(self, name: str) -> str:
        return f"{self.prefix}-{name}"


async def _stages_and_aliases(db: Database, prefix: str) -> dict[tuple[str, int], tuple[str, list[str]]]:
    query = """
        SELECT m.name, v.version, v.current_stage, (
            SELECT coalesce(array_agg(a.alias ORDER BY a.alias COLLATE "C"), '{}')
            FROM registered_model_aliases AS a
            WHERE a.registered_model_id = v.registered_model_id
                AND a.version = v.version
        )
        FROM registered_models AS m
        JOIN model_versions AS v USING (registered_model_id)
        WHERE starts_with(m.name, %(prefix)s)
    """
    async with db.pipeline() as tx:
        rows = await (await tx.execute(query, {"prefix": prefix})).fetchall()
    return {(name, version): (stage, list(aliases)) for name, version, stage, aliases in rows}


async def _forget_default(db: Database) -> None:
    """Delete the default policy, whoever owns it, so that the next example begins without one."""
    statement = """
        INSERT INTO promotion_policies (revision, set_by, set_timestamp)
        SELECT max(revision) + 1, 'test', 0
        FROM promotion_policies
        WHERE registered_model_id IS NULL
        HAVING max(revision) IS NOT NULL
    """
    async with db.pipeline() as tx:
        await tx.execute(statement)


async def _grant(db: Database, name: str) -> None:
    """Let callers do with a model what `LEVELS` says."""
    grants = {Principal(kind=PrincipalKind.USER, name=caller): Level(level) for caller, level in LEVELS.items()}
    async with db.pipeline() as tx:
        subject = await models_store.find(tx, name)
        assert subject is not None
        await permissions_store.add(tx, subject, grants)


@pytest.fixture
def machine(registry_url: str) -> Iterator[type[PromotionPolicyMachine]]:
    parameters = permissions_store.parameters(Defaults(level=Level.READ, admin_group="admins"))
    with asyncio.Runner() as runner:

        class Machine(PromotionPolicyMachine):
            db = Database(registry_url, schema=SCHEMA, parameters=parameters)
            run = staticmethod(runner.run)

        yield Machine
        runner.run(Machine.db.close())


# Shrinking what disagrees may take minutes.
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_sequence_of_calls_gets_past_the_policy(machine: type[PromotionPolicyMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
