"""Promotion policies, a model's and the default: what they ask for, their revisions, and a form to set a new one."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.console import diffs
from services.gateway.console.api import ApiError
from services.gateway.console.visits import Page, Redirect, View, Visit, below

_REVISIONS_MAX = 20
_DONE: Mapping[str, str] = {"set": "The policy is set.", "deleted": "The policy is deleted."}
_EXAMPLE = """\
rules:
  Production:
    approvals: 1
    checks: [unit-tests]
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Revision:
    """A revision of a policy, and how it differs from the one before, if that is on the same page."""

    number: int
    set_by: str
    set_timestamp: int
    is_deleted: bool
    lines: list[diffs.Line]


async def _show(visit: Visit) -> Page:
    return await _page(visit)


async def _page(visit: Visit, *, draft: str | None = None, problem: ApiError | None = None) -> Page:
    name = visit.variables.get("name")
    token = visit.query.get("page_token") or None
    policy, first, answer = await asyncio.gather(
        visit.get("promotion-policies/describe", name=name),
        visit.get("promotion-policies/list-revisions", name=name, max_results=1),
        visit.get("promotion-policies/list-revisions", name=name, max_results=_REVISIONS_MAX, page_token=token),
    )
    kept: list[Mapping[str, Any]] = answer.get("policies", [])
    newest = next(iter(first.get("policies", [])), None)
    values = {
        "name": name,
        "policy": policy,
        "text": newest.get("policy_yaml") if newest else None,
        "revision": newest["revision"] if newest else 0,
        "revisions": _revisions(kept, is_last="next_page_token" not in answer),
        "next_page_token": answer.get("next_page_token"),
        "draft": draft,
        "example": _EXAMPLE,
        "problem": problem,
        "said": _DONE.get(visit.query.get("done"), ""),
    }
    return Page(template="policy.html", values=values, status=problem.status if problem else 200)


def _revisions(kept: list[Mapping[str, Any]], *, is_last: bool) -> list[_Revision]:
    """Pair each revision with the one before. The oldest of a page that is not the last has none to show."""
    before = [*(one.get("policy_yaml", "") for one in kept[1:]), "" if is_last else None]
    return [
        _Revision(
            number=one["revision"],
            set_by=one.get("set_by", ""),
            set_timestamp=one["set_timestamp"],
            is_deleted="policy_yaml" not in one,
            lines=[] if old is None else diffs.lines(old, one.get("policy_yaml", "")),
        )
        for one, old in zip(kept, before, strict=False)
    ]


async def _set(visit: Visit) -> Page | Redirect:
    # A form sends line breaks as two characters.
    text = visit.form.get("policy_yaml").replace("\r\n", "\n")
    revision = visit.form.get("if_revision")
    try:
        await visit.call(
            "POST",
            "promotion-policies/set",
            name=visit.variables.get("name"),
            policy_yaml=text,
            if_revision=int(revision) if revision.isdecimal() else None,
        )
    except ApiError as error:
        return await _page(visit, draft=text, problem=error)
    return _back(visit, "set")


async def _delete(visit: Visit) -> Page | Redirect:
    try:
        await visit.call("DELETE", "promotion-policies/delete", name=visit.variables.get("name"))
    except ApiError as error:
        return await _page(visit, problem=error)
    return _back(visit, "deleted")


def _back(visit: Visit, done: str) -> Redirect:
    name = visit.variables.get("name")
    return Redirect(below("models", name, "policy", done=done) if name else below("policy", done=done))


VIEWS = (
    View(path="policy", get=_show, post=_set),
    View(path="policy/delete", post=_delete),
    View(path="models/{name}/policy", get=_show, post=_set),
    View(path="models/{name}/policy/delete", post=_delete),
)
