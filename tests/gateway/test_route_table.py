"""Every route of MLflow 3.18 is served or stands, with a reason, in the one list of what is not."""

import csv
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.gateway.backends import Connections
from services.gateway.catalog import backends
from services.gateway.graphql import endpoint
from services.gateway.pages import Pages
from services.gateway.routes import RouteTable
from services.gateway.settings import Settings
from services.gateway.ui import pages as ui
from services.gateway.ui.pages import WebUI
from services.gateway.unsupported import UNSUPPORTED, Unsupported

TABLE = Path(__file__).parents[1] / "compat" / "mlflow_rest_3_18.csv"

Row = tuple[str, str, str]


def stock_rows() -> list[Row]:
    with TABLE.open(newline="") as file:
        return [(row["method"], row["path"], row["area"]) for row in csv.DictReader(file)]


@pytest.fixture
async def pages() -> AsyncIterator[Pages]:
    settings = Settings()
    connections = Connections(backends(settings))
    yield Pages(
        RouteTable(backends(settings)),
        connections,
        presigned_artifacts=False,
        public_tracking_address="",
        web_ui=WebUI(None),
    )
    await connections.close()


def is_served(table: RouteTable, pages: Pages, row: Row) -> bool:
    verb, path, _ = row
    if path == endpoint.PATH:
        return verb in endpoint.VERBS
    # Which files there are depends on the wheel that is installed.
    is_page = path.startswith(ui.ROOT) or pages.find(path) is not None
    return (verb == "GET" and is_page) or table.match(verb, re.sub(r"\{[^}]*\}", "x", path)) is not None


def covering(row: Row) -> list[Unsupported]:
    return [entry for entry in UNSUPPORTED if entry.covers(area=row[2], path=row[1])]


async def test_every_route_of_mlflow_is_served_or_listed_once(pages: Pages) -> None:
    table = RouteTable(backends(Settings()))

    stray = [row for row in stock_rows() if len(covering(row)) + is_served(table, pages, row) != 1]

    assert stray == []


def test_every_entry_of_the_list_is_needed() -> None:
    needed = [entry for row in stock_rows() for entry in covering(row)]

    assert [entry for entry in UNSUPPORTED if entry not in needed] == []


def test_the_table_is_mlflows() -> None:
    assert len(stock_rows()) == 331
