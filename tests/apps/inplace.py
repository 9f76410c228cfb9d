"""Handlers that are short, until they are told not to be."""

import ctypes
import os
import threading
import time

from polygil import App

app = App()
calls = 0


@app.get("/short")
def short(wait_for: str = "", hold: float = 0.0) -> dict[str, int]:
    """Waits for a file to be there, or holds the GIL, if it is told to; else it is short."""
    global calls
    calls += 1
    while wait_for and not os.path.exists(wait_for):
        time.sleep(0.002)
    if hold:
        ctypes.PyDLL(None).usleep(int(hold * 1e6))
    return {"thread": threading.get_native_id(), "calls": calls}


@app.get("/while")
def a_while() -> str:
    time.sleep(0.001)
    return "done"


@app.get("/stream")
def stream(pieces: int):
    for number in range(pieces):
        yield f"{number}\n"


@app.get("/long")
def long(wait_for: str) -> str:
    while not os.path.exists(wait_for):
        time.sleep(0.002)
    return "done"
