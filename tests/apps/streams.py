"""Handlers whose content comes in pieces."""

import itertools
import os
import time
from collections.abc import Iterator

from polygil import App, HTTPException, Response

app = App()


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


@app.get("/text")
def text() -> Iterator[str]:
    yield "one"
    yield ""
    yield "zwölf"


@app.get("/bytes")
def octets() -> Iterator[bytes]:
    yield b"\x00\xff"
    yield bytearray(b"ab")
    yield memoryview(b"cd")


@app.get("/empty")
def empty() -> Iterator[str]:
    yield from ()


@app.get("/blank")
def blank() -> Iterator[str]:
    yield ""


@app.get("/response")
def response() -> Response:
    return Response((f"data: {n}\n\n" for n in range(2)), 201, {"X-A": "b"}, "text/event-stream")


@app.get("/tuple")
def with_status() -> object:
    return map(str, range(3)), 202, {"content-type": "text/csv"}


@app.get("/none")
def no_content() -> object:
    return (str(n) for n in range(3)), 204


@app.get("/first/raises")
def raises_first() -> Iterator[str]:
    raise ValueError("too early")
    yield "never"


@app.get("/first/http")
def raises_http_first() -> Iterator[str]:
    raise HTTPException(404, "no such thing")
    yield "never"


@app.get("/first/wrong")
def wrong_first() -> Iterator[object]:
    yield {"a": 1}


@app.get("/later/raises")
def raises_later() -> Iterator[str]:
    yield "one"
    raise ValueError("too late")


@app.get("/later/wrong")
def wrong_later() -> Iterator[object]:
    yield "one"
    yield 2


@app.get("/later/spins", timeout=0.3)
def spins_later() -> Iterator[str]:
    yield "one"
    while True:
        pass


@app.get("/later/stuck", timeout=0.3)
def stuck_later() -> Iterator[str]:
    yield "one"
    time.sleep(300)


@app.get("/slow/{pieces}", timeout=1)
def slower_than_the_budget_in_all(pieces: int) -> Iterator[str]:
    for number in range(pieces):
        time.sleep(0.3)
        yield str(number)


@app.get("/wait")
def waits_for_a_file(path: str) -> Iterator[str]:
    yield "before "
    while not os.path.exists(path):
        time.sleep(0.005)
    yield "after"


@app.get("/mebibytes/{count}")
def mebibytes(count: int) -> Iterator[bytes]:
    yield from itertools.repeat(bytes(1 << 20), count)


@app.get("/endless")
def endless() -> Iterator[bytes]:
    try:
        while True:
            yield bytes(1 << 16)
    finally:
        say("closed the endless one")


@app.get("/endless/stubborn", timeout=0.3)
def stubborn() -> Iterator[bytes]:
    while True:
        try:
            yield bytes(1 << 16)
        except GeneratorExit:
            say("would not close")


@app.get("/quick")
def quick() -> str:
    return "ok"
