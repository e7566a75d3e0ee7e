"""Random messages of our protos, and json_format as the judge of what their JSON is."""

from typing import Any

from google.api import annotations_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

from modelstead.artifacts.v1 import artifacts_pb2, owned_artifacts_pb2, uploads_pb2
from modelstead.registry.v1 import lookups_pb2, model_versions_pb2, registered_models_pb2
from modelstead.tracking.v1 import datasets_pb2, experiments_pb2, logged_models_pb2, metrics_pb2, runs_pb2
from services.common.rpc.checks import is_map, is_required
from services.gateway import dialect

Json = dict[str, Any]

FILES = (
    experiments_pb2.DESCRIPTOR,
    runs_pb2.DESCRIPTOR,
    metrics_pb2.DESCRIPTOR,
    datasets_pb2.DESCRIPTOR,
    logged_models_pb2.DESCRIPTOR,
    artifacts_pb2.DESCRIPTOR,
    uploads_pb2.DESCRIPTOR,
    owned_artifacts_pb2.DESCRIPTOR,
    registered_models_pb2.DESCRIPTOR,
    model_versions_pb2.DESCRIPTOR,
    lookups_pb2.DESCRIPTOR,
)
METHODS = tuple(
    method
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
    if method.GetOptions().Extensions[annotations_pb2.http].WhichOneof("pattern")
)
REQUESTS = tuple(method.input_type for method in METHODS)
RESPONSES = tuple(
    method.output_type for method in METHODS if not dialect.is_raw(method.output_type) and not dialect.is_watch(method)
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
FULL_TEXTS = TEXTS.filter(bool)
DOUBLES = st.floats()
ROWS_MAX = 4


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages in which every field that JSON can fill may be set or not."""
    return st.composite(_draw_message)(descriptor)


def _draw_message(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    message = message_factory.GetMessageClass(descriptor)()
    for field in filter(dialect.is_in_json, descriptor.fields):
        if draw(st.booleans()):
            _draw_field(draw, message, field)
    return message


def _draw_field(draw: st.DrawFn, message: Any, field: FieldDescriptor) -> None:
    if field.message_type is None:
        value = draw(st.lists(scalars(field), max_size=ROWS_MAX) if field.is_repeated else scalars(field))
        getattr(message, field.name).extend(value) if field.is_repeated else setattr(message, field.name, value)
    elif is_map(field):
        getattr(message, field.name).update(draw(st.dictionaries(FULL_TEXTS, TEXTS, max_size=ROWS_MAX)))
    elif dialect.is_table(field.message_type):
        getattr(message, field.name).CopyFrom(draw(tables(field.message_type)))
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(messages(field.message_type), max_size=2)))
    else:
        getattr(message, field.name).CopyFrom(draw(messages(field.message_type)))


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values of a field that holds no message."""
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type in dialect.INTEGER_RANGES:
        return st.integers(*dialect.INTEGER_RANGES[field.type])
    return {
        FieldDescriptor.TYPE_STRING: TEXTS,
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_DOUBLE: DOUBLES,
    }[field.type]


def tables(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Tables with at least one row, columns spread over all rows, and no text column without a text."""
    return st.composite(_draw_table)(descriptor)


def _draw_table(draw: st.DrawFn, descriptor: Descriptor) -> Message:
    table = message_factory.GetMessageClass(descriptor)()
    count = draw(st.integers(1, ROWS_MAX))
    for field in descriptor.fields:
        is_text = field.type == FieldDescriptor.TYPE_STRING
        entries = FULL_TEXTS if is_text and is_required(field) else scalars(field)
        column = draw(st.lists(entries, min_size=count, max_size=count))
        if is_required(field) or (draw(st.booleans()) and (any(column) or not is_text)):
            getattr(table, field.name).extend(column)
    return table


def oracle(message: Any) -> Json:
    """The JSON of a message by json_format, in MLflow's dialect where that differs."""
    return _dialect(message.DESCRIPTOR, json_format.MessageToDict(message, preserving_proto_field_name=True))


def _dialect(descriptor: Descriptor, values: Json) -> Json:
    fields = descriptor.fields_by_name
    converted = {name: _value(fields[name], value) for name, value in values.items()}
    return {name: value for name, value in converted.items() if value != []}


def _value(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        entries = sorted(value.items())
        return [{"key": key, "value": text} for key, text in entries] if dialect.is_entries(field) else dict(entries)
    if field.message_type is not None and dialect.is_table(field.message_type):
        return _rows(field.message_type, value)
    convert = _one(field)
    return [convert(item) for item in value] if field.is_repeated else convert(value)


def _one(field: FieldDescriptor) -> Any:
    if field.message_type is not None:
        return lambda value: _dialect(field.message_type, value)
    # json_format writes 64-bit integers as strings.
    return int if field.type in dialect.INTEGER_RANGES else lambda value: value


def _rows(descriptor: Descriptor, columns: Json) -> list[Json]:
    count = max((len(column) for column in columns.values()), default=0)
    rows: list[Json] = [{} for _ in range(count)]
    for name, column in columns.items():
        field = descriptor.fields_by_name[name]
        convert = _one(field)
        for row, value in zip(rows, column if len(column) == count else column * count, strict=True):
            if value != "" or is_required(field):
                row[name] = convert(value)
    return rows
