"""Finds the built pages of MLflow's web UI in an installed wheel of MLflow, of which no code is ever imported."""

import sys
from importlib import metadata
from pathlib import Path

from services.common import web_ui

# Pages of another version may ask for what is not served here.
_VERSION = "3.18."
_PAGES = "mlflow/server/js/build"


def find_pages(folder: Path) -> Path | None:
    """Return the folder with the pages of the wheel in `folder`, else of one among this Python's packages; None if
    neither is there, or is of another version.
    """
    for distribution in metadata.distributions(name=web_ui.DISTRIBUTION, path=[str(folder), *sys.path]):
        pages = Path(str(distribution.locate_file(_PAGES)))
        if distribution.version.startswith(_VERSION) and (pages / "index.html").is_file():
            return pages
    return None
