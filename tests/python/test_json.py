"""The JSON that handlers' values become, against the standard library: the same bytes, or a refusal by both.

The specification is ``polygil._convert.dumps``; what runs in the workers is ``_native.json_bytes``. Hypothesis prints the
example and, with ``--hypothesis-seed``, the seed of a failure.
"""

from __future__ import annotations

import enum
import math
import random
import struct
import sys
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polygil import _native
from polygil._convert import dumps


class Text(str):
    def __str__(self) -> str:
        return "not this"

    __repr__ = __str__


class Whole(int):
    def __repr__(self) -> str:
        return "not this"


class Real(float):
    def __repr__(self) -> str:
        return "not this"


class Table(dict[Any, Any]):
    def items(self) -> Any:
        return [("from", "items")]


class Row(list[Any]):
    def __iter__(self) -> Any:
        return iter(["not", "this"])


class Fixed(tuple[Any, ...]):
    def __iter__(self) -> Any:
        return iter(["nor", "this"])


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**70


class Word(enum.StrEnum):
    YES = "yes"


class Plain(enum.Enum):
    RED = "red"


Pair = namedtuple("Pair", "left right")


@dataclass
class Point:
    x: Any
    y: Any = None
    hidden: Any = field(default=1, repr=False)


@dataclass(slots=True, frozen=True)
class Frozen:
    value: Any


texts = st.text(st.characters(exclude_categories=())) | st.text(max_size=5).map(Text)
numbers = (
    st.integers()
    | st.integers(-(2**63) - 2, -(2**63) + 2)
    | st.integers(2**63 - 2, 2**63 + 2)
    | st.integers(0, 20).map(lambda power: 10 ** (power * 30))
    | st.integers().map(Whole)
    | st.floats()
    | st.sampled_from([0.0, -0.0, 1e16, 1e15, 123456789012345680.0, 1e-4, 1e-5, 5e-324, sys.float_info.max, 2.0**53])
    | st.floats(allow_nan=False).map(Real)
)
scalars = st.none() | st.booleans() | numbers | texts | st.sampled_from([*Level, *Word])
odd = st.sampled_from([Plain.RED, 1j, {1}, frozenset(), b"bytes", object(), Point, range(3), Ellipsis, NotImplemented])
keys = texts | numbers | st.none() | st.booleans() | st.sampled_from([*Level, *Word])
odd_keys = keys | st.sampled_from([(1,), b"k", Plain.RED, frozenset()])


def containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(children, max_size=5)
        | st.lists(children, max_size=3).map(tuple)
        | st.lists(children, max_size=3).map(Row)
        | st.lists(children, max_size=3).map(Fixed)
        | st.tuples(children, children).map(lambda pair: Pair(*pair))
        | st.dictionaries(keys, children, max_size=4)
        | st.dictionaries(keys, children, max_size=3).map(OrderedDict)
        | st.dictionaries(keys, children, max_size=3).map(Table)
        | st.dictionaries(keys, children, max_size=3).map(lambda items: defaultdict(list, items))
        | st.builds(Point, children, children)
        | st.builds(Frozen, children)
    )


values = st.recursive(scalars, containers, max_leaves=30)
any_values = st.recursive(scalars | odd, lambda inner: containers(inner) | st.dictionaries(odd_keys, inner), max_leaves=20)


def outcome(write: Any, value: Any) -> bytes | str:
    """What `write` gives, or the family of its refusal."""
    try:
        return bytes(write(value))
    except (TypeError, ValueError, RecursionError) as error:
        return "RecursionError" if isinstance(error, RecursionError) else "refused"


@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(values)
def test_ordinary_values_give_the_same_bytes(value: Any) -> None:
    assert outcome(_native.json_bytes, value) == outcome(dumps, value)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(any_values)
def test_odd_values_give_the_same_bytes_or_are_refused_by_both(value: Any) -> None:
    assert outcome(_native.json_bytes, value) == outcome(dumps, value)


@given(st.floats())
@settings(max_examples=5000, deadline=None)
def test_every_class_of_float(value: float) -> None:
    assert outcome(_native.json_bytes, [value]) == outcome(dumps, [value])


# Where the form changes, and numbers whose shortest digits are hard to find.
FLOATS = [
    *(sign * digits * 10.0**exponent for sign in (1, -1) for digits in (1, 1.5, 9.875) for exponent in range(-8, 25)),
    *(2.0**exponent for exponent in range(-1074, 1024)), *(10.0**exponent for exponent in range(-323, 309)),
    0.0, -0.0, 5e-324, 2.2250738585072011e-308, 1.7976931348623157e308, 9007199254740993.0, 9.5367431640625e-07, 4.35, 0.1 + 0.2, 1e23,
]


def test_floats_where_their_form_changes() -> None:
    assert [_native.json_bytes(value) for value in FLOATS] == [repr(value).encode() for value in FLOATS]


def test_floats_of_any_bits() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    bits = random.Random(seed).randbytes(8 * 100_000)
    values = [value for (value,) in struct.iter_unpack("<d", bits) if math.isfinite(value)]
    values += [round(value % 1000, 2) for value in values]
    assert _native.json_bytes(values) == ("[" + ",".join(map(repr, values)) + "]").encode()


@given(st.text(st.characters(exclude_categories=())))
@settings(max_examples=5000, deadline=None)
def test_every_text_with_surrogates(value: str) -> None:
    assert outcome(_native.json_bytes, {value: value}) == outcome(dumps, {value: value})


@pytest.mark.parametrize("code", range(0x100))
def test_each_of_the_first_characters_is_escaped_alike(code: int) -> None:
    assert _native.json_bytes(chr(code)) == dumps(chr(code))


def nested(depth: int, wrap: Any) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


WRAPS = {"list": lambda v: [v], "tuple": lambda v: (v,), "dict": lambda v: {"k": v}, "subclass": lambda v: OrderedDict(k=v)}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("depth", [1, 100, 900, 3000])
def test_depth_within_the_limit(depth: int, wrap: Any) -> None:
    value = nested(depth, wrap)
    assert outcome(_native.json_bytes, value) == outcome(dumps, value)
    assert isinstance(outcome(dumps, value), bytes)


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_depth_beyond_the_limit_is_refused_by_both(wrap: Any) -> None:
    value = nested(200_000, wrap)
    assert outcome(_native.json_bytes, value) == outcome(dumps, value) == "RecursionError"


def test_cycles_are_refused_at_once() -> None:
    big = {"padding": "x" * 1_000_000}
    big["self"] = big  # type: ignore[assignment]
    with pytest.raises(ValueError, match="Circular reference detected"):
        _native.json_bytes(big)
    through = Point(1)
    through.y = [through]
    for cycle in (big, through):
        assert outcome(_native.json_bytes, cycle) == outcome(dumps, cycle) == "refused"


def test_the_same_object_twice_is_no_cycle() -> None:
    shared = [1]
    assert _native.json_bytes([shared, shared, {"a": shared}]) == b'[[1],[1],{"a":[1]}]'


def test_integers_over_the_digit_limit_are_refused_by_both() -> None:
    value = 10 ** (sys.get_int_max_str_digits() + 1)
    assert outcome(_native.json_bytes, value) == outcome(dumps, value) == "refused"


def test_a_list_that_shrinks_while_it_is_written() -> None:
    class Shrinks:
        __dataclass_fields__: dict[str, Any] = {}

    items: list[Any] = []

    @dataclass
    class Evil:
        value: int

        def __getattribute__(self, name: str) -> Any:
            if name == "value":
                del items[1:]
            return object.__getattribute__(self, name)

    items.extend([Evil(1), 2, 3])
    assert _native.json_bytes(items) == b'[{"value":1}]'
