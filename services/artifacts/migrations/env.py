"""Tells alembic where this schema's history stands; services/common/migrations.py runs it."""

from alembic import context

from services.artifacts.tables import metadata

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=metadata,
    version_table_schema=attributes["schema"],
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
