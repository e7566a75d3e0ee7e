"""The tables of the schema `registry`, as SQLAlchemy Core sees them; the migrations build exactly these.

Invariants are named constraints, so that a violation is recognised by its name. A registered model is known inside by
a number, so that a rename touches one row of it, and what belongs to it stays.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.common import idempotency

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

idempotency_keys = idempotency.declare_table(metadata)

registered_models = Table(
    "registered_models",
    metadata,
    Column("registered_model_id", BigInteger, Identity(), primary_key=True),
    Column("workspace", Text, nullable=False, server_default="default"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    # The number of the newest version ever made, so that no number is used twice.
    Column("last_version", BigInteger, nullable=False),
    # The revision of the newest event.
    Column("revision", BigInteger, nullable=False),
    UniqueConstraint("workspace", "name"),
)

registered_model_tags = Table(
    "registered_model_tags",
    metadata,
    Column("registered_model_id", BigInteger, ForeignKey("registered_models.registered_model_id", ondelete="CASCADE")),
    Column("key", Text),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("registered_model_id", "key"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("registered_model_id", BigInteger, ForeignKey("registered_models.registered_model_id", ondelete="CASCADE")),
    Column("version", BigInteger),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    Column("user_id", Text),
    Column("current_stage", Text, nullable=False),
    Column("description", Text),
    Column("source", Text, nullable=False),
    # Where the files are: not what `source` says if that names another version or a logged model.
    Column("storage_location", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("run_link", Text, nullable=False),
    # The logged model that it is.
    Column("model_id", Text),
    Column("status", Text, nullable=False),
    Column("status_message", Text),
    PrimaryKeyConstraint("registered_model_id", "version"),
    CheckConstraint("status IN ('PENDING_REGISTRATION', 'FAILED_REGISTRATION', 'READY')", name="status"),
)
Index(None, model_versions.c.registered_model_id, model_versions.c.current_stage, model_versions.c.version)
Index(None, model_versions.c.last_updated_timestamp)
Index(None, model_versions.c.run_id)
Index(None, model_versions.c.model_id, postgresql_where=model_versions.c.model_id.is_not(None))


def _of_version() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["registered_model_id", "version"],
        ["model_versions.registered_model_id", "model_versions.version"],
        ondelete="CASCADE",
    )


model_version_tags = Table(
    "model_version_tags",
    metadata,
    Column("registered_model_id", BigInteger),
    Column("version", BigInteger),
    Column("key", Text),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("registered_model_id", "version", "key"),
    _of_version(),
)

registered_model_aliases = Table(
    "registered_model_aliases",
    metadata,
    Column("registered_model_id", BigInteger),
    Column("alias", Text),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("registered_model_id", "alias"),
    _of_version(),
)
Index(None, registered_model_aliases.c.registered_model_id, registered_model_aliases.c.version)

# What happened, one row a change, in the transaction of the change. Nothing here is ever changed or deleted, so there
# are no foreign keys: it tells of models that are gone as well.
events = Table(
    "events",
    metadata,
    Column("event_id", BigInteger, Identity(), primary_key=True),
    # Numbers come in the order of beginnings, not of ends: who follows the table reads the rows of transactions below
    # pg_snapshot_xmin(pg_current_snapshot()), for below that nothing is added any more.
    Column("transaction_id", BigInteger, nullable=False, server_default="(pg_current_xact_id()::text)::bigint"),
    Column("workspace", Text, nullable=False),
    Column("registered_model_id", BigInteger, nullable=False),
    # The model's name after the change.
    Column("name", Text, nullable=False),
    # Counts the changes of a model; also never falls under one name, whichever models had it.
    Column("revision", BigInteger, nullable=False),
    Column("version", BigInteger),
    Column("kind", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    # What changed, as {"field": {"from": …, "to": …}}.
    Column("changes", JSONB, nullable=False),
    UniqueConstraint("registered_model_id", "revision"),
)
Index(None, events.c.workspace, events.c.name, events.c.revision)
Index(None, events.c.transaction_id, events.c.event_id)

# What was set for a model, or without one as the default, is kept: the newest revision applies, and one without a
# policy says that it was deleted. No foreign key, since it tells of models that are gone as well.
promotion_policies = Table(
    "promotion_policies",
    metadata,
    Column("policy_id", BigInteger, Identity(), primary_key=True),
    Column("workspace", Text, nullable=False, server_default="default"),
    Column("registered_model_id", BigInteger),
    Column("revision", BigInteger, nullable=False),
    Column("policy_yaml", Text),
    Column("set_by", Text, nullable=False),
    Column("set_timestamp", BigInteger, nullable=False),
    UniqueConstraint("registered_model_id", "revision"),
)
Index(
    "promotion_policies_default_idx",
    promotion_policies.c.workspace,
    promotion_policies.c.revision,
    unique=True,
    postgresql_where=promotion_policies.c.registered_model_id.is_(None),
)

transition_requests = Table(
    "transition_requests",
    metadata,
    Column("request_id", BigInteger, Identity(), primary_key=True),
    Column("registered_model_id", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    # The stage that is asked for, or `@` and an alias.
    Column("to_stage", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("comment", Text),
    Column("state", Text, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    # From then on it is not open, whatever `state` says; none where it does not expire.
    Column("expire_timestamp", BigInteger),
    _of_version(),
    CheckConstraint("state IN ('OPEN', 'APPROVED', 'REJECTED', 'CANCELLED', 'EXPIRED')", name="state"),
)
Index(
    "transition_requests_open_idx",
    transition_requests.c.registered_model_id,
    transition_requests.c.version,
    transition_requests.c.to_stage,
    transition_requests.c.user_id,
    unique=True,
    postgresql_where=transition_requests.c.state == "OPEN",
)

transition_approvals = Table(
    "transition_approvals",
    metadata,
    Column("request_id", BigInteger, ForeignKey("transition_requests.request_id", ondelete="CASCADE")),
    Column("user_id", Text),
    # Of the approver at that time.
    Column("groups", ARRAY(Text), nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    PrimaryKeyConstraint("request_id", "user_id"),
)

model_version_checks = Table(
    "model_version_checks",
    metadata,
    Column("registered_model_id", BigInteger),
    Column("version", BigInteger),
    Column("check", Text),
    Column("state", Text, nullable=False),
    Column("url", Text),
    Column("description", Text),
    Column("user_id", Text, nullable=False),
    # Of who posted it, at that time.
    Column("groups", ARRAY(Text), nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    PrimaryKeyConstraint("registered_model_id", "version", "check"),
    _of_version(),
    CheckConstraint("state IN ('PENDING', 'PASSED', 'FAILED')", name="state"),
)

# Who may do what with a model, besides what everyone may and the administrators.
registered_model_grants = Table(
    "registered_model_grants",
    metadata,
    Column("registered_model_id", BigInteger, ForeignKey("registered_models.registered_model_id", ondelete="CASCADE")),
    Column("principal_kind", Text),
    Column("principal", Text),
    # The number of permissions.model.Level.
    Column("level", SmallInteger, nullable=False),
    PrimaryKeyConstraint("registered_model_id", "principal_kind", "principal"),
    CheckConstraint("principal_kind IN ('user', 'group', 'service_principal')", name="principal_kind"),
    CheckConstraint("level BETWEEN 1 AND 5", name="level"),
)

comments = Table(
    "comments",
    metadata,
    Column("comment_id", BigInteger, Identity(), primary_key=True),
    Column("registered_model_id", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    _of_version(),
)
Index(None, comments.c.registered_model_id, comments.c.version, comments.c.comment_id)

# Who is told of what happens, by HTTP. A row that is marked as deleted goes with its deliveries, in pieces.
webhooks = Table(
    "webhooks",
    metadata,
    Column("webhook_id", Text, primary_key=True),
    Column("workspace", Text, nullable=False, server_default="default"),
    # In whose words: MLflow's or Databricks'.
    Column("dialect", Text, nullable=False),
    # The model that it is about; all models without. No foreign key, as it tells of the model's last events as well.
    Column("registered_model_id", BigInteger),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("events", ARRAY(Text), nullable=False),
    # Encrypted; empty for none.
    Column("sealed_secret", Text, nullable=False),
    Column("sealed_authorization", Text, nullable=False),
    Column("enable_ssl_verification", Boolean, nullable=False),
    Column("status", Text, nullable=False),
    Column("creation_timestamp", BigInteger, nullable=False),
    Column("last_updated_timestamp", BigInteger, nullable=False),
    Column("deleted_timestamp", BigInteger),
    # The position of the newest event of which deliveries were made, where there was reason to.
    Column("transaction_id", BigInteger, nullable=False),
    Column("event_id", BigInteger, nullable=False),
    CheckConstraint("dialect IN ('MLFLOW', 'DATABRICKS')", name="dialect"),
    CheckConstraint("status IN ('ACTIVE', 'DISABLED', 'TEST_MODE')", name="status"),
)
Index(None, webhooks.c.creation_timestamp, webhooks.c.webhook_id)

# One event on its way to one webhook, under one name. Of one webhook and one model, one row at a time has a
# `next_attempt_time`; a row that is being sent has one that is past the time which that may take.
webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("webhook_id", Text, ForeignKey("webhooks.webhook_id"), nullable=False),
    Column("transaction_id", BigInteger, nullable=False),
    Column("event_id", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("registered_model_id", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    # Whose attempt is under way: what came of another one is not noted.
    Column("claim_id", Text),
    Column("response_status", Integer),
    Column("failure", Text),
    Column("duration_ms", Integer),
    Column("create_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Since when it is tried.
    Column("queue_time", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("last_attempt_time", DateTime(timezone=True)),
    Column("next_attempt_time", DateTime(timezone=True)),
    UniqueConstraint("webhook_id", "transaction_id", "event_id", "event"),
    CheckConstraint("status IN ('PENDING', 'DELIVERED', 'DEAD')", name="status"),
    CheckConstraint("status = 'PENDING' OR next_attempt_time IS NULL", name="next_attempt_time"),
)
Index(
    "webhook_deliveries_status_idx",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.status,
    webhook_deliveries.c.transaction_id,
    webhook_deliveries.c.event_id,
    webhook_deliveries.c.event,
)
Index(
    "webhook_deliveries_due_idx",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.next_attempt_time,
    postgresql_where=webhook_deliveries.c.next_attempt_time.is_not(None),
)
Index(
    "webhook_deliveries_pending_idx",
    webhook_deliveries.c.webhook_id,
    webhook_deliveries.c.registered_model_id,
    webhook_deliveries.c.transaction_id,
    webhook_deliveries.c.event_id,
    postgresql_where=webhook_deliveries.c.status == "PENDING",
)
Index(None, webhook_deliveries.c.create_time)
