"""Handlers that do their worst: to their worker, to the process, to whoever waits beside them."""

import asyncio
import ctypes
import multiprocessing
import os
import sys
import threading
import time

from polygil import App

app = App()

_calls = 0


@app.get("/quick")
def quick() -> str:
    return "ok"


@app.get("/count")
def count() -> dict[str, int]:
    global _calls
    _calls += 1
    return {"thread": threading.get_native_id(), "count": _calls}


@app.get("/spin", timeout=0.2)
def spin() -> None:
    while True:
        pass


@app.get("/stuck", timeout=0.2)
def stuck(seconds: float = 60) -> None:
    time.sleep(seconds)


@app.get("/stuck/holding", timeout=0.2)
def stuck_holding_the_gil(seconds: int = 60) -> None:
    ctypes.PyDLL(None).sleep(seconds)


@app.get("/stubborn", timeout=0.2)
def stubborn(seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            _spin_until(end)
        except BaseException:
            continue


def _spin_until(end: float) -> None:
    while time.monotonic() < end:
        pass


@app.get("/recursion")
def recursion() -> object:
    return recursion()


@app.get("/list", timeout=20)
def gibibyte() -> int:
    return len([0] * (1 << 27))


@app.get("/raise/exit")
def exits() -> None:
    sys.exit(3)


class Unusual(BaseException):
    """What no `except Exception` catches."""


@app.get("/raise/base")
def raises_base() -> None:
    raise Unusual("boo")


@app.get("/raise/interrupt")
def raises_interrupt() -> None:
    raise KeyboardInterrupt


@app.get("/exit")
def exits_the_process() -> None:
    os._exit(3)


@app.get("/abort")
def aborts_the_process() -> None:
    os.abort()


@app.get("/threads")
def threads() -> int:
    """Start threads that outlive the request."""
    started = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(4)]
    for thread in started:
        thread.start()
    return len(started)


_loops: list[asyncio.AbstractEventLoop] = []


@app.get("/asyncio")
def leaves_asyncio_running() -> bool:
    """Leave an event loop running on a thread, with a task in it, as a library that bridges to asyncio does."""
    loop = asyncio.new_event_loop()
    _loops.append(loop)
    threading.Thread(target=loop.run_forever).start()
    asyncio.run_coroutine_threadsafe(asyncio.sleep(3600), loop)
    loop.call_soon_threadsafe(loop.call_later, 0.2, loop.stop)
    return loop.is_running() or not loop.is_closed()


@app.get("/asyncio/pending")
def leaves_a_task_pending() -> str:
    """Leave a loop that is not closed, with a task that nobody will run."""
    loop = asyncio.new_event_loop()
    left = loop.create_task(asyncio.sleep(3600))
    loop.run_until_complete(asyncio.sleep(0))
    return "done" if left.done() else "left"


@app.get("/fork")
def forks() -> int:
    return os.fork()


@app.get("/fork/multiprocessing")
def forks_by_multiprocessing() -> None:
    multiprocessing.get_context("fork").Process(target=quick).start()


@app.get("/daemon")
def daemon_thread() -> str:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return "started"
