"""What the services tell of themselves over REST, under both prefixes."""

import pytest

from tests.compat.rest import AJAX, Rest

SERVICES = ("tracking", "registry", "artifacts")
COUNTS = {
    "tracking": {
        "table_bytes", "points_per_second", "point_count", "stream_count", "session_count", "bytes_under_way",
        "bytes_under_way_max", "waiting_count", "unsealed_point_count", "unsealed_run_count", "seal_lag_ms",
        "active_run_count", "unsent_point_count", "unsent_age_ms",
    },
    "registry": {
        "table_bytes", "model_count", "version_count", "event_count", "watch_count", "pending_delivery_count",
        "dead_delivery_count", "delivery_lag_ms",
    },
    "artifacts": {
        "table_bytes", "object_count", "object_bytes", "pending_upload_count", "garbage_count", "bytes_in_per_second",
        "bytes_out_per_second",
    },
}  # fmt: skip


@pytest.mark.parametrize("service", SERVICES)
def test_a_status_names_the_process_its_tables_and_numbers_also_those_that_are_zero(rest: Rest, service: str) -> None:
    status = rest.get(f"status/{service}")

    assert set(status["process"]) == {"version", "replica", "start_time", "schema_revision"}
    assert all(set(table) == {"name", "row_count", "byte_count"} for table in status["tables"])
    assert {key for key, value in status.items() if type(value) in (int, float)} == COUNTS[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_status_is_the_same_under_the_prefix_of_the_web_ui(rest: Rest, service: str) -> None:
    response = rest.call("GET", f"{AJAX}status/{service}")

    assert response.status_code == 200
    assert response.json()["process"] == rest.get(f"status/{service}")["process"]
