"""Puts the console together. This is the one place that a page's module is added to."""

from services.common.auth import Authenticator
from services.common.clock import now_ms
from services.gateway import limits
from services.gateway.admission import Admission
from services.gateway.console.api import Api
from services.gateway.console.app import Console
from services.gateway.console.pages import (
    audit,
    board,
    histories,
    home,
    models,
    policies,
    runs,
    system,
    versions,
    webhooks,
)
from services.gateway.console.pages.login import Login
from services.gateway.sessions import Sessions
from services.gateway.settings import Settings

_VIEWS = (
    *home.VIEWS,
    *runs.VIEWS,
    *board.VIEWS,
    *models.VIEWS,
    *versions.VIEWS,
    *policies.VIEWS,
    *histories.VIEWS,
    *webhooks.VIEWS,
    *audit.VIEWS,
    *system.VIEWS,
)


def build(settings: Settings, *, api: Api, sessions: Sessions, authenticator: Authenticator) -> Console:
    """Return the console as these settings want it."""
    return Console(
        (*_VIEWS, *Login(sessions, authenticator, settings.auth).views),
        api=api,
        authenticator=authenticator,
        auth=settings.auth,
        admission=Admission(requests_max=limits.PAGES_MAX, per_caller_max=limits.PAGES_PER_CALLER_MAX),
        now_ms=now_ms,
        root=settings.root_path,
    )
