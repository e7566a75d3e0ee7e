"""How the services are doing: what they take in, what waits, what is stored."""

import asyncio
from typing import Any

from services.gateway.console.api import ApiError
from services.gateway.console.visits import Page, View, Visit

_SERVICES = ("tracking", "registry", "artifacts")


async def _show(visit: Visit) -> Page:
    found = await asyncio.gather(*(_status(visit, service) for service in _SERVICES))
    return Page(template="system.html", values={"services": dict(zip(_SERVICES, found, strict=True))})


async def _status(visit: Visit, service: str) -> dict[str, Any]:
    """Return how a service is; nothing of one that does not answer. Raises ApiError for whom may not know."""
    try:
        return await visit.get(f"status/{service}")
    except ApiError as error:
        if error.status < 500:
            raise
        return {}


VIEWS = (View(path="system", get=_show),)
