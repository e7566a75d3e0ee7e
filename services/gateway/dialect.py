"""What the descriptors say of a message's JSON form, shared by decoding, encoding and the OpenAPI document."""

from collections.abc import Mapping
from types import MappingProxyType

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from modelstead import options_pb2

# Doubles that JSON numbers cannot be are strings.
NON_FINITE = ("NaN", "Infinity", "-Infinity")

_INT32_RANGE = (-(2**31), 2**31 - 1)
_INT64_RANGE = (-(2**63), 2**63 - 1)
_UINT32_RANGE = (0, 2**32 - 1)
_UINT64_RANGE = (0, 2**64 - 1)

INTEGER_RANGES: Mapping[int, tuple[int, int]] = MappingProxyType(
    {
        FieldDescriptor.TYPE_INT32: _INT32_RANGE,
        FieldDescriptor.TYPE_SINT32: _INT32_RANGE,
        FieldDescriptor.TYPE_SFIXED32: _INT32_RANGE,
        FieldDescriptor.TYPE_INT64: _INT64_RANGE,
        FieldDescriptor.TYPE_SINT64: _INT64_RANGE,
        FieldDescriptor.TYPE_SFIXED64: _INT64_RANGE,
        FieldDescriptor.TYPE_UINT32: _UINT32_RANGE,
        FieldDescriptor.TYPE_FIXED32: _UINT32_RANGE,
        FieldDescriptor.TYPE_UINT64: _UINT64_RANGE,
        FieldDescriptor.TYPE_FIXED64: _UINT64_RANGE,
    }
)


class DialectError(Exception):
    """A proto uses something that has no JSON form here; it names the field."""


def json_alias(field: FieldDescriptor) -> str | None:
    """Return the second JSON name under which a field is accepted, if it has one."""
    return field.GetOptions().Extensions[options_pb2.json_alias] or None


def http_header(field: FieldDescriptor) -> str | None:
    """Return the HTTP header, in lower case, that alone fills a field over HTTP, if it has one."""
    return field.GetOptions().Extensions[options_pb2.http_header] or None


def is_raw(message: Descriptor | None) -> bool:
    """Whether a message stands for bytes that are a body or an answer themselves, and so has no JSON form."""
    return message is not None and message.full_name == "google.api.HttpBody"


def is_in_json(field: FieldDescriptor) -> bool:
    """Whether JSON or a query string can fill a field."""
    return http_header(field) is None and not is_raw(field.message_type)


def retry(method: MethodDescriptor) -> int:
    """Whether sending a call again is harmless."""
    return method.GetOptions().Extensions[options_pb2.retry]


def is_watch(method: MethodDescriptor) -> bool:
    """Whether a method tells of changes until its caller goes; each message of its answer is one event."""
    return method.GetOptions().Extensions[options_pb2.watch]


def is_table(message: Descriptor) -> bool:
    """Whether a message holds columns and is in JSON the list of its rows."""
    return message.GetOptions().Extensions[options_pb2.columns]


def is_entries(field: FieldDescriptor) -> bool:
    """Whether a map is in JSON a list of {"key", "value"} objects."""
    return field.GetOptions().Extensions[options_pb2.json_entries]


def is_well_known(message: Descriptor) -> bool:
    """Whether a message is one of google.protobuf, whose JSON form is standard."""
    return message.file.package == "google.protobuf"
