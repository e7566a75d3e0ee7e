"""Hostile and odd paths: refused, or the name of a file below the owner's root, and of no other."""

import json

import pytest

from tests.compat.files import PROXY, Files, Wire, file
from tests.compat.rest import Refusal, invalid

REFUSED = invalid("Invalid path")
METHODS = ("PUT", "GET", "DELETE")

OUTSIDE = ["..", "../x", "..%2Fx", "%2e%2e/x", "%2E%2E%2Fx", "a/../b", "a/..%2Fb", "a%2F..%2F..%2Fb", "a/.."]
BEGINS_WITH_A_SLASH = ["/etc/passwd", "%2Fetc%2Fpasswd"]
NAMES_A_ROOT = ["C:/x", "c:%2Fx", "file:///etc/passwd", "file:%2F%2F%2Fetc%2Fpasswd"]
PLAIN = {
    "a%20b": "a b",
    "a+b": "a+b",
    "a%2Bb": "a+b",
    "a%3Fb": "a?b",
    "a;b": "a;b",
    "a%3Bb": "a;b",
    "a:b": "a:b",
    "a%C3%A9": "aé",
    "a%EF%BC%8E%EF%BC%8E": "a．．",
    "a%E2%88%95b": "a∕b",
    "...": "...",
    "~": "~",
    "%20x%20": " x ",
    "con": "con",
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_cannot_leave_its_root(files: Files, method: str, path: str) -> None:
    answer = files.wire.call(method, files.url(path), b"x" if method == "PUT" else None)

    assert answer.refusal == REFUSED


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [*NAMES_A_ROOT, "..", "%2e%2e"])
def test_a_path_is_not_absolute(wire: Wire, method: str, path: str) -> None:
    assert wire.call(method, f"{PROXY}/{path}", b"x" if method == "PUT" else None).refusal == REFUSED


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("path", BEGINS_WITH_A_SLASH)
def test_a_path_does_not_begin_with_a_slash(wire: Wire, method: str, path: str) -> None:
    assert wire.call(method, f"{PROXY}/{path}", b"x" if method == "PUT" else None).refusal == REFUSED


@pytest.mark.departure("stock redirects to the path without that slash")
@pytest.mark.parametrize("path", BEGINS_WITH_A_SLASH)
def test_a_path_to_be_deleted_does_neither(wire: Wire, path: str) -> None:
    assert wire.call("DELETE", f"{PROXY}/{path}").refusal == REFUSED


@pytest.mark.parametrize("path", ["/x", "..", "../x", "a/../../b", "c:/x", "file:///etc/passwd", "a#b"])
def test_a_folder_to_list_is_below_the_root(wire: Wire, path: str) -> None:
    assert wire.get(PROXY, path=path).refusal == REFUSED


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_number_sign_is_refused(files: Files, method: str) -> None:
    assert files.wire.call(method, files.url("a%23b"), b"x" if method == "PUT" else None).refusal == REFUSED


@pytest.mark.parametrize(("path", "name"), PLAIN.items())
def test_other_characters_are_characters(files: Files, path: str, name: str) -> None:
    assert files.put(path, b"x").status == 200

    assert files.get(path).body == b"x"
    assert files.listed() == [file(name, 1)]


def test_an_encoded_slash_is_a_slash(files: Files) -> None:
    files.put("a%2Fb", b"x")

    assert files.get("a/b").body == b"x"
    assert files.listed("a") == [file("b", 1)]


@pytest.mark.departure("stock decodes a path twice and more, so that one name stands for several files")
@pytest.mark.parametrize(("path", "name"), [("a%2525b", "a%25b"), ("a%252Fb", "a%2Fb"), ("%252e%252e", "%2e%2e")])
def test_a_percent_sign_is_a_character(files: Files, path: str, name: str) -> None:
    assert files.put(path, b"x").status == 200

    assert files.get(path).body == b"x"
    assert files.listed() == [file(name, 1)]


@pytest.mark.parametrize(("path", "name"), [("a%zz", "a%zz"), ("a%", "a%"), ("a%25b", "a%b")])
def test_what_is_no_escape_is_itself(files: Files, path: str, name: str) -> None:
    files.put(path, b"x")

    assert files.get(path).body == b"x"
    assert files.listed() == [file(name, 1)]


@pytest.mark.departure("stock stores backslashes, which other systems take for slashes")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["a%5Cb", "..%5Cx", "C:%5Cx"])
def test_a_backslash_is_refused(files: Files, method: str, path: str) -> None:
    assert files.wire.call(method, files.url(path), b"x" if method == "PUT" else None).refusal == REFUSED


@pytest.mark.departure("stock stores the character's escape, answers 404 for a line break, 200 for bytes of no text")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["a%00b", "a%0Ab", "a%1Fb", "a%7Fb", "a%FFb", "a%C3", "a%ED%A0%80"])
def test_what_is_no_plain_text_is_refused(files: Files, method: str, path: str) -> None:
    answer = files.wire.call(method, files.url(path), b"x" if method == "PUT" else None)

    assert (answer.refusal.status, answer.refusal.error_code) == (400, "INVALID_PARAMETER_VALUE")
    assert files.listed() == []


@pytest.mark.departure("stock lists the root, or nothing")
@pytest.mark.parametrize("query", ["path=%00", "path=%FF", "path=a%5Cb"])
def test_what_is_no_plain_text_is_not_listed(wire: Wire, query: str) -> None:
    answer = wire.call("GET", f"{PROXY}?{query}")

    assert (answer.refusal.status, answer.refusal.error_code) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.departure("stock takes two slashes for one, or answers 500; so it does with `.`")
@pytest.mark.parametrize("path", ["a//b", "a%2F%2Fb", "//a", "a/./b", "./a", "."])
def test_a_file_has_one_name(files: Files, path: str) -> None:
    assert files.put(path, b"x").refusal == REFUSED
    assert files.get(path).refusal == REFUSED


@pytest.mark.departure("stock answers 500")
@pytest.mark.parametrize("path", ["a" * 256, "/".join(["a" * 200] * 8)])
def test_a_name_has_a_length(files: Files, path: str) -> None:
    answer = files.put(path, b"x")

    assert answer.refusal.status == 400
    assert answer.refusal.message.startswith("Invalid path")


@pytest.mark.departure("stock answers 400 in FastAPI's words")
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_the_root_is_no_file(wire: Wire, method: str) -> None:
    assert wire.call(method, f"{PROXY}/", b"x" if method == "PUT" else None).status == 404


@pytest.mark.departure("stock puts some paths of the list together before it looks at them")
@pytest.mark.parametrize("path", ["a//b", ".", "a/./b"])
def test_a_folder_has_one_name(wire: Wire, path: str) -> None:
    assert wire.get(PROXY, path=path).refusal == REFUSED


def test_refusals_are_json(files: Files) -> None:
    answer = files.get("..")

    assert json.loads(answer.body)["error_code"] == "INVALID_PARAMETER_VALUE"
    assert answer.refusal == Refusal(400, "INVALID_PARAMETER_VALUE", "Invalid path")
