"""Describes the routes as an OpenAPI 3.1 document, from the descriptors that also serve them."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.common.rpc.checks import is_map, is_required
from services.gateway import dialect
from services.gateway.routes import Route

Json = dict[str, Any]

_PACKAGE = "modelstead."
_TEXT: Json = {"type": "string"}
_SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_DOUBLE: {"anyOf": [{"type": "number"}, {"enum": list(dialect.NON_FINITE)}]},
}
_ENTRY: Json = {
    "type": "object",
    "properties": {"key": _TEXT, "value": _TEXT},
    "required": ["key"],
}
_ERROR: Json = {
    "type": "object",
    "properties": {"error_code": _TEXT, "message": _TEXT, "sqlstate": _TEXT, "error_class": _TEXT},
    "required": ["error_code", "message"],
}
# Bytes as they are have a media type and no schema.
_BYTES: Json = {"*/*": {}}
# What stands beside 200 in every operation: JSON with an error_code, or plain text.
_ERRORS = {
    "400": ("The request is malformed or not allowed.", True),
    "401": ("The credentials are missing or wrong.", False),
    "403": ("The caller may not do this.", False),
    "404": ("What the request names does not exist.", True),
    "429": ("The server is busy; Retry-After tells when to come back.", True),
    "500": ("The server failed.", True),
    "503": ("A service is away; Retry-After tells when to come back.", True),
}


def document(routes: Iterable[Route]) -> Json:
    """Return the document for all routes."""
    schemas = _Schemas()
    paths: dict[str, Json] = {}
    names: dict[str, int] = {}
    for route in routes:
        count = names[route.method.full_name] = names.get(route.method.full_name, 0) + 1
        # The document has no form for a variable that takes the rest of a path.
        path = route.path.replace("=**}", "}")
        paths.setdefault(path, {})[route.verb.lower()] = _operation(route, schemas, count)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Modelstead", "version": "1", "description": "MLflow's REST API, served by Modelstead."},
        "security": [{}, {"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, **schemas.by_name},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(route: Route, schemas: "_Schemas", count: int) -> Json:
    service = route.method.containing_service
    operation: Json = {
        "operationId": f"{service.name}_{route.method.name}" + (f"_{count}" if count > 1 else ""),
        "tags": [service.name],
        "parameters": list(_parameters(route, schemas)),
        "responses": {**_answers(route, schemas), **_error_answers()},
    }
    if route.takes_bytes:
        operation["requestBody"] = {"required": True, "content": _BYTES}
    elif route.body == "*":
        body = schemas.of_message(route.method.input_type)
        # What a DELETE asks for may stand in its query string instead.
        operation["requestBody"] = {
            "required": route.verb != "DELETE",
            "content": {"application/json": {"schema": body}},
        }
    return operation


def _answers(route: Route, schemas: "_Schemas") -> Json:
    if route.gives_bytes:
        return {
            "200": {"description": "The contents.", "content": _BYTES},
            "206": {"description": "The range of the contents that was asked for.", "content": _BYTES},
            "304": {"description": "The caller has the contents."},
            "416": {"description": "The range lies outside the contents."},
        }
    if route.is_watch:
        schema = schemas.of_message(route.method.output_type)
        return {"200": {"description": "Events, as they come.", "content": {"text/event-stream": {"schema": schema}}}}
    if route.takes_bytes and not route.method.output_type.fields:
        return {"200": {"description": "The bytes are stored."}}
    return {"200": _answer("The answer.", schemas.of_message(route.method.output_type))}


def _parameters(route: Route, schemas: "_Schemas") -> Iterable[Json]:
    for field in route.method.input_type.fields:
        place = _place(route, field)
        # The document leaves what HTTP itself defines, as the length of a body, to HTTP.
        if place and dialect.http_header(field) != "content-length":
            yield {
                "name": (dialect.http_header(field) or "").title() or field.name,
                "in": place,
                "required": place == "path" or (route.verb != "DELETE" and is_required(field)),
                "schema": schemas.of_field(field),
            }


def _place(route: Route, field: FieldDescriptor) -> str | None:
    if dialect.http_header(field):
        return "header"
    if dialect.is_raw(field.message_type):
        return None
    if field.name in route.variables:
        return "path"
    return "query" if route.verb in ("GET", "DELETE") or route.takes_bytes else None


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error_answers() -> Json:
    error = {"$ref": "#/components/schemas/Error"}
    return {
        status: _answer(text, error) if is_json else {"description": text, "content": {"text/plain": {"schema": _TEXT}}}
        for status, (text, is_json) in _ERRORS.items()
    }


class _Schemas:
    """The schemas of all messages and enums met so far, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Json] = {}

    def of_message(self, message: Descriptor) -> Json:
        """Return a reference to a message's schema; a table's is that of its rows."""
        name = message.full_name.removeprefix(_PACKAGE)
        if name not in self.by_name:
            self.by_name[name] = {}
            self.by_name[name] |= self._object(message)
        return {"$ref": f"#/components/schemas/{name}"}

    def of_field(self, field: FieldDescriptor) -> Json:
        if is_map(field):
            return _list(_ENTRY) if dialect.is_entries(field) else {"type": "object", "additionalProperties": _TEXT}
        if field.message_type is not None and dialect.is_table(field.message_type):
            return _list(self.of_message(field.message_type))
        return _list(self._single(field)) if field.is_repeated else self._single(field)

    def _object(self, message: Descriptor) -> Json:
        is_row = dialect.is_table(message)
        fields = list(filter(dialect.is_in_json, message.fields))
        properties = {field.name: self._single(field) if is_row else self.of_field(field) for field in fields}
        required = [field.name for field in fields if is_required(field)]
        return {"type": "object", "properties": properties, **({"required": required} if required else {})}

    def _single(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            return {} if dialect.is_well_known(field.message_type) else self.of_message(field.message_type)
        if field.enum_type is not None:
            return self._of_enum(field.enum_type)
        if field.type not in dialect.INTEGER_RANGES:
            return _SCALARS[field.type]
        least, greatest = dialect.INTEGER_RANGES[field.type]
        default = {"default": field.default_value} if field.has_default_value else {}
        return {"type": "integer", "minimum": least, "maximum": greatest, **default}

    def _of_enum(self, enum: EnumDescriptor) -> Json:
        name = enum.full_name.removeprefix(_PACKAGE)
        self.by_name[name] = {"enum": [value.name for value in enum.values if value.number]}
        return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}
