"""Asks the tracking service, over gRPC, where the artifacts of runs and logged models are."""

import grpc.aio

from modelstead.tracking.v1 import logged_models_pb2, logged_models_pb2_grpc, runs_pb2, runs_pb2_grpc
from services.artifacts.owned.model import Asker, Owner, OwnerKind
from services.common import telemetry
from services.common.errors import ServiceError, Unavailable
from services.common.rpc import failures
from services.common.settings import Address

TIMEOUT_S = 10.0
_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # A service that comes back is found within a second or two, not after gRPC's usual two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    ("grpc.enable_http_proxy", 0),
    # All addresses of a headless service share the load.
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
)


class TrackingOwners:
    """One channel to tracking. Every call carries the caller's own credentials, which tracking checks itself."""

    def __init__(self, address: Address) -> None:
        """Make it within a running event loop."""
        self._channel = grpc.aio.insecure_channel(f"dns:///{address}", options=_OPTIONS)
        self._runs: runs_pb2_grpc.RunServiceAsyncStub = runs_pb2_grpc.RunServiceStub(self._channel)
        self._models: logged_models_pb2_grpc.LoggedModelServiceAsyncStub = (
            logged_models_pb2_grpc.LoggedModelServiceStub(self._channel)
        )

    async def artifact_uri(self, owner: Owner, asker: Asker) -> str:
        """Return the URI of an owner's artifacts. Raises what tracking says, with its reason; Unavailable."""
        try:
            if owner.kind is OwnerKind.RUN:
                return await self._of_run(owner.id, asker)
            return await self._of_model(owner.id, asker)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()

    async def _of_run(self, run_id: str, asker: Asker) -> str:
        request = runs_pb2.GetRunRequest(run_id=run_id)
        answer = await self._runs.GetRun(request, metadata=_metadata(asker), timeout=TIMEOUT_S)
        return answer.run.info.artifact_uri

    async def _of_model(self, model_id: str, asker: Asker) -> str:
        request = logged_models_pb2.GetLoggedModelRequest(model_id=model_id)
        answer = await self._models.GetLoggedModel(request, metadata=_metadata(asker), timeout=TIMEOUT_S)
        return answer.model.info.artifact_uri


def _metadata(asker: Asker) -> tuple[tuple[str, str], ...]:
    credentials = () if asker.authorization is None else (("authorization", asker.authorization),)
    return (*credentials, ("x-request-id", asker.request_id), *telemetry.inject().items())


def _failure(error: grpc.aio.AioRpcError) -> ServiceError:
    told = failures.told(error)
    if told is not None:
        return told
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Unavailable("The tracking service is unavailable; try again.", retry_after_s=1.0)
    return ServiceError("The tracking service has failed.")
