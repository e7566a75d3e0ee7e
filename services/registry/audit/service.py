"""What an auditor can ask: one public method is one transaction."""

import dataclasses
from dataclasses import dataclass

from services.common.database import Database
from services.common.pages import PageTokens
from services.registry import rules
from services.registry.audit import model, store
from services.registry.audit.model import Entry, Question
from services.registry.events.model import check_page_size
from services.registry.registered_models import model as registered_models

_ID_MAX = 2**63 - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """The use-cases."""

    db: Database
    pages: PageTokens

    async def list(self, question: Question, *, max_results: int, page_token: str) -> tuple[list[Entry], str | None]:
        """Return a page of the events asked for, newest first, and the token of the next one.

        A name asks for all that happened to the model that has it, under whichever names; if no model has it, for all
        that happened to those that ever had it. Raises NotFound if none ever had, InvalidArgument.
        """
        question.check()
        check_page_size(max_results)
        query = ["audit", *dataclasses.astuple(question)]
        (before,) = self.pages.decode(page_token, query) if page_token else (_ID_MAX,)
        async with self.db.pipeline(snapshot=True) as tx:
            models = None
            if question.name:
                rules.check_name(question.name)
                models = await store.models_of(tx, question.name)
                if not models:
                    raise registered_models.not_found(question.name)
            told = await store.newest(tx, question, registered_model_ids=models, before=before, limit=max_results + 1)
        page = told[:max_results]
        token = self.pages.encode([page[-1].position.event_id], query) if len(told) > max_results else None
        return [model.entry_of(event) for event in page], token
