"""The gateway's own answers, which need no backend's RPC and no login: health, versions, capabilities, its API."""

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any

import orjson

from services.gateway import openapi
from services.gateway.backends import Connections
from services.gateway.replies import HTML, TEXT, Reply
from services.gateway.routes import RouteTable

# The MLflow whose REST API is spoken; clients parse it.
MLFLOW_VERSION = "3.18.0"

_INDEX = """<!doctype html>
<html lang=en>
<title>Modelstead</title>
<h1>Modelstead</h1>
<p>This server speaks the REST API of MLflow {version}. Point a client at it: <code>MLFLOW_TRACKING_URI</code> is this
page's address.</p>
<p>What it serves stands in <a href="openapi.json">openapi.json</a>; whether it can, in <a href="health">health</a>.</p>
"""

Page = Callable[[], Awaitable[Reply]]


class Pages:
    """Answers by path, to GET and HEAD, for everyone."""

    def __init__(
        self,
        table: RouteTable,
        connections: Connections,
        *,
        presigned_artifacts: bool,
        public_tracking_address: str,
    ) -> None:
        self._table = table
        self._connections = connections
        self._server_info_body = orjson.dumps(_server_info(presigned_artifacts=presigned_artifacts))
        self._addresses_body = orjson.dumps({"tracking": public_tracking_address})
        self.by_path: Mapping[str, Page] = {
            "/": self._index,
            "/health": self._health,
            "/version": self._version,
            "/openapi.json": self._openapi,
            "/api/3.0/mlflow/server-info": self._server_info,
            "/ajax-api/3.0/mlflow/server-info": self._server_info,
            "/.well-known/databricks-config": self._databricks_config,
            "/api/2.0/modelstead/addresses": self._addresses,
        }

    async def _index(self) -> Reply:
        return Reply(body=_INDEX.format(version=MLFLOW_VERSION).encode(), media_type=HTML)

    async def _health(self) -> Reply:
        if await self._connections.are_ready():
            return Reply(body=b"OK", media_type=TEXT)
        return Reply(
            status=503, body=b"Not every service is ready.", media_type=TEXT, headers=((b"retry-after", b"1"),)
        )

    async def _version(self) -> Reply:
        return Reply(body=MLFLOW_VERSION.encode(), media_type=HTML)

    async def _server_info(self) -> Reply:
        return Reply(body=self._server_info_body)

    async def _databricks_config(self) -> Reply:
        # Databricks' client asks there where to sign in, and warns if there is no answer: nowhere, it has a token.
        return Reply(body=b"{}")

    async def _addresses(self) -> Reply:
        # What a client needs that knows only the gateway.
        return Reply(body=self._addresses_body)

    async def _openapi(self) -> Reply:
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
