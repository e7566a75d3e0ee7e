"""Answers the queries that MLflow's web UI sends, by calls of the gateway's own REST API with the caller's rights."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from services.gateway import limits
from services.gateway.console.api import Api, ApiError
from services.gateway.graphql import schema
from services.gateway.graphql.model import Field, QueryError
from services.gateway.requests import Request

_UNAUTHENTICATED = 401


@dataclass(frozen=True, kw_only=True, slots=True)
class _Root:
    """A field of a query: the type of its answer, and the call that gives it."""

    type_name: str
    verb: str
    path: str


_ROOTS: Mapping[str, _Root] = MappingProxyType(
    {
        "mlflowGetExperiment": _Root(type_name="MlflowGetExperimentResponse", verb="GET", path="experiments/get"),
        "mlflowGetRun": _Root(type_name="MlflowGetRunResponse", verb="GET", path="runs/get"),
        "mlflowSearchRuns": _Root(type_name="MlflowSearchRunsResponse", verb="POST", path="runs/search"),
        "mlflowGetMetricHistoryBulkInterval": _Root(
            type_name="MlflowGetMetricHistoryBulkIntervalResponse",
            verb="GET",
            path="metrics/get-history-bulk-interval",
        ),
    }
)


class Queries:
    """Answers queries with what `api` tells."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def answer(self, request: Request, fields: Sequence[Field]) -> dict[str, Any]:
        """Return what is asked for, one field after another. Raises QueryError, or ApiError for who is not known."""
        for field in fields:
            _check(field)
        return {field.key: await self._answer(request, field) for field in fields}

    async def _answer(self, request: Request, field: Field) -> Any:
        if field.name == "__typename":
            return "QueryType"
        root = _ROOTS[field.name]
        values = {schema.snake_case(name): value for name, value in _input(field).items()}
        try:
            told = await self._api.call(request, root.verb, root.path, values)
            await self._complete(request, field, _runs(told))
        except ApiError as error:
            if error.status == _UNAUTHENTICATED:
                raise
            told = {"api_error": {"code": error.code, "message": error.message}}
        return schema.shape(root.type_name, field.selections, told)

    async def _complete(self, request: Request, field: Field, runs: Sequence[dict[str, Any]]) -> None:
        """Put into runs what the REST API does not tell of them, if it is asked for."""
        wanted = {below.name for run in field.selections for below in run.selections}
        if "experiment" in wanted:
            await self._add_experiments(request, runs)
        if runs and "modelVersions" in wanted:
            try:
                await self._add_model_versions(request, runs)
            except ApiError as error:
                if error.status == _UNAUTHENTICATED:
                    raise
                # A run is told of without its versions while the registry is away.

    async def _add_experiments(self, request: Request, runs: Sequence[dict[str, Any]]) -> None:
        ids = sorted({_experiment_id(run) for run in runs})
        if len(ids) > limits.GRAPHQL_EXPERIMENTS_MAX:
            raise QueryError(
                f"Runs of at most {limits.GRAPHQL_EXPERIMENTS_MAX} experiments tell of them, not {len(ids)}"
            )
        calls = (self._api.call(request, "GET", "experiments/get", {"experiment_id": each}) for each in ids)
        told = dict(zip(ids, await asyncio.gather(*calls), strict=True))
        for run in runs:
            run["experiment"] = told[_experiment_id(run)].get("experiment")

    async def _add_model_versions(self, request: Request, runs: Sequence[dict[str, Any]]) -> None:
        of_run: dict[str, list[Any]] = {}
        for first in range(0, len(runs), limits.GRAPHQL_RUNS_AT_ONCE):
            part = runs[first : first + limits.GRAPHQL_RUNS_AT_ONCE]
            ids = ", ".join(f"'{run['info']['run_id']}'" for run in part)
            told = await self._api.call(request, "GET", "model-versions/search", {"filter": f"run_id IN ({ids})"})
            for version in told.get("model_versions", ()):
                of_run.setdefault(version["run_id"], []).append(version)
        for run in runs:
            run["model_versions"] = of_run.get(run["info"]["run_id"], [])


def _check(field: Field) -> None:
    if field.name == "__typename":
        return
    root = _ROOTS.get(field.name)
    if root is None:
        raise QueryError(f"Cannot query field '{field.name}' on type 'QueryType'.")
    if set(field.arguments) != {"input"} or not isinstance(field.arguments["input"], dict):
        raise QueryError(f"Field '{field.name}' takes one argument, 'input', which is an object.")
    if not field.selections:
        raise QueryError(f"Field '{field.name}' must have a selection of subfields.")
    schema.check(root.type_name, field.selections)


def _input(field: Field) -> Mapping[str, Any]:
    given: Mapping[str, Any] = field.arguments["input"]
    return given


def _experiment_id(run: Mapping[str, Any]) -> str:
    return str(run["info"].get("experiment_id", ""))


def _runs(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [told["run"]] if "run" in told else list(told.get("runs", ()))
