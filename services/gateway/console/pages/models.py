"""A registered model: what it is, its versions, what its policy asks for, and what happened of late."""

import asyncio
from collections.abc import Mapping
from typing import Any

from services.gateway.console import searches
from services.gateway.console.visits import Page, View, Visit

_VERSIONS_MAX = 50
_ACTIVITIES_MAX = 12


async def _show(visit: Visit) -> Page:
    name = visit.variables["name"]
    found = (await visit.get("registered-models/get", name=name))["registered_model"]
    standing, policy, requests, versions, activities = await asyncio.gather(
        visit.get("databricks/registered-models/get", name=name),
        visit.get("promotion-policies/describe", name=name),
        visit.get("transition-requests/search", name=name),
        _versions(visit, found),
        visit.get("activities/list", name=name, max_results=_ACTIVITIES_MAX),
    )
    aliases: dict[str, list[str]] = {}
    for alias in found.get("aliases", []):
        aliases.setdefault(alias["version"], []).append(alias["alias"])
    values = {
        "model": found,
        "level": standing["registered_model_databricks"].get("permission_level", "none"),
        "policy": policy,
        "versions": versions.get("model_versions", []),
        "next_page_token": versions.get("next_page_token"),
        "aliases": aliases,
        "waiting": requests.get("requests", []),
        "activities": activities.get("activities", []),
    }
    return Page(template="model.html", values=values)


async def _versions(visit: Visit, model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a page of the versions, newest first; where they cannot be searched for, the newest in each stage."""
    wanted = searches.versions_of(model["name"], model.get("tags", []))
    if wanted is None:
        return {"model_versions": model.get("latest_versions", [])}
    return await visit.get(
        "model-versions/search",
        filter=wanted,
        max_results=_VERSIONS_MAX,
        order_by=["version_number DESC"],
        page_token=visit.query.get("page_token") or None,
    )


VIEWS = (View(path="models/{name}", get=_show),)
