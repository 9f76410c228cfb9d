"""Handlers whose cost is known: what load tests and benchmarks send requests to."""

import os
import time

from polygil import App

app = App()

# Each handled id, by whichever interpreter of whichever process: appended in one write, so lines never mix.
_handled = os.open(os.environ["HANDLED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT) if "HANDLED" in os.environ else -1


@app.get("/quick")
def quick() -> str:
    return "ok"


@app.get("/cpu/{ms}")
def cpu(ms: float) -> str:
    end = time.thread_time() + ms / 1000
    while time.thread_time() < end:
        pass
    return "done"


@app.get("/mark/{number}")
def mark(number: int) -> str:
    os.write(_handled, b"%d\n" % number)
    return str(number)
