"""What can be asked of activities: one public method is one transaction."""

from dataclasses import dataclass

from services.common.database import Database
from services.common.pages import PageTokens
from services.registry import rules
from services.registry.activities import model, store
from services.registry.activities.model import Activity
from services.registry.events.model import check_page_size
from services.registry.registered_models import model as registered_models
from services.registry.registered_models import store as registered_models_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Activities:
    """The use-cases."""

    db: Database
    pages: PageTokens

    async def list(
        self, name: str, *, version: str, max_results: int, page_token: str
    ) -> tuple[list[Activity], str | None]:
        """Return a page of a model's activities, newest first, and the token of the next one; of one version if given.

        A page may have fewer than there is room for. Raises NotFound, InvalidArgument.
        """
        rules.check_name(name)
        number = rules.parse_version(version) if version else None
        check_page_size(max_results)
        query = ["activities", name, number]
        (before,) = self.pages.decode(page_token, query) if page_token else (rules.VERSION_MAX,)
        async with self.db.pipeline(snapshot=True) as tx:
            found = await registered_models_store.find(tx, name)
            if found is None:
                raise registered_models.not_found(name)
            told = await store.newest(
                tx, found, kinds=model.KINDS, version=number, before=before, limit=max_results + 1
            )
        page = told[:max_results]
        token = self.pages.encode([page[-1].revision], query) if len(told) > max_results else None
        return [activity for event in page if (activity := model.activity_of(event)) is not None], token
