"""Handlers that do what sub-interpreters are hurt by."""

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time

from polygil import App

app = App()


@app.get("/alive")
def alive() -> str:
    return "yes"


@app.get("/fork")
def fork() -> int:
    return os.fork()


@app.get("/exec")
def execute() -> None:
    os.execv(sys.executable, [sys.executable, "-c", ""])


@app.get("/signal")
def take_signal() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@app.get("/frames")
def frames() -> int:
    return len(sys._current_frames())


@app.get("/subprocess")
def child() -> str:
    command = [sys.executable, "-S", "-c", "print('from a child', end='')"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


RESULT = []


def work() -> None:
    time.sleep(0.05)
    total = sum(range(100_000))
    os.write(1, b"the thread ran on its own\n")
    RESULT.append("done" if total else "")


@app.get("/thread/start")
def start_thread() -> str:
    threading.Thread(target=work).start()
    return "started"


@app.get("/thread/result")
def thread_result() -> str:
    return RESULT[0]


@app.get("/thread/raw")
def raw_thread() -> str:
    _thread.start_new_thread(time.sleep, (3600,))
    return "started"


def recurse(depth: int) -> int:
    return recurse(depth + 1) + 1


@app.get("/recursion/python")
def python_recursion() -> int:
    return recurse(0)


@app.get("/recursion/c")
def c_recursion() -> str:
    value: list[object] = []
    for _ in range(200_000):
        value = [value]
    return json.dumps(value)


def through_c(depth: int) -> int:
    return max([depth], key=lambda number: through_c(number + 1))


@app.get("/recursion/mixed")
def mixed_recursion() -> int:
    """From Python into C and back, where only CPython's count of C calls sets a limit."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    try:
        return through_c(0)
    finally:
        sys.setrecursionlimit(before)


@app.get("/recursion/json")
def json_recursion() -> list[object]:
    value: list[object] = []
    for _ in range(200_000):
        value = [value]
    return value


@app.get("/close-call", timeout=0.01)
def close_call() -> str:
    end = time.perf_counter() + 0.0101
    while time.perf_counter() < end:
        pass
    return "made it"


MARK = object()


@app.get("/identity")
def identity() -> str:
    time.sleep(0.05)
    return f"{id(MARK):x}"
