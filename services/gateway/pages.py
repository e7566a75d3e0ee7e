"""The gateway's own answers, which need no backend's RPC and no login: health, versions, capabilities, its API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import orjson

from services.gateway import openapi
from services.gateway.backends import Connections
from services.gateway.replies import HTML, TEXT, Header, Reply
from services.gateway.requests import Request
from services.gateway.routes import RouteTable
from services.gateway.ui.absences import ABSENCES
from services.gateway.ui.pages import ROOT, WebUI

# The MLflow whose REST API is spoken; clients parse it.
MLFLOW_VERSION = "3.18.0"
READY_PATH = "/readyz"
"""Whether this gateway is to be given calls."""

_RUNS_NOTHING: Header = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'")
_CHECKED: Header = (b"cache-control", b"no-cache")

_INDEX = """<!doctype html>
<html lang=en>
<meta name=viewport content="width=device-width, initial-scale=1">
<title>Modelstead</title>
<h1>Modelstead</h1>
<p>This server speaks the REST API of MLflow {version}. Point a client at it: <code>MLFLOW_TRACKING_URI</code> is this
page's address.</p>
<ul>
<li><a href="console/">The console</a>: live runs, promotions, webhooks, audit, the system.</li>
<li><a href="openapi.json">openapi.json</a> says what it serves, <a href="health">health</a> whether it can.</li>
</ul>
<p>MLflow's web UI, which would be here, is not installed: run <code>modelstead ui install</code> where the gateway runs
(52 MB) and start that again. <code>make up</code> does so by itself, unless it is told <code>UI=0</code>.</p>
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What answers at a path; `label` is what logs and metrics call it."""

    label: str
    answer: Callable[[Request], Awaitable[Reply]]
    verbs: frozenset[str] = frozenset({"GET", "HEAD"})


class Pages:
    """Answers by path, to GET and HEAD, for everyone."""

    def __init__(
        self,
        table: RouteTable,
        connections: Connections,
        *,
        presigned_artifacts: bool,
        public_tracking_address: str,
        web_ui: WebUI,
        root_path: str = "",
    ) -> None:
        self._table = table
        self._connections = connections
        self._server_info_body = orjson.dumps(_server_info(presigned_artifacts=presigned_artifacts))
        # Pages may talk to this server alone, and no object store need know of them.
        self._server_info_body_for_pages = orjson.dumps(_server_info(presigned_artifacts=False))
        self._addresses_body = orjson.dumps({"tracking": public_tracking_address})
        self._web_ui = web_ui
        self._root_path = root_path
        self._is_draining = False
        self._by_path: Mapping[str, Callable[[Request], Awaitable[Reply]]] = {
            "": self._bare_prefix,
            "/": self._index,
            "/health": self._health,
            READY_PATH: self._readiness,
            "/version": self._version,
            "/openapi.json": self._openapi,
            "/api/3.0/mlflow/server-info": self._server_info,
            "/ajax-api/3.0/mlflow/server-info": self._server_info_for_pages,
            "/.well-known/databricks-config": self._databricks_config,
            "/api/2.0/modelstead/addresses": self._addresses,
        }

    def drain(self) -> None:
        """Tell, from now on, that this gateway is not ready: it is about to stop."""
        self._is_draining = True

    def find(self, raw_path: str) -> Page | None:
        """Return what answers at a path as it was sent."""
        if raw_path in self._by_path:
            return Page(label=raw_path, answer=self._by_path[raw_path])
        if (file := self._web_ui.find(raw_path)) is not None:
            return Page(label=f"{ROOT}*", answer=partial(self._web_ui.reply, file))
        if self._web_ui.index is not None and (absence := ABSENCES.get(raw_path)) is not None:
            return Page(label=raw_path, answer=absence.reply, verbs=frozenset({absence.verb}))
        return None

    async def _bare_prefix(self, request: Request) -> Reply:
        # What pages name is relative to their own address.
        location = (b"location", f"{self._root_path}/".encode())
        return Reply(status=308, body=b"", media_type=HTML, headers=(location,))

    async def _index(self, request: Request) -> Reply:
        if self._web_ui.index is not None:
            return await self._web_ui.reply(self._web_ui.index, request)
        return Reply(
            body=_INDEX.format(version=MLFLOW_VERSION).encode(), media_type=HTML, headers=(_RUNS_NOTHING, _CHECKED)
        )

    async def _health(self, request: Request) -> Reply:
        return self._whether(await self._connections.are_ready(), "Not every service is ready.")

    async def _readiness(self, request: Request) -> Reply:
        # While one service is away, what asks the others is to reach them.
        return self._whether(bool(await self._connections.ready()), "No service is ready.")

    def _whether(self, is_ok: bool, trouble: str) -> Reply:
        if self._is_draining:
            return Reply(status=503, body=b"The gateway is stopping.", media_type=TEXT)
        if is_ok:
            return Reply(body=b"OK", media_type=TEXT)
        return Reply(status=503, body=trouble.encode(), media_type=TEXT, headers=((b"retry-after", b"1"),))

    async def _version(self, request: Request) -> Reply:
        return Reply(body=MLFLOW_VERSION.encode(), media_type=HTML)

    async def _server_info(self, request: Request) -> Reply:
        return Reply(body=self._server_info_body)

    async def _server_info_for_pages(self, request: Request) -> Reply:
        return Reply(body=self._server_info_body_for_pages)

    async def _databricks_config(self, request: Request) -> Reply:
        # Databricks' client asks there where to sign in, and warns if there is no answer: nowhere, it has a token.
        return Reply(body=b"{}")

    async def _addresses(self, request: Request) -> Reply:
        # What a client needs that knows only the gateway.
        return Reply(body=self._addresses_body)

    async def _openapi(self, request: Request) -> Reply:
        return Reply(body=self._openapi_body)

    @cached_property
    def _openapi_body(self) -> bytes:
        return orjson.dumps(openapi.document(self._table.routes))


def _server_info(*, presigned_artifacts: bool) -> dict[str, Any]:
    """Return the keys of MLflow 3.18's build_server_info_payload, handlers.py, as they are true or false here.

    Given the two of multipart transfers, clients send files of 500 MB and more, and read every file, by presigned URLs,
    so these are for stores that clients can reach. The two of presigned uploads say that both fields are understood,
    whatever the store can do; the one of model artifacts, that `presigned=true` is, which it is not.
    """
    return {
        "store_type": "SqlStore",
        "workspaces_enabled": False,
        "trace_archival_enabled": False,
        "multipart_uploads_enabled": presigned_artifacts,
        "multipart_downloads_enabled": presigned_artifacts,
        "artifact_serving_enabled": True,
        "skill_content_max_size": 0,
        "skill_content_max_files": 0,
        "presigned_upload_run_id_supported": True,
        "presigned_upload_model_id_supported": True,
        "model_artifact_presigned_downloads_supported": False,
        "features_enabled": {"gateway": False, "scheduled_issue_detection": False},
        "tracking_auth": "",
        "artifacts_presigned_only": False,
    }
