"""Responses are printed as MLflow prints them, and json_format agrees where MLflow does."""

import json
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from google.type import color_pb2  # type: ignore[import-untyped]
from hypothesis import assume, given
from hypothesis import strategies as st

from modelstead.tracking.v1 import datasets_pb2, experiments_pb2, logged_models_pb2, metrics_pb2, runs_pb2
from services.gateway.dialect import DialectError
from services.gateway.encoding import ResponseEncoder, StreamEncoder, dumps
from tests.gateway.messages import RESPONSES, messages, oracle, tables

Columns = metrics_pb2.MetricColumns


def encode(message: Any) -> bytes:
    return ResponseEncoder(message.DESCRIPTOR).to_json(message.SerializeToString())


def parsed(message: Any) -> Any:
    return json.loads(encode(message))


def rows(table: Any) -> Any:
    return parsed(runs_pb2.RunData(metrics=table)).get("metrics")


def splice(*stream: Any) -> bytes:
    spliced = StreamEncoder(metrics_pb2.GetMetricHistoryResponse.DESCRIPTOR).splice()
    return b"".join([spliced.add(message.SerializeToString()) for message in stream] + [spliced.end()])


def ordered(value: Any) -> Any:
    """JSON as something that compares with the order of its keys."""
    if isinstance(value, dict):
        return [(key, ordered(inner)) for key, inner in value.items()]
    return [ordered(inner) for inner in value] if isinstance(value, list) else value


@given(st.sampled_from(RESPONSES).flatmap(messages))
def test_what_is_printed_is_what_json_format_prints(message: Message) -> None:
    assert ordered(parsed(message)) == ordered(oracle(message))


def test_json_is_indented_like_mlflows() -> None:
    run = runs_pb2.Run(info=runs_pb2.RunInfo(run_uuid="a", user_id="", status=runs_pb2.RunInfo.FINISHED))
    run.inputs.SetInParent()
    run.data.tags["k"] = "é"

    assert encode(runs_pb2.GetRunResponse(run=run)).decode() == json.dumps(
        {
            "run": {
                "info": {"run_uuid": "a", "user_id": "", "status": "FINISHED"},
                "data": {"tags": [{"key": "k", "value": "é"}]},
                "inputs": {},
            }
        },
        indent=2,
        ensure_ascii=False,
    )


def test_nothing_is_an_empty_object() -> None:
    assert encode(runs_pb2.SearchRunsResponse()) == b"{}"


def test_integers_of_64_bits_are_numbers() -> None:
    assert b'"start_time": 9223372036854775807' in encode(runs_pb2.RunInfo(start_time=2**63 - 1))


def test_zeros_are_printed_where_they_are_set() -> None:
    assert parsed(runs_pb2.RunInfo(start_time=0)) == {"start_time": 0}


def test_an_unknown_enum_is_its_number() -> None:
    unknown = runs_pb2.RunInfo.FromString(
        runs_pb2.RunInfo(status=runs_pb2.RunInfo.RUNNING).SerializeToString().replace(b"\x01", b"\x63")
    )

    assert parsed(unknown) == {"status": 99}


def test_entries_are_sorted_by_key() -> None:
    experiment = experiments_pb2.Experiment(tags={"b": "2", "a": "1", "é": ""})

    assert parsed(experiment)["tags"] == [
        {"key": "a", "value": "1"},
        {"key": "b", "value": "2"},
        {"key": "é", "value": ""},
    ]


def test_bytes_that_are_no_message_are_an_error() -> None:
    with pytest.raises(DecodeError):
        ResponseEncoder(runs_pb2.RunInfo.DESCRIPTOR).to_json(b"\xff")


class TestTables:
    def test_columns_become_rows(self) -> None:
        table = Columns(key=["a", "b"], value=[1, 0.5], timestamp=[2, 3], step=[4, 5])

        assert rows(table) == [
            {"key": "a", "value": 1.0, "timestamp": 2, "step": 4},
            {"key": "b", "value": 0.5, "timestamp": 3, "step": 5},
        ]

    def test_one_entry_stands_for_every_row(self) -> None:
        table = Columns(key=["a"], value=[1, 2], timestamp=[7], run_id=["r"])

        assert rows(table) == [
            {"key": "a", "value": 1.0, "timestamp": 7, "run_id": "r"},
            {"key": "a", "value": 2.0, "timestamp": 7, "run_id": "r"},
        ]

    @pytest.mark.parametrize("model_id", [["", "m"], ["", ""]])
    def test_an_empty_optional_text_is_absent(self, model_id: list[str]) -> None:
        table = Columns(key=["a", "b"], value=[1, 2], timestamp=[3, 4], model_id=model_id)

        assert [row.get("model_id", "") for row in rows(table)] == model_id
        assert "model_id" not in rows(table)[0]

    def test_an_empty_optional_text_for_every_row_is_absent(self) -> None:
        assert rows(Columns(key=["a"], value=[1, 2], timestamp=[3, 4], model_id=[""]))[1] == {
            "key": "a",
            "value": 2.0,
            "timestamp": 4,
        }

    def test_an_empty_required_text_is_not_absent(self) -> None:
        assert rows(Columns(key=[""], value=[1], timestamp=[3]))[0]["key"] == ""

    def test_numbers_that_json_lacks_are_texts(self) -> None:
        values = [float("nan"), float("inf"), float("-inf"), 1.5]

        printed = [row["value"] for row in rows(Columns(key=["a"], value=values, timestamp=[1]))]

        assert printed == ["NaN", "Infinity", "-Infinity", 1.5]

    def test_numbers_whose_sum_is_no_number_are_numbers(self) -> None:
        printed = [row["value"] for row in rows(Columns(key=["a"], value=[1.7e308, 1.7e308], timestamp=[1]))]

        assert printed == [1.7e308, 1.7e308]

    @pytest.mark.parametrize("table", [None, Columns()])
    def test_no_rows_are_left_out(self, table: Any) -> None:
        assert rows(table) is None

    @given(tables(Columns.DESCRIPTOR))
    def test_a_table_is_what_json_format_prints_row_by_row(self, table: Any) -> None:
        message = logged_models_pb2.LoggedModelData(metrics=table)

        assert parsed(message) == oracle(message)


class TestStreams:
    @given(st.lists(messages(metrics_pb2.GetMetricHistoryResponse.DESCRIPTOR), max_size=5))
    def test_a_stream_is_printed_as_one_message(self, stream: list[Any]) -> None:
        assume(any(message.metrics.key for message in stream))
        whole: dict[str, Any] = {"metrics": []}
        for message in stream:
            values = oracle(message)
            whole["metrics"] += values.pop("metrics", [])
            whole |= values

        assert splice(*stream) == dumps(whole)

    @pytest.mark.parametrize("cut", range(6))
    def test_where_a_stream_is_cut_makes_no_difference(self, cut: int) -> None:
        points = [Columns(key=["a"], value=[number], timestamp=[number]) for number in range(5)]
        whole = metrics_pb2.GetMetricHistoryResponse(next_page_token="t")
        parts = [metrics_pb2.GetMetricHistoryResponse() for _ in range(2)]
        for index, point in enumerate(points):
            whole.metrics.MergeFrom(point)
            parts[index >= cut].metrics.MergeFrom(point)
        parts[1].next_page_token = "t"

        assert splice(*parts) == encode(whole)

    @pytest.mark.parametrize(
        ("stream", "printed"),
        [
            ([], {}),
            ([metrics_pb2.GetMetricHistoryResponse()], {}),
            ([metrics_pb2.GetMetricHistoryResponse(next_page_token="t")], {"next_page_token": "t"}),
            ([metrics_pb2.GetMetricHistoryResponse(metrics=Columns())], {"metrics": []}),
            (
                [metrics_pb2.GetMetricHistoryResponse(metrics=Columns(), next_page_token="t")],
                {"metrics": [], "next_page_token": "t"},
            ),
        ],
    )
    def test_a_stream_without_rows(self, stream: list[Any], printed: Any) -> None:
        assert splice(*stream).decode() == json.dumps(printed, indent=2)

    def test_a_stream_has_one_list(self) -> None:
        with pytest.raises(DialectError, match="must have exactly one list"):
            StreamEncoder(datasets_pb2.RunInputs.DESCRIPTOR)


def test_a_type_without_a_json_form_is_refused_at_the_start() -> None:
    with pytest.raises(DialectError, match="has a type without a JSON form"):
        ResponseEncoder(color_pb2.Color.DESCRIPTOR)
