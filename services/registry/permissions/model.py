"""How much a caller may do with a registered model, and the rules on it that need no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import Any, Protocol

from services.common.auth import Caller
from services.common.errors import InvalidArgument
from services.common.keys import check_length
from services.registry.events.model import changes

GRANTS_MAX = 1000
PRINCIPAL_LENGTH_MAX = 256


class Level(IntEnum):
    """Ordered: a higher level includes the lower ones. Numbers and names are those of `modelstead.Access.Level`."""

    NONE = 0
    READ = 1
    EDIT = 2
    MANAGE_STAGING_VERSIONS = 3
    MANAGE_PRODUCTION_VERSIONS = 4
    MANAGE = 5


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


Grants = Mapping[Principal, Level]


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
class Defaults:
    """What callers may do with every model without a grant: members of `admin_group` everything, others `level`."""

    level: Level = Level.MANAGE
    admin_group: str = "admins"

    def level_of(self, caller: Caller) -> Level:
        """Return what a caller may do with any model, also one that does not exist."""
        return Level.MANAGE if self.admin_group in caller.groups else self.level

    def platform_level_of(self, caller: Caller, *, is_known: bool) -> Level:
        """Return what a caller may do with the platform: all that are known may create models and search those that
        they may read, as in MLflow and Databricks; creating comes before registering a version in every client.
        """
        return max(self.level_of(caller), Level.EDIT if is_known else Level.NONE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Permission:
    """A level that a principal holds; `inherited_from_object` names where from, if not by a grant on the model."""

    permission_level: Level
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

    permission_level: Level
    description: str


_DESCRIPTIONS: Mapping[Level, str] = MappingProxyType(
    {
        Level.READ: "Can view the registered model and its history, ask for transitions, and comment.",
        Level.EDIT: "Can also add versions and edit descriptions and tags.",
        Level.MANAGE_STAGING_VERSIONS: "Can also move versions to None, Staging and Archived.",
        Level.MANAGE_PRODUCTION_VERSIONS: "Can also move versions to any stage.",
        Level.MANAGE: "Can also rename, delete and grant the registered model.",
    }
)


def parse(entries: Sequence[Entry]) -> Grants:
    """Return the grants that an access control list says. Raises InvalidArgument."""
    if len(entries) > GRANTS_MAX:
        raise InvalidArgument(f"'access_control_list' has at most {GRANTS_MAX} entries, but got {len(entries)}.")
    grants: dict[Principal, Level] = {}
    for index, entry in enumerate(entries):
        path = f"access_control_list[{index}]"
        principal = _principal_of(entry, path)
        if principal in grants:
            raise InvalidArgument(f"'{path}' names the {principal.kind.value} '{principal.name}' a second time.")
        if not entry.permission_level:
            raise InvalidArgument(f"Invalid value for parameter '{path}.permission_level' supplied: it is not known.")
        grants[principal] = Level(entry.permission_level)
    return grants


def level_of(grants: Grants, caller: Caller, defaults: Defaults) -> Level:
    """Return how much a caller may do with a model: the most of what is granted to them, their groups and everyone."""
    held = (level for principal, level in grants.items() if principal.is_held_by(caller))
    return max([defaults.level_of(caller), *held])


def check_new(after: Grants, *, caller: Caller, defaults: Defaults) -> None:
    """Raises InvalidArgument for too many grants, or if nobody but administrators could manage the model any more.

    Administrators themselves may do that, and so may everybody where everybody manages every model.
    """
    if len(after) > GRANTS_MAX:
        raise InvalidArgument(f"A registered model has at most {GRANTS_MAX} grants, but these would be {len(after)}.")
    if defaults.level_of(caller) < Level.MANAGE and Level.MANAGE not in after.values():
        raise InvalidArgument(
            "The access_control_list leaves nobody with CAN_MANAGE; only an administrator may take away the last one."
        )


def told(before: Grants, after: Grants) -> dict[str, dict[str, Any]]:
    """Return how grants changed, as an event tells it: fields `permissions.<kind>:<name>`, levels by name."""
    return changes(_fields(before), _fields(after))


def descriptions() -> list[Description]:
    """Return what each level is for, lowest first."""
    return [Description(permission_level=level, description=text) for level, text in _DESCRIPTIONS.items()]


def access_control(grants: Grants, defaults: Defaults, *, root: str) -> list[AccessControl]:
    """Return who holds what: users, then groups, then service principals, by name, and what administrators inherit."""
    admins = Principal(kind=PrincipalKind.GROUP, name=defaults.admin_group)
    held = {principal: [Permission(permission_level=level)] for principal, level in grants.items()}
    held.setdefault(admins, []).append(Permission(permission_level=Level.MANAGE, inherited_from_object=[root]))
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


def _fields(grants: Grants) -> dict[str, str]:
    return {f"permissions.{principal.kind.value}:{principal.name}": level.name for principal, level in grants.items()}
