"""Access control lists in Databricks' form: who is named, what they hold, how it is read and shown. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Protocol, TypeVar

from services.common.auth import Caller
from services.common.errors import InvalidArgument
from services.common.keys import check_length

GRANTS_MAX = 1000
PRINCIPAL_LENGTH_MAX = 256

_L = TypeVar("_L", bound=IntEnum)


class PrincipalKind(Enum):
    """What a grant is made to. A service principal is, like a user, known by the name with which it calls."""

    USER = "user"
    GROUP = "group"
    SERVICE_PRINCIPAL = "service_principal"


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who holds a grant."""

    kind: PrincipalKind
    name: str

    def is_held_by(self, caller: Caller) -> bool:
        """Whether what is granted to it is granted to a caller."""
        return self.name in caller.groups if self.kind is PrincipalKind.GROUP else self.name == caller.name


class Entry(Protocol):
    """A line of an access control list: exactly one of the names is not empty, and the level is not 0."""

    @property
    def user_name(self) -> str: ...
    @property
    def group_name(self) -> str: ...
    @property
    def service_principal_name(self) -> str: ...
    @property
    def permission_level(self) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Permission:
    """A level that a principal holds; `inherited_from_object` names where from, if not by a grant."""

    permission_level: int
    inherited_from_object: Sequence[str] = ()

    @property
    def inherited(self) -> bool:
        return bool(self.inherited_from_object)


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessControl:
    """A principal, as one of the three names, and all that it holds."""

    user_name: str | None = None
    group_name: str | None = None
    service_principal_name: str | None = None
    all_permissions: Sequence[Permission] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class Description:
    """What a level is for."""

    permission_level: int
    description: str


def parse(entries: Sequence[Entry], levels: type[_L]) -> dict[Principal, _L]:
    """Return the grants that an access control list says. Raises InvalidArgument."""
    if len(entries) > GRANTS_MAX:
        raise InvalidArgument(f"'access_control_list' has at most {GRANTS_MAX} entries, but got {len(entries)}.")
    grants: dict[Principal, _L] = {}
    for index, entry in enumerate(entries):
        path = f"access_control_list[{index}]"
        principal = _principal_of(entry, path)
        if principal in grants:
            raise InvalidArgument(f"'{path}' names the {principal.kind.value} '{principal.name}' a second time.")
        if not entry.permission_level:
            raise InvalidArgument(f"Invalid value for parameter '{path}.permission_level' supplied: it is not known.")
        grants[principal] = levels(entry.permission_level)
    return grants


def check_count(grants: Mapping[Principal, IntEnum]) -> None:
    """Raises InvalidArgument for more grants on one resource than there may be."""
    if len(grants) > GRANTS_MAX:
        raise InvalidArgument(f"There may be at most {GRANTS_MAX} grants, but these would be {len(grants)}.")


def access_control(held: Mapping[Principal, Sequence[Permission]]) -> list[AccessControl]:
    """Return who holds what: users, then groups, then service principals, each by name."""
    kinds = list(PrincipalKind)
    ordered = sorted(held, key=lambda principal: (kinds.index(principal.kind), principal.name))
    return [
        AccessControl(**{f"{principal.kind.value}_name": principal.name}, all_permissions=held[principal])
        for principal in ordered
    ]


def _principal_of(entry: Entry, path: str) -> Principal:
    named = [(kind, name) for kind in PrincipalKind if (name := getattr(entry, f"{kind.value}_name"))]
    if len(named) != 1:
        raise InvalidArgument(
            f"'{path}' must have exactly one of user_name, group_name and service_principal_name, but has {len(named)}."
        )
    kind, name = named[0]
    check_length(f"{path}.{kind.value}_name", PRINCIPAL_LENGTH_MAX, name)
    return Principal(kind=kind, name=name)
