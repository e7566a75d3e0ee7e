"""An upgrade under load: N and N−1 serve together on the schema of N, and no call fails (R27)."""

from pathlib import Path

import pytest

from services.common import migrations
from tests.long_form import IS_LONG
from tests.upgrades import releases, schemas
from tests.upgrades.load import Load
from tests.upgrades.platform import BACKENDS, SERVICES, Platform
from tests.upgrades.releases import NoHistory, Releases

pytestmark = pytest.mark.timeout(3600 if IS_LONG else 900)
# How many calls each of the callers makes in each phase.
CALLS = 500 if IS_LONG else 8


def test_to_a_release_that_adds_columns_tables_and_indexes(tmp_path: Path) -> None:
    _upgrade(tmp_path, releases.present(), releases.following(tmp_path))


def test_from_the_release_before(tmp_path: Path) -> None:
    try:
        before = releases.before(tmp_path)
    except NoHistory as error:
        if IS_LONG:
            pytest.fail(f"The release before is not here: {error}.")
        pytest.skip(f"The release before is not here: {error}. The test above needs no history.")
    _upgrade(tmp_path, before, releases.present())


def _upgrade(folder: Path, before: Releases, after: Releases) -> None:
    with Platform(folder) as platform:
        platform.migrate(before)
        platform.start(before, *SERVICES)
        with Load(platform) as load:
            load.go_on(CALLS)
            took_s = platform.migrate(after)
            load.go_on(CALLS)
            # The new gateway before the old services.
            platform.start(after, "gateway")
            load.go_on(CALLS)
            platform.stop(after, "gateway")
            # Old and new services over one schema, and an old gateway before the new ones.
            platform.start(after, *BACKENDS)
            load.go_on(CALLS)
            platform.leave(before, *BACKENDS)
            platform.start(before, "gateway")
            load.go_on(CALLS)
            platform.start(after, "gateway")
            platform.stop(before, "gateway")
            platform.stop(before, *BACKENDS)
            load.go_on(CALLS)
        print(f"{_names(before)} to {_names(after)}: migrated in {took_s:.1f} s; {load.report()}")

        assert load.failures() == []
        load.check()
        for service in BACKENDS:
            newest = schemas.revisions(after[service].migrations(service))[-1]
            assert migrations.current(platform.postgres.url(service), schema=service) == newest


def _names(some: Releases) -> str:
    return ", ".join(sorted({release.name for release in some.values()}))
