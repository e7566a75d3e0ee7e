"""Which calls may be made again when nobody knows what became of them."""

import pytest
from google.protobuf.message import Message

from modelstead import options_pb2
from modelstead.registry.v1 import policies_pb2, registered_models_pb2, releases_pb2
from modelstead.tracking.v1 import ingest_pb2, runs_pb2
from services.common.program import descriptor
from services.common.rpc import contract

SET_ALIAS = registered_models_pb2.SetRegisteredModelAliasRequest
RELEASE, MOVE = releases_pb2.CreateReleaseRequest, releases_pb2.ReleaseMove
INGEST, BATCH = ingest_pb2.IngestBatchRequest, ingest_pb2.Batch


@pytest.mark.parametrize(
    ("retry", "request_", "may"),
    [
        (options_pb2.SAFE, SET_ALIAS(name="m", alias="a", version="2"), True),
        # If it was done, the alias is at 2 by now, and doing it again would be refused.
        (options_pb2.SAFE, SET_ALIAS(name="m", alias="a", version="2", if_version="1"), False),
        (options_pb2.SAFE, SET_ALIAS(name="m", alias="a", version="2", if_stage="Staging"), False),
        (options_pb2.SAFE, RELEASE(moves=[MOVE(name="m", version="2", stage="@a")]), True),
        (options_pb2.SAFE, RELEASE(moves=[MOVE(name="m", version="2"), MOVE(name="n", if_version="")]), False),
        (options_pb2.SAFE, INGEST(batch=BATCH(run_id="r", tags={"if_version": "1"})), True),
        (options_pb2.KEYED, runs_pb2.CreateRunRequest(request_id="k"), True),
        (options_pb2.KEYED, runs_pb2.CreateRunRequest(), False),
        (options_pb2.UNSAFE, policies_pb2.SetPromotionPolicyRequest(name="m"), False),
    ],
)
def test_a_call_is_made_again_where_that_changes_nothing(retry: int, request_: Message, may: bool) -> None:
    assert contract.may_repeat(retry, request_) is may


def test_what_makes_a_revision_each_time_is_not_made_again() -> None:
    methods = contract.of_service(descriptor(policies_pb2, "PromotionPolicyService"))

    assert {method.retry for method in methods if method.name == "SetPromotionPolicy"} == {options_pb2.UNSAFE}
