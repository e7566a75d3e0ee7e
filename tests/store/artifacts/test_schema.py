"""The migrations build exactly the tables that the code declares."""

import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.artifacts.__main__ import SCHEMA
from services.artifacts.tables import metadata
from services.common.database import parse_url


def test_migrations_build_the_declared_tables(artifacts_url: str) -> None:
    engine = sqlalchemy.create_engine(parse_url(artifacts_url), connect_args={"options": f"-c search_path={SCHEMA}"})

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": False})
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_paths_and_keys_sort_by_their_bytes(artifacts_url: str) -> None:
    engine = sqlalchemy.create_engine(parse_url(artifacts_url))
    query = (
        "SELECT table_name, column_name FROM information_schema.columns "
        f"WHERE collation_name = 'C' AND table_schema = '{SCHEMA}'"
    )

    with engine.connect() as connection:
        columns = {tuple(row) for row in connection.execute(sqlalchemy.text(query))}

    assert columns == {("artifacts", "path"), ("blobs", "object_key")}
