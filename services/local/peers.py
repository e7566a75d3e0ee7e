"""The running services as a command of an operator calls them: typed calls in, one kind of failure out."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc

from modelstead.artifacts.v1 import maintenance_pb2, maintenance_pb2_grpc
from modelstead.registry.v1 import maintenance_pb2 as registry_pb2
from modelstead.registry.v1 import maintenance_pb2_grpc as registry_pb2_grpc
from modelstead.tracking.v1 import ingest_pb2, ingest_pb2_grpc, retention_pb2, retention_pb2_grpc
from services.common.settings import Address
from services.local.errors import LocalError

_T = TypeVar("_T")
_Metadata = tuple[tuple[str, str], ...]

_CONNECT_TIMEOUT_S = 5.0
_CALL_TIMEOUT_S = 60.0
_OPTIONS = (("grpc.enable_http_proxy", 0),)
_PAGE_SIZE = 500


class Refused(LocalError):
    """A service answered with an error, or not at all; `code` says which."""

    def __init__(self, error: grpc.RpcError) -> None:
        # What a call raises is a grpc.Call as well, which the stubs do not say.
        call: Any = error
        self.code: grpc.StatusCode = call.code()
        super().__init__(f"{call.details()} ({self.code.name})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """The retention of tracking. Every method raises Refused."""

    stub: retention_pb2_grpc.RetentionServiceStub
    ingest: ingest_pb2_grpc.IngestServiceStub
    metadata: _Metadata

    def purgeable(
        self, kind: retention_pb2.Purgeable.Kind.ValueType, deleted_before_ms: int
    ) -> Iterator[retention_pb2.Purgeable]:
        """Yield what can be purged, by id. Purging meanwhile what was yielded disturbs nothing."""
        request = retention_pb2.ListPurgeableRequest(
            kind=kind, deleted_before_ms=deleted_before_ms, max_results=_PAGE_SIZE
        )
        while True:
            page = self._call(self.stub.ListPurgeable, request)
            yield from page.resources
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def begin(self, resource: retention_pb2.Purgeable, deleted_before_ms: int) -> bool:
        """Make a deletion final. Returns False if the resource was restored meanwhile."""
        request = retention_pb2.BeginPurgeRequest(
            kind=resource.kind, id=resource.id, deleted_before_ms=deleted_before_ms
        )
        try:
            self._call(self.stub.BeginPurge, request)
        except Refused as error:
            if error.code is grpc.StatusCode.INVALID_ARGUMENT:
                return False
            raise
        return True

    def purge(self, resource: retention_pb2.Purgeable) -> None:
        """Remove all of a resource."""
        request = retention_pb2.PurgeRequest(kind=resource.kind, id=resource.id)
        while not self._call(self.stub.Purge, request).done:
            pass

    def forget_request_ids(self) -> None:
        """Remove old idempotency keys."""
        while self._call(self.stub.ForgetRequestIds, retention_pb2.ForgetRequestIdsRequest()).key_count:
            pass

    def forget_sessions(self) -> None:
        """Remove sessions by which nobody has logged for long."""
        while self._call(self.ingest.ForgetSessions, ingest_pb2.ForgetSessionsRequest()).session_count:
            pass

    def _call(self, method: Callable[..., _T], request: object) -> _T:
        return _called(method, request, self.metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """The maintenance of artifacts. Every method raises Refused."""

    stub: maintenance_pb2_grpc.MaintenanceServiceStub
    metadata: _Metadata

    def delete_tree(self, artifact_uri: str) -> int:
        """Delete what is below a URI, or part of it if that takes longer than a call may. Returns how many files."""
        request = maintenance_pb2.DeleteTreeRequest(artifact_uri=artifact_uri)
        return _called(self.stub.DeleteTree, request, self.metadata).file_count

    def sweep(self) -> int:
        """Remove contents to which nothing has referred for a while. Returns how many objects."""
        return _called(self.stub.Sweep, maintenance_pb2.SweepRequest(), self.metadata).object_count

    def check_objects(self, *, deep: bool) -> Iterator[maintenance_pb2.CheckObjectsResponse]:
        """Yield what does not fit, then the totals."""
        request = maintenance_pb2.CheckObjectsRequest(deep=deep)
        try:
            yield from self.stub.CheckObjects(request, metadata=self.metadata)
        except grpc.RpcError as error:
            raise Refused(error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The maintenance of the registry. Every method raises Refused."""

    stub: registry_pb2_grpc.MaintenanceServiceStub
    metadata: _Metadata

    def reseal_webhook_secrets(self) -> registry_pb2.ResealWebhookSecretsResponse:
        """Seal the secrets of webhooks under the newest key. Returns of how many."""
        return _called(self.stub.ResealWebhookSecrets, registry_pb2.ResealWebhookSecretsRequest(), self.metadata)

    def forget_request_ids(self) -> None:
        """Remove old idempotency keys."""
        while _called(self.stub.ForgetRequestIds, registry_pb2.ForgetRequestIdsRequest(), self.metadata).key_count:
            pass


@contextlib.contextmanager
def tracking(address: Address, *, token_file: Path | None) -> Iterator[Tracking]:
    """Connect. Raises LocalError if nobody answers."""
    with _connected("Tracking", address) as channel:
        yield Tracking(
            stub=retention_pb2_grpc.RetentionServiceStub(channel),
            ingest=ingest_pb2_grpc.IngestServiceStub(channel),
            metadata=_metadata(token_file),
        )


@contextlib.contextmanager
def artifacts(address: Address, *, token_file: Path | None) -> Iterator[Artifacts]:
    """Connect. Raises LocalError if nobody answers."""
    with _connected("The artifact service", address) as channel:
        yield Artifacts(stub=maintenance_pb2_grpc.MaintenanceServiceStub(channel), metadata=_metadata(token_file))


@contextlib.contextmanager
def registry(address: Address, *, token_file: Path | None) -> Iterator[Registry]:
    """Connect. Raises LocalError if nobody answers."""
    with _connected("The registry", address) as channel:
        yield Registry(stub=registry_pb2_grpc.MaintenanceServiceStub(channel), metadata=_metadata(token_file))


@contextlib.contextmanager
def _connected(name: str, address: Address) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address.target, options=_OPTIONS) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_CONNECT_TIMEOUT_S)
        except grpc.FutureTimeoutError as error:
            raise LocalError(f"{name} does not answer at {address}: is the platform up?") from error
        yield channel


def _metadata(token_file: Path | None) -> _Metadata:
    """Return what tells who calls: the API key in a file, or nothing."""
    if token_file is None:
        return ()
    return (("authorization", f"Bearer {token_file.read_text(encoding='utf-8').strip()}"),)


def _called(method: Callable[..., _T], request: object, metadata: _Metadata) -> _T:
    try:
        return method(request, metadata=metadata, timeout=_CALL_TIMEOUT_S)
    except grpc.RpcError as error:
        raise Refused(error) from error
