"""How much a caller may do with a registered model."""

from enum import IntEnum


class Level(IntEnum):
    """Ordered: a higher level includes the lower ones. Numbers and names are those of `modelstead.Access.Level`."""

    NONE = 0
    READ = 1
    EDIT = 2
    MANAGE_STAGING_VERSIONS = 3
    MANAGE_PRODUCTION_VERSIONS = 4
    MANAGE = 5
