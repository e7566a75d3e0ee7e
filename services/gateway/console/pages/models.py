"""A registered model: what it is, its versions, what its policy asks for, and what happened of late."""

import asyncio
from typing import Any

from services.gateway.console.visits import Page, View, Visit

_VERSIONS_MAX = 50
_ACTIVITIES_MAX = 12


async def _show(visit: Visit) -> Page:
    name = visit.variables["name"]
    model, standing, policy, requests, versions, activities = await asyncio.gather(
        visit.get("registered-models/get", name=name),
        visit.get("databricks/registered-models/get", name=name),
        visit.get("promotion-policies/describe", name=name),
        visit.get("transition-requests/search", name=name),
        _versions(visit, name),
        visit.get("activities/list", name=name, max_results=_ACTIVITIES_MAX),
    )
    aliases: dict[str, list[str]] = {}
    for alias in model["registered_model"].get("aliases", []):
        aliases.setdefault(alias["version"], []).append(alias["alias"])
    values = {
        "model": model["registered_model"],
        "level": standing["registered_model_databricks"].get("permission_level", "none"),
        "policy": policy,
        "versions": versions.get("model_versions", []),
        "next_page_token": versions.get("next_page_token"),
        "aliases": aliases,
        "waiting": requests.get("requests", []),
        "activities": activities.get("activities", []),
    }
    return Page(template="model.html", values=values)


async def _versions(visit: Visit, name: str) -> dict[str, Any]:
    """Return a page of the versions, newest first. A name with quotes of both kinds cannot be searched for."""
    if "'" in name and '"' in name:
        model = await visit.get("registered-models/get", name=name)
        return {"model_versions": model["registered_model"].get("latest_versions", [])}
    quote = '"' if "'" in name else "'"
    return await visit.get(
        "model-versions/search",
        filter=f"name = {quote}{name}{quote}",
        max_results=_VERSIONS_MAX,
        order_by=["version_number DESC"],
        page_token=visit.query.get("page_token") or None,
    )


VIEWS = (View(path="models/{name}", get=_show),)
