"""What MLflow 3.18 serves over REST and this gateway does not yet. A test holds it against MLflow's own list.

Areas are those of tests/compat/mlflow_rest_3_18.csv, where each route stands with its method and path.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsupported:
    """An area, or those of its paths that match a pattern in which `*` is any text, and why it is not served."""

    area: str
    reason: str
    path: str = "*"

    def covers(self, *, area: str, path: str) -> bool:
        """Whether a route is meant."""
        return area == self.area and fnmatchcase(path, self.path)


_TRACES = "comes with tracing"
_USERS = "comes with users, roles and grants; until then API keys are a file"
_GENAI = "part of MLflow's GenAI tools, which are not planned yet"

UNSUPPORTED: tuple[Unsupported, ...] = (
    Unsupported(area="runs", path="*/create-promptlab-run", reason=_GENAI),
    Unsupported(area="ui-support", reason="tells MLflow's makers how its UI is used; not planned"),
    Unsupported(area="traces", reason=_TRACES),
    Unsupported(area="otlp", reason=_TRACES),
    Unsupported(area="assessments", reason=_TRACES),
    Unsupported(area="auth-users", reason=_USERS),
    Unsupported(area="auth-roles", reason=_USERS),
    Unsupported(area="workspaces", reason="there is one workspace; server-info says that more are off"),
    Unsupported(area="jobs", reason="runs code in MLflow's own server; not planned"),
    Unsupported(area="demo", reason="fills MLflow's own server with examples; not planned"),
    Unsupported(area="assistant", reason=_GENAI),
    Unsupported(area="eval-datasets", reason=_GENAI),
    Unsupported(area="gateway", reason="manages MLflow's gateway to language models; not planned yet"),
    Unsupported(area="gateway-invoke", reason="is MLflow's gateway to language models; not planned yet"),
    Unsupported(area="genai-evaluate", reason=_GENAI),
    Unsupported(area="issues", reason=_GENAI),
    Unsupported(area="label-schemas", reason=_GENAI),
    Unsupported(area="mcp-registry", reason=_GENAI),
    Unsupported(area="prompt-optimization", reason=_GENAI),
    Unsupported(area="review-queues", reason=_GENAI),
    Unsupported(area="scorers", reason=_GENAI),
    Unsupported(area="skill-registry", reason=_GENAI),
)
