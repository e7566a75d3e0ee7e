"""Migrations expand, and contract only what the release before does without: it serves while they run, and after."""

from pathlib import Path

import pytest

from services.common import migrations
from services.local.postgres import EmbeddedPostgres
from tests.upgrades import releases, rules, schemas

FIRST = "0001"


@pytest.mark.parametrize("schema", schemas.MIGRATIONS)
def test_migrations_suit_the_release_before(postgres: EmbeddedPostgres, schema: str) -> None:
    url, record = schemas.empty(postgres, schema), releases.record()
    # The first made the schema, and those that are out were judged by what was out before.
    since = max((name.partition("_")[0] for name in record.get("migrations", {}).get(schema, {})), default=FIRST)

    found = rules.complaints(url, schema, schemas.MIGRATIONS[schema], released=record["version"], since=since)

    assert found == []


# The schema of artifacts stands for all, with a migration that a reviewer must not have to find.
REFUSED = {
    "drops a table": ("DROP TABLE releases", "releases is gone"),
    "renames a table": ("ALTER TABLE uploads RENAME TO sendings", "uploads is gone or has another name"),
    "drops a column": ("ALTER TABLE uploads DROP COLUMN size", "uploads.size is gone"),
    "renames a column": ("ALTER TABLE uploads RENAME COLUMN size TO length", "uploads.size is gone"),
    "changes a type": ("ALTER TABLE uploads ALTER COLUMN size TYPE numeric", "uploads.size changed"),
    "rewrites a table": ("ALTER TABLE uploads ALTER COLUMN size TYPE numeric", "uploads is rewritten"),
    "computes a default": ("ALTER TABLE blobs ADD COLUMN mark float DEFAULT random()", "blobs is rewritten"),
    "demands a value": ("ALTER TABLE uploads ADD COLUMN owner text NOT NULL", "uploads.owner is NOT NULL without"),
    "demands what was optional": ("ALTER TABLE uploads ALTER COLUMN size SET NOT NULL", "uploads.size changed"),
    "allows what nobody expects": ("ALTER TABLE uploads ALTER COLUMN path DROP NOT NULL", "uploads.path changed"),
    "takes a default": ("ALTER TABLE blobs ALTER COLUMN blob_id DROP IDENTITY", "blobs.blob_id changed"),
    "takes a right": ("REVOKE DELETE ON garbage FROM CURRENT_USER", "garbage has other options or rights"),
    "checks old columns": ("ALTER TABLE uploads ADD CHECK (size < 9) NOT VALID", "refuses what the release before may"),
    "checks every row": (
        "ALTER TABLE uploads ADD COLUMN rank int CONSTRAINT ranks CHECK (rank > 0)",
        "uploads.ranks is checked for every row",
    ),
    "drops a key": ("ALTER TABLE blobs DROP CONSTRAINT blobs_object_key_key", "blobs.blobs_object_key_key changed"),
    "drops an index": ("DROP INDEX garbage_create_time_idx", "garbage.garbage_create_time_idx is gone"),
    "builds an index under a lock": ("CREATE INDEX sizes ON blobs (size)", "blobs.sizes is built while nobody"),
    "writes rows": ("UPDATE blobs SET size = 0", "blobs has rows written"),
    "locks too much": (
        "; ".join(f"ALTER TABLE {table} ADD COLUMN mark text" for table in "artifacts blobs garbage uploads".split()),
        "artifacts, blobs, garbage, uploads are locked in one transaction",
    ),
}  # fmt: skip


@pytest.fixture
def artifacts_url(postgres: EmbeddedPostgres) -> str:
    url = schemas.empty(postgres, "artifacts")
    migrations.upgrade(url, schema="artifacts", scripts=schemas.MIGRATIONS["artifacts"])
    return url


def _complaints(url: str, folder: Path, upgrade: str, *, head: str = "", released: str = "0.0.0") -> list[str]:
    scripts = schemas.MIGRATIONS["artifacts"]
    newest = schemas.revisions(scripts)[-1]
    followed = schemas.followed(scripts, folder, upgrade, head=head)
    return rules.complaints(url, "artifacts", followed, released=released, since=newest)


@pytest.mark.parametrize(("statements", "complaint"), REFUSED.values(), ids=REFUSED)
def test_a_migration_is_refused_that(artifacts_url: str, tmp_path: Path, statements: str, complaint: str) -> None:
    found = _complaints(artifacts_url, tmp_path, f'op.execute("{statements}")')

    assert any(complaint in text for text in found), found


def test_a_unique_index_on_what_the_release_before_writes_is_refused(artifacts_url: str, tmp_path: Path) -> None:
    found = _complaints(artifacts_url, tmp_path, 'migrations.build_index("one", "ON blobs (size)", unique=True)')

    [complaint] = found
    assert "blobs.one refuses what the release before may write" in complaint


ALLOWED = {
    "adds": """
op.execute("ALTER TABLE uploads ADD COLUMN owner text NOT NULL DEFAULT 'nobody', ADD COLUMN part_count integer")
op.execute("ALTER TABLE uploads ADD CHECK (part_count > 0) NOT VALID")
op.execute("CREATE TABLE owners (owner text PRIMARY KEY, upload_id text REFERENCES uploads)")
op.execute("CREATE INDEX ON owners (upload_id)")
op.execute("INSERT INTO owners (owner) VALUES ('nobody')")
""",
    "asks less": 'op.execute("ALTER TABLE blobs DROP CONSTRAINT blobs_size_check")',
    "builds an index beside the work": 'migrations.build_index("sizes", "ON blobs (size)")',
}


@pytest.mark.parametrize("upgrade", ALLOWED.values(), ids=ALLOWED)
def test_a_migration_is_allowed_that(artifacts_url: str, tmp_path: Path, upgrade: str) -> None:
    assert _complaints(artifacts_url, tmp_path, upgrade) == []


@pytest.mark.parametrize(("released", "is_refused"), [("0.2.9", True), ("0.3.0", False), ("0.10.0", False)])
def test_what_the_release_before_does_without_may_go(
    artifacts_url: str, tmp_path: Path, released: str, *, is_refused: bool
) -> None:
    upgrade, head = 'op.execute("ALTER TABLE uploads DROP COLUMN size")', "contracts = {'uploads.size': '0.3.0'}"

    found = _complaints(artifacts_url, tmp_path, upgrade, head=head, released=released)

    assert bool(found) is is_refused, found


def test_a_mark_on_what_stays_is_refused(artifacts_url: str, tmp_path: Path) -> None:
    found = _complaints(artifacts_url, tmp_path, "pass", head="contracts = {'uploads.size': '0.3.0'}", released="0.3.0")

    [complaint] = found
    assert "nothing is taken away" in complaint


def test_the_waits_of_a_transaction_end_before_postgres_chooses_a_victim(postgres: EmbeddedPostgres) -> None:
    deadlock_timeout_s = (
        float(schemas.scalar(postgres.url(), "SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'")) / 1000
    )

    assert deadlock_timeout_s > rules.LOCKED_TABLES_MAX * migrations.LOCK_TIMEOUT_S
    assert migrations.LOCK_PAUSE_S > migrations.LOCK_TIMEOUT_S * rules.LOCKED_TABLES_MAX
