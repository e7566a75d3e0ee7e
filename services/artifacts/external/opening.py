"""Makes trees of allowed stores, with the libraries that their kinds need, which are extras of the distribution."""

import importlib
from pathlib import Path

from services.artifacts.external.files import Files
from services.artifacts.external.local import LocalFiles
from services.artifacts.external.tree import ExternalTree
from services.common.artifact_stores import Store
from services.common.settings import SettingsError

# By scheme: the module that knows how, and the extra that installs what it imports.
_EXTRAS = {
    "sftp": ("services.artifacts.external.sftp", "sftp"),
    "s3": ("services.artifacts.external.s3", "s3"),
    "gs": ("services.artifacts.external.gcs", "gcs"),
    "abfss": ("services.artifacts.external.azure", "azure"),
    "wasbs": ("services.artifacts.external.azure", "azure"),
}
# Calls and transfers at once. SFTP holds a session for each, of which OpenSSH allows ten.
_LIMITS = {"sftp": (4, 6)}
_USUAL_LIMITS = (8, 8)


def open_tree(store: Store) -> ExternalTree:
    """Return the tree of a store, connecting nowhere. Raises SettingsError for a missing extra or secret."""
    calls_max, transfers_max = _LIMITS.get(store.root.scheme, _USUAL_LIMITS)
    return ExternalTree(store.name, _open_files(store), calls_max=calls_max, transfers_max=transfers_max)


def _open_files(store: Store) -> Files:
    if store.root.scheme == "file":
        return LocalFiles(Path("/", *store.root.segments))
    module, extra = _EXTRAS[store.root.scheme]
    try:
        # Only what the operator's file names is imported, as every kind costs megabytes and may not be installed.
        opened: Files = importlib.import_module(module).open_files(store)
    except ModuleNotFoundError as error:
        raise _missing(store, extra, error) from error
    return opened


def _missing(store: Store, extra: str, error: ModuleNotFoundError) -> SettingsError:
    problem = f"{error.name} is not installed; run `pip install 'modelstead-server[{extra}]'`"
    return store.error("root", problem)
