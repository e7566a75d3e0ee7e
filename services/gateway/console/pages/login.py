"""Signing in and out. Where callers are known by API keys, one is asked for; for development, a name will do."""

import base64

from services.common.auth import ANONYMOUS, Authenticator, AuthKind
from services.common.errors import Unauthenticated
from services.gateway.console.visits import Page, Redirect, View, Visit, below
from services.gateway.sessions import AUTHORIZATION_LENGTH_MAX, Sessions

_TOO_LONG = "That is longer than any that is accepted."


class Login:
    """The pages to sign in at."""

    def __init__(self, sessions: Sessions, authenticator: Authenticator, auth: AuthKind) -> None:
        self._sessions = sessions
        self._authenticator = authenticator
        self._auth = auth

    @property
    def views(self) -> tuple[View, ...]:
        if self._auth is AuthKind.NONE:
            return ()
        return (
            View(path="login", get=self._show, post=self._sign_in, is_public=True),
            View(path="login/check", get=self._check, is_public=True),
            View(path="logout", post=self._sign_out, is_public=True),
        )

    async def _show(self, visit: Visit) -> Page:
        return _form(visit.query.get("next"))

    async def _sign_in(self, visit: Visit) -> Page | Redirect:
        destination = visit.form.get("next")
        authorization, field = self._credentials(visit)
        if len(authorization) > AUTHORIZATION_LENGTH_MAX:
            return _form(destination, {field: _TOO_LONG})
        try:
            caller = self._authenticator.authenticate(authorization)
        except Unauthenticated:
            return _form(destination, {field: "No caller is known by this key."})
        if caller == ANONYMOUS:
            return _form(destination, {field: "Say who you are."})
        return Redirect(below("login", "check", next=destination), headers=(self._sessions.begin(authorization),))

    def _credentials(self, visit: Visit) -> tuple[str, str]:
        """Return the header that the form stands for, and the field that would be wrong about it."""
        if self._auth is AuthKind.TOKENS:
            return f"Bearer {visit.form.get('key').strip()}", "key"
        who = f"{visit.form.get('name').strip()}:{visit.form.get('groups')}"
        return f"Basic {base64.b64encode(who.encode()).decode()}", "name"

    async def _check(self, visit: Visit) -> Page | Redirect:
        """Go on to where the viewer wanted to be, if the browser has kept the session."""
        if visit.caller == ANONYMOUS:
            return Page(template="no_session.html")
        return Redirect(_inner(visit.query.get("next")))

    async def _sign_out(self, visit: Visit) -> Redirect:
        destination = "login" if self._auth is AuthKind.TOKENS else ""
        return Redirect(destination, headers=(self._sessions.end(),))


def _form(destination: str, problems: dict[str, str] | None = None) -> Page:
    values = {"next": destination, "problems": problems or {}}
    return Page(template="login.html", values=values, status=400 if problems else 200)


def _inner(path: str) -> str:
    """Return a path below the console: what a link says that leads out of it does not count."""
    return path if path.isprintable() and path.isascii() and ".." not in path and "\\" not in path else ""
