"""An error is told as MLflow tells it, and nothing of what is behind the gateway is."""

import json
import logging

import grpc.aio
import pytest

from services.common.errors import InvalidArgument, ServiceError, Unauthenticated
from services.gateway import errors
from services.gateway.errors import BodyTooLarge, BodyTooSlow
from tests.gateway.harness import details

# As printed by MLflow 3.18.0's MlflowException for each code: status, sqlstate, error_class.
STOCK = {
    "INTERNAL_ERROR": (500, "XXM00", "CLIENT_INTERNAL_ERROR"),
    "TEMPORARILY_UNAVAILABLE": (503, "XXM00", "CLIENT_INTERNAL_ERROR"),
    "BAD_REQUEST": (400, "KAM00", "INVALID_PARAMETER_VALUE"),
    "DEADLINE_EXCEEDED": (504, None, None),
    "CANCELLED": (499, None, None),
    "RESOURCE_EXHAUSTED": (429, None, None),
    "ABORTED": (409, None, None),
    "NOT_FOUND": (404, "KAM00", "RESOURCE_NOT_FOUND"),
    "ALREADY_EXISTS": (409, None, None),
    "INVALID_PARAMETER_VALUE": (400, "KAM00", "INVALID_PARAMETER_VALUE"),
    "ENDPOINT_NOT_FOUND": (404, "KAM00", "RESOURCE_NOT_FOUND"),
    "INVALID_STATE": (500, "XXM00", "CLIENT_INTERNAL_ERROR"),
    "FEATURE_DISABLED": (500, "KAM00", "FEATURE_DISABLED"),
    "REQUEST_LIMIT_EXCEEDED": (429, None, None),
    "RESOURCE_CONFLICT": (409, None, None),
    "NOT_IMPLEMENTED": (501, None, None),
    "DATA_LOSS": (500, None, None),
    "RESOURCE_ALREADY_EXISTS": (400, "KAM00", "RESOURCE_ALREADY_EXISTS"),
    "RESOURCE_DOES_NOT_EXIST": (404, "KAM00", "RESOURCE_NOT_FOUND"),
    "QUOTA_EXCEEDED": (500, None, None),
}


def rpc_error(
    code: grpc.StatusCode, text: str = "", trailing: tuple[tuple[str, bytes], ...] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details=text)


@pytest.mark.parametrize("reason", STOCK)
def test_a_reason_is_told_as_mlflow_tells_it(reason: str) -> None:
    status, sqlstate, error_class = STOCK[reason]
    error = errors.from_rpc(rpc_error(grpc.StatusCode.UNKNOWN, trailing=details(reason, "é said")))

    reply = errors.reply_of(error)

    body = {"error_code": reason, "message": "é said", "sqlstate": sqlstate, "error_class": error_class}
    assert reply.status == status
    assert reply.body == json.dumps({name: value for name, value in body.items() if value}).encode()


def test_missing_credentials_are_told_in_plain_text_with_a_challenge() -> None:
    reply = errors.reply_of(Unauthenticated("secret"))

    assert (reply.status, reply.media_type) == (401, b"text/plain; charset=utf-8")
    assert reply.body == (
        b"You are not authenticated. Please see "
        b"https://www.mlflow.org/docs/latest/auth/index.html#authenticating-to-mlflow on how to authenticate."
    )
    assert reply.headers == ((b"www-authenticate", b'Basic realm="mlflow"'),)


def test_what_is_not_granted_is_told_in_plain_text() -> None:
    reply = errors.reply_of(forbidden("Permission denied"))

    assert (reply.status, reply.body) == (403, b"Permission denied")


def test_what_a_rule_forbids_is_told_with_the_rule() -> None:
    reply = errors.reply_of(forbidden("Production needs 2 approvals."))

    assert (reply.status, json.loads(reply.body)["message"]) == (403, "Production needs 2 approvals.")
    assert json.loads(reply.body)["error_code"] == "PERMISSION_DENIED"


def forbidden(message: str) -> ServiceError:
    trailing = details("PERMISSION_DENIED", message)
    return errors.from_rpc(rpc_error(grpc.StatusCode.PERMISSION_DENIED, trailing=trailing))


@pytest.mark.parametrize(
    ("code", "reason", "status", "retry_after"),
    [
        (grpc.StatusCode.UNAVAILABLE, "TEMPORARILY_UNAVAILABLE", 503, b"1"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", 504, None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", 429, b"1"),
        (grpc.StatusCode.CANCELLED, "CANCELLED", 499, None),
        (grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED", 501, None),
    ],
)
def test_a_status_without_a_reason_is_told_by_its_code(
    code: grpc.StatusCode, reason: str, status: int, retry_after: bytes | None
) -> None:
    reply = errors.reply_of(errors.from_rpc(rpc_error(code, "ipv4:10.0.0.1:8081: secret")))

    assert (reply.status, json.loads(reply.body)["error_code"]) == (status, reason)
    assert dict(reply.headers).get(b"retry-after") == retry_after
    assert b"secret" not in reply.body
    assert b"10.0.0.1" not in reply.body


@pytest.mark.parametrize("code", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND])
def test_any_other_status_is_an_error_with_an_id_that_the_log_knows(
    code: grpc.StatusCode, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "modelstead.gateway"):
        reply = errors.reply_of(errors.from_rpc(rpc_error(code, "SELECT secret")))

    body = json.loads(reply.body)
    assert (reply.status, body["error_code"]) == (500, "INTERNAL_ERROR")
    assert "secret" not in body["message"]
    (record,) = caplog.records
    assert vars(record)["error_id"] in body["message"]
    assert vars(record)["details"] == "SELECT secret"


@pytest.mark.parametrize("trailing", [b"\xff", b"", details("", "x")[0][1]])
def test_details_that_say_nothing_are_passed_over(trailing: bytes) -> None:
    error = errors.from_rpc(rpc_error(grpc.StatusCode.UNAVAILABLE, trailing=(("grpc-status-details-bin", trailing),)))

    assert error.reason == "TEMPORARILY_UNAVAILABLE"


@pytest.mark.parametrize(("delay_s", "told"), [(0.2, b"1"), (1.0, b"1"), (2.1, b"3")])
def test_a_service_says_when_to_come_back(delay_s: float, told: bytes) -> None:
    trailing = details("RESOURCE_EXHAUSTED", "busy", retry_after_s=delay_s)

    reply = errors.reply_of(errors.from_rpc(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, trailing=trailing)))

    assert reply.headers == ((b"retry-after", told),)


def test_an_answer_that_is_too_large_is_not_to_be_asked_for_again() -> None:
    text = "CLIENT: Received message larger than max (67108865 vs. 67108864)"

    reply = errors.reply_of(errors.from_rpc(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, text)))

    assert (reply.status, json.loads(reply.body)["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (BodyTooLarge("x"), 413, "INVALID_PARAMETER_VALUE"),
        (BodyTooSlow("x"), 408, "DEADLINE_EXCEEDED"),
        (InvalidArgument("x"), 400, "INVALID_PARAMETER_VALUE"),
        (ServiceError("x"), 500, "INTERNAL_ERROR"),
    ],
)
def test_the_gateways_own_errors_have_their_status(error: ServiceError, status: int, reason: str) -> None:
    reply = errors.reply_of(error)

    assert (reply.status, json.loads(reply.body)["error_code"]) == (status, reason)
