"""The console: finds the page of a path, lets its viewer in, and answers with HTML, also when something goes wrong."""

import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from services.common.auth import ANONYMOUS, Authenticator, AuthKind, Caller
from services.common.errors import InvalidArgument, ServiceError, Unauthenticated
from services.gateway import errors, limits, sessions
from services.gateway.admission import Admission
from services.gateway.bodies import Bodies, ClientGone, Incoming, check_size
from services.gateway.console import static_files
from services.gateway.console.api import Api, ApiError
from services.gateway.console.rendering import Renderer
from services.gateway.console.static_files import StaticFiles
from services.gateway.console.visits import Fields, Page, Redirect, Show, View, Visit, below
from services.gateway.replies import HTML, Header, Reply
from services.gateway.requests import Request

ROOT = "/console/"
_FORM = "application/x-www-form-urlencoded"
_READING = frozenset({"GET", "HEAD"})

# Pages run our scripts and load our styles from files, talk to this server alone, and are framed by nobody. Strings
# become elements only by the one policy of static/js/html.js.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types modelstead"
)
_HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY.encode()),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Not `no-referrer`: with that, browsers hide the origin of forms.
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=()"),
    (b"cache-control", b"no-store"),
    (b"vary", b"accept-encoding, cookie"),
)
_NOTHING = "There is no such page."
_FOREIGN_FORM = "The form was not sent by a page of this console, so nothing was done."
_TITLES: Mapping[int, str] = {
    400: "That cannot be done",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Not a page to send that to",
    409: "Something else was faster",
    429: "Too much at once",
    503: "Not available at the moment",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The page of a path; `label` is what logs and metrics call it."""

    label: str
    view: View | None
    variables: Mapping[str, str]


class Console:
    """Serves the pages of `views` and the static files."""

    def __init__(
        self,
        views: Iterable[View],
        *,
        api: Api,
        authenticator: Authenticator,
        auth: AuthKind,
        admission: Admission,
        now_ms: Callable[[], int],
        root: str = "",
    ) -> None:
        self._views = [(view.path.split("/"), view) for view in views]
        self._api = api
        self._authenticator = authenticator
        self._auth = auth
        self._admission = admission
        self._now_ms = now_ms
        self._root = root
        self._bodies = Bodies()
        self._static = StaticFiles()
        self._renderer = Renderer(root=root, address=self._static.address)

    def find(self, raw_path: str) -> Found | None:
        """Return what is at a path as it was sent; None if it is not of the console."""
        if raw_path == ROOT[:-1]:
            return Found(label=ROOT, view=View(path="", get=_home), variables={})
        if not raw_path.startswith(ROOT):
            return None
        segments = [unquote(segment) for segment in raw_path[len(ROOT) :].split("/")]
        if segments[0] == "static" and len(segments) > 2:
            return Found(
                label=f"{ROOT}static", view=None, variables={"version": segments[1], "file": "/".join(segments[2:])}
            )
        for pattern, view in self._views:
            variables = _variables(pattern, segments)
            if variables is not None:
                return Found(label=ROOT + view.path, view=view, variables=variables)
        return Found(label=f"{ROOT}*", view=None, variables={})

    async def answer(self, found: Found, request: Request, incoming: Incoming) -> Reply:
        """Return the answer to a request for what was found. Raises ClientGone."""
        if "file" in found.variables:
            return self._file(found, request)
        try:
            return await self._answer(found, request, incoming)
        except ClientGone:
            raise
        except Unauthenticated:
            return self._redirect(request, _login_of(request))
        except ApiError as error:
            if error.status == 401:
                return self._redirect(request, _login_of(request))
            return self._failure(request, error.status, error.message)
        except ServiceError as error:
            return self._failure(request, errors.reply_of(error).status, error.message)
        except Exception:  # noqa: BLE001 - the boundary of pages: what no one foresaw is told as a page too
            failure = errors.unexpected("page failed", route=found.label)
            return self._failure(request, 500, failure.message)

    async def _answer(self, found: Found, request: Request, incoming: Incoming) -> Reply:
        request.check_size()
        show = _show_of(found.view, request.method)
        if show is None:
            return self._failure(request, 404 if found.view is None else 405, _NOTHING)
        if request.method not in _READING and not sessions.is_own(request):
            return self._failure(request, 403, _FOREIGN_FORM)
        if self._auth is not AuthKind.NONE and _comes_from_elsewhere(request):
            return self._page(request, Page(template="arrival.html"), viewer=None)
        assert found.view is not None
        caller = self._caller(found.view, request)
        if caller is not None:
            incoming.caller = caller.name
        # First, so that a form which comes slowly takes nobody's turn.
        form = await self._form(request, incoming)
        with self._admission.admit(caller.name if caller else ""):
            visit = Visit(
                request=request,
                caller=caller or ANONYMOUS,
                api=self._api,
                variables=found.variables,
                query=_parsed(request.query),
                form=form,
                now_ms=self._now_ms(),
            )
            answer = await show(visit)
        if isinstance(answer, Redirect):
            return self._redirect(request, answer)
        return self._page(request, answer, viewer=caller)

    def _caller(self, view: View, request: Request) -> Caller | None:
        """Return who asks; of a page for everyone, None if that is not known. Raises Unauthenticated."""
        try:
            return self._authenticator.authenticate(request.authorization)
        except Unauthenticated:
            if view.is_public:
                return None
            raise

    async def _form(self, request: Request, incoming: Incoming) -> Fields:
        if request.method in _READING:
            return Fields()
        if (request.header(b"content-type") or "").partition(";")[0].strip() != _FORM:
            raise InvalidArgument(f"A form is sent as {_FORM}.")
        if request.content_length is None:
            raise InvalidArgument("A form is sent with its length.")
        check_size(request.content_length, limits.FORM_BYTES_MAX)
        async with self._bodies.receive(incoming, request.content_length) as body:
            return _parsed(body)

    def _page(self, request: Request, page: Page, *, viewer: Caller | None) -> Reply:
        values = {
            "viewer": None if viewer is None or viewer == ANONYMOUS else viewer,
            "auth": self._auth.value,
            "here": request.path,
            **page.values,
        }
        body = self._renderer.render(page.template, values, now_ms=self._now_ms())
        headers = _HEADERS
        if static_files.accepts_gzip(request):
            body = gzip.compress(body, compresslevel=6, mtime=0)
            headers += (static_files.GZIP,)
        return Reply(body=body, status=page.status, media_type=HTML, headers=headers)

    def _redirect(self, request: Request, redirect: Redirect) -> Reply:
        location = f"{self._root}{ROOT}{redirect.path}".encode()
        return Reply(
            body=b"", status=303, media_type=HTML, headers=(*_HEADERS, (b"location", location), *redirect.headers)
        )

    def _failure(self, request: Request, status: int, message: str) -> Reply:
        values = {"title": _TITLES.get(status, "Something went wrong"), "message": message, "status": status}
        try:
            viewer = self._authenticator.authenticate(request.authorization)
        except Unauthenticated:
            viewer = None
        return self._page(request, Page(template="error.html", values=values, status=status), viewer=viewer)

    def _file(self, found: Found, request: Request) -> Reply:
        reply = self._static.reply(found.variables["version"], found.variables["file"], request)
        return reply or self._failure(request, 404, _NOTHING)


async def _home(visit: Visit) -> Redirect:
    return Redirect("")


def _show_of(view: View | None, method: str) -> Show | None:
    if view is None:
        return None
    return view.get if method in _READING else view.post if method == "POST" else None


def _variables(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    """Return what a path gives for a pattern's variables; None if it is another path."""
    if len(pattern) != len(segments):
        return None
    variables = {}
    for expected, segment in zip(pattern, segments, strict=True):
        if expected.startswith("{") and segment:
            variables[expected[1:-1]] = segment
        elif expected != segment:
            return None
    return variables


def _parsed(encoded: bytes) -> Fields:
    try:
        return Fields.of(encoded, fields_max=limits.FORM_FIELDS_MAX)
    except ValueError:
        raise InvalidArgument(
            f"A form has at most {limits.FORM_FIELDS_MAX} fields, and their texts are valid UTF-8."
        ) from None


def _login_of(request: Request) -> Redirect:
    """Return the page to sign in at, from which the viewer comes back to where he was."""
    if request.method not in _READING:
        return Redirect(below("login"))
    query = f"?{request.query.decode('latin-1')}" if request.query else ""
    return Redirect(below("login", next=f"{request.path[len(ROOT) :]}{query}"))


def _comes_from_elsewhere(request: Request) -> bool:
    """Whether another site's link led here, so that the browser has kept its cookie back."""
    return request.method in _READING and request.headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site")
