"""The tables of the schema `tracking`, as SQLAlchemy Core sees them; the migrations build exactly these.

Invariants are named constraints, so that a violation is recognised by its name.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
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


def _lifecycle_stage() -> list[Column[str] | Column[int] | CheckConstraint]:
    return [
        Column("lifecycle_stage", Text, nullable=False),
        # When the removal for good began, from which on nothing restores it.
        Column("purge_time", BigInteger),
        CheckConstraint("lifecycle_stage IN ('active', 'deleted')", name="lifecycle_stage"),
    ]


experiments = Table(
    "experiments",
    metadata,
    Column("experiment_id", BigInteger, Identity(), primary_key=True),
    Column("workspace", Text, nullable=False, server_default="default"),
    Column("name", Text, nullable=False),
    Column("artifact_location", Text, nullable=False),
    *_lifecycle_stage(),
    Column("creation_time", BigInteger, nullable=False),
    Column("last_update_time", BigInteger, nullable=False),
    UniqueConstraint("workspace", "name"),
)

experiment_tags = Table(
    "experiment_tags",
    metadata,
    Column("experiment_id", BigInteger, ForeignKey("experiments.experiment_id", ondelete="CASCADE")),
    Column("key", Text),
    Column("value", Text, nullable=False),
    PrimaryKeyConstraint("experiment_id", "key"),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("experiment_id", BigInteger, ForeignKey("experiments.experiment_id"), nullable=False),
    Column("run_name", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("deleted_time", BigInteger),
    Column("artifact_uri", Text, nullable=False),
    # Whether the status is what its ranks make of it.
    Column("follows_ranks", Boolean, nullable=False, server_default="false"),
    *_lifecycle_stage(),
    CheckConstraint("status IN ('RUNNING', 'SCHEDULED', 'FINISHED', 'FAILED', 'KILLED')", name="status"),
)
Index(None, runs.c.experiment_id, runs.c.start_time.desc(), runs.c.run_id)


def _run_pairs(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE")),
        Column("key", Text),
        Column("value", Text, nullable=False),
        PrimaryKeyConstraint("run_id", "key"),
    )


run_params = _run_pairs("run_params")
run_tags = _run_pairs("run_tags")

# One row a metric of a run: its latest point, and what is known of all its points.
metrics = Table(
    "metrics",
    metadata,
    Column("metric_id", BigInteger, Identity(), primary_key=True),
    Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("is_nan", Boolean, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("point_count", BigInteger, nullable=False),
    Column("pending_count", Integer, nullable=False),
    Column("in_order", Boolean, nullable=False),
    # How often its points were put in another order than that of arrival.
    Column("sort_count", Integer, nullable=False, server_default="0"),
    UniqueConstraint("run_id", "key"),
    postgresql_with={"fillfactor": "80"},
)

# The newest points of a metric, one row each, until there are enough for a chunk.
metric_points = Table(
    "metric_points",
    metadata,
    Column("metric_id", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    # Where it stands among the metric's points in the order of arrival.
    Column("place", BigInteger),
    # Of a distributed run's process; absent for a point of none.
    Column("rank", Integer),
)
Index(None, metric_points.c.metric_id)

# Older points, many in a row, as packed columns; services/tracking/metrics/columns.py has the layout.
metric_chunks = Table(
    "metric_chunks",
    metadata,
    Column("metric_id", BigInteger),
    Column("chunk_id", BigInteger, Identity()),
    Column("point_count", Integer, nullable=False),
    Column("step_min", BigInteger, nullable=False),
    Column("step_max", BigInteger, nullable=False),
    Column("timestamp_max", BigInteger, nullable=False),
    Column("steps", LargeBinary, nullable=False),
    Column("timestamps", LargeBinary, nullable=False),
    Column("point_values", LargeBinary, nullable=False),
    # Absent if no point has a rank.
    Column("ranks", LargeBinary),
    PrimaryKeyConstraint("metric_id", "chunk_id"),
)

# For a while, where the points of a metric stood before they were sorted: so a watcher is told no point twice.
metric_sorts = Table(
    "metric_sorts",
    metadata,
    Column("metric_id", BigInteger),
    Column("sort_count", Integer),
    Column("sort_time", BigInteger, nullable=False),
    # Packed as a column of a chunk: of each point, its place before.
    Column("places", LargeBinary, nullable=False),
    PrimaryKeyConstraint("metric_id", "sort_count"),
)
Index(None, metric_sorts.c.sort_time)

datasets = Table(
    "datasets",
    metadata,
    Column("dataset_id", BigInteger, Identity(), primary_key=True),
    Column("experiment_id", BigInteger, ForeignKey("experiments.experiment_id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text),
    Column("profile", Text),
    UniqueConstraint("experiment_id", "name", "digest"),
)

run_datasets = Table(
    "run_datasets",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE")),
    Column("dataset_id", BigInteger, ForeignKey("datasets.dataset_id", ondelete="CASCADE")),
    Column("tags", JSONB, nullable=False),
    PrimaryKeyConstraint("run_id", "dataset_id"),
)
Index(None, run_datasets.c.dataset_id)

# A model may belong to another service's client or be deleted, so there is no foreign key on it.
run_models = Table(
    "run_models",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE")),
    Column("direction", Text),
    Column("model_id", Text),
    Column("step", BigInteger, nullable=False),
    PrimaryKeyConstraint("run_id", "direction", "model_id"),
    CheckConstraint("direction IN ('input', 'output')", name="direction"),
)

logged_models = Table(
    "logged_models",
    metadata,
    Column("model_id", Text, primary_key=True),
    Column("experiment_id", BigInteger, ForeignKey("experiments.experiment_id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("artifact_uri", Text, nullable=False),
    Column("creation_timestamp_ms", BigInteger, nullable=False),
    Column("last_updated_timestamp_ms", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_message", Text),
    Column("model_type", Text),
    Column("source_run_id", Text),
    *_lifecycle_stage(),
)
Index(None, logged_models.c.experiment_id, logged_models.c.creation_timestamp_ms.desc(), logged_models.c.model_id)


def _model_pairs(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("model_id", Text, ForeignKey("logged_models.model_id", ondelete="CASCADE")),
        Column("key", Text),
        Column("value", Text, nullable=False),
        PrimaryKeyConstraint("model_id", "key"),
    )


logged_model_params = _model_pairs("logged_model_params")
logged_model_tags = _model_pairs("logged_model_tags")

logged_model_metrics = Table(
    "logged_model_metrics",
    metadata,
    Column("model_id", Text),
    Column("run_id", Text),
    Column("key", Text),
    Column("value", Double),
    Column("timestamp", BigInteger),
    Column("step", BigInteger),
    Column("dataset_name", Text),
    Column("dataset_digest", Text),
    PrimaryKeyConstraint("model_id", "key", "step", "timestamp", "run_id", "value"),
    ForeignKeyConstraint(["model_id"], ["logged_models.model_id"], ondelete="CASCADE"),
)

# The processes of distributed runs, and the lease of each that runs.
run_ranks = Table(
    "run_ranks",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE")),
    Column("rank", Integer),
    Column("world_size", Integer, nullable=False),
    Column("node", Text, nullable=False),
    Column("local_rank", Integer),
    Column("state", Text, nullable=False),
    # Whether it began the run, so that it takes part in the decision how that ends.
    Column("has_started", Boolean, nullable=False),
    Column("join_timestamp", BigInteger, nullable=False),
    # By the clock of the server that heard of it.
    Column("last_seen_timestamp", BigInteger, nullable=False),
    # By its own clock.
    Column("end_timestamp", BigInteger),
    Column("last_step", BigInteger),
    Column("last_point_timestamp", BigInteger),
    PrimaryKeyConstraint("run_id", "rank"),
    CheckConstraint("state IN ('RUNNING', 'FINISHED', 'FAILED', 'KILLED', 'LOST')", name="state"),
    postgresql_with={"fillfactor": "50"},
)
# Not on the time, which is written often.
Index(
    "run_ranks_running_idx",
    run_ranks.c.run_id,
    run_ranks.c.rank,
    postgresql_where=run_ranks.c.state == "RUNNING",
)

# What a client has sent of a sequence of batches that it numbers.
ingest_sessions = Table(
    "ingest_sessions",
    metadata,
    Column("session_id", Uuid, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("acknowledged_sequence", BigInteger, nullable=False),
    Column("active_time", BigInteger, nullable=False),
    postgresql_with={"fillfactor": "50"},
)

# Batches that can never be stored, until their client knows.
ingest_rejections = Table(
    "ingest_rejections",
    metadata,
    Column("session_id", Uuid, ForeignKey("ingest_sessions.session_id", ondelete="CASCADE")),
    Column("sequence", BigInteger),
    Column("reason", Text, nullable=False),
    Column("message", Text, nullable=False),
    PrimaryKeyConstraint("session_id", "sequence"),
)

# Runs that have logged points since their chunks were last looked after.
sealing_queue = Table(
    "sealing_queue",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("change_count", BigInteger, nullable=False),
)

# Who may do what with an experiment.
experiment_grants = Table(
    "experiment_grants",
    metadata,
    Column("experiment_id", BigInteger, ForeignKey("experiments.experiment_id", ondelete="CASCADE")),
    Column("principal_kind", Text),
    Column("principal", Text),
    # The number of permissions.model.Level.
    Column("level", SmallInteger, nullable=False),
    PrimaryKeyConstraint("experiment_id", "principal_kind", "principal"),
    CheckConstraint("principal_kind IN ('user', 'group', 'service_principal')", name="principal_kind"),
    CheckConstraint("level BETWEEN 1 AND 3", name="level"),
)
