"""The tables of the schema `artifacts`; the migrations build exactly these. docs/decisions/0011 says why they are so.

The key of each object in the store stands in exactly one of `blobs`, `uploads` and `garbage`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

# Contents that were stored. The hash is absent until somebody has read what a client sent directly to the store.
blobs = Table(
    "blobs",
    metadata,
    Column("blob_id", BigInteger, Identity(), primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("object_key", Text(collation="C"), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text),
    Column("create_time", DateTime(timezone=True), nullable=False),
    UniqueConstraint("workspace", "sha256"),
    UniqueConstraint("object_key"),
    CheckConstraint("size >= 0", name="size"),
)
Index("blobs_unread_idx", blobs.c.blob_id, postgresql_where=blobs.c.sha256.is_(None))

# Names. A folder is what stands before a slash; paths sort by their bytes, so a folder's files stand together.
artifacts = Table(
    "artifacts",
    metadata,
    Column("workspace", Text),
    Column("path", Text(collation="C")),
    Column("blob_id", BigInteger, ForeignKey("blobs.blob_id"), nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("workspace", "path"),
)
Index(None, artifacts.c.blob_id)

# Contents that lost a name, each time that one did: the sweeper looks whether another is left. Rows are only added, so
# that nobody waits for each other.
releases = Table(
    "releases",
    metadata,
    Column("release_id", BigInteger, Identity(), primary_key=True),
    Column("blob_id", BigInteger, nullable=False),
)

# What is being sent, maybe in parts that the store keeps apart until they are put together. An upload that was
# completed keeps its row without a key for a while, so that completing it again is known to be that.
uploads = Table(
    "uploads",
    metadata,
    Column("upload_id", Text, primary_key=True),
    Column("workspace", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("object_key", Text),
    Column("has_parts", Boolean, nullable=False),
    Column("store_upload_id", Text),
    Column("size", BigInteger),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
Index(None, uploads.c.create_time)

# What is to be deleted in the object store.
garbage = Table(
    "garbage",
    metadata,
    Column("object_key", Text, primary_key=True),
    Column("has_parts", Boolean, nullable=False),
    Column("create_time", DateTime(timezone=True), nullable=False),
)
Index(None, garbage.c.create_time)
