"""How much a caller may do with a registered model, and the rules on it that need no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from services.common import grants as lists
from services.common.auth import Caller
from services.common.errors import InvalidArgument
from services.common.grants import AccessControl, Description, Permission, Principal, PrincipalKind
from services.registry.events.model import changes


class Level(IntEnum):
    """Ordered: a higher level includes the lower ones. Numbers and names are those of `modelstead.Access.Level`."""

    NONE = 0
    READ = 1
    EDIT = 2
    MANAGE_STAGING_VERSIONS = 3
    MANAGE_PRODUCTION_VERSIONS = 4
    MANAGE = 5


Grants = Mapping[Principal, Level]

_DESCRIPTIONS: Mapping[Level, str] = MappingProxyType(
    {
        Level.READ: "Can view the registered model and its history, ask for transitions, and comment.",
        Level.EDIT: "Can also add versions and edit descriptions and tags.",
        Level.MANAGE_STAGING_VERSIONS: "Can also move versions to None, Staging and Archived.",
        Level.MANAGE_PRODUCTION_VERSIONS: "Can also move versions to any stage.",
        Level.MANAGE: "Can also rename, delete and grant the registered model, and delete its versions.",
    }
)


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


def level_of(grants: Grants, caller: Caller, defaults: Defaults) -> Level:
    """Return how much a caller may do with a model: the most of what is granted to them, their groups and everyone."""
    held = (level for principal, level in grants.items() if principal.is_held_by(caller))
    return max([defaults.level_of(caller), *held])


def check_new(after: Grants, *, caller: Caller, defaults: Defaults) -> None:
    """Raises InvalidArgument for too many grants, or if nobody but administrators could manage the model any more.

    Administrators themselves may do that, and so may everybody where everybody manages every model.
    """
    lists.check_count(after)
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
    """Return who holds what by grants, and what administrators inherit."""
    admins = Principal(kind=PrincipalKind.GROUP, name=defaults.admin_group)
    held = {principal: [Permission(permission_level=level)] for principal, level in grants.items()}
    held.setdefault(admins, []).append(Permission(permission_level=Level.MANAGE, inherited_from_object=[root]))
    return lists.access_control(held)


def _fields(grants: Grants) -> dict[str, str]:
    return {f"permissions.{principal.kind.value}:{principal.name}": level.name for principal, level in grants.items()}
