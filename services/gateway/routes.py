"""The HTTP routes of the backends' RPCs, read from their `google.api.http` options, and how a path finds its route.

A literal segment beats a variable, which beats one that takes the rest of the path. `/ajax-api/` stands for `/api/`
unless an RPC is bound to the path as it is.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import MethodDescriptor

from services.gateway import dialect
from services.gateway.catalog import Backend
from services.gateway.decoding import RequestDecoder
from services.gateway.encoding import ResponseEncoder, StreamEncoder
from services.gateway.events import EventEncoder

_AJAX, _API = "/ajax-api/", "/api/"
_SEGMENT = re.compile(r"\{([a-z_][a-z0-9_]*)(=\*\*)?\}|([^{}*=]*)")
_REST = "=**}"
_VERBS = ("get", "put", "post", "delete", "patch")


class RouteError(Exception):
    """A binding cannot be served: it is malformed, names no field, or is another's. The text names the method."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """One binding of one RPC: how its request is made of an HTTP request, where it goes, how its answer is printed."""

    verb: str
    path: str
    backend: str
    method: MethodDescriptor
    body: str
    """The field that takes the request's body as it is, in pieces; `*` or nothing where the body is JSON."""

    @property
    def rpc(self) -> str:
        """The gRPC path."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @cached_property
    def label(self) -> str:
        """What logs and metrics call it."""
        return f"{self.verb} {self.path}"

    @cached_property
    def variables(self) -> list[str]:
        """The fields that its path names, in their order."""
        return [segment[1:-1].removesuffix("=**") for segment in self.path.split("/") if segment.startswith("{")]

    @cached_property
    def takes_bytes(self) -> bool:
        """Whether the request's body is passed on as it comes."""
        return self.body not in ("", "*")

    @property
    def is_timed(self) -> bool:
        """Whether how long a call lasts says how quick we are."""
        return not (self.is_watch or self.takes_bytes or self.gives_bytes)

    @property
    def gives_bytes(self) -> bool:
        """Whether the answer is passed on as it comes."""
        return dialect.is_raw(self.method.output_type)

    @cached_property
    def is_watch(self) -> bool:
        """Whether the answer is events, for as long as the client stays."""
        return dialect.is_watch(self.method)

    @cached_property
    def decoder(self) -> RequestDecoder:
        return RequestDecoder(self.method.input_type)

    @cached_property
    def encoder(self) -> ResponseEncoder | StreamEncoder | EventEncoder | None:
        """What prints the answer; None where it is passed on as it comes."""
        if self.gives_bytes:
            return None
        if self.is_watch:
            return EventEncoder(self.method)
        if self.method.server_streaming:
            return StreamEncoder(self.method.output_type)
        return ResponseEncoder(self.method.output_type)


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A route and the values of its path's variables."""

    route: Route
    variables: dict[str, str]


@dataclass(slots=True)
class _Node:
    """The routes below a piece of a path."""

    literals: "dict[str, _Node]" = field(default_factory=dict)
    variable: "_Node | None" = None
    rest: "_Node | None" = None
    routes: dict[str, Route] = field(default_factory=dict)


class RouteTable:
    """All routes. Raises RouteError or DialectError for what cannot be served, so that a server does not start."""

    def __init__(self, backends: Iterable[Backend]) -> None:
        self.routes: list[Route] = []
        self._literal: dict[str, dict[str, Route]] = {}
        self._root = _Node()
        for route in (route for backend in backends for route in _routes_of(backend)):
            self._add(route)

    def match(self, verb: str, raw_path: str) -> Match | None:
        """Return the route of a path as it was sent, with its percent-encoding; None if nothing serves it so.

        What a variable takes is decoded once; bytes that are no UTF-8 become lone surrogates.
        """
        for path in _readings(raw_path):
            route = self._literal.get(path, {}).get(verb)
            if route is not None:
                return Match(route=route, variables={})
            for node, values in self._nodes(path):
                if verb in node.routes:
                    route = node.routes[verb]
                    return Match(route=route, variables=dict(zip(route.variables, values, strict=True)))
        return None

    def verbs(self, raw_path: str) -> set[str]:
        """Return the methods with which a path is served."""
        return {verb for path in _readings(raw_path) for node, _ in self._nodes(path) for verb in node.routes}

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in _segments(route):
            node = _child(node, segment)
        if route.verb in node.routes:
            raise RouteError(f"{route.method.full_name}: {route.label} is {node.routes[route.verb].method.full_name}'s")
        for verb in _verbs_of(route):
            node.routes[verb] = route
            if "{" not in route.path:
                self._literal.setdefault(route.path, {})[verb] = route
        _ = route.decoder, route.encoder
        self.routes.append(route)

    def _nodes(self, path: str) -> Iterator[tuple[_Node, list[str]]]:
        segments = path.split("/")[1:]
        if "%" in path:
            segments = [unquote(segment, errors="surrogateescape") for segment in segments]
        return _walk(self._root, segments, [])


def _child(node: _Node, segment: str) -> _Node:
    if segment.endswith(_REST):
        node.rest = node.rest or _Node()
        return node.rest
    if segment.startswith("{"):
        node.variable = node.variable or _Node()
        return node.variable
    return node.literals.setdefault(segment, _Node())


def _verbs_of(route: Route) -> tuple[str, ...]:
    # What a file is can be asked for without its contents.
    return ("GET", "HEAD") if route.verb == "GET" and route.gives_bytes else (route.verb,)


def _walk(node: _Node, segments: list[str], values: list[str]) -> Iterator[tuple[_Node, list[str]]]:
    if not segments:
        yield node, values
        return
    head, *rest = segments
    if head in node.literals:
        yield from _walk(node.literals[head], rest, values)
    if node.variable is not None and head:
        yield from _walk(node.variable, rest, [*values, head])
    if node.rest is not None and any(segments):
        yield node.rest, [*values, "/".join(segments)]


def _readings(raw_path: str) -> Iterator[str]:
    yield raw_path
    if raw_path.startswith(_AJAX):
        yield _API + raw_path[len(_AJAX) :]


def _routes_of(backend: Backend) -> Iterator[Route]:
    for file in backend.files:
        for service in file.services_by_name.values():
            for method in service.methods:
                yield from _routes_of_method(backend, method)


def _routes_of_method(backend: Backend, method: MethodDescriptor) -> Iterator[Route]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        if verb is None and binding is rule:
            return
        if verb not in _VERBS:
            raise RouteError(f"{method.full_name}: a binding has no method that is served here")
        _check_body(method, binding)
        path = getattr(binding, verb)
        yield Route(verb=verb.upper(), path=path, backend=backend.name, method=method, body=binding.body)


def _check_body(method: MethodDescriptor, binding: http_pb2.HttpRule) -> None:
    field = method.input_type.fields_by_name.get(binding.body)
    takes_bytes = field is not None and dialect.is_raw(field.message_type)
    if binding.response_body or not (takes_bytes or binding.body in ("", "*")):
        raise RouteError(f"{method.full_name}: only a body of `*`, or of a google.api.HttpBody, is served")
    if takes_bytes != method.client_streaming:
        raise RouteError(f"{method.full_name}: a google.api.HttpBody, and nothing else, is a streamed request's body")
    if takes_bytes and method.server_streaming:
        raise RouteError(f"{method.full_name}: an answer cannot be streamed while its request is")
    if dialect.is_raw(method.output_type) and not method.server_streaming:
        raise RouteError(f"{method.full_name}: a google.api.HttpBody is answered in a stream")
    if dialect.is_watch(method) and (binding.WhichOneof("pattern") != "get" or not method.server_streaming):
        raise RouteError(f"{method.full_name}: a watch is a GET that is answered in a stream")


def _segments(route: Route) -> list[str]:
    if not route.path.startswith("/"):
        raise RouteError(f"{route.method.full_name}: {route.path} is no absolute path")
    segments = route.path.split("/")[1:]
    for segment in segments:
        parts = _SEGMENT.fullmatch(segment)
        if parts is not None and parts[2] and segment is not segments[-1]:
            raise RouteError(f"{route.method.full_name}: {segment} takes the rest of the path but is not its end")
        if parts is None:
            raise RouteError(f"{route.method.full_name}: {segment} is no segment that is served here")
        if parts[1] and parts[1] not in route.method.input_type.fields_by_name:
            raise RouteError(f"{route.method.full_name}: {segment} names no field of its request")
    return segments
