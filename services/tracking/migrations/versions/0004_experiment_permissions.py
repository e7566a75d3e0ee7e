"""Adds who holds what on an experiment."""

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = """
CREATE TABLE experiment_grants (
    experiment_id bigint NOT NULL,
    principal_kind text NOT NULL,
    principal text NOT NULL,
    level smallint NOT NULL,
    CONSTRAINT experiment_grants_pkey PRIMARY KEY (experiment_id, principal_kind, principal),
    CONSTRAINT experiment_grants_experiment_id_fkey
        FOREIGN KEY (experiment_id) REFERENCES experiments ON DELETE CASCADE,
    CONSTRAINT experiment_grants_principal_kind_check
        CHECK (principal_kind IN ('user', 'group', 'service_principal')),
    CONSTRAINT experiment_grants_level_check CHECK (level BETWEEN 1 AND 3)
);
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)
