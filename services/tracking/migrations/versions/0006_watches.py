"""Adds what tells a watcher which points of a metric are new: their order of arrival, and how sorting changed it."""

from alembic import op

revision = "0006"
down_revision = "0005"

_STATEMENTS = """
ALTER TABLE metrics ADD COLUMN sort_count integer NOT NULL DEFAULT 0;

ALTER TABLE metric_points ADD COLUMN place bigint;

CREATE TABLE metric_sorts (
    metric_id bigint NOT NULL,
    sort_count integer NOT NULL,
    sort_time bigint NOT NULL,
    places bytea STORAGE EXTERNAL NOT NULL,
    CONSTRAINT metric_sorts_pkey PRIMARY KEY (metric_id, sort_count)
);
CREATE INDEX metric_sorts_sort_time_idx ON metric_sorts (sort_time);
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)
