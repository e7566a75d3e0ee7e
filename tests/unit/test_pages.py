"""A page token gives back its position, and only for the query that it was made for."""

import base64
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.pages import TOKEN_LENGTH_MAX, PageTokens
from services.common.secret_files import Secret

_TOKENS = PageTokens(Secret("k" * 32))
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=20)
)


@given(st.lists(_SCALARS, max_size=6), st.text(max_size=20))
def test_position_comes_back_exactly(position: list[object], query: str) -> None:
    assert _TOKENS.decode(_TOKENS.encode(position, query), query) == tuple(position)


def test_nan_comes_back() -> None:
    assert math.isnan(_TOKENS.decode(_TOKENS.encode([math.nan], "q"), "q")[0])


def test_token_of_another_query_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Invalid page token"):
        _TOKENS.decode(_TOKENS.encode([1], ["runs", "a"]), ["runs", "b"])


def test_token_of_another_key_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Invalid page token"):
        PageTokens(Secret("x" * 32)).decode(_TOKENS.encode([1], "q"), "q")


@given(st.data())
def test_changed_token_is_refused(data: st.DataObject) -> None:
    token = bytearray(base64.urlsafe_b64decode(_TOKENS.encode(["name", 7], "q")))
    place = data.draw(st.integers(0, len(token) - 1))
    token[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises(InvalidArgument, match="Invalid page token"):
        _TOKENS.decode(base64.urlsafe_b64encode(bytes(token)).decode(), "q")


@pytest.mark.parametrize("token", ["garbage", "ä", "e30", "!!!!", "eyJvZmZzZXQiOiAxfQ=="])
def test_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="Invalid page token"):
        _TOKENS.decode(token, "q")


def test_token_past_the_bound_is_refused_by_its_length() -> None:
    with pytest.raises(InvalidArgument, match=f"exceeds {TOKEN_LENGTH_MAX} characters"):
        _TOKENS.decode("A" * (TOKEN_LENGTH_MAX + 1), "q")


@pytest.mark.parametrize("position", [["é" * 8_000, 1, "r"], ["𝕏" * 8_000, None], ["a" * 8_000, "b" * 8_000, 1]])
def test_position_in_an_order_by_long_tags_comes_back(position: list[object]) -> None:
    assert _TOKENS.decode(_TOKENS.encode(position, "q"), "q") == tuple(position)


def test_position_past_the_bound_is_refused_when_its_token_is_made() -> None:
    with pytest.raises(InvalidArgument, match=f"exceed {TOKEN_LENGTH_MAX} characters"):
        _TOKENS.encode(["a" * TOKEN_LENGTH_MAX], "q")


def test_types_of_a_position_come_back() -> None:
    position = (True, 1, 1.0, -0.0, 5e-324, math.inf, 2**63 - 1, "1", None)

    found = _TOKENS.decode(_TOKENS.encode(position, "q"), "q")

    assert [(type(value), repr(value)) for value in found] == [(type(value), repr(value)) for value in position]


@pytest.mark.parametrize("token", [_TOKENS.encode(["a" * length], "q") for length in range(3)])
def test_other_spelling_of_a_token_is_refused(token: str) -> None:
    spelt = [token[:place] + letter + token[place + 1 :] for place in range(len(token)) for letter in "ABwxyz+/-_= "]

    for other in spelt:
        if other != token:
            with pytest.raises(InvalidArgument, match="Invalid page token"):
                _TOKENS.decode(other, "q")


@given(st.data())
def test_cut_token_is_refused(data: st.DataObject) -> None:
    token = _TOKENS.encode(["name", 7], "q")
    length = data.draw(st.integers(0, len(token) - 1))

    with pytest.raises(InvalidArgument, match="Invalid page token"):
        _TOKENS.decode(token[:length], "q")


@pytest.mark.parametrize("token", ["garbage", "!!!!", "ä", "e30= "])
def test_what_is_no_base64_is_refused_in_the_words_of_mlflow(token: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _TOKENS.decode(token, "q")

    assert caught.value.message == "Invalid page token, could not base64-decode"


def test_token_is_fit_for_a_query_string() -> None:
    assert re.fullmatch(r"[\w=-]+", _TOKENS.encode([">>>???~~~", -1], "q"), re.ASCII)


def test_parts_of_token_and_query_cannot_be_traded() -> None:
    with pytest.raises(InvalidArgument):
        _TOKENS.decode(_TOKENS.encode([1], ["a", "b"]), ["a", ["b"]])
