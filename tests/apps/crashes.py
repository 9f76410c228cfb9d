"""Handlers that crash in C, and some that take their time."""

import ctypes
import os
import sys
import time

from polygil import App

app = App()


@app.get("/ok")
def ok() -> str:
    return "ok"


@app.get("/sleep/{seconds}")
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def read_nothing() -> bytes:
    return ctypes.string_at(0)


@app.get("/segfault/{how}")
def segfault(how: str) -> str:
    return str(read_nothing())


@app.get("/abort")
def abort() -> None:
    ctypes.CDLL(None).abort()


@app.get("/kill/{number}")
def kill(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(5)


@app.get("/overflow")
def overflow() -> None:
    # Each level goes through C, which has no limit of its own; the interpreter's is put out of the way.
    sys.setrecursionlimit(10_000_000)
    libc = ctypes.CDLL(None)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    items = (ctypes.c_int * 4096)(*range(4096))

    @compare
    def again(_left: object, _right: object) -> int:
        libc.qsort(items, 4096, 4, again)
        return 0

    libc.qsort(items, 4096, 4, again)
