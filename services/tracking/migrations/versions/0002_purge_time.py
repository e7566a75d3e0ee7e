"""Lets a deletion become final: what is being purged can no longer be restored."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Nullable and without a default, so that no row is written.
    for table in ("experiments", "runs", "logged_models"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN purge_time bigint")
