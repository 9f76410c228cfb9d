"""Every kind of answer, parameter and failure, each at a path of its own, and what this interpreter holds on to after them.

`/kinds` lists them for the test; `/held` says how many references, blocks and bytes there are now.
"""

import ctypes
import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

from polygil import App, HTTPException, Request, Response

app = App()

# (method, target, content, the status of its answer; 0 where the answer breaks off). The tests ask for each many times.
KINDS: list[tuple[str, str, str, int]] = []


def kind(target: str, status: int = 200, *, method: str = "GET", content: str = "") -> None:
    KINDS.append((method, target, content, status))


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Table(dict):
    pass


@dataclass
class Point:
    x: int
    names: list[str] = field(default_factory=lambda: ["a", "b"])


@dataclass
class Line:
    start: Point
    end: Point


# What handlers give away again and again: a reference too many of any of these is one too many a request.
TEXT = "a text that is not interned ".strip() + "!"
BYTES = b"some bytes " * 3
FLOAT = 1234.5678
BIG = 10**30
INSIDE = [TEXT, BIG, FLOAT, {"key " + TEXT: BYTES.decode()}]
VALUE = {"text " + TEXT: TEXT, "inside": INSIDE, "number": 70_001}
HEADER_NAME = "x-" + "kept"
HEADER_VALUE = "value " + TEXT
HEADERS = {HEADER_NAME: HEADER_VALUE}
HEADER_PAIRS = [(HEADER_NAME, HEADER_VALUE), ("x-other", HEADER_VALUE)]
STATUS = int("299")
PAIR = (VALUE, STATUS)
TRIPLE = (VALUE, STATUS, HEADERS)
TRIPLE_OF_PAIRS = (VALUE, STATUS, HEADER_PAIRS)
POINT = Point(70_002)
LINE = Line(POINT, POINT)
RESPONSE = Response(VALUE, STATUS, HEADER_PAIRS, "application/" + "kept+json")
RESPONSE_OF_BYTES = Response(BYTES)
RAISED = ValueError(TEXT)
RAISED_HTTP = HTTPException(STATUS + 119, {"why": TEXT}, HEADERS)
DEFAULT = "default " + TEXT
DEFAULT_NUMBER = 70_003
VIEW = memoryview(BYTES)
ARRAY = bytearray(BYTES)
CYCLE: list[object] = []
CYCLE.append(CYCLE)

VALUES: dict[str, Any] = {
    "dict": VALUE, "list": INSIDE, "int": 70_004, "big": BIG, "float": FLOAT, "true": True, "str": TEXT, "bytes": BYTES,
    "bytearray": ARRAY, "memoryview": VIEW, "point": POINT, "line": LINE, "size": Size.LARGE, "text-subclass": Text(TEXT),
    "int-subclass": Number(70_005), "dict-subclass": Table(VALUE), "tuples": [(1, TEXT), (BIG, None)], "pair": PAIR, "triple": TRIPLE,
    "triple-of-pairs": TRIPLE_OF_PAIRS, "response": RESPONSE, "response-of-bytes": RESPONSE_OF_BYTES, "keys": {1: TEXT, 2.5: BIG, None: 0},
    "pair-of-response": (RESPONSE_OF_BYTES, STATUS),
}
REFUSED: dict[str, Any] = {
    "set": {1}, "inside": [VALUE, {"in": {2}}], "nan": [float("nan")], "cycle": CYCLE, "surrogate": "\ud800" + TEXT, "object": object(),
    "status": (VALUE, 1000), "status-type": (VALUE, TEXT), "headers": (VALUE, STATUS, 7), "header": (VALUE, STATUS, {HEADER_NAME: 1}),
    "newline": (VALUE, STATUS, {HEADER_NAME: "a\nb" + TEXT}), "name": (VALUE, STATUS, {"a b": HEADER_VALUE}), "long": (1, 2, 3, 4),
    "enum": Colour, "key": {(1, 2): TEXT}, "complex": 1j, "length": (VALUE, STATUS, {"content-length": "7"}),
}
STATUSES = {"pair": 299, "triple": 299, "triple-of-pairs": 299, "response": 299}


@app.get("/value/{name}")
def value(name: str) -> Any:
    return VALUES[name]


for name in VALUES:
    if name != "pair-of-response":
        kind(f"/value/{name}", STATUSES.get(name, 200))
kind("/value/triple", 299, method="HEAD")


@app.get("/refused/{name}")
def refused(name: str) -> Any:
    return REFUSED[name]


for name in REFUSED:
    kind(f"/refused/{name}", 500)


@app.get("/none")
def none() -> None:
    return None


kind("/none", 204)


@app.get("/new")
def new() -> Any:
    return {"list": [object.__name__, str(len(KINDS)), 2**70, 1.5]}, 200, {"x-new": str(2**40)}


kind("/new")


class Pieces:
    """An iterator that is no generator, and has something to close."""

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = iter(pieces)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return next(self.pieces)

    def close(self) -> None:
        LIVES["closed"] += 1


LIVES = {"closed": 0, "cycles": 0}


def failing(pieces: list[Any]) -> Iterator[Any]:
    yield from pieces
    raise ValueError(TEXT)


STREAMS: dict[str, Any] = {
    "texts": lambda: (piece for piece in (TEXT, HEADER_VALUE)), "bytes": lambda: (piece for piece in (BYTES, ARRAY, VIEW)),
    "one": lambda: (piece for piece in (TEXT,)), "object": lambda: Pieces([TEXT, BYTES]), "none": lambda: (piece for piece in ()),
    "triple": lambda: ((piece for piece in (TEXT, TEXT)), STATUS, HEADERS),
    "response": lambda: Response((piece for piece in (TEXT, BYTES)), STATUS, HEADERS),
    "first-fails": lambda: failing([]), "second-fails": lambda: failing([TEXT]), "no-piece": lambda: (piece for piece in (TEXT, 7)),
    "first-is-no-piece": lambda: (piece for piece in (7, TEXT)),
}
STREAM_STATUS = {"triple": 299, "response": 299, "first-fails": 500, "second-fails": 0, "no-piece": 0, "first-is-no-piece": 500}


@app.get("/stream/{name}")
def stream(name: str) -> Any:
    return STREAMS[name]()


for name in STREAMS:
    kind(f"/stream/{name}", STREAM_STATUS.get(name, 200))
kind("/stream/texts", method="HEAD")


def chained() -> None:
    try:
        raise RAISED.with_traceback(None)
    except ValueError as error:
        raise KeyError(TEXT) from error


def noted() -> None:
    error = ValueError(TEXT)
    error.add_note(HEADER_VALUE)
    raise error


class Fatal(BaseException):
    pass


def raises(error: Any) -> Any:
    def function() -> None:
        # One that is raised again keeps what it went through before, which would be more each time.
        raise error.with_traceback(None) if isinstance(error, BaseException) else error

    return function


FAILURES: dict[str, Any] = {
    "new": lambda: int(TEXT), "kept": raises(RAISED), "http-kept": raises(RAISED_HTTP), "chained": chained, "noted": noted,
    "group": lambda: raises(ExceptionGroup(TEXT, [ValueError(TEXT), KeyError(1)]))(), "exit": lambda: sys.exit(TEXT),
    "interrupt": raises(KeyboardInterrupt), "fatal": raises(Fatal), "http": lambda: raises(HTTPException(404))(),
    "http-detail": lambda: raises(HTTPException(409, [TEXT, {"a": BIG}], HEADER_PAIRS))(),
    "http-refused": lambda: raises(HTTPException(409, {1, 2}))(),
}
FAILURE_STATUS = {"http-kept": 418, "http": 404, "http-detail": 409}


@app.get("/fail/{name}")
def fail(name: str) -> Any:
    return FAILURES[name]()


for name in FAILURES:
    kind(f"/fail/{name}", FAILURE_STATUS.get(name, 500))


@app.get("/path/{a}/{b}/{c}")
def path(a: str, b: int, c: float) -> list[Any]:
    return [a, b, c]


kind("/path/x%20y/70006/2.25")
kind("/path/x/123456789012345678901234567890/1e3")
kind("/path/x/no/2", 422)


@app.get("/query")
def query(a: str = DEFAULT, b: int = DEFAULT_NUMBER, c: bool = False, d: float | None = None) -> list[Any]:
    return [a, b, c, d]


kind("/query")
kind("/query?a=x+y&b=7&c=true&d=1.5&e=nobody")
kind("/query?a=%ff")
kind("/query?b=x&c=perhaps&d=z", 422)


@app.get("/lists")
def lists(a: list[int], b: Colour = Colour.RED, *, c: list[str] = INSIDE) -> list[Any]:  # type: ignore[assignment]
    return [len(a), b.value, len(c)]


kind("/lists?a=1&a=70007&b=red&c=x")
kind("/lists?a=1")
kind("/lists", 422)
kind("/lists?a=1&b=green", 422)


@app.post("/json")
def json_(body: dict[str, list[int]]) -> int:
    return len(body)


kind("/json", method="POST", content='{"a":[1,70008],"b":[]}')
kind("/json", 422, method="POST", content='{"a":[1,"x"],"b":7}')
kind("/json", 422, method="POST", content='{"a":')
kind("/json", 422, method="POST")


@app.post("/body")
def body(body: bytes) -> bytes:
    return body


kind("/body", method="POST", content="some content")


@app.post("/request/{rest:path}")
def request(request: Request, rest: str) -> dict[str, Any]:
    return {
        "method": request.method, "path": request.path, "query": str(request.query), "headers": len(list(request.headers)),
        "host": request.headers.get("host"), "body": len(request.body), "id": request.request_id, "rest": rest,
        "params": dict(request.path_params), "client": str(request.client), "server": str(request.server),
    }


kind("/request/a/b%2Fc?x=1&y=2", method="POST", content="0123456789")
kind("/nowhere", 404)
kind("/none", 405, method="DELETE")
kind("/none", 204, method="OPTIONS")


class Node:
    """Half of a cycle, counted while it is there."""

    def __init__(self) -> None:
        LIVES["cycles"] += 1
        self.other: Node | None = None

    def __del__(self) -> None:
        LIVES["cycles"] -= 1


RECENT: list[Node] = []


@app.get("/cycle")
def cycle() -> None:
    """Make garbage that only a collection of all generations frees: before it is garbage it lives through some of the young."""
    node, other = Node(), Node()
    node.other, other.other = other, node
    RECENT.append(node)
    if len(RECENT) > 2_000:
        del RECENT[:1_000]


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]


MALLINFO = ctypes.CDLL(None).mallinfo2
MALLINFO.restype = Mallinfo
# Everything that the collector knows of when it is asked for the first time, imports included.
KNOWN: list[object] = []


@app.get("/kinds")
def kinds() -> list[Any]:
    return KINDS


@app.get("/held")
def held() -> dict[str, int]:
    if not KNOWN:
        gc.unfreeze()
        KNOWN.extend(found for found in gc.get_objects() if found is not KNOWN)
        gc.freeze()
    gc.collect()
    of_kept = {f"references to {name}": sys.getrefcount(kept) for name, kept in globals().items() if name.isupper() and kept is not KNOWN}
    used = MALLINFO()
    return of_kept | {
        "references to all that the collector knew": sum(map(sys.getrefcount, KNOWN)),
        "blocks of Python's allocator": sys.getallocatedblocks(),
        "bytes of malloc": used.uordblks + used.hblkhd,
    }


@app.get("/lives")
def lives() -> dict[str, int]:
    return LIVES
