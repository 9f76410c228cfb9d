"""The app that every server under test runs: each route is there for some cases to lean on."""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from tempfile import gettempdir

from polygil import App, HTTPException, Request, Response, Router
from values import VALUES

app = App()


@app.get("/probe")
def probe() -> str:
    """What shows that a connection, or a server, still works."""
    return "polygil conformance probe"


@app.get("/value/{name}")
def value(name: str) -> object:
    if name not in VALUES:
        raise HTTPException(404, "no such value")
    return VALUES[name]


# Failures.


@app.get("/raise")
def raises() -> None:
    raise ValueError("out of cheese")


@app.get("/raise/http/{status}")
def raises_http(status: int) -> None:
    raise HTTPException(status)


@app.get("/raise/detail")
def raises_detail() -> None:
    raise HTTPException(418, {"short": "and stout"}, headers={"X-Pot": "tea"})


@app.get("/raise/subclass")
def raises_subclass() -> None:
    class Gone(HTTPException):
        pass

    raise Gone(410, "moved out")


@app.get("/raise/from")
def raises_from() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise HTTPException(409, "in use") from error


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


@app.get("/raise/base")
def raises_base() -> None:
    class Odd(BaseException):
        pass

    raise Odd("neither Exception nor exit")


@app.get("/raise/stop")
def raises_stop() -> None:
    raise StopIteration(3)


@app.get("/raise/group")
def raises_group() -> None:
    raise ExceptionGroup("two", [ValueError("a"), TypeError("b")])


@app.get("/raise/unprintable")
def raises_unprintable() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise ValueError("no text for you")

    raise Unprintable


@app.get("/raise/surrogate")
def raises_surrogate() -> None:
    raise ValueError("\ud800")


# Time.


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
def stuck(seconds: int = 60) -> str:
    """In C, without the GIL, deaf to exceptions."""
    time.sleep(seconds)
    return "awake"


@app.get("/stuck/holding", timeout=0.2)
def stuck_holding(seconds: int = 60) -> str:
    """In C, holding the GIL of this interpreter."""
    ctypes.PyDLL(None).sleep(seconds)
    return "awake"


@app.get("/stubborn", timeout=0.2)
def stubborn(seconds: float = 60.0) -> str:
    """Catches everything, the interrupt included."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            spin_until(end)
        except BaseException:
            pass
    return "done after all"


@app.get("/finally", timeout=0.2)
def tidies() -> None:
    """Interrupted, it tidies up; `/finally/done` tells."""
    global TIDIED
    try:
        while True:
            pass
    finally:
        TIDIED += 1


TIDIED = 0


@app.get("/finally/done")
def tidied() -> int:
    return TIDIED


def spin_until(end: float) -> None:
    while time.monotonic() < end:
        pass


# What one interpreter keeps for itself, and what all share.

COUNT = 0
PLACE = Path(gettempdir()) / f"polygil-conformance-{os.getpid()}"


@app.get("/count")
def count() -> dict[str, int]:
    global COUNT
    COUNT += 1
    return {"thread": threading.get_native_id(), "count": COUNT}


@app.get("/meet/{name}")
def meet(name: str, parties: int) -> str:
    """Return once so many calls are inside at the same time; calls that run one after the other never meet."""
    place = PLACE / name
    place.mkdir(parents=True, exist_ok=True)
    (place / str(threading.get_native_id())).touch()
    while len(list(place.iterdir())) < parties:
        time.sleep(0.002)
    return "met"


@app.on_shutdown
def tidy() -> None:
    import shutil

    shutil.rmtree(PLACE, ignore_errors=True)


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


@app.get("/path/text/{text}")
def by_text(text: str) -> dict[str, object]:
    return {"text": text}


@app.get("/path/ratio/{ratio}")
def by_ratio(ratio: float) -> dict[str, object]:
    return {"ratio": ratio}


@app.get("/path/flag/{flag}")
def by_flag(flag: bool) -> dict[str, object]:
    return {"flag": flag}


@app.get("/path/rest/{rest:path}")
def by_rest(rest: str) -> dict[str, object]:
    return {"rest": rest}


@app.get("/path/two/{left}/and/{right}")
def by_two(right: str, left: str) -> dict[str, object]:
    return {"left": left, "right": right}


@app.get("/path/size/{size}")
def by_enum(size: Size) -> dict[str, object]:
    return {"size": size.name}


@app.get("/path/fixed/{name}")
def by_name(name: str) -> str:
    return f"any {name}"


@app.get("/path/fixed/known")
def known() -> str:
    return "the known one"


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


@app.get("/query/appends")
def appends(items: list[str] = ["first"]) -> list[str]:
    """A handler that changes its default list must not change the next call's."""
    items.append("more")
    return items


@app.get("/query/keyword")
def by_keyword(*, name: str = "nobody") -> dict[str, str]:
    return {"name": name}


@app.post("/body")
def by_body(body: object) -> dict[str, object]:
    return {"body": body}


@app.post("/body/dict")
def by_dict_body(body: dict) -> dict[str, object]:
    return {"keys": list(body)}


@app.post("/body/list")
def by_list_body(body: list[int]) -> dict[str, object]:
    return {"sum": sum(body)}


@app.post("/body/raw")
def by_raw_body(body: bytes) -> bytes:
    return body


@app.post("/body/optional")
def by_optional_body(body: dict | None = None) -> dict[str, object]:
    return {"given": body is not None}


@app.put("/body/length")
def length_of_body(request: Request) -> dict[str, int]:
    return {"length": len(request.body)}


@app.route("/echo/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def echo(request: Request) -> dict[str, object]:
    return {
        "method": request.method,
        "path": request.path,
        "raw_path": request.raw_path,
        "query": request.query_string,
        "headers": request.headers.pairs(),
        "body": request.body.decode("latin-1"),
        "params": dict(request.path_params),
    }


@app.get("/field/{name}")
def field(request: Request, name: str) -> list[str]:
    """Every value of a field, in order."""
    return request.headers.get_all(name)


@app.get("/thread")
def uses_a_thread() -> str:
    """A handler may start threads and wait for them."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append("from a thread"))
    thread.start()
    thread.join()
    return found[0]


# Answers that are about HTTP.


@app.get("/head/both")
def get_both() -> Response:
    return Response("seven!!", headers={"X-Way": "get"})


@app.head("/head/own")
def head_own() -> Response:
    return Response("", headers={"X-Way": "head"})


@app.get("/head/own")
def get_own() -> Response:
    return Response("get", headers={"X-Way": "get"})


@app.options("/options/own")
def options_own() -> Response:
    return Response("mine", headers={"X-Way": "options"})


@app.get("/options/own")
def options_other() -> str:
    return "get"


@app.delete("/only/delete")
def only_delete() -> None:
    return None


@app.get("/status/{status}")
def by_status(status: int) -> tuple[str, int]:
    return "content", status


@app.get("/status/{status}/empty")
def by_status_empty(status: int) -> tuple[None, int]:
    return None, status


@app.get("/large")
def large(size: int) -> bytes:
    return b"x" * size


# Content that is made while it is sent.


@app.get("/stream")
def stream(pieces: int, fails_at: int = -1) -> Iterator[str]:
    """Lines with the numbers from 0 on; raises in place of one of them."""
    for number in range(pieces):
        if number == fails_at:
            raise RuntimeError("the stream breaks")
        yield f"{number}\n"


# Names of more than one step, a class method, and routers with prefixes.


class Users:
    class Admin:
        @staticmethod
        def show(user_id: int) -> dict[str, int]:
            return {"admin": user_id}

    @classmethod
    def kind(cls) -> str:
        return cls.__name__


app.get("/nested/{user_id}")(Users.Admin.show)
app.get("/class-method")(Users.kind)

shop = Router(prefix="/shop")
inner = Router()


@shop.get("/items/{item}")
def item(item: str) -> dict[str, str]:
    return {"item": item}


@inner.get("/deep")
def deep() -> str:
    return "three levels down"


shop.include(inner, prefix="/inner")
app.include(shop, prefix="/v1")
app.include(shop, prefix="/v2")
