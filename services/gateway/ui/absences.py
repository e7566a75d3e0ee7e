"""What the web UI asks of parts of MLflow that are not here, as a server answers that has nothing of them.

So the pages of those parts show an empty state and not an error. Only the UI's own addresses, below `/ajax-api/`, are
answered: MLflow's clients use `/api/`, and are told that the part is not there. See services/gateway/unsupported.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from services.gateway.replies import Reply
from services.gateway.requests import Request


@dataclass(frozen=True, kw_only=True, slots=True)
class Absence:
    """The one method with which the UI asks, and what it is told."""

    verb: str
    body: bytes

    async def reply(self, request: Request) -> Reply:
        return Reply(body=self.body)


_NO_ASSISTANT = b'{"providers":{},"projects":{},"remote_access_allowed":false,"can_edit_server_settings":false}'

ABSENCES: Mapping[str, Absence] = MappingProxyType(
    {
        "/ajax-api/2.0/mlflow/gateway-proxy": Absence(verb="GET", body=b'{"endpoints":[]}'),
        "/ajax-api/2.0/mlflow/traces": Absence(verb="GET", body=b'{"traces":[]}'),
        "/ajax-api/3.0/mlflow/assistant/config": Absence(verb="GET", body=_NO_ASSISTANT),
        "/ajax-api/3.0/mlflow/assistant/providers": Absence(
            verb="GET", body=b'{"providers":[],"resolved":null,"gateway_vendor_options":[]}'
        ),
        "/ajax-api/3.0/mlflow/datasets/search": Absence(verb="POST", body=b"{}"),
        "/ajax-api/3.0/mlflow/issues/search": Absence(verb="POST", body=b"{}"),
        "/ajax-api/3.0/mlflow/scorers/list": Absence(verb="GET", body=b'{"scorers":[]}'),
        "/ajax-api/3.0/mlflow/traces/metrics": Absence(verb="POST", body=b'{"data_points":[]}'),
        "/ajax-api/3.0/mlflow/traces/search": Absence(verb="POST", body=b'{"traces":[]}'),
        # Nobody is told how the web UI is used.
        "/ajax-api/3.0/mlflow/ui-telemetry": Absence(
            verb="GET", body=b'{"disable_ui_telemetry":true,"disable_ui_events":[],"ui_rollout_percentage":0}'
        ),
    }
)
