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


@app.get("/exceptions")
def exceptions() -> int:
    return len(sys._current_exceptions())


EARLIER: set[int | None] = set()
NEVER = threading.Event()


def waits() -> None:
    NEVER.wait()


def sleeps() -> None:
    time.sleep(3600)


@app.get("/frames")
def frames() -> dict[str, list[str]]:
    """What is found of a thread that waits, one in C, two started below `threading`, one of which has no frame, and one that is over."""
    waiting = threading.Thread(target=waits, daemon=True)
    sleeping = threading.Thread(target=sleeps, daemon=True)
    over = threading.Thread(target=int)
    for thread in (waiting, sleeping, over):
        thread.start()
    over.join()
    idents = {
        "own": threading.get_ident(),
        "waiting": waiting.ident,
        "sleeping": sleeping.ident,
        "below": _thread.start_new_thread(sleeps, ()),
        "without a frame": _thread.start_new_thread(time.sleep, (3600,)),
    }
    names = {ident: name for name, ident in idents.items()}

    def functions(frame: object) -> list[str]:
        return [] if frame is None else [*functions(frame.f_back), frame.f_code.co_name]

    def look() -> dict[str, list[str]]:
        found = sys._current_frames()
        return {names.get(ident, "unknown"): functions(found[ident]) for ident in found.keys() - EARLIER}

    last = {"waiting": "wait", "sleeping": "sleeps", "below": "sleeps"}
    end = time.monotonic() + 20
    stacks = look()
    while time.monotonic() < end and {name: stacks[name][-1] for name in stacks if name != "own"} != last:
        time.sleep(0)
        stacks = look()
    del stacks["own"][:-2]
    EARLIER.update(idents.values())
    EARLIER.remove(threading.get_ident())
    return stacks


@app.get("/frames/churn")
def churn() -> str:
    """Threads begin and end while others look at the frames of all."""
    over = False

    def passes() -> None:
        list(map(str, range(20)))

    def starts() -> None:
        while not over:
            threads = [threading.Thread(target=passes) for _ in range(8)]
            for thread in threads:
                thread.start()
            _thread.start_new_thread(passes, ())
            for thread in threads:
                thread.join()

    starter = threading.Thread(target=starts)
    starter.start()
    known = {threading.get_ident(), starter.ident}
    others = 0
    end = time.monotonic() + 20
    while others < 200 and time.monotonic() < end:
        found = sys._current_frames()
        assert found[threading.get_ident()].f_code is churn.__code__
        for ident, frame in found.items():
            others += ident not in known
            while frame is not None:
                assert frame.f_lineno is None or frame.f_lineno > 0
                frame = frame.f_back
        time.sleep(0)
    over = True
    starter.join()
    return "seen" if others >= 200 else f"others were seen {others} times"


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
