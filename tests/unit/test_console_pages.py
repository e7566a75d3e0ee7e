"""What pages of the console know besides the API: kinds of events, and numbers as people read them."""

import pytest

from services.gateway.console import units
from services.gateway.console.pages import audit
from services.registry.events.model import Kind


def test_the_audit_page_offers_every_kind_of_event() -> None:
    assert tuple(sorted(kind.value for kind in Kind)) == audit.KINDS


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("bytes", 0, "0 B"),
        ("bytes", 1023, "1023 B"),
        ("bytes", 1536, "1.5 KiB"),
        ("bytes", 5 * 1024**4, "5.0 TiB"),
        ("lag", 999, "999 ms"),
        ("lag", 61_000, "61 s"),
        ("lag", 180_000, "3 min"),
        ("lag", 7_200_000, "2 h"),
        ("number", 1234567, "1\u202f234\u202f567"),
        ("rate", 2048.0, "2.0 KiB/s"),
        ("moment", "2026-01-31T10:11:12.5Z", "2026-01-31 10:11:12 UTC"),
        ("yes", True, "yes"),
    ],
)
def test_numbers_are_short(name: str, value: object, text: str) -> None:
    assert units.FORMATS[name](value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (0, "0"), (123456.7, "123456.7"), (1.2e-7, "1.2e-7"), (3e9, "3e9"), ("NaN", "NaN")],
)
def test_a_metric_has_the_digits_that_count(value: object, text: str) -> None:
    assert units.metric(value) == text


@pytest.mark.parametrize(
    ("text", "name", "ms"),
    [
        ("", "from", None),
        ("1970-01-02", "from", 86_400_000),
        ("1970-01-01", "to", 86_399_999),
        ("1970-01-01T00:01", "to", 119_999),
        ("1970-01-01T00:00:01", "to", 1_999),
        ("1970-01-01T01:00+01:00", "from", 0),
    ],
)
def test_a_time_of_a_search_includes_what_it_names(text: str, name: str, ms: int | None) -> None:
    assert audit._time_ms(text, {}, name) == ms


def test_what_is_no_time_is_said_beside_its_field() -> None:
    problems: dict[str, str] = {}

    assert audit._time_ms("yesterday", problems, "from") is None
    assert problems == {"from": "A time is a date, or a date and a time of day."}
