"""`/graphql`: from a request's body to `{"data": …, "errors": …}`, as MLflow 3.18 has it (handlers.py)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from services.common.errors import InvalidArgument, ServiceError
from services.gateway import errors, limits
from services.gateway.bodies import Bodies, Incoming, check_size
from services.gateway.console.api import Api, ApiError
from services.gateway.graphql.model import QueryError
from services.gateway.graphql.queries import Queries
from services.gateway.replies import Reply
from services.gateway.requests import Request

PATH = "/graphql"
VERBS = frozenset({"GET", "POST"})

Asked = tuple[str, Mapping[str, Any], str | None]
"""A document, the values of its variables, and which of its operations is meant."""


class Endpoint:
    """Answers GraphQL requests."""

    def __init__(self, api: Api) -> None:
        self._queries = Queries(api)
        self._bodies = Bodies()

    async def answer(self, request: Request, incoming: Incoming) -> Reply:
        """Return the answer. Raises ServiceError or ClientGone; what is wrong with the query is told in the answer."""
        if request.method not in VERBS:
            return errors.method_not_allowed(", ".join(sorted(VERBS)))
        request.check_size()
        text, variables, operation_name = await self._asked(request, incoming)
        # The library takes 5 MB, which only a gateway pays whose pages somebody opens.
        from services.gateway.graphql import documents

        try:
            data = await self._queries.answer(request, documents.parse(text, variables, operation_name))
        except QueryError as error:
            return Reply(body=orjson.dumps({"data": None, "errors": [str(error)]}))
        except ApiError as error:
            refusal = error.__cause__
            assert isinstance(refusal, ServiceError)
            raise refusal from None
        return Reply(body=orjson.dumps({"data": data, "errors": None}))

    async def _asked(self, request: Request, incoming: Incoming) -> Asked:
        if request.method == "GET":
            return _from_query_string(request.query)
        request.check_content_type()
        check_size(request.content_length or 0, limits.GRAPHQL_BODY_BYTES_MAX)
        async with self._bodies.receive(incoming, request.content_length) as body:
            check_size(len(body), limits.GRAPHQL_BODY_BYTES_MAX)
            return _from_json(body)


def _from_json(body: bytes) -> Asked:
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"The body is not valid JSON: {error}.") from error
    if not isinstance(given, dict):
        raise InvalidArgument("The body must be one JSON object; queries are not answered in batches.")
    return _checked(given.get("query"), given.get("variables") or {}, given.get("operationName"))


def _from_query_string(query: bytes) -> Asked:
    try:
        given = dict(parse_qsl(query.decode("ascii"), errors="strict", max_num_fields=3))
        variables = orjson.loads(given.get("variables") or "{}")
    except ValueError as error:
        raise InvalidArgument(f"The query string is not valid: {error}.") from error
    return _checked(given.get("query"), variables, given.get("operationName"))


def _checked(text: Any, variables: Any, operation_name: Any) -> Asked:
    if not isinstance(text, str):
        raise InvalidArgument("Missing value for required parameter 'query'.")
    if not isinstance(variables, dict):
        raise InvalidArgument("The parameter 'variables' must be an object.")
    return text, variables, operation_name if isinstance(operation_name, str) and operation_name else None
