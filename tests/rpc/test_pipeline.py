"""What every RPC of tracking does with a call, whatever the method: checks, errors, credentials, deadlines."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from modelstead.tracking.v1 import experiments_pb2, experiments_pb2_grpc, metrics_pb2, runs_pb2, runs_pb2_grpc
from tests.stack import Stack

_GET = "/modelstead.tracking.v1.ExperimentService/GetExperiment"
_SEE_DOCS = "See the API docs for more information about request parameters."


@pytest.fixture(scope="module")
def channel(stack: Stack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(stack.grpc_address) as opened:
        yield opened


@pytest.fixture(scope="module")
def experiments(channel: grpc.Channel) -> experiments_pb2_grpc.ExperimentServiceStub:
    return experiments_pb2_grpc.ExperimentServiceStub(channel)


@pytest.fixture(scope="module")
def runs(channel: grpc.Channel) -> runs_pb2_grpc.RunServiceStub:
    return runs_pb2_grpc.RunServiceStub(channel)


def _refusal(call: Any, *arguments: Any, **options: Any) -> tuple[grpc.StatusCode, str, str]:
    """Make a call that must fail; return its status, its reason and its text."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    error: Any = caught.value
    details = dict(error.trailing_metadata()).get("grpc-status-details-bin")
    if details is None:
        return error.code(), "", error.details()
    status = status_pb2.Status.FromString(details)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "modelstead"
    return error.code(), info.reason, status.message


def test_missing_experiment_is_not_found(experiments: experiments_pb2_grpc.ExperimentServiceStub) -> None:
    refusal = _refusal(experiments.GetExperiment, experiments_pb2.GetExperimentRequest(experiment_id="987654321"))

    assert refusal == (
        grpc.StatusCode.NOT_FOUND, "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=987654321 exists"
    )  # fmt: skip


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe"])
def test_malformed_message_is_an_invalid_argument(channel: grpc.Channel, body: bytes) -> None:
    code, reason, message = _refusal(channel.unary_unary(_GET), body)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE")
    assert message == "The request is not a well-formed GetExperimentRequest message."


def _table(**columns: Any) -> metrics_pb2.MetricColumns:
    return metrics_pb2.MetricColumns(**columns)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (runs_pb2.LogBatchRequest(), f"Missing value for required parameter 'run_id'. {_SEE_DOCS}"),
        (
            runs_pb2.LogBatchRequest(run_id="r", params=[runs_pb2.Param(key="a"), runs_pb2.Param(value="x")]),
            f"Missing value for required parameter 'params[1].key'. {_SEE_DOCS}",
        ),
        (
            runs_pb2.LogBatchRequest(run_id="r", metrics=_table(key=["a", ""], value=[1, 2], timestamp=[1, 2])),
            f"Missing value for required parameter 'metrics[1].key'. {_SEE_DOCS}",
        ),
        (
            runs_pb2.LogBatchRequest(run_id="r", metrics=_table(key=["a", "b"], timestamp=[1, 2])),
            f"Missing value for required parameter 'metrics[0].value'. {_SEE_DOCS}",
        ),
        (
            runs_pb2.LogBatchRequest(run_id="r", metrics=_table(key=["a"] * 3, value=[1, 2], timestamp=[1] * 3)),
            "Column 'metrics.value' has 2 entries for 3 rows.",
        ),
        (
            runs_pb2.LogBatchRequest(run_id="r", params=[runs_pb2.Param(key="a", value="x\0")]),
            "'params[0].value' cannot contain NUL (0x00) characters",
        ),
        (
            runs_pb2.LogBatchRequest(run_id="r", metrics=_table(key=["a\0"], value=[1], timestamp=[1])),
            "'metrics.key' cannot contain NUL (0x00) characters",
        ),
    ],
)
def test_malformed_field_is_named(
    runs: runs_pb2_grpc.RunServiceStub, request_: runs_pb2.LogBatchRequest, message: str
) -> None:
    assert _refusal(runs.LogBatch, request_) == (
        grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PARAMETER_VALUE", message
    )  # fmt: skip


def test_unknown_enum_value_is_refused(runs: runs_pb2_grpc.RunServiceStub) -> None:
    request = runs_pb2.UpdateRunRequest.FromString(
        runs_pb2.UpdateRunRequest(run_id="r").SerializeToString() + b"\x10\x63"
    )

    code, _, message = _refusal(runs.UpdateRun, request)

    assert (code, message) == (
        grpc.StatusCode.INVALID_ARGUMENT, "Invalid value 99 for parameter 'status' supplied: it is not known."
    )  # fmt: skip


def test_huge_metadata_is_refused(experiments: experiments_pb2_grpc.ExperimentServiceStub) -> None:
    request = experiments_pb2.GetExperimentRequest(experiment_id="0")

    code, _, _ = _refusal(experiments.GetExperiment, request, metadata=[("x-long", "a" * 40_000)])

    assert code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL)


def test_callers_deadline_holds(stack: Stack, experiments: experiments_pb2_grpc.ExperimentServiceStub) -> None:
    request = experiments_pb2.GetExperimentRequest(experiment_id="0")

    code, _, _ = _refusal(experiments.GetExperiment, request, timeout=0.00001)

    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A platform that takes only callers with a token."""
    path = tmp_path_factory.mktemp("guarded")
    tokens = path / "tokens"
    tokens.write_text(f"# test\nalice:{hashlib.sha256(b'secret').hexdigest()}\n")
    with Stack(path, tokens_file=tokens) as running:
        yield running


def _with(authorization: str) -> dict[str, Any]:
    return {"metadata": [("authorization", authorization)]}


def test_backend_itself_refuses_a_call_without_token(guarded: Stack) -> None:
    with grpc.insecure_channel(guarded.grpc_address) as channel:
        stub = experiments_pb2_grpc.ExperimentServiceStub(channel)
        request = experiments_pb2.GetExperimentRequest(experiment_id="0")

        for options in ({}, _with("Bearer wrong"), _with("Basic !!!"), _with("Digest secret")):
            code, reason, _ = _refusal(stub.GetExperiment, request, **options)
            assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")


def test_token_is_taken_as_bearer_and_as_basic_password(guarded: Stack) -> None:
    with grpc.insecure_channel(guarded.grpc_address) as channel:
        stub = experiments_pb2_grpc.ExperimentServiceStub(channel)
        request = experiments_pb2.GetExperimentRequest(experiment_id="0")

        for authorization in ("Bearer secret", "Basic YW55Ym9keTpzZWNyZXQ="):
            assert stub.GetExperiment(request, **_with(authorization)).experiment.name == "Default"


def test_tokens_are_read_again_when_the_file_changes(guarded: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    tokens: Path = guarded.tokens_file
    with grpc.insecure_channel(guarded.grpc_address) as channel:
        stub = experiments_pb2_grpc.ExperimentServiceStub(channel)
        request = experiments_pb2.GetExperimentRequest(experiment_id="0")
        kept = tokens.read_text()

        tokens.write_text(f"{kept}bob:{hashlib.sha256(b'other key').hexdigest()}\n")

        assert stub.GetExperiment(request, **_with("Bearer other key")).experiment.experiment_id == "0"
        assert stub.GetExperiment(request, **_with("Bearer secret")).experiment.experiment_id == "0"
