"""The SQL of grants on experiments: fixed statements, on the driver."""

from services.common.database import Driver
from services.common.grants import Principal, PrincipalKind
from services.tracking.permissions.model import Grants, Level

_SELECT = """
    SELECT principal_kind, principal, level
    FROM experiment_grants
    WHERE experiment_id = %(experiment_id)s
"""

_DELETE = "DELETE FROM experiment_grants WHERE experiment_id = %(experiment_id)s"

_INSERT = """
    INSERT INTO experiment_grants (experiment_id, principal_kind, principal, level)
    SELECT %(experiment_id)s, i.*
    FROM unnest(%(kinds)s::text[], %(names)s::text[], %(levels)s::smallint[]) AS i (principal_kind, principal, level)
"""


async def grants_of(tx: Driver, experiment_id: int) -> Grants:
    """Return who was granted what on an experiment."""
    rows = await (await tx.execute(_SELECT, {"experiment_id": experiment_id})).fetchall()
    return {Principal(kind=PrincipalKind(kind), name=name): Level(level) for kind, name, level in rows}


async def replace(tx: Driver, experiment_id: int, grants: Grants) -> None:
    """Make these the grants on an experiment, and no others."""
    await tx.execute(_DELETE, {"experiment_id": experiment_id})
    await tx.execute(
        _INSERT,
        {
            "experiment_id": experiment_id,
            "kinds": [principal.kind.value for principal in grants],
            "names": [principal.name for principal in grants],
            "levels": [int(level) for level in grants.values()],
        },
    )
