"""Reads what each RPC declares about itself in its proto; a method that declares too little stops the start."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from modelstead import options_pb2
from services.common.rpc.checks import Check, compile_check, is_map

_CONTENTS = "google.api.HttpBody"
_PLATFORM = "platform"
# What fields are called that say as what something must be found, such as `if_version`.
_CONDITION = "if_"

DEADLINE_S_MAX = 30.0
STREAM_DEADLINE_S_MAX = 300.0
# Moving contents takes as long as the caller's network.
TRANSFER_DEADLINE_S_MAX = 3600.0
# A watch has no deadline but this: callers resume it, and so spread anew over the servers.
WATCH_AGE_S_MAX = 3600.0
# What operators have done to all that is stored takes as long as there is of it.
PLATFORM_DEADLINE_S_MAX = 24 * 3600.0


class ContractError(Exception):
    """A proto lacks an option that every method must have; it names the method and the option."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """One method: its names, its message classes and what it demands of a call."""

    service: str
    name: str
    streams_requests: bool
    streams_responses: bool
    # Whether it tells of changes until its caller goes.
    is_watch: bool
    # How long a call may take at most, in seconds; a caller may want it shorter.
    deadline_s: float
    request_class: type[Message]
    access: Any
    # Whether doing it twice is as doing it once, of which `may_repeat` makes a decision.
    retry: int
    check: Check
    # Of an upload, the request's field of contents, which are all that counts in the messages after the first.
    contents: FieldDescriptor | None

    @property
    def full_name(self) -> str:
        return f"{self.service}/{self.name}"

    @property
    def ends_by_itself(self) -> bool:
        """Whether a call lasts as long as its work, and not as long as its caller wants to go on."""
        return not (self.is_watch or (self.streams_requests and self.streams_responses))

    @property
    def is_timed(self) -> bool:
        """Whether how long a call lasts says how quick we are: contents take as long as they are large, and what is
        done to all that is stored as there is of it.
        """
        return self.ends_by_itself and self.deadline_s < TRANSFER_DEADLINE_S_MAX


def may_repeat(retry: int, request: Any) -> bool:
    """Whether a call whose outcome is not known may be made again, by its method's option `retry`: always, or where the
    request carries a key. Not one with a condition: if it was done, that is why the condition holds no more.
    """
    if retry == options_pb2.KEYED:
        return bool(request.request_id)
    return retry == options_pb2.SAFE and not _has_condition(request)


def of_service(service: ServiceDescriptor) -> list[Contract]:
    """Return the contracts of a service's methods, in their order. Raises ContractError."""
    return [_of_method(service, method) for method in service.methods]


def _has_condition(message: Any) -> bool:
    """Whether a condition is given in a message or in one that it holds; maps hold none."""
    for field, value in message.ListFields():
        if field.name.startswith(_CONDITION):
            return True
        if field.message_type is None or is_map(field):
            continue
        if any(map(_has_condition, value if field.is_repeated else (value,))):
            return True
    return False


def _of_method(service: ServiceDescriptor, method: MethodDescriptor) -> Contract:
    options = method.GetOptions().Extensions
    access, retry = options[options_pb2.access], options[options_pb2.retry]
    if not access.level or not access.resource:
        raise ContractError(f"{method.full_name} declares no (modelstead.access) with a resource and a level")
    if not retry:
        raise ContractError(f"{method.full_name} declares no (modelstead.retry)")
    if access.id_field and access.id_field not in method.input_type.fields_by_name:
        raise ContractError(f"{method.full_name}: (modelstead.access) names no field of its request: {access.id_field}")
    if options[options_pb2.watch] and not method.server_streaming:
        raise ContractError(f"{method.full_name} declares (modelstead.watch), but does not answer with a stream")
    return Contract(
        service=service.full_name,
        name=method.name,
        streams_requests=method.client_streaming,
        streams_responses=method.server_streaming,
        is_watch=options[options_pb2.watch],
        deadline_s=_deadline_s(method, access.resource),
        request_class=message_factory.GetMessageClass(method.input_type),
        access=access,
        retry=retry,
        check=compile_check(method.input_type),
        contents=_contents(method) if method.client_streaming and not method.server_streaming else None,
    )


def _contents(method: MethodDescriptor) -> FieldDescriptor:
    for field in method.input_type.fields:
        if field.message_type is not None and field.message_type.full_name == _CONTENTS:
            return field
    raise ContractError(f"{method.full_name} takes a stream of requests that have no field of the type {_CONTENTS}")


def _deadline_s(method: MethodDescriptor, resource: str) -> float:
    if resource == _PLATFORM:
        return PLATFORM_DEADLINE_S_MAX
    if method.client_streaming or method.output_type.full_name == _CONTENTS:
        return TRANSFER_DEADLINE_S_MAX
    if method.GetOptions().Extensions[options_pb2.watch]:
        return WATCH_AGE_S_MAX
    return STREAM_DEADLINE_S_MAX if method.server_streaming else DEADLINE_S_MAX
