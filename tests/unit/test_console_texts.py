"""What the console makes of texts, times and names before a template shows them."""

import pytest

from services.gateway.console import diffs, rendering, searches
from services.gateway.console.diffs import Line
from services.gateway.console.visits import Fields, below

PROMPT = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def test_a_diff_shows_what_changed_with_the_lines_around_it() -> None:
    before = "\n".join(str(number) for number in range(20))
    after = before.replace("\n10\n", "\nten\n")

    assert diffs.lines(before, after) == [
        Line(" ", "7"), Line(" ", "8"), Line(" ", "9"), Line("-", "10"), Line("+", "ten"),
        Line(" ", "11"), Line(" ", "12"), Line(" ", "13"),
    ]  # fmt: skip


def test_a_diff_of_two_places_has_a_gap_between_them() -> None:
    before = "\n".join(str(number) for number in range(30))
    after = before.replace("\n5\n", "\n").replace("\n25\n", "\n")

    signs = "".join(line.sign for line in diffs.lines(before, after))

    assert signs == "   -   @   -   "


@pytest.mark.parametrize(
    ("before", "after", "signs"), [("", "a\nb", "++"), ("a", "", "-"), ("a", "a", ""), ("", "", "")]
)
def test_a_diff_knows_of_nothing_before_or_after(before: str, after: str, signs: str) -> None:
    assert "".join(line.sign for line in diffs.lines(before, after)) == signs


def test_texts_that_look_like_the_heads_of_a_diff_are_lines() -> None:
    assert diffs.lines("--- a\n@@ x", "+++ b\n@@ x") == [Line("-", "--- a"), Line("+", "+++ b"), Line(" ", "@@ x")]


def test_long_texts_are_compared_as_wholes() -> None:
    before = "\n".join(["same"] * 2000)

    assert {line.sign for line in diffs.lines(before, before + "\nmore")} == {"-", "+"}


@pytest.mark.parametrize(
    ("passed_ms", "words"),
    [
        (-HOUR, "just now"), (0, "just now"), (MINUTE - 1, "just now"), (MINUTE, "1 min ago"), (HOUR - 1, "59 min ago"),
        (HOUR, "1 h ago"), (DAY - 1, "23 h ago"), (30 * DAY, "30 d ago"), (31 * DAY, "2023-10-14"),
    ],
)  # fmt: skip
def test_what_is_long_ago_is_told_by_its_date(passed_ms: int, words: str) -> None:
    now_ms = 1_700_000_000_000

    assert f">{words}</time>" in rendering.age(now_ms - passed_ms, now_ms=now_ms)


def test_an_exact_time_says_its_zone() -> None:
    assert rendering.exact_time(1_700_000_000_123) == (
        '<time datetime="2023-11-14T22:13:20.123Z">2023-11-14 22:13:20 UTC</time>'
    )


def test_a_time_that_no_calendar_reaches_is_a_number() -> None:
    assert rendering.exact_time(2**63 - 1) == "<span>9223372036854775807 ms</span>"
    assert rendering.age(-(2**63), now_ms=0) == "<span>-9223372036854775808 ms</span>"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("fraud", "name ILIKE '%fraud%'"),
        ("it's", 'name ILIKE "%it\'s%"'),
        ("""'a' "b\"""", "name ILIKE '%_a_ \"b\"%'"),
    ],
)
def test_a_search_for_names_takes_any_text(text: str, found: str | None) -> None:
    assert searches.name_contains(text) == found


def test_versions_are_searched_by_name_where_a_filter_can_say_it() -> None:
    assert searches.versions_of("fraud", []) == "name = 'fraud'"
    assert searches.versions_of("it's", []) == 'name = "it\'s"'
    assert searches.versions_of("'\"", []) is None
    assert searches.versions_of("p", PROMPT) == "name = 'p' AND tags.`mlflow.prompt.is_prompt` = 'true'"


def test_paths_keep_any_text_in_its_segment() -> None:
    assert below("models", "a b/c?d#e%&é", next="x&y=z") == "models/a%20b%2Fc%3Fd%23e%25%26%C3%A9?next=x%26y%3Dz"
    assert below("models", q=None) == "models"


def test_fields_of_a_form_are_texts_by_name() -> None:
    fields = Fields.of(b"a=1&a=2&b=%C3%A9+x&empty=", fields_max=4)

    assert (fields.get("a"), fields.get("b"), fields.get("empty"), fields.get("c", "none")) == ("1", "é x", "", "none")
    assert (fields.has("a"), fields.has("empty")) == (True, False)
    with pytest.raises(ValueError):
        Fields.of(b"a=1&b=2", fields_max=1)
