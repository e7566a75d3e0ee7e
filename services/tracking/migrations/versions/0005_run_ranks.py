"""Adds the ranks of distributed runs, and whose rank a point is."""

from alembic import op

revision = "0005"
down_revision = "0004"

# Columns with a constant default, or without one, are added without writing a row.
_STATEMENTS = """
CREATE TABLE run_ranks (
    run_id text NOT NULL,
    rank integer NOT NULL,
    world_size integer NOT NULL,
    node text NOT NULL,
    local_rank integer,
    state text NOT NULL,
    has_started boolean NOT NULL,
    join_timestamp bigint NOT NULL,
    last_seen_timestamp bigint NOT NULL,
    end_timestamp bigint,
    last_step bigint,
    last_point_timestamp bigint,
    CONSTRAINT run_ranks_pkey PRIMARY KEY (run_id, rank),
    CONSTRAINT run_ranks_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs ON DELETE CASCADE,
    CONSTRAINT run_ranks_state_check CHECK (state IN ('RUNNING', 'FINISHED', 'FAILED', 'KILLED', 'LOST'))
) WITH (fillfactor = 50);
CREATE INDEX run_ranks_running_idx ON run_ranks (run_id, rank) WHERE state = 'RUNNING';

ALTER TABLE runs ADD COLUMN follows_ranks boolean NOT NULL DEFAULT false;
ALTER TABLE metric_points ADD COLUMN rank integer;
ALTER TABLE metric_chunks ADD COLUMN ranks bytea;
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)
