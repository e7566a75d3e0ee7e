"""All allowed stores elsewhere: which of them an artifact URI leads to."""

from services.artifacts.external.opening import open_tree
from services.artifacts.external.tree import ExternalTree
from services.artifacts.trees import Segments
from services.common.artifact_stores import Stores
from services.common.errors import InvalidArgument


class ExternalStores:
    """Opens every allowed store at once, so that what is wrong with one stops the start; connects when it is used."""

    def __init__(self, stores: Stores) -> None:
        """Make it within a running event loop. Raises SettingsError."""
        self._stores = stores
        self._trees = {store.name: open_tree(store) for store in stores.stores}

    def resolve(self, uri: str) -> tuple[ExternalTree, Segments]:
        """Return the store that a URI is in, and the path below its root. Raises InvalidArgument if none is allowed."""
        found = self._stores.find(uri)
        if found is None:
            raise InvalidArgument(f"The artifacts at '{uri}' are in no store that this server's operator allows.")
        store, path = found
        return self._trees[store.name], path

    async def close(self) -> None:
        """Close every connection."""
        for tree in self._trees.values():
            await tree.close()
