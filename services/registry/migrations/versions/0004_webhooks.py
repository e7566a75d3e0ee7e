"""Adds webhooks and their deliveries."""

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = """
CREATE TABLE webhooks (
    webhook_id text NOT NULL,
    workspace text NOT NULL DEFAULT 'default',
    dialect text NOT NULL,
    registered_model_id bigint,
    name text NOT NULL,
    description text NOT NULL,
    url text NOT NULL,
    events text[] NOT NULL,
    sealed_secret text NOT NULL,
    sealed_authorization text NOT NULL,
    enable_ssl_verification boolean NOT NULL,
    status text NOT NULL,
    creation_timestamp bigint NOT NULL,
    last_updated_timestamp bigint NOT NULL,
    deleted_timestamp bigint,
    transaction_id bigint NOT NULL,
    event_id bigint NOT NULL,
    CONSTRAINT webhooks_pkey PRIMARY KEY (webhook_id),
    CONSTRAINT webhooks_dialect_check CHECK (dialect IN ('MLFLOW', 'DATABRICKS')),
    CONSTRAINT webhooks_status_check CHECK (status IN ('ACTIVE', 'DISABLED', 'TEST_MODE'))
) WITH (fillfactor = 50);
CREATE INDEX webhooks_creation_timestamp_webhook_id_idx ON webhooks (creation_timestamp, webhook_id);

CREATE TABLE webhook_deliveries (
    delivery_id text NOT NULL,
    webhook_id text NOT NULL,
    transaction_id bigint NOT NULL,
    event_id bigint NOT NULL,
    event text NOT NULL,
    registered_model_id bigint NOT NULL,
    status text NOT NULL,
    attempts integer NOT NULL,
    claim_id text,
    response_status integer,
    failure text,
    duration_ms integer,
    create_time timestamptz NOT NULL DEFAULT now(),
    queue_time timestamptz NOT NULL DEFAULT now(),
    last_attempt_time timestamptz,
    next_attempt_time timestamptz,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (delivery_id),
    CONSTRAINT webhook_deliveries_webhook_id_transaction_id_event_id_event_key
        UNIQUE (webhook_id, transaction_id, event_id, event),
    CONSTRAINT webhook_deliveries_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhooks,
    CONSTRAINT webhook_deliveries_status_check CHECK (status IN ('PENDING', 'DELIVERED', 'DEAD')),
    CONSTRAINT webhook_deliveries_next_attempt_time_check CHECK (status = 'PENDING' OR next_attempt_time IS NULL)
) WITH (fillfactor = 80);
CREATE INDEX webhook_deliveries_status_idx
    ON webhook_deliveries (webhook_id, status, transaction_id, event_id, event);
CREATE INDEX webhook_deliveries_due_idx ON webhook_deliveries (webhook_id, next_attempt_time)
    WHERE next_attempt_time IS NOT NULL;
CREATE INDEX webhook_deliveries_pending_idx
    ON webhook_deliveries (webhook_id, registered_model_id, transaction_id, event_id)
    WHERE status = 'PENDING';
CREATE INDEX webhook_deliveries_create_time_idx ON webhook_deliveries (create_time);
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)
