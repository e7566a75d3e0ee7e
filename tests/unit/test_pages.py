"""A page token gives back its position, and only for the query that it was made for."""

import base64
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.pages import TOKEN_LENGTH_MAX, PageTokens

_TOKENS = PageTokens(b"k" * 32)
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
        PageTokens(b"x" * 32).decode(_TOKENS.encode([1], "q"), "q")


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
