"""What handlers return: one value for each row of the contract's table, and its edges."""

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum

from polygil import Response


@dataclass
class Point:
    x: int
    y: float


@dataclass
class Line:
    ends: list[Point]
    name: str = "line"


@dataclass(frozen=True, slots=True)
class Slotted:
    a: int = 1
    b: str = "two"


@dataclass
class Hidden:
    shown: int = 1
    _private: int = 2
    made: list[int] = field(default_factory=lambda: [3])


@dataclass
class Empty:
    pass


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


class Text(str):
    pass


class Whole(int):
    def __repr__(self) -> str:
        return "not this"


class Names(dict):
    pass


Pair = namedtuple("Pair", "left right")
CYCLE: list[object] = []
CYCLE.append(CYCLE)
SHARED = [1]


def deep(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels):
        value = [value]
    return value


VALUES: dict[str, object] = {
    "dict": {"a": 1, "b": [True, None, 1.5], "c": {"ü": "\u2028"}},
    "dict-empty": {},
    "dict-keys": {1: "int", 1.5: "float", True: "bool", None: "none"},
    "dict-key-order": {"z": 1, "a": 2, "m": 3},
    "dict-ordered": OrderedDict(z=1, a=2),
    "dict-default": defaultdict(int, a=1),
    "dict-subclass": Names(a=1),
    "dict-nested": {"a": {"b": {"c": {}}}},
    "dict-big-key": {2**70: 1},
    "dict-quoted-key": {'a"b\\c\n': 1},
    "dict-negative-key": {-1: "a", -1.5: "b"},
    "dict-false-key": {False: 0},
    "list": [1, "two", 3.0],
    "list-empty": [],
    "list-nested-tuple": [(1, 2), ()],
    "list-deep": deep(100),
    "list-shared": [SHARED, SHARED],
    "list-none": [None],
    "list-bools": [True, False],
    "int": 42,
    "int-zero": 0,
    "int-negative": -7,
    "int-big": 2**100,
    "int-64": 2**63,
    "int-min": -(2**63),
    "int-enum": Level.HIGH,
    "int-subclass": Whole(5),
    "float": 0.1,
    "float-whole": 1.0,
    "float-exponent": 1e22,
    "float-big-exponent": 1e100,
    "float-small": 1e-7,
    "float-tiny": 5e-324,
    "float-max": 1.7976931348623157e308,
    "float-negative-zero": -0.0,
    "float-sixteen": 1e16,
    "float-fraction": 0.0001,
    "float-below": 0.00001,
    "float-third": 1 / 3,
    "float-sum": 0.1 + 0.2,
    "bool-true": True,
    "bool-false": False,
    "dataclass": Point(1, 2.0),
    "dataclass-nested": Line([Point(0, 0.5)]),
    "dataclass-in-list": [Point(1, 1.0)],
    "dataclass-in-dict": {"p": Point(1, 1.0)},
    "dataclass-slots": Slotted(),
    "dataclass-private": Hidden(),
    "dataclass-empty": Empty(),
    "str": "plain ☃ text",
    "str-empty": "",
    "str-enum": Word.YES,
    "str-subclass": Text("sub"),
    "str-astral": "𝄞",
    "str-nul": "a\x00b",
    "str-newlines": "a\r\nb\n",
    "str-latin": "é",
    "str-json-like": '{"a": 1}',
    "str-html": "<b>hi</b>",
    "str-in-json": ["\"\\/\b\f\n\r\t\x00\x1f\x7f", "é☃𝄞", "</script>"],
    "str-bom": "\ufeffx",
    "bytes": b"\x00\xff",
    "bytes-empty": b"",
    "bytes-text": b"text",
    "bytearray": bytearray(b"mutable"),
    "memoryview": memoryview(b"viewed"),
    "memoryview-strided": memoryview(b"a-b-c-")[::2],
    "none": None,
    "pair": ({"made": True}, 201),
    "pair-str": ("made", 201),
    "pair-bytes": (b"made", 202),
    "pair-list": ([1], 203),
    "pair-none": (None, 202),
    "pair-none-304": (None, 304),
    "pair-none-205": (None, 205),
    "pair-404": ("not here", 404),
    "pair-500": ({"own": "words"}, 500),
    "pair-int-enum": ("x", Level.HIGH + 200),
    "pair-299": ("odd", 299),
    "pair-599": ("odd", 599),
    "triple": ("gone", 410, {"X-Reason": "tidied"}),
    "triple-list": ("many", 200, [("X-A", "1"), ("X-A", "2")]),
    "triple-type": ("<p>hi</p>", 200, {"Content-Type": "text/html"}),
    "triple-none": (None, 302, {"Location": "/elsewhere"}),
    "triple-json-type": ({"a": 1}, 200, {"content-type": "application/problem+json"}),
    "triple-empty": ("x", 200, {}),
    "triple-cookies": ("x", 200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]),
    "triple-latin": ("x", 200, {"X-Latin": "caf\xe9"}),
    "triple-spaces": ("x", 200, {"X-A": "a  b"}),
    "triple-empty-value": ("x", 200, {"X-A": ""}),
    "response": Response({"by": "hand"}, status_code=203, headers={"X-By": "hand"}),
    "response-type": Response("a,b", media_type="text/csv"),
    "response-bytes": Response(b"raw"),
    "response-empty": Response(status_code=204),
    "response-none": Response(),
    "response-str": Response("text"),
    "response-list": Response([1, 2]),
    # Refused.
    "nan": float("nan"),
    "infinity": [float("inf")],
    "infinity-negative": {"a": float("-inf")},
    "nan-key": {float("nan"): 1},
    "cycle": CYCLE,
    "surrogate": "\ud800",
    "surrogate-json": ["\udfff"],
    "surrogate-key": {"\ud800": 1},
    "set": {1},
    "frozenset": frozenset({1}),
    "object": object(),
    "complex": 1j,
    "enum": Colour.RED,
    "enum-inside": [Colour.RED],
    "key-tuple": {(1, 2): 3},
    "key-bytes": {b"a": 1},
    "set-inside": {"tags": {1}},
    "bytes-inside": {"raw": b"x"},
    "namedtuple": Pair(1, 2),
    "tuple-empty": (),
    "tuple-one": ("x",),
    "tuple-long": (1, 2, 3, 4),
    "status-str": ("x", "200"),
    "status-float": ("x", 200.0),
    "status-bool": ("x", True),
    "status-none": ("x", None),
    "status-low": ("x", 199),
    "status-high": ("x", 600),
    "status-negative": ("x", -200),
    "content-on-204": ("x", 204),
    "content-on-304": ("x", 304),
    "header-newline": ("x", 200, {"X-A": "a\r\nX-B: b"}),
    "header-lf": ("x", 200, {"X-A": "a\nX-B: b"}),
    "header-nul": ("x", 200, {"X-A": "a\x00"}),
    "header-int": ("x", 200, {"X-A": 1}),
    "header-none": ("x", 200, {"X-A": None}),
    "header-name": ("x", 200, {"X A": "a"}),
    "header-name-empty": ("x", 200, {"": "a"}),
    "header-name-colon": ("x", 200, {"X:": "a"}),
    "header-wide": ("x", 200, {"X-A": "☃"}),
    "header-length": ("x", 200, {"Content-Length": "99"}),
    "header-transfer": ("x", 200, {"Transfer-Encoding": "chunked"}),
    "headers-str": ("x", 200, "X-A: 1"),
    "headers-pair-long": ("x", 200, [("X-A", "1", "2")]),
    "class": Point,
    "function": deep,
    "exception": ValueError("returned"),
    "int-digits": 10**5000,
    "deep-beyond": deep(100_000),
}
