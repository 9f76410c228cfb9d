"""The specification of JSON output: `json.dumps`, compact, in UTF-8, with dataclasses as dicts."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum, IntEnum
from typing import Any

import pytest
from polygil._convert import dumps


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


@dataclasses.dataclass(slots=True)
class Named(Point):
    name: str = "é"


class Level(IntEnum):
    LOW = 1


class Name(str, Enum):  # noqa: UP042
    A = "a"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.0, None, True, "é\u2028\x7f"]}, '{"a":[1,2.0,null,true,"é\u2028\x7f"]}'),
        ({1: 1, None: 2, False: 3, 1.5: 4}, '{"1":1,"null":2,"false":3,"1.5":4}'),
        ('\x00"\\/\n', '"\\u0000\\"\\\\/\\n"'),
        (10**30, "1" + "0" * 30),
        (1e16, "1e+16"),
        (-0.0, "-0.0"),
        (Level.LOW, "1"),
        (Name.A, '"a"'),
        (Point(1, (2, 3)), '{"x":1,"y":[2,3]}'),
        ([Named(1, Point(2))], '[{"x":1,"y":{"x":2,"y":null},"name":"é"}]'),
    ],
)
def test_values(value: Any, expected: str) -> None:
    assert dumps(value) == expected.encode()
    if not isinstance(value, Point | list):
        assert dumps(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Plain(Enum):
    A = 1


cycle: list[Any] = []
cycle.append(cycle)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (float("nan"), ValueError, "Out of range float values are not JSON compliant"),
        ([float("-inf")], ValueError, "Out of range float values are not JSON compliant"),
        (cycle, ValueError, "Circular reference detected"),
        ({1, 2}, TypeError, "Object of type set is not JSON serializable"),
        (b"", TypeError, "Object of type bytes is not JSON serializable"),
        (Plain.A, TypeError, "Object of type Plain is not JSON serializable"),
        (Point, TypeError, "Object of type type is not JSON serializable"),
        ({(1,): 1}, TypeError, "keys must be str, int, float, bool or None, not tuple"),
        ("\ud800", UnicodeEncodeError, "surrogates not allowed"),
        ({"\udfff": 1}, UnicodeEncodeError, "surrogates not allowed"),
    ],
)
def test_refusals(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dumps(value)


def test_depth() -> None:
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(RecursionError):
        dumps(value)
