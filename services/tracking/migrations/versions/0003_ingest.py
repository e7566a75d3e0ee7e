"""Sessions of clients that log by numbered batches, and the batches that were rejected."""

from alembic import op

revision = "0003"
down_revision = "0002"

_STATEMENTS = """
CREATE TABLE ingest_sessions (
    session_id uuid NOT NULL,
    epoch bigint NOT NULL,
    acknowledged_sequence bigint NOT NULL,
    active_time bigint NOT NULL,
    CONSTRAINT ingest_sessions_pkey PRIMARY KEY (session_id)
) WITH (fillfactor = 50);

CREATE TABLE ingest_rejections (
    session_id uuid NOT NULL,
    sequence bigint NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    CONSTRAINT ingest_rejections_pkey PRIMARY KEY (session_id, sequence),
    CONSTRAINT ingest_rejections_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES ingest_sessions ON DELETE CASCADE
);

CREATE TABLE sealing_queue (
    run_id text NOT NULL,
    change_count bigint NOT NULL,
    CONSTRAINT sealing_queue_pkey PRIMARY KEY (run_id),
    CONSTRAINT sealing_queue_run_id_fkey FOREIGN KEY (run_id) REFERENCES runs ON DELETE CASCADE
);
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)
