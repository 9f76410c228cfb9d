"""One route for each row of the tables that tests hold the server to."""

import ctypes
import os
import sys
import threading
import time
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum

from polygil import App, HTTPException, Request, Response, Router

app = App()


# Return values.


@dataclass
class Point:
    x: int
    y: float


@dataclass
class Line:
    ends: list[Point]
    name: str = "line"


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


class Index:
    """Goes for an int where one is asked for, and is none."""

    def __index__(self) -> int:
        return 201


class Leaving(dict[str, int]):
    """Ends the interpreter, so it asks, while it is written as JSON."""

    def items(self) -> object:
        sys.exit(3)


class LeavingPairs:
    def __iter__(self) -> object:
        sys.exit(3)


class BrokenPairs:
    def __iter__(self) -> object:
        raise ValueError("no pairs today")


Pair = namedtuple("Pair", "left right")
CYCLE: list[object] = []
CYCLE.append(CYCLE)

VALUES = {
    "dict": {"a": 1, "b": [True, None, 1.5], "c": {"ü": "\u2028"}},
    "dict-empty": {},
    "dict-keys": {1: "int", 1.5: "float", True: "bool", None: "none"},
    "dict-ordered": OrderedDict(z=1, a=2),
    "list": [1, "two", 3.0],
    "list-nested-tuple": [(1, 2), ()],
    "int": 42,
    "int-big": 2**100,
    "int-enum": Level.HIGH,
    "float": 0.1,
    "float-exponent": 1e22,
    "float-negative-zero": -0.0,
    "bool-true": True,
    "bool-false": False,
    "dataclass": Point(1, 2.0),
    "dataclass-nested": Line([Point(0, 0.5)]),
    "dataclass-in-list": [Point(1, 1.0)],
    "str": "plain ☃ text",
    "str-empty": "",
    "str-enum": Word.YES,
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"mutable"),
    "memoryview": memoryview(b"viewed"),
    "memoryview-strided": memoryview(b"a-b-c-")[::2],
    "none": None,
    "pair": ({"made": True}, 201),
    "triple": ("gone", 410, {"X-Reason": "tidied"}),
    "triple-list": ("many", 200, [("X-A", "1"), ("X-A", "2")]),
    "triple-type": ("<p>hi</p>", 200, {"Content-Type": "text/html"}),
    "pair-none": (None, 202),
    "response": Response({"by": "hand"}, status_code=203, headers={"X-By": "hand"}),
    "response-type": Response("a,b", media_type="text/csv"),
    "response-bytes": Response(b"raw"),
    "response-empty": Response(status_code=204),
    # Refused.
    "nan": float("nan"),
    "infinity": [float("inf")],
    "cycle": CYCLE,
    "surrogate": "\ud800",
    "surrogate-json": ["\udfff"],
    "set": {1},
    "object": object(),
    "complex": 1j,
    "enum": Colour.RED,
    "key-tuple": {(1, 2): 3},
    "set-inside": {"tags": {1}},
    "namedtuple": Pair(1, 2),
    "tuple-long": (1, 2, 3, 4),
    "status-str": ("x", "200"),
    "status-bool": ("x", True),
    "status-index": ("x", Index()),
    "status-low": ("x", 199),
    "status-high": ("x", 600),
    "content-on-204": ("x", 204),
    "header-newline": ("x", 200, {"X-A": "a\r\nX-B: b"}),
    "header-int": ("x", 200, {"X-A": 1}),
    "header-name": ("x", 200, {"X A": "a"}),
    "header-broken": ("x", 200, BrokenPairs()),
    "header-length": ("x", 200, {"Content-Length": "99"}),
    "class": Point,
    "int-digits": 10**5000,
    # What is raised here is not about the value.
    "leaving": Leaving(a=1),
    "leaving-headers": ("x", 200, LeavingPairs()),
}


@app.get("/value/{name}")
def value(name: str) -> object:
    return VALUES[name]


@app.get("/generator")
def generator() -> object:
    return (number for number in range(3))


@app.get("/pieces/{kind}")
def pieces(kind: str) -> object:
    return (piece for piece in (["a", "b"] if kind == "text" else [b"a", b"b"]))


# Failures.


@app.get("/raise")
def raises() -> None:
    raise ValueError("out of cheese")


@app.get("/raise/http")
def raises_http() -> None:
    raise HTTPException(418, {"short": "and stout"}, headers={"X-Pot": "tea"})


@app.get("/raise/http-default")
def raises_http_default() -> None:
    raise HTTPException(403)


@app.get("/raise/exit")
def exits() -> None:
    sys.exit(3)


@app.get("/raise/interrupt")
def interrupts() -> None:
    raise KeyboardInterrupt


@app.get("/raise/recursion")
def recurses() -> object:
    return recurses()


@app.get("/raise/memory")
def exhausts_memory() -> None:
    raise MemoryError


@app.get("/sleep")
def sleeps(seconds: float = 60.0) -> str:
    os.write(1, b"sleeping\n")
    time.sleep(seconds)
    return "slept"


@app.get("/spin", timeout=0.2)
def spins() -> None:
    while True:
        pass


@app.get("/stuck", timeout=0.2)
def stuck(seconds: int = 3) -> str:
    """In C, without the GIL, deaf to exceptions."""
    time.sleep(seconds)
    return "awake"


@app.get("/stuck/holding", timeout=0.2)
def stuck_holding(seconds: int = 3) -> str:
    """In C, holding the GIL of this interpreter."""
    ctypes.PyDLL(None).sleep(seconds)
    return "awake"


@app.get("/stubborn", timeout=0.2)
def stubborn(seconds: float = 3.0) -> str:
    """Catches everything, the interrupt included."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            spin_until(end)
        except BaseException:
            pass
    return "done after all"


def spin_until(end: float) -> None:
    while time.monotonic() < end:
        pass


# Per-interpreter state.

COUNT = 0


@app.get("/count")
def count() -> dict[str, int]:
    global COUNT
    COUNT += 1
    return {"thread": threading.get_native_id(), "count": COUNT}


# Parameters.


class Size(Enum):
    S = "small"
    L = "large"


@app.get("/path/{number}")
def by_path(number: int) -> dict[str, object]:
    return {"number": number}


@app.get("/path/int/{number:int}")
def by_int_pattern(number: int) -> dict[str, object]:
    return {"number": number}


@app.get("/path/rest/{rest:path}")
def by_rest(rest: str) -> dict[str, object]:
    return {"rest": rest}


@app.get("/path/size/{size}")
def by_enum(size: Size) -> dict[str, object]:
    return {"size": size.name}


@app.get("/query")
def by_query(
    text: str = "none",
    number: int | None = None,
    ratio: float = 0.5,
    flag: bool = False,
    tag: list[str] | None = None,
    numbers: list[int] = [],
    size: Size = Size.S,
) -> dict[str, object]:
    return {
        "text": text, "number": number, "ratio": ratio, "flag": flag, "tag": tag, "numbers": numbers, "size": size.value
    }


@app.get("/query/required")
def by_required_query(q: str, n: int) -> dict[str, object]:
    return {"q": q, "n": n}


@app.post("/body")
def by_body(body: object) -> dict[str, object]:
    return {"body": body}


@app.post("/body/dict")
def by_dict_body(body: dict) -> dict[str, object]:
    return {"keys": list(body)}


@app.route("/echo/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def echo(request: Request) -> dict[str, object]:
    return {
        "method": request.method,
        "path": request.path,
        "raw_path": request.raw_path,
        "query": request.query_string,
        "headers": list(request.headers.items()),
        "body": request.body.decode("latin-1"),
        "client": request.client[0] if request.client else None,
        "params": dict(request.path_params),
    }


# Names of more than one step, and a router with a prefix.


class Users:
    class Admin:
        @staticmethod
        def show(user_id: int) -> dict[str, int]:
            return {"admin": user_id}


app.get("/nested/{user_id}")(Users.Admin.show)

shop = Router(prefix="/shop")


@shop.get("/items/{item}")
def item(item: str) -> dict[str, str]:
    return {"item": item}


app.include(shop, prefix="/v1")
