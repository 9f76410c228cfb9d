"""Parameters convert, and are refused, as FastAPI with pydantic 2 does it: same values, or the same bytes of the 422.

Every handler of `handlers.py` runs on both sides, over tables of the spellings that are known to be odd and over
generated input. Where polygil means to differ, the case is in `EXPECTED_DIFFERENCES` with the reason, and the test of
it fails when the two begin to agree.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import handlers
import pytest
from fastapi_side import FastAPISide, answer, path_names
from hypothesis import example, given
from hypothesis import strategies as st
from polygil._response import HTTPException
from polygil._signature import ValidationError, inspect_handler
from polygil._validation import INPUT_BYTES_MAX

FASTAPI = FastAPISide()
NAMES = [
    name for name, value in vars(handlers).items() if hasattr(value, "__code__") and value.__module__ == "handlers"
]
PATHS = [name for name in NAMES if name.startswith("path_")]
QUERIES = [name for name in NAMES if name.startswith("query_")]
LISTS = [name for name in NAMES if name.startswith("list_")]
BODIES = [name for name in NAMES if name.startswith("body_")]
PLANS = {name: inspect_handler(getattr(handlers, name), path_names(name)) for name in NAMES}


def polygils(name: str, path_value: str | None, query_string: str, body: bytes) -> tuple[str, object]:
    """Return ("called", the arguments) or ("refused", (status, bytes))."""
    plan = PLANS[name]
    try:
        args, kwargs = plan.bind(() if path_value is None else (path_value,), query_string, body, None)
    except ValidationError as error:
        return "refused", (422, answer(error.detail))
    except HTTPException as error:
        return "refused", (error.status_code, answer(error.detail))
    positional = [parameter.name for parameter in plan.parameters if not parameter.keyword_only]
    return "called", comparable(dict(zip(positional, args, strict=True)) | kwargs)


def fastapis(name: str, path_value: str | None, query_string: str, body: bytes) -> tuple[str, object]:
    asked = FASTAPI.ask(name, path_value, query_string, body)
    if asked.arguments is not None:
        return "called", comparable(asked.arguments)
    if asked.status != 422:
        return "refused", (asked.status, asked.answer)
    detail = json.loads(asked.answer)["detail"]
    for error in detail:
        # The one thing that polygil says otherwise: what is long is not repeated whole.
        if isinstance(error["input"], str | int) and len(str(error["input"])) > INPUT_BYTES_MAX:
            error["input"] = str(error["input"])[:INPUT_BYTES_MAX] + "…"
    return "refused", (asked.status, answer(detail))


def comparable(arguments: dict[str, Any]) -> object:
    """Return something equal for equal values of equal types; repr tells 1 from True and -0.0 from 0.0."""
    return {name: repr(value) for name, value in sorted(arguments.items())}


def assert_same(name: str, path_value: str | None = None, query_string: str = "", body: bytes = b"") -> None:
    ours = polygils(name, path_value, query_string, body)
    assert ours == fastapis(name, path_value, query_string, body)


# What is worth trying everywhere: numbers in all spellings, words for bools, members and near misses.
TEXTS = [
    *("7", "-7", "+7", " 7 ", "\t7\n", "\xa07", "\u20037\u3000", "\x1c7", "7\x1f", "007", "-007", "+-7", "--7", "- 7"),
    *("1_000", "_1", "1_", "1__0", "0_7", "0__7", "0_", "00_1", "7.0", "7.00", "7.", ".0", "7.1", "1_0.0", "1.0_0"),
    *("-0", "-0.0", "0x10", "1e3", "٣", "७", "", " ", "-", "+", ".", "_", "9223372036854775807", "9223372036854775808"),
    *("1" * 4300, "1" * 4301, "-" + "1" * 4301, "+" + "1" * 4301, "0" * 5000, "1" * 4301 + "x", "1_" * 4300 + "1"),
    *("1.5", "-1.5", ".5", "5.", "1e5", "1E-5", "1e400", "-1e400", "1e-400", "inf", "-Infinity", "+INF", "nan", "-NaN"),
    *("infinit", "in_f", "1e1_0", "1._0", "1_0 ", " 1.5\u2003", "1.5\x00", "1,5", "1 5", "1e", "e1", "0.1e1"),
    *(
        "true",
        "TRUE",
        "tRuE",
        "True ",
        "t",
        "y",
        "yes",
        "on",
        "1",
        "false",
        "False",
        "f",
        "n",
        "no",
        "off",
        "0",
        "2",
        "ja",
    ),
    *(
        "red",
        "RED",
        "it's green",
        'a "b"',
        "one",
        "0.5",
        "1.0",
        "one ",
        "null",
        "None",
        "é",
        "\U0001f600",
        "a/b",
        "%41",
    ),
]
TEXTS_BY_ID = {f"{index}-{text[:12]!r}": text for index, text in enumerate(TEXTS)}
JSON_VALUES: list[Any] = [
    *(None, True, False, 0, 1, 2, -1, 7, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30, 10**400),
    *(0.0, -0.0, 1.0, 2.0, 1.5, 0.5, 1e18, 2.0**63, -(2.0**63), 1e30, 1e300, *TEXTS),
    *([], {}, [1], ["1", "x", None], [[1]], {"a": 1}, {"a": "x", "b": 2}, {"1": "a", "x": 1}, {"red": "on", "blue": 2}),
    *({"a": [1, None, "z"]}, {"a": None}, [{"a": 1.5}, {"a": "x"}, 3], {"a": {"b": [1, {"c": None}]}}),
]
MALFORMED = [
    *(
        b"{",
        b"[1,]",
        b"nope",
        b"{'a': 1}",
        b'{"a": 1} x',
        b" ",
        b"\n",
        b"01",
        b"+1",
        b'"\x01"',
        b'"\\x"',
        b"1.",
        b"\x00",
    ),
    *(
        b"\xff",
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        '{"é": 1'.encode(),
        "7".encode("utf-16"),
        "{}".encode("utf-32"),
        b"[" * 200_000,
    ),
    *(
        b"1" * 5000,
        b"-",
        b"tru",
        b'{"a": NaN}',
        b"[Infinity]",
        b"NaN",
        b"1e999",
        b'{"a": 1, "a": 2}',
        b'"\\ud83d\\ude00"',
    ),
]


def in_path(text: str) -> bool:
    """Whether a path segment can hold it: it is not empty and has no slash."""
    return text != "" and "/" not in text


@pytest.mark.parametrize("name", PATHS)
def test_paths(name: str) -> None:
    for text in filter(in_path, TEXTS):
        assert_same(name, text)


@pytest.mark.parametrize("name", QUERIES)
def test_queries(name: str) -> None:
    assert_same(name)
    assert_same(name, query_string="y=1")
    assert_same(name, query_string="x")
    assert_same(name, query_string="x=1&x=2")
    assert_same(name, query_string="x=1&x=")
    for text in TEXTS:
        assert_same(name, query_string=f"x={quote(text)}")


@pytest.mark.parametrize("name", LISTS)
def test_lists(name: str) -> None:
    assert_same(name)
    assert_same(name, query_string="y=1")
    assert_same(name, query_string="x")
    assert_same(name, query_string="x=1&y=0&x=2&x=x&x=&x=7.0")
    for text in TEXTS:
        assert_same(name, query_string=f"x=1&x={quote(text)}")


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str) -> None:
    assert_same(name)
    for value in JSON_VALUES:
        assert_same(name, body=json.dumps(value).encode())


@pytest.mark.parametrize("name", ["body_any", "body_dict", "body_default", "body_str"])
@pytest.mark.parametrize("index", range(len(MALFORMED)))
def test_bodies_that_are_not_plain_json(name: str, index: int) -> None:
    body = MALFORMED[index]
    if name != "body_any" and (body in (b"[Infinity]", b"NaN", b"1e999") or (name == "body_str" and b"NaN" in body)):
        return  # refused with an input that no answer can hold: see EXPECTED_DIFFERENCES
    assert_same(name, body=body)


@pytest.mark.parametrize(
    ("path_value", "query_string", "body"),
    [
        ("7", "flag=1&color=red&tag=1", b'{"a": 1}'),
        ("7", "flag=1&color=red&tag=1&y=2", b'{"a": 1}'),
        ("x", "flag=x&color=x&tag=x&tag=1&y=x", b'{"a": "x"}'),
        ("x", "", b""),
        ("7", "", b"null"),
        ("x", "flag=x", b"{"),
    ],
)
def test_the_order_of_errors(path_value: str, query_string: str, body: bytes) -> None:
    assert_same("everything", path_value, query_string, body)


number_like = st.text(st.sampled_from(list("0123456789__..+-eE \t\xa0infatyINF")), max_size=10)
word_like = (
    st.sampled_from(TEXTS)
    .map(lambda text: text[:40])
    .flatmap(
        lambda text: st.sampled_from([text.upper(), text.title(), f" {text}", f"{text}\n", text + text, text[:-1]])
    )
)
texts = number_like | word_like | st.integers().map(str) | st.floats().map(repr) | st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)

#: pydantic reads a minus after leading zeros as the sign: int("0-1") is -1 for it, and not a number for us.
MINUS_AFTER_ZEROS = re.compile(r"^\s*[+-]?0[0_]*-")


def known(value: Any) -> bool:
    """Whether a generated value is one of the expected differences."""
    if isinstance(value, str):
        return MINUS_AFTER_ZEROS.match(value) is not None
    if isinstance(value, list):
        return any(map(known, value))
    return isinstance(value, dict) and any(known(key) or known(item) for key, item in value.items())


@given(texts.filter(in_path).filter(lambda text: not known(text)), st.sampled_from(PATHS))
def test_generated_paths(text: str, name: str) -> None:
    assert_same(name, text)


@given(st.lists(texts.filter(lambda text: not known(text)), max_size=3), st.sampled_from(QUERIES + LISTS))
@example(["1", "2"], "query_str")
def test_generated_queries(values: list[str], name: str) -> None:
    assert_same(name, query_string="&".join(f"x={quote(value)}" for value in values))


@given(st.text(st.sampled_from(list("x=&%+17 aeé2")), max_size=16).filter(lambda text: text.isascii()))
def test_generated_query_strings(query_string: str) -> None:
    assert_same("query_untyped_default", query_string=query_string)
    assert_same("list_str", query_string=query_string)


@given(json_values.filter(lambda value: not known(value)), st.sampled_from(BODIES))
def test_generated_bodies(value: Any, name: str) -> None:
    assert_same(name, body=json.dumps(value).encode())


@given(
    st.binary(max_size=12) | st.text(st.sampled_from(list('{}[]",:0123e.-truefalsn\\ ')), max_size=12).map(str.encode)
)
def test_generated_bytes(body: bytes) -> None:
    assert_same("body_any", body=body)


# Where polygil means to differ: name, query string, body, and what polygil makes of it.
EXPECTED_DIFFERENCES = {
    "a minus after leading zeros is no sign": (
        *("query_int", "x=0-1", b""),
        ("refused", "int_parsing"),
    ),
    "an input of NaN is shown as null (FastAPI fails with 500: JSON has no NaN)": (
        *("body_dict", "", b"NaN"),
        ("refused", "dict_type"),
    ),
    "an input with a lone surrogate is shown with U+FFFD (FastAPI fails with 500: UTF-8 has no surrogates)": (
        *("body_int", "", b'"\\ud800"'),
        ("refused", "string_unicode"),
    ),
    "an input nested too deeply is shown as null (FastAPI fails with 500)": (
        *("body_dict", "", b"[" * 2000 + b"]" * 2000),
        ("refused", "dict_type"),
    ),
}


@pytest.mark.parametrize("why", EXPECTED_DIFFERENCES)
def test_expected_differences(why: str) -> None:
    name, query_string, body, expected = EXPECTED_DIFFERENCES[why]
    with pytest.raises(ValidationError) as raised:
        PLANS[name].bind((), query_string, body, None)
    assert ("refused", raised.value.detail[0]["type"]) == expected
    assert answer(raised.value.detail)  # it can be written
    try:
        theirs = fastapis(name, None, query_string, body)
    except (ValueError, RecursionError) as error:  # what a server would answer 500
        theirs = ("failed", type(error).__name__)
    assert theirs != ("refused", (422, answer(raised.value.detail)))


def test_the_media_type_of_a_body_does_not_matter() -> None:
    """FastAPI reads JSON only if the client says that it is; `body` is JSON by the handler's own word."""
    assert polygils("body_dict", None, "", b"{}") == ("called", {"body": "{}"})
    assert FASTAPI.ask("body_dict", body=b"{}", headers=[(b"content-type", b"text/plain")]).status == 422
    assert FASTAPI.ask("body_dict", body=b"{}", headers=[]).status == 422
