"""A request for a page of the console, as the page sees it, and what a page may answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote

from services.common.auth import Caller
from services.gateway.console.api import Api
from services.gateway.replies import Header
from services.gateway.requests import Request


@dataclass(frozen=True, slots=True)
class Fields:
    """What a query string or a form holds: texts by name, those that are empty left out."""

    texts: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, encoded: bytes, *, fields_max: int) -> "Fields":
        """Parse `application/x-www-form-urlencoded`. Raises ValueError for what is none, or has too many fields."""
        return cls(parse_qs(encoded.decode("ascii"), errors="strict", max_num_fields=fields_max))

    def get(self, name: str, default: str = "") -> str:
        """Return the first text of a name."""
        return self.texts.get(name, [default])[0]

    def has(self, name: str) -> bool:
        """Whether there is a text of that name, as of a box that is ticked."""
        return name in self.texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """Who asks for a page, and with what. `variables` are those of the page's path, decoded."""

    request: Request
    caller: Caller
    api: Api
    variables: Mapping[str, str]
    query: Fields
    form: Fields
    now_ms: int

    async def get(self, path: str, **values: Any) -> dict[str, Any]:
        """Ask the API, as `api.call` does, to tell something."""
        return await self.api.call(self.request, "GET", path, values)

    async def call(self, verb: str, path: str, **values: Any) -> dict[str, Any]:
        """Ask the API, as `api.call` does, to do something."""
        return await self.api.call(self.request, verb, path, values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """A template and what it shows."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Redirect:
    """Another page to see instead, by its path below `/console/`."""

    path: str
    headers: tuple[Header, ...] = ()


Show = Callable[[Visit], Awaitable[Page | Redirect]]


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """What answers at a path below `/console/`, in which `{name}` stands for one segment: to GET, and to forms."""

    path: str
    get: Show | None = None
    post: Show | None = None
    is_public: bool = False
    """Whether it is for those as well who are not signed in."""


def below(*segments: object, **query: object) -> str:
    """Return a path below `/console/` for these segments, each of which may be any text."""
    path = "/".join(quote(str(segment), safe="@") for segment in segments)
    pairs = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in query.items() if value is not None)
    return f"{path}?{pairs}" if pairs else path
