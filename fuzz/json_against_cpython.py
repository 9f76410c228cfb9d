"""Fuzzes the JSON that handlers' values become against CPython's own: the same bytes, or a refusal by both.

    .venv/bin/python fuzz/json_against_cpython.py [--seconds 60 | --cases 20000] [--seed N]
    .venv/bin/python fuzz/json_against_cpython.py --replay SEED:CASE

No target of cargo-fuzz: the writer runs inside a CPython and reads objects of it, and libFuzzer would have to own a process that is an
interpreter. So this is a process of that interpreter, with the native module that ships, and values that a generator draws: what the
property tests draw (tests/python/test_json.py), larger, stranger and a hundred times as many. Each case has a seed of its own, so that any
of them is made again alone. Prints one object: cases, how many of them were refused, seed, seconds of CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import math
import random
import struct
import sys
import time
from collections import OrderedDict, UserDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from typing import Any

from polygil import _native
from polygil._convert import dataclass_to_dict


class Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return "not this"


class Whole(int):
    def __repr__(self) -> str:
        return "not this"


class Real(float):
    def __repr__(self) -> str:
        return "not this"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**70


class Word(enum.StrEnum):
    YES = "yes\n"


class Flag(enum.Flag):
    ON = 1


Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = None


@dataclasses.dataclass(slots=True, frozen=True)
class Frozen:
    value: Any


class Hostile:
    """Raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def __iter__(self) -> Any:
        raise ZeroDivisionError


EDGES = ["", "\0", '"', "\\", "\x1f", "\x7f", "\x80", "\u2028", "\u2029", "\ud800", "\udfff", "\ufeff", "\uffff", "\U0001f600",
         "\U0010ffff", "/", "é"]
INTS = [0, 1, -1, 2**31, -(2**31), 2**53, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**18, 10**19, 10**100]


def text(draw: random.Random) -> str:
    match draw.randrange(6):
        case 0:
            return draw.choice(EDGES)
        case 1:
            return "".join(draw.choices(EDGES, k=draw.randrange(12)))
        case 2:
            # One of the widths that CPython stores a str in, and long enough for every vector width.
            top = draw.choice([0x7F, 0xFF, 0xFFFF, 0x10FFFF])
            return "".join(map(chr, draw.choices(range(top + 1), k=draw.choice([1, 7, 8, 15, 16, 31, 32, 33, 64, 300]))))
        case 3:
            # A special letter at some place of an ordinary text.
            plain = "x" * draw.randrange(70)
            place = draw.randrange(len(plain) + 1)
            return plain[:place] + draw.choice(EDGES) + plain[place:]
        case _:
            return "".join(draw.choices("abc xyz_09", k=draw.randrange(20)))


def number(draw: random.Random) -> Any:
    match draw.randrange(8):
        case 0:
            return draw.choice(INTS) + draw.randrange(-1, 2)
        case 1:
            return draw.getrandbits(draw.randrange(1, 2000)) * draw.choice([1, -1])
        case 2:
            return struct.unpack("<d", draw.randbytes(8))[0]
        case 3:
            return draw.choice([0.0, -0.0, 1e16, 1e15, 1e22, 1e23, 5e-324, sys.float_info.max, math.inf, -math.inf, math.nan, 0.1])
        case 4:
            return float(draw.randrange(-(10**17), 10**17)) / draw.choice([1, 10, 1000, 3])
        case 5:
            return draw.choice([Whole, Real])(draw.randrange(1000))
        case 6:
            # Around the largest int that becomes a str.
            return 10 ** (4299 + draw.randrange(3))
        case _:
            return draw.randrange(-1000, 1000)


def scalar(draw: random.Random) -> Any:
    match draw.randrange(12):
        case 0:
            return draw.choice([None, True, False])
        case 1:
            return draw.choice([*Level, *Word, Text(text(draw))])
        case 2 if draw.randrange(6) == 0:
            odd = [Flag.ON, 1j, {1}, frozenset(), b"b", bytearray(b"b"), object(), Point, range(3), ..., Decimal(1), Fraction(1, 3)]
            return draw.choice([*odd, Hostile(), UserDict(), deque([1]), iter([]), len, type, memoryview(b"x")])
        case 3 | 4 | 5 | 6:
            return text(draw)
        case _:
            return number(draw)


def key(draw: random.Random) -> Any:
    match draw.randrange(10):
        case 0:
            return draw.choice([None, True, False, *Level, *Word])
        case 1:
            return number(draw)
        case 2 if draw.randrange(6) == 0:
            return draw.choice([(1,), b"k", frozenset(), Flag.ON, 1j])
        case _:
            return text(draw)


def value(draw: random.Random, depth: int) -> Any:
    if depth == 0 or draw.randrange(3) == 0:
        return scalar(draw)
    count = draw.choice([0, 1, 2, 3, 5, 9])
    match draw.randrange(12):
        case 0:
            return tuple(value(draw, depth - 1) for _ in range(count))
        case 1:
            return Pair(value(draw, depth - 1), value(draw, depth - 1))
        case 2:
            return Point(value(draw, depth - 1), value(draw, depth - 1))
        case 3:
            return Frozen(value(draw, depth - 1))
        case 4:
            return draw.choice([OrderedDict, lambda items: defaultdict(list, items)])(
                [(key(draw), value(draw, depth - 1)) for _ in range(count)]
            )
        case 5 if draw.randrange(20) == 0:
            # A cycle, or what only looks like one: the same object twice.
            inner: list[Any] = [value(draw, depth - 1)]
            if draw.randrange(2):
                inner.append(inner)
            return [inner, inner]
        case 6 if draw.randrange(50) == 0:
            nested: Any = scalar(draw)
            for _ in range(draw.choice([50, 400, 5000])):
                nested = [nested] if draw.randrange(2) else {"k": nested}
            return nested
        case 7 | 8 | 9:
            return {key(draw): value(draw, depth - 1) for _ in range(count)}
        case _:
            return [value(draw, depth - 1) for _ in range(count)]


def cpython(given: Any) -> bytes:
    return json.dumps(
        given, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=dataclass_to_dict
    ).encode()


def outcome(write: Any, given: Any) -> bytes | str:
    """What `write` gives, or that it refuses: with which of several reasons is the luck of the order in which they are met."""
    try:
        return bytes(write(given))
    except (TypeError, ValueError, RecursionError):
        return "refused"


def case(seed: int, index: int) -> tuple[bytes | str, bytes | str]:
    """What CPython makes of one case, and what we do."""
    draw = random.Random(f"{seed}:{index}")
    given = value(draw, draw.choice([0, 1, 2, 4, 6]))
    return outcome(cpython, given), outcome(_native.json_bytes, given)


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float)
    arguments.add_argument("--cases", type=int)
    arguments.add_argument("--seed", type=int, default=int.from_bytes(random.randbytes(4), "big"))
    arguments.add_argument("--replay", metavar="SEED:CASE")
    given = arguments.parse_args()
    if given.replay:
        theirs, ours = case(*map(int, given.replay.split(":")))
        print(f"CPython: {theirs!r}\npolygil: {ours!r}")
        return int(theirs != ours)
    end = time.monotonic() + (given.seconds if given.seconds is not None else math.inf if given.cases else 60)
    index = refused = 0
    while time.monotonic() < end and (given.cases is None or index < given.cases):
        theirs, ours = case(given.seed, index)
        if theirs != ours:
            print(f"differs: --replay {given.seed}:{index}\nCPython: {theirs!r:.2000}\npolygil: {ours!r:.2000}", file=sys.stderr)
            return 77
        refused += isinstance(theirs, str)
        index += 1
    print(json.dumps({"cases": index, "refused": refused, "seed": given.seed, "cpu_s": round(time.process_time(), 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
