"""What a search of runs may compare and order by (as MLflow 3.18, search_utils.py, SearchUtils)."""

from services.common.filters import ATTRIBUTE, LISTS, NULLS, NUMERIC, TEXT, Field, Grammar, Kind

_PLAIN = ("user_id", "status", "artifact_uri")
_RUN_NAME = Field(key="run_name")
_START_TIME = Field(key="start_time", kind=Kind.NUMBER, operators=NUMERIC)
_END_TIME = Field(key="end_time", kind=Kind.NUMBER, operators=NUMERIC)
_DATASET = {name: Field(key=name, operators=(*TEXT, *LISTS)) for name in ("name", "digest", "context")}

RUNS = Grammar(
    spellings={
        "metric": "metric", "metrics": "metric",
        "parameter": "param", "parameters": "param", "param": "param", "params": "param",
        "tag": "tag", "tags": "tag",
        "attribute": ATTRIBUTE, "attributes": ATTRIBUTE, "attr": ATTRIBUTE, "run": ATTRIBUTE,
        "dataset": "dataset", "datasets": "dataset",
    },
    attributes={
        **{name: Field(key=name) for name in _PLAIN},
        "run_id": Field(key="run_id", operators=(*TEXT, *LISTS)),
        "run_name": _RUN_NAME, "run name": _RUN_NAME, "Run name": _RUN_NAME, "Run Name": _RUN_NAME,
        "start_time": _START_TIME, "created": _START_TIME, "Created": _START_TIME,
        "end_time": _END_TIME,
    },
    open_fields={
        "metric": Field(kind=Kind.NUMBER, operators=NUMERIC),
        "param": Field(operators=(*TEXT, *NULLS)),
        "tag": Field(operators=(*TEXT, *NULLS)),
    },
    closed_fields={"dataset": _DATASET},
    order_attributes={
        **{name: name for name in (*_PLAIN, "run_id", "run_name", "start_time", "end_time")},
        "created": "start_time", "Created": "start_time",
    },
    order_entities=frozenset({"metric", "param", "tag"}),
    list_attributes=("run_id",),
    text_names={
        ATTRIBUTE: "attributes",
        "param": "parameter (e.g. 'my-value')",
        "tag": "tag (e.g. 'my-value')",
        "dataset": "dataset attributes",
    },
    entity_error=(
        "Invalid entity type '{entity}'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']"
    ),
    order_entity_error="Invalid identifier type '{entity}'",
    null_error="IS NULL / IS NOT NULL is only supported for tags and params, not for '{entity}' '{key}'",
)  # fmt: skip
