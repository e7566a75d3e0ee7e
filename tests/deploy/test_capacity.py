"""docs/capacity.md counts with rows that can be measured anew, and names settings that exist."""

from __future__ import annotations

import dataclasses
import re

from benchmarks.capacity import WORKS
from benchmarks.rows import ROWS
from services.artifacts.settings import Settings as ArtifactsSettings
from services.common import settings
from services.gateway.settings import Settings as GatewaySettings
from services.registry.settings import Settings as RegistrySettings
from services.tracking.settings import Settings as TrackingSettings
from tests.deploy.manifests import REPOSITORY

TEXT = (REPOSITORY / "docs" / "capacity.md").read_text(encoding="utf-8")
ALL_SETTINGS = (ArtifactsSettings, GatewaySettings, RegistrySettings, TrackingSettings)


def test_every_work_is_in_the_table_in_its_order() -> None:
    table = TEXT.partition("## What work costs")[2].partition("\n\n| stored")[0]

    assert re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE) == [work.name for work in WORKS]


def test_every_command_measures_rows_that_exist() -> None:
    commands = re.findall(r"`(python -m benchmarks[^`]*)`", TEXT.replace("\n", " "))

    assert {"python -m benchmarks.capacity", "python -m benchmarks.standby"} <= set(commands)
    for command in commands:
        assert set(re.findall(r"--only ([a-z-]+)", command)) <= {row.name for row in ROWS} | {w.name for w in WORKS}


def test_every_setting_exists() -> None:
    known = {settings.variable(field.name) for each in ALL_SETTINGS for field in dataclasses.fields(each)}

    assert set(re.findall(r"MODELSTEAD_[A-Z_]+", TEXT)) <= known
