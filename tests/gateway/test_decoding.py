"""Requests are read as MLflow reads them, and json_format agrees where MLflow does."""

import json
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from modelstead.tracking.v1 import (
    datasets_pb2,
    experiments_pb2,
    lifecycle_pb2,
    logged_models_pb2,
    metrics_pb2,
    runs_pb2,
)
from services.common.errors import InvalidArgument
from services.gateway import limits
from services.gateway.decoding import RequestDecoder
from tests.gateway.messages import REQUESTS, messages, oracle

SEE_DOCS = "See the API docs for more information about request parameters."
POINT = {"key": "k", "value": 1.5, "timestamp": 7}


def wrong(value: str, path: str, kind: str) -> str:
    return f"Invalid value {value} for parameter '{path}' supplied:  Hint: Value was of type '{kind}'. {SEE_DOCS}"


def missing(path: str) -> str:
    return f"Missing value for required parameter '{path}'. {SEE_DOCS}"


def decode(message_class: Any, body: Any, **texts: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RequestDecoder(message_class.DESCRIPTOR).from_json(content, texts)


def refusal(message_class: Any, body: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decode(message_class, body)
    return caught.value.message


def query(message_class: Any, text: str) -> Any:
    return RequestDecoder(message_class.DESCRIPTOR).from_query(text.encode(), {})


def some_request() -> st.SearchStrategy[Message]:
    return st.sampled_from(REQUESTS).flatmap(messages)


def with_required_lists(message: Any, body: dict[str, Any]) -> dict[str, Any]:
    """An empty list is left out by json_format, which would make a required one absent."""
    return {field.name: [] for field in message.DESCRIPTOR.fields if field.is_repeated} | body


@given(some_request())
def test_what_json_format_writes_is_read_back(message: Any) -> None:
    body = with_required_lists(message, oracle(message))

    decoded = outcome(RequestDecoder(message.DESCRIPTOR), orjson.dumps(body))

    assert decoded in (oracle(message), *(missing(field.name) for field in message.DESCRIPTOR.fields))


@given(some_request())
def test_an_object_may_be_encoded_twice(message: Any) -> None:
    once = orjson.dumps(with_required_lists(message, oracle(message)))
    twice = orjson.dumps(once.decode())
    decoder = RequestDecoder(message.DESCRIPTOR)

    assert outcome(decoder, twice) == outcome(decoder, once)


def outcome(decoder: RequestDecoder, body: bytes) -> Any:
    try:
        return oracle(decoder.from_json(body, {}))
    except InvalidArgument as error:
        return error.message


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(descriptor=st.sampled_from(REQUESTS), data=st.data())
def test_no_json_but_is_read_or_refused(descriptor: Descriptor, data: st.DataObject) -> None:
    names = [name for field in descriptor.fields for name in (field.name, field.json_name)]
    body = data.draw(st.dictionaries(st.sampled_from(names or ["x"]), JSON))

    outcome(RequestDecoder(descriptor), json.dumps(body).encode())


@given(st.binary(max_size=40))
def test_no_bytes_but_are_read_or_refused(body: bytes) -> None:
    outcome(RequestDecoder(runs_pb2.LogBatchRequest.DESCRIPTOR), body)


class TestObjects:
    def test_unknown_fields_are_ignored(self) -> None:
        assert decode(runs_pb2.GetRunRequest, {"run_id": "a", "other": [{"deep": 1}]}).run_id == "a"

    def test_null_is_absent(self) -> None:
        request = decode(runs_pb2.UpdateRunRequest, {"run_id": "a", "status": None, "end_time": None})

        assert not request.HasField("status")
        assert not request.HasField("end_time")

    def test_an_empty_text_is_absent_where_a_number_is_required(self) -> None:
        request = decode(metrics_pb2.LogMetricRequest, {"value": "", "timestamp": ""})

        assert request == metrics_pb2.LogMetricRequest()

    @pytest.mark.parametrize("body", [b"", b"null", b"{}", b'"{}"', b'"null"'])
    def test_nothing_is_an_empty_object(self, body: bytes) -> None:
        assert decode(runs_pb2.GetRunRequest, body) == runs_pb2.GetRunRequest()

    @pytest.mark.parametrize(("body", "kind"), [(b"[]", "list"), (b"5", "int"), (b"true", "bool"), (b'"5"', "int")])
    def test_other_json_is_refused(self, body: bytes, kind: str) -> None:
        assert refusal(runs_pb2.GetRunRequest, body) == (
            f"The request body must be a JSON object, but it is of type '{kind}'."
        )

    @pytest.mark.parametrize(
        ("body", "where"),
        [
            (b'{"run_id": }', "line 1 column 12 (char 11)"),
            (b'{"a":\n "\xff"}', "not valid UTF-8"),
            (b'{"a": NaN}', "line 1 column 7 (char 6)"),
            (b'{"a": 1e400}', "line 1 column 7 (char 6)"),
            (b'{"a": "\\ud800"}', "line 1 column"),
            (b'{"a": 1}}', "line 1 column 9 (char 8)"),
            (b'""', "line 1"),
        ],
    )
    def test_malformed_json_is_refused_with_its_place(self, body: bytes, where: str) -> None:
        message = refusal(runs_pb2.GetRunRequest, body)

        assert message.startswith("The request body is not valid JSON: ")
        assert where in message

    def test_camel_case_is_accepted(self) -> None:
        assert decode(runs_pb2.SearchRunsRequest, {"maxResults": 5}).max_results == 5

    def test_camel_case_of_a_required_field_is_not(self) -> None:
        assert decode(runs_pb2.GetRunRequest, {"runId": "a"}) == runs_pb2.GetRunRequest()

    def test_camel_case_of_a_nested_required_field_is(self) -> None:
        request = decode(datasets_pb2.LogInputsRequest, {"models": [{"modelId": "m-1"}]})

        assert request.models[0].model_id == "m-1"

    @pytest.mark.parametrize(
        ("message_class", "body", "names"),
        [
            (runs_pb2.SearchRunsRequest, {"max_results": 1, "maxResults": 2}, ("max_results", "maxResults")),
            (runs_pb2.SearchRunsRequest, {"maxResults": 2, "max_results": None}, ("max_results", "maxResults")),
            (runs_pb2.GetRunRequest, {"run_id": "a", "runId": "a"}, ("run_id", "runId")),
            (
                runs_pb2.LogBatchRequest,
                {"metrics": [{**POINT, "model_id": "a", "modelId": "b"}]},
                ("model_id", "modelId"),
            ),
            (
                datasets_pb2.LogInputsRequest,
                {"datasets": [{"dataset": {"source_type": "a", "sourceType": "b"}}]},
                ("source_type", "sourceType"),
            ),
        ],
    )
    def test_both_spellings_are_refused(self, message_class: Any, body: Any, names: tuple[str, str]) -> None:
        assert refusal(message_class, body) == (
            f"Request specifies both '{names[0]}' and '{names[1]}'; provide only one of them."
        )

    @pytest.mark.parametrize(
        ("body", "run_id"),
        [
            ({"run_uuid": "b"}, "b"),
            ({"run_uuid": "b", "run_id": "a"}, "a"),
            ({"run_id": "a", "run_uuid": "b"}, "a"),
            ({"run_id": None, "run_uuid": "b"}, "b"),
            ({"run_id": "", "run_uuid": "b"}, ""),
            ({"run_uuid": ""}, ""),
        ],
    )
    def test_an_alias_counts_where_the_name_is_absent(self, body: Any, run_id: str) -> None:
        assert decode(runs_pb2.GetRunRequest, body).run_id == run_id

    def test_a_set_and_empty_message_is_set(self) -> None:
        request = decode(datasets_pb2.LogInputsRequest, {"datasets": [{"dataset": {}}]})

        assert request.datasets[0].HasField("dataset")

    def test_texts_of_path_and_headers_go_over_the_body(self) -> None:
        request = decode(
            logged_models_pb2.FinalizeLoggedModelRequest, {"model_id": "body", "status": 2}, model_id="path"
        )

        assert request.model_id == "path"

    @pytest.mark.parametrize("name", ["other", "run_id"])
    def test_deep_nesting_is_refused(self, name: str) -> None:
        deep = "[" * limits.NESTING_MAX + "]" * limits.NESTING_MAX

        assert refusal(runs_pb2.GetRunRequest, f'{{"{name}": {deep}}}'.encode()) == (
            f"The request body is nested deeper than {limits.NESTING_MAX} levels."
        )

    def test_nesting_up_to_the_bound_is_ignored(self) -> None:
        deep = "[" * (limits.NESTING_MAX - 1) + "]" * (limits.NESTING_MAX - 1)

        assert decode(runs_pb2.GetRunRequest, f'{{"a.b.c": {deep}}}'.encode()) == runs_pb2.GetRunRequest()

    @pytest.mark.parametrize("opening", [b"[", b'{"a":'])
    def test_nesting_past_the_parsers_bound_is_refused_alike(self, opening: bytes) -> None:
        assert "nested deeper" in refusal(runs_pb2.GetRunRequest, opening * 100_000)

    def test_deep_nesting_in_a_row_is_refused(self) -> None:
        deep = json.loads("[" * limits.NESTING_MAX + "]" * limits.NESTING_MAX)

        assert "nested deeper" in refusal(runs_pb2.LogBatchRequest, {"metrics": [{**POINT, "other": deep}]})

    def test_a_batch_encoded_twice_has_mlflows_limit(self) -> None:
        inner = json.dumps({"run_id": "a", "padding": "x" * 1_000_000})

        assert refusal(runs_pb2.LogBatchRequest, inner) == (
            f"Batched logging API requests must be at most 1000000 bytes, got a request of size {len(inner)}."
        )

    def test_a_batch_encoded_once_may_be_longer(self) -> None:
        assert decode(runs_pb2.LogBatchRequest, {"run_id": "a", "padding": "x" * 1_000_000}).run_id == "a"


class TestValues:
    @pytest.mark.parametrize(
        ("value", "number"),
        [(5, 5), (5.0, 5), (1e3, 1000), ("5", 5), ("-5", -5), (2**63 - 1, 2**63 - 1), (str(-(2**63)), -(2**63))],
    )
    def test_an_integer_is_read(self, value: Any, number: int) -> None:
        assert decode(metrics_pb2.LogMetricRequest, {"timestamp": value}).timestamp == number

    @pytest.mark.parametrize(
        ("value", "quoted", "kind"),
        [
            (1.5, "1.5", "float"),
            (True, "true", "bool"),
            ("1.0", '"1.0"', "str"),
            ("1_0", '"1_0"', "str"),
            (" 1", '" 1"', "str"),
            ([1], "[1]", "list"),
            ({"b": 1, "a": 2}, '{"a":2,"b":1}', "dict"),
            (2**63, str(2**63), "int"),
            (str(2**63), f'"{2**63}"', "str"),
            (1e300, "1e+300", "float"),
        ],
    )
    def test_no_integer_is_refused(self, value: Any, quoted: str, kind: str) -> None:
        assert refusal(metrics_pb2.LogMetricRequest, {"timestamp": value}) == wrong(quoted, "timestamp", kind)

    def test_a_number_of_thousands_of_digits_is_refused(self) -> None:
        assert "timestamp" in refusal(metrics_pb2.LogMetricRequest, {"timestamp": "1" * 5000})

    def test_an_integer_fits_its_column(self) -> None:
        message = refusal(runs_pb2.SearchRunsRequest, {"max_results": 2**31})

        assert message == wrong(str(2**31), "max_results", "int")

    @pytest.mark.parametrize(
        ("value", "number"),
        [
            (1, 1.0),
            (1.5, 1.5),
            (True, 1.0),
            (2**64, float(2**64)),
            ("1.5", 1.5),
            ("Infinity", float("inf")),
            ("-Infinity", float("-inf")),
            ("inf", float("inf")),
            ("1e400", float("inf")),
        ],
    )
    def test_a_double_is_read(self, value: Any, number: float) -> None:
        assert decode(metrics_pb2.LogMetricRequest, {"value": value}).value == number

    def test_nan_is_read(self) -> None:
        assert str(decode(metrics_pb2.LogMetricRequest, {"value": "NaN"}).value) == "nan"

    @pytest.mark.parametrize(
        ("value", "quoted", "kind"),
        [
            ("nan", '"nan"', "str"),
            ("-NaN", '"-NaN"', "str"),
            ("abc", '"abc"', "str"),
            ("0x10", '"0x10"', "str"),
            ([1], "[1]", "list"),
        ],
    )
    def test_no_double_is_refused(self, value: Any, quoted: str, kind: str) -> None:
        assert refusal(metrics_pb2.LogMetricRequest, {"value": value}) == wrong(quoted, "value", kind)

    @pytest.mark.parametrize("value", ["FINISHED", 3, "3", 3.0])
    def test_an_enum_is_read_by_name_or_number(self, value: Any) -> None:
        assert decode(runs_pb2.UpdateRunRequest, {"status": value}).status == runs_pb2.RunInfo.FINISHED

    @pytest.mark.parametrize(
        ("value", "quoted", "kind"), [("NOPE", '"NOPE"', "str"), (99, "99", "int"), ([], "[]", "list")]
    )
    def test_no_enum_is_refused(self, value: Any, quoted: str, kind: str) -> None:
        assert refusal(runs_pb2.UpdateRunRequest, {"status": value}) == wrong(quoted, "status", kind)

    @pytest.mark.parametrize(("value", "quoted"), [("true", '"true"'), (1, "1")])
    def test_a_boolean_is_true_or_false(self, value: Any, quoted: str) -> None:
        body = {"allow_deleted": value}

        assert refusal(logged_models_pb2.GetLoggedModelRequest, body) == wrong(
            quoted, "allow_deleted", type(value).__name__
        )

    @pytest.mark.parametrize(
        ("value", "quoted", "kind"), [(5, "5", "int"), (["a"], '["a"]', "list"), (False, "false", "bool")]
    )
    def test_no_text_is_refused(self, value: Any, quoted: str, kind: str) -> None:
        assert refusal(runs_pb2.GetRunRequest, {"run_id": value}) == wrong(quoted, "run_id", kind)

    def test_a_nul_is_refused(self) -> None:
        assert refusal(runs_pb2.SetTagRequest, {"value": "a\0"}) == "'value' cannot contain NUL (0x00) characters"

    def test_a_long_value_is_cut(self) -> None:
        message = refusal(runs_pb2.SearchRunsRequest, {"max_results": "é" * 100_000})

        assert len(message) < limits.QUOTED_LENGTH_MAX + 200
        assert "(100002 characters)" in message

    @pytest.mark.parametrize(
        ("value", "quoted", "kind"),
        [("0", '"0"', "str"), ([0], "[0]", "list"), (["0", None], '["0",null]', "list"), ({"a": 1}, '{"a":1}', "dict")],
    )
    def test_no_list_of_texts_is_refused_as_a_whole(self, value: Any, quoted: str, kind: str) -> None:
        assert refusal(runs_pb2.SearchRunsRequest, {"experiment_ids": value}) == wrong(quoted, "experiment_ids", kind)

    def test_a_nul_in_a_list_is_refused(self) -> None:
        assert refusal(runs_pb2.SearchRunsRequest, {"order_by": ["a", "\0"]}) == (
            "'order_by' cannot contain NUL (0x00) characters"
        )

    @pytest.mark.parametrize(
        ("value", "quoted", "path", "kind"),
        [
            ("x", '"x"', "params", "str"),
            ([5], "5", "params[0]", "int"),
            ([{"key": "a"}, {"key": 7}], "7", "params[1].key", "int"),
            ([{"key": "a"}, None], "null", "params[1]", "NoneType"),
        ],
    )
    def test_no_list_of_objects_is_refused_with_its_place(self, value: Any, quoted: str, path: str, kind: str) -> None:
        assert refusal(runs_pb2.LogBatchRequest, {"params": value}) == wrong(quoted, path, kind)


class TestRequiredLists:
    def test_an_empty_list_is_given(self) -> None:
        assert decode(datasets_pb2.LogOutputsRequest, {"run_id": "a", "models": []}).run_id == "a"

    @pytest.mark.parametrize("body", [{"run_id": "a"}, {"run_id": "a", "models": None}])
    def test_an_absent_list_is_missing(self, body: Any) -> None:
        assert refusal(datasets_pb2.LogOutputsRequest, body) == missing("models")

    @pytest.mark.parametrize("body", [{}, {"run_id": ""}, {"run_id": "", "models": []}])
    def test_the_first_missing_field_is_named(self, body: Any) -> None:
        assert refusal(datasets_pb2.LogOutputsRequest, body) == missing("run_id")


class TestTables:
    def test_rows_become_columns(self) -> None:
        rows = [
            {"key": "a", "value": 1, "timestamp": 2, "step": 3},
            {"key": "b", "value": 0.5, "timestamp": 4, "step": 5},
        ]

        table = decode(runs_pb2.LogBatchRequest, {"metrics": rows}).metrics

        assert table == metrics_pb2.MetricColumns(key=["a", "b"], value=[1, 0.5], timestamp=[2, 4], step=[3, 5])

    def test_absent_entries_are_filled_where_a_column_is_given(self) -> None:
        rows = [POINT, {**POINT, "step": 3}, {**POINT, "datasetName": "d", "step": None}]

        table = decode(runs_pb2.LogBatchRequest, {"metrics": rows}).metrics

        assert list(table.step) == [0, 3, 0]
        assert list(table.dataset_name) == ["", "", "d"]
        assert list(table.model_id) == []

    @pytest.mark.parametrize(
        ("change", "column", "value"),
        [
            ({"value": "NaN"}, "value", float("nan")),
            ({"value": True}, "value", 1.0),
            ({"value": "2.5"}, "value", 2.5),
            ({"timestamp": "9"}, "timestamp", 9),
            ({"timestamp": 9.0}, "timestamp", 9),
            ({"other": {"a": []}}, "key", "k"),
        ],
    )
    @pytest.mark.parametrize("company", [0, 2])
    def test_a_row_is_converted_in_any_company(self, change: Any, column: str, value: Any, company: int) -> None:
        rows = [POINT] * company + [{**POINT, **change}]

        table = decode(runs_pb2.LogBatchRequest, {"metrics": rows}).metrics

        assert len(table.key) == len(rows)
        assert repr(getattr(table, column)[-1]) == repr(value)

    @pytest.mark.parametrize("name", POINT)
    @pytest.mark.parametrize("index", [0, 2])
    def test_a_row_without_a_required_value_is_named(self, name: str, index: int) -> None:
        row = {given: value for given, value in POINT.items() if given != name}
        rows = [*[POINT] * index, row, POINT]

        assert refusal(runs_pb2.LogBatchRequest, {"metrics": rows}) == missing(f"metrics[{index}].{name}")

    @pytest.mark.parametrize(
        ("name", "value"), [("key", None), ("value", None), ("timestamp", None), ("value", ""), ("timestamp", "")]
    )
    @pytest.mark.parametrize("index", [0, 2])
    def test_null_and_no_text_are_no_required_value(self, name: str, value: Any, index: int) -> None:
        rows = [*[POINT] * index, {**POINT, name: value}, POINT]

        assert refusal(runs_pb2.LogBatchRequest, {"metrics": rows}) == missing(f"metrics[{index}].{name}")

    @pytest.mark.parametrize(
        ("change", "quoted", "kind"),
        [
            ({"key": 5}, "5", "int"),
            ({"value": "x"}, '"x"', "str"),
            ({"value": [1]}, "[1]", "list"),
            ({"timestamp": 1.5}, "1.5", "float"),
            ({"timestamp": True}, "true", "bool"),
            ({"timestamp": 2**63}, str(2**63), "int"),
            ({"step": "x"}, '"x"', "str"),
            ({"model_id": 5}, "5", "int"),
        ],
    )
    def test_a_wrong_value_is_refused_with_its_place(self, change: Any, quoted: str, kind: str) -> None:
        (name,) = change

        message = refusal(runs_pb2.LogBatchRequest, {"metrics": [POINT, {**POINT, **change}]})

        assert message == wrong(quoted, f"metrics[1].{name}", kind)

    @pytest.mark.parametrize(
        ("rows", "quoted", "path", "kind"),
        [
            ({"key": "a"}, '{"key":"a"}', "metrics", "dict"),
            (5, "5", "metrics", "int"),
            ([5], "5", "metrics[0]", "int"),
            ([POINT, None], "null", "metrics[1]", "NoneType"),
            ([POINT, "abc"], '"abc"', "metrics[1]", "str"),
            ([POINT, ["k", 1, 2]], '["k",1,2]', "metrics[1]", "list"),
        ],
    )
    def test_no_list_of_rows_is_refused(self, rows: Any, quoted: str, path: str, kind: str) -> None:
        assert refusal(runs_pb2.LogBatchRequest, {"metrics": rows}) == wrong(quoted, path, kind)

    def test_a_nul_is_refused_with_its_place(self) -> None:
        assert refusal(runs_pb2.LogBatchRequest, {"metrics": [POINT, {**POINT, "key": "a\0"}]}) == (
            "'metrics[1].key' cannot contain NUL (0x00) characters"
        )

    def test_no_rows_are_no_columns(self) -> None:
        assert decode(runs_pb2.LogBatchRequest, {"metrics": []}).metrics == metrics_pb2.MetricColumns()


class TestEntries:
    def test_a_list_becomes_a_map(self) -> None:
        tags = [{"key": "a", "value": "1"}, {"key": "b"}, {"key": "c", "value": None}]

        assert dict(decode(runs_pb2.CreateRunRequest, {"tags": tags}).tags) == {"a": "1", "b": "", "c": ""}

    def test_a_key_that_stands_twice_is_refused(self) -> None:
        tags = [{"key": "a", "value": "1"}, {"key": "b"}, {"key": "a", "value": "1"}]

        assert refusal(runs_pb2.CreateRunRequest, {"tags": tags}) == (
            "Duplicate keys have been submitted in 'tags': ['a']."
        )

    @pytest.mark.parametrize("entry", [{"value": "x"}, {"key": None}, {"key": ""}])
    def test_an_entry_without_a_key_is_named(self, entry: Any) -> None:
        body = {"tags": [{"key": "a", "value": "1"}, entry]}

        assert refusal(runs_pb2.CreateRunRequest, body) == missing("tags[1].key")

    @pytest.mark.parametrize(
        ("tags", "quoted", "path", "kind"),
        [
            ("x", '"x"', "tags", "str"),
            ({"a": "1"}, '{"a":"1"}', "tags", "dict"),
            (["x"], '"x"', "tags[0]", "str"),
            ([{"key": 5}], "5", "tags[0].key", "int"),
            ([{"key": "a", "value": 5}], "5", "tags[0].value", "int"),
        ],
    )
    def test_no_list_of_entries_is_refused(self, tags: Any, quoted: str, path: str, kind: str) -> None:
        assert refusal(runs_pb2.CreateRunRequest, {"tags": tags}) == wrong(quoted, path, kind)

    def test_a_nul_is_refused_with_its_place(self) -> None:
        assert refusal(runs_pb2.CreateRunRequest, {"tags": [{"key": "a", "value": "\0"}]}) == (
            "'tags[0].value' cannot contain NUL (0x00) characters"
        )


class TestQueries:
    def test_a_repeated_key_is_a_list(self) -> None:
        request = query(metrics_pb2.GetMetricHistoryBulkRequest, "run_id=a&run_id=b&metric_key=m&max_results=5")

        assert (list(request.run_id), request.metric_key, request.max_results) == (["a", "b"], "m", 5)

    def test_the_first_of_a_repeated_key_counts_where_there_is_one_value(self) -> None:
        assert query(runs_pb2.GetRunRequest, "run_id=a&run_id=b").run_id == "a"

    def test_values_are_decoded_as_a_form(self) -> None:
        assert (
            query(experiments_pb2.GetExperimentByNameRequest, "experiment_name=a+b%20c%C3%A9").experiment_name
            == "a b cé"
        )

    @pytest.mark.parametrize(("text", "value"), [("ALL", 3), ("3", 3)])
    def test_an_enum_is_read_by_name_or_number(self, text: str, value: int) -> None:
        request = query(experiments_pb2.SearchExperimentsRequest, f"view_type={text}")

        assert request.view_type == value == lifecycle_pb2.ALL

    @pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("FALSE", False)])
    def test_a_boolean_is_read(self, text: str, value: bool) -> None:
        assert query(logged_models_pb2.GetLoggedModelRequest, f"allow_deleted={text}").allow_deleted is value

    def test_no_boolean_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match=r"^Invalid boolean value: 1, must be 'true' or 'false'\.$"):
            query(logged_models_pb2.GetLoggedModelRequest, "allow_deleted=1")

    def test_an_alias_is_read(self) -> None:
        assert query(runs_pb2.GetRunRequest, "run_uuid=a").run_id == "a"

    def test_camel_case_and_unknown_keys_are_ignored(self) -> None:
        assert query(runs_pb2.GetRunRequest, "runId=a&x=y") == runs_pb2.GetRunRequest()

    @pytest.mark.parametrize("text", ["run_id=%ff", "run_id=\xff"])
    def test_bytes_that_are_no_text_are_refused(self, text: str) -> None:
        with pytest.raises(InvalidArgument, match="not valid UTF-8"):
            RequestDecoder(runs_pb2.GetRunRequest.DESCRIPTOR).from_query(text.encode("latin-1"), {})

    def test_a_nul_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="'run_id' cannot contain NUL"):
            query(runs_pb2.GetRunRequest, "run_id=%00")
