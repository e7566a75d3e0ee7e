"""The HTTP routes of the backends' RPCs, read from their `google.api.http` options, and how a path finds its route.

A literal segment beats a variable. `/ajax-api/` stands for `/api/` unless an RPC is bound to the path as it is.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor

from services.gateway.catalog import Backend
from services.gateway.decoding import RequestDecoder
from services.gateway.encoding import ResponseEncoder, StreamEncoder

_AJAX, _API = "/ajax-api/", "/api/"
_SEGMENT = re.compile(r"\{([a-z_][a-z0-9_]*)\}|([^{}*=]*)")
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

    @property
    def rpc(self) -> str:
        """The gRPC path."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @cached_property
    def label(self) -> str:
        """What logs and metrics call it."""
        return f"{self.verb} {self.path}"

    @cached_property
    def decoder(self) -> RequestDecoder:
        return RequestDecoder(self.method.input_type)

    @cached_property
    def encoder(self) -> ResponseEncoder | StreamEncoder:
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
        """Return the route of a path as it was sent, with its percent-encoding; None if nothing serves it so."""
        for path in _readings(raw_path):
            route = self._literal.get(path, {}).get(verb)
            if route is not None:
                return Match(route=route, variables={})
            for node, values in self._nodes(path):
                if verb in node.routes:
                    return _matched(node.routes[verb], values)
        return None

    def verbs(self, raw_path: str) -> set[str]:
        """Return the methods with which a path is served."""
        return {verb for path in _readings(raw_path) for node, _ in self._nodes(path) for verb in node.routes}

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in _segments(route):
            if segment.startswith("{"):
                node.variable = node.variable or _Node()
                node = node.variable
            else:
                node = node.literals.setdefault(segment, _Node())
        if route.verb in node.routes:
            raise RouteError(f"{route.method.full_name}: {route.label} is {node.routes[route.verb].method.full_name}'s")
        node.routes[route.verb] = route
        if "{" not in route.path:
            self._literal.setdefault(route.path, {})[route.verb] = route
        _ = route.decoder, route.encoder
        self.routes.append(route)

    def _nodes(self, path: str) -> Iterator[tuple[_Node, list[str]]]:
        segments = path.split("/")[1:]
        if "%" in path:
            try:
                segments = [unquote(segment, errors="strict") for segment in segments]
            except UnicodeDecodeError:
                return iter(())
        return _walk(self._root, segments, [])


def _walk(node: _Node, segments: list[str], values: list[str]) -> Iterator[tuple[_Node, list[str]]]:
    if not segments:
        yield node, values
        return
    head, *rest = segments
    if head in node.literals:
        yield from _walk(node.literals[head], rest, values)
    if node.variable is not None and head:
        yield from _walk(node.variable, rest, [*values, head])


def _readings(raw_path: str) -> Iterator[str]:
    yield raw_path
    if raw_path.startswith(_AJAX):
        yield _API + raw_path[len(_AJAX) :]


def _matched(route: Route, values: list[str]) -> Match:
    names = [segment[1:-1] for segment in route.path.split("/") if segment.startswith("{")]
    return Match(route=route, variables=dict(zip(names, values, strict=True)))


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
        if binding.body not in ("", "*") or binding.response_body:
            raise RouteError(f"{method.full_name}: only a body of `*` is served")
        yield Route(verb=verb.upper(), path=getattr(binding, verb), backend=backend.name, method=method)


def _segments(route: Route) -> list[str]:
    if not route.path.startswith("/"):
        raise RouteError(f"{route.method.full_name}: {route.path} is no absolute path")
    segments = route.path.split("/")[1:]
    for segment in segments:
        parts = _SEGMENT.fullmatch(segment)
        if parts is None:
            raise RouteError(f"{route.method.full_name}: {segment} is no segment that is served here")
        if parts[1] and parts[1] not in route.method.input_type.fields_by_name:
            raise RouteError(f"{route.method.full_name}: {segment} names no field of its request")
    return segments
