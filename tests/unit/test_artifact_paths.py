"""Paths of artifacts: parsed once, refused where MLflow refuses them, and otherwise taken as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.artifacts import paths
from services.common.errors import InvalidArgument


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("", ()),
        ("a", ("a",)),
        ("a/b/", ("a", "b")),
        ("a%2f..%2fb", ("a%2f..%2fb",)),
        ("%2e%2e", ("%2e%2e",)),
        ("...", ("...",)),
        (" a /b;c?d", (" a ", "b;c?d")),
        ("C:a/c:", ("C:a", "c:")),
        ("文件/ü", ("文件", "ü")),
    ],
)
def test_a_plain_path_is_its_segments(path: str, segments: tuple[str, ...]) -> None:
    assert paths.parse(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/a", "//", "a//b", "a//", ".", "..", "a/.", "a/..", "../a", "a/../b", "./a"),
        *("a\\b", "..\\a", "a#b", "#", "C:/a", "c:", "C:/", "file:/a", "FILE:/a", "file:///a"),
        *("a\0b", "a\nb", "\x1b", "a\x7f", "a\x85"),
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Invalid path$"):
        paths.parse(path)


@pytest.mark.parametrize("path", ["a" * 256, "ü" * 128, "/".join(["abc"] * 257)])
def test_a_path_that_is_too_long_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Invalid path: .* exceeds"):
        paths.parse(path)


@pytest.mark.parametrize("path", ["a" * 255, "/".join(["abc"] * 256)])
def test_a_path_may_be_as_long_as_its_bounds(path: str) -> None:
    assert paths.join(paths.parse(path)) == path


def test_the_root_is_no_file() -> None:
    with pytest.raises(InvalidArgument, match="Invalid path"):
        paths.parse_file("")


def test_folders_above_come_topmost_first() -> None:
    assert paths.ancestors("a/b/c") == ["a", "a/b"]
    assert paths.ancestors("a") == []


@given(st.text())
def test_what_is_parsed_stays_below_the_root_and_is_the_same_again(path: str) -> None:
    try:
        segments = paths.parse(path)
    except InvalidArgument:
        return

    assert not any(segment in ("", ".", "..") or "/" in segment or "\\" in segment for segment in segments)
    assert paths.parse(paths.join(segments)) == segments
