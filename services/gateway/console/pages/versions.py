"""A version of a registered model: what it is, where it could go, what that lacks, and what people decide about it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.gateway.console.api import ApiError
from services.gateway.console.visits import Page, Redirect, Show, View, Visit, below

_PATH = "models/{name}/versions/{version}"
_ACTIVITIES_MAX = 50
_COMMENTS_MAX = 200
# What was done, by the word that the address of the page carries afterwards.
_DONE: Mapping[str, str] = {
    "asked": "The request is open.",
    "approved": "The approval counts.",
    "rejected": "The requests are rejected.",
    "cancelled": "The request is taken back.",
    "moved": "The version has moved.",
    "commented": "The comment is kept.",
    "deleted": "The comment is deleted.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Problem:
    """What the API said about a form, and at which of its fields that belongs; `values` is what the form held."""

    form: str
    field: str
    message: str
    status: int
    values: Mapping[str, str]


@dataclass(kw_only=True, slots=True)
class _Way:
    """A target that the version could get to, what the viewer's moving it there lacks, and who asks for it."""

    target: str
    allowed: bool
    missing: list[str]
    approvals: int
    approvals_required: int
    requests: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def may_approve(self) -> bool:
        """Whether the viewer may approve one of the requests."""
        return self._may("APPROVE_TRANSITION_REQUEST")

    @property
    def may_reject(self) -> bool:
        return self._may("REJECT_TRANSITION_REQUEST")

    def _may(self, action: str) -> bool:
        return any(action in request.get("available_actions", ()) for request in self.requests)


async def _show(visit: Visit) -> Page:
    return await _page(visit)


async def _page(visit: Visit, problem: _Problem | None = None) -> Page:
    key = dict(visit.variables)
    answers = await asyncio.gather(
        visit.get("model-versions/get", **key),
        visit.get("databricks/registered-models/get", name=key["name"]),
        visit.get("promotion-policies/describe", name=key["name"]),
        visit.get("transition-requests/list", **key),
        visit.get("model-versions/checks/list", **key),
        visit.get("comments/list", **key, max_results=_COMMENTS_MAX),
        visit.get("activities/list", **key, max_results=_ACTIVITIES_MAX),
    )
    version, standing, policy, requests, checks, comments, activities = answers
    values = {
        "version": version["model_version"],
        "level": standing["registered_model_databricks"].get("permission_level", "none"),
        "ways": await _ways(visit, version["model_version"], policy, requests.get("requests", [])),
        "policy": policy,
        "suggested": _suggested(version["model_version"]["current_stage"], policy["stages"]),
        "checks": checks.get("checks", []),
        "comments": comments.get("comments", []),
        "activities": activities.get("activities", []),
        "said": _DONE.get(visit.query.get("done"), ""),
        "problem": problem,
    }
    return Page(template="version.html", values=values, status=problem.status if problem else 200)


async def _ways(
    visit: Visit, version: Mapping[str, Any], policy: Mapping[str, Any], requests: list[Mapping[str, Any]]
) -> list[_Way]:
    asked = [request["to_stage"] for request in requests]
    targets = dict.fromkeys([*_targets(version, policy), *asked])
    ways = await asyncio.gather(*(_way(visit, target) for target in targets))
    for way in ways:
        way.requests = [request for request in requests if request["to_stage"] == way.target]
    return ways


async def _way(visit: Visit, target: str) -> _Way:
    try:
        found = await visit.get("promotion-policies/evaluate", **visit.variables, stage=target)
    except ApiError as error:
        # A request may be for a stage that the policy has no more.
        return _Way(target=target, allowed=False, missing=[error.message], approvals=0, approvals_required=0)
    return _Way(
        target=target,
        allowed=found.get("allowed", False),
        missing=found.get("missing", []),
        approvals=found.get("approvals", 0),
        approvals_required=found.get("approvals_required", 0),
    )


def _targets(version: Mapping[str, Any], policy: Mapping[str, Any]) -> list[str]:
    """Return where the policy lets the version go from where it is: stages, and the aliases that are protected."""
    stage, stages = version["current_stage"], list(policy["stages"])
    if stage not in stages:
        stages = stages[:1]
    elif policy.get("has_edges"):
        ways = {edge["to_stage"] for edge in policy.get("edges", []) if edge["from_stage"] == stage}
        stages = [one for one in stages if one in ways]
    here = {f"@{alias}" for alias in version.get("aliases", [])}
    protected = [rule["to_stage"] for rule in policy.get("rules", []) if rule["to_stage"].startswith("@")]
    return [one for one in stages if one != stage] + [one for one in protected if one not in here]


def _suggested(stage: str, stages: list[str]) -> str:
    """Return the stage after one, as the policy orders them."""
    following = stages[stages.index(stage) + 1 :] if stage in stages else []
    return following[0] if following else ""


def _action(form: Callable[[Visit], str], done: str, act: Callable[[Visit], Awaitable[object]]) -> Show:
    """Return what answers to a form: it acts, and shows the version again, with what was wrong beside the form."""

    async def submit(visit: Visit) -> Page | Redirect:
        try:
            await act(visit)
        except ApiError as error:
            if error.status == 401:
                raise
            values = {name: visit.form.get(name) for name in visit.form.texts}
            field = "comment" if error.message.startswith("'comment'") else "stage"
            problem = _Problem(form=form(visit), field=field, message=error.message, status=error.status, values=values)
            return await _page(visit, problem)
        path = below("models", visit.variables["name"], "versions", visit.variables["version"], done=done)
        return Redirect(f"{path}#said")

    return submit


async def _ask(visit: Visit) -> None:
    await visit.call("POST", "transition-requests/create", **_move(visit))


async def _approve(visit: Visit) -> None:
    # If somebody has moved the version since the viewer saw it, that is told and nothing is done.
    await visit.call(
        "POST",
        "transition-requests/approve",
        **_move(visit),
        archive_existing_versions=visit.form.has("archive"),
        if_stage=visit.form.get("if_stage") or None,
    )


async def _reject(visit: Visit) -> None:
    await visit.call("POST", "transition-requests/reject", **_move(visit))


async def _cancel(visit: Visit) -> None:
    await visit.call("DELETE", "transition-requests/delete", **_move(visit), creator=visit.form.get("creator"))


async def _move_now(visit: Visit) -> None:
    await visit.call(
        "POST",
        "databricks/model-versions/transition-stage",
        **_move(visit),
        archive_existing_versions=visit.form.has("archive"),
        if_stage=visit.form.get("if_stage") or None,
    )


async def _comment(visit: Visit) -> None:
    await visit.call("POST", "comments/create", **visit.variables, comment=visit.form.get("comment"))


async def _delete_comment(visit: Visit) -> None:
    await visit.call("DELETE", "comments/delete", id=visit.form.get("id"))


def _move(visit: Visit) -> dict[str, Any]:
    return {**visit.variables, "stage": visit.form.get("stage"), "comment": visit.form.get("comment") or None}


def _decision(visit: Visit) -> str:
    return f"decide {visit.form.get('stage')}"


VIEWS = (
    View(path=_PATH, get=_show),
    View(path=f"{_PATH}/ask", post=_action(lambda _: "ask", "asked", _ask)),
    View(path=f"{_PATH}/move", post=_action(lambda _: "ask", "moved", _move_now)),
    View(path=f"{_PATH}/approve", post=_action(_decision, "approved", _approve)),
    View(path=f"{_PATH}/reject", post=_action(_decision, "rejected", _reject)),
    View(path=f"{_PATH}/cancel", post=_action(_decision, "cancelled", _cancel)),
    View(path=f"{_PATH}/comment", post=_action(lambda _: "comment", "commented", _comment)),
    View(path=f"{_PATH}/delete-comment", post=_action(lambda _: "comment", "deleted", _delete_comment)),
)
