"""Percent-decoding and query strings: equal to `urllib.parse`, which they stand in for."""

from __future__ import annotations

from urllib.parse import parse_qsl
from urllib.parse import unquote as expected_unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polygil._text import parse_query, unquote

encoded = st.text(st.sampled_from(list("%%%0123456789abcdefABCDEFg+&=;é\U0001f600 \x00")), max_size=24) | st.text(
    max_size=12
)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain", "plain"),
        ("%41", "A"),
        ("%e2%82%AC", "€"),
        ("%", "%"),
        ("%4", "%4"),
        ("%zz", "%zz"),
        ("%+1", "%+1"),
        ("%25%32%35", "%25"),
        ("%ff", "\ufffd"),
        ("é%c3%a9", "éé"),
        ("%00", "\x00"),
    ],
)
def test_unquote(text: str, decoded: str) -> None:
    assert unquote(text) == decoded == expected_unquote(text)


@given(encoded)
def test_unquote_is_urllibs(text: str) -> None:
    assert unquote(text) == expected_unquote(text)


@given(encoded)
def test_parse_query_is_urllibs(text: str) -> None:
    assert parse_query(text) == parse_qsl(text, keep_blank_values=True)


def test_parse_query_keeps_order_and_blanks() -> None:
    assert parse_query("b=1&a=&&c&b=%31+2&=x") == [("b", "1"), ("a", ""), ("c", ""), ("b", "1 2"), ("", "x")]
