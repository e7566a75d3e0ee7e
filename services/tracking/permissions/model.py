"""What may be granted on an experiment. Who holds what is kept and told; calls are not held against it yet."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from services.common.grants import AccessControl, Description, Permission, Principal, access_control


class Level(IntEnum):
    """Ordered: a higher level includes the lower ones. Numbers are those of ExperimentPermission.Level."""

    CAN_READ = 1
    CAN_EDIT = 2
    CAN_MANAGE = 3


Grants = Mapping[Principal, Level]

_DESCRIPTIONS: Mapping[Level, str] = MappingProxyType(
    {
        Level.CAN_READ: "Can view and search runs and download artifacts of the experiment.",
        Level.CAN_EDIT: "Can also log, tag, create, delete and restore runs.",
        Level.CAN_MANAGE: "Can also rename, delete and grant the experiment.",
    }
)


def descriptions() -> list[Description]:
    """Return what each level is for, lowest first."""
    return [Description(permission_level=level, description=text) for level, text in _DESCRIPTIONS.items()]


def shown(grants: Grants) -> list[AccessControl]:
    """Return who holds what."""
    return access_control({principal: [Permission(permission_level=level)] for principal, level in grants.items()})
