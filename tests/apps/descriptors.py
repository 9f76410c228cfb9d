"""Handlers that print, raise, and close what is not theirs."""

import os
import sys

from polygil import App

app = App()


@app.get("/ok")
def ok() -> str:
    return "ok"


@app.get("/print")
def prints() -> str:
    print("a secret of this request", flush=True)
    return "printed"


@app.get("/print/much")
def prints_much() -> str:
    # More than a pipe holds.
    print("x" * (1 << 20), flush=True)
    return "printed"


@app.get("/raise")
def raises() -> None:
    raise ValueError("a secret of the log")


@app.get("/raise/{what:path}")
def raises_that(what: str) -> None:
    raise ValueError(what)


@app.get("/close/{number}")
def close(number: int) -> str:
    os.close(number)
    return "closed"


@app.get("/complain")
def complain() -> str:
    os.write(2, b"a secret of standard error\n")
    sys.stderr.write("another\n")
    return "complained"


@app.get("/link/{number}")
def link(number: int) -> str:
    return os.readlink(f"/proc/self/fd/{number}")
