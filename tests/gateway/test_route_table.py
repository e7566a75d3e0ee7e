"""Every route of MLflow 3.18 is served or stands, with a reason, in the one list of what is not."""

import csv
import re
from pathlib import Path

import pytest

from services.gateway.backends import Connections
from services.gateway.catalog import backends
from services.gateway.pages import Pages
from services.gateway.routes import RouteTable
from services.gateway.settings import Settings
from services.gateway.unsupported import UNSUPPORTED, Unsupported

TABLE = Path(__file__).parents[1] / "compat" / "mlflow_rest_3_18.csv"

Row = tuple[str, str, str]


def stock_rows() -> list[Row]:
    with TABLE.open(newline="") as file:
        return [(row["method"], row["path"], row["area"]) for row in csv.DictReader(file)]


@pytest.fixture
async def pages() -> frozenset[str]:
    settings = Settings()
    table = RouteTable(backends(settings))
    connections = Connections(backends(settings))
    paths = frozenset(Pages(table, connections, presigned_artifacts=False, public_tracking_address="").by_path)
    await connections.close()
    return paths


def is_served(table: RouteTable, pages: frozenset[str], row: Row) -> bool:
    verb, path, _ = row
    return (verb == "GET" and path in pages) or table.match(verb, re.sub(r"\{[^}]*\}", "x", path)) is not None


def covering(row: Row) -> list[Unsupported]:
    return [entry for entry in UNSUPPORTED if entry.covers(area=row[2], path=row[1])]


async def test_every_route_of_mlflow_is_served_or_listed_once(pages: frozenset[str]) -> None:
    table = RouteTable(backends(Settings()))

    stray = [row for row in stock_rows() if len(covering(row)) + is_served(table, pages, row) != 1]

    assert stray == []


def test_every_entry_of_the_list_is_needed() -> None:
    needed = [entry for row in stock_rows() for entry in covering(row)]

    assert [entry for entry in UNSUPPORTED if entry not in needed] == []


def test_the_table_is_mlflows() -> None:
    assert len(stock_rows()) == 331
