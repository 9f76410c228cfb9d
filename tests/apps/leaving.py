"""What is alive when the server stops: daemon threads, threads that are none, exit functions, hooks."""

import atexit
import logging
import logging.handlers
import os
import queue
import threading
import time

from polygil import App

app = App()

_calls = 0


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


@app.get("/count")
def count() -> dict[str, int]:
    global _calls
    _calls += 1
    return {"thread": threading.get_native_id(), "count": _calls}


@app.get("/name")
def name() -> list[object]:
    record = logging.LogRecord("name", logging.INFO, "", 0, "", None, None)
    return [threading.current_thread().name, record.threadName, threading.current_thread() is threading.main_thread()]


def compute() -> None:
    while True:
        pass


def print_for_ever() -> None:
    while True:
        print("daemon " * 10)


DAEMONS = {
    "sleeps": lambda: time.sleep(3600),
    "waits": lambda: queue.Queue().get(),
    "computes": compute,
    "prints": print_for_ever,
    "locks": lambda: (lock := threading.Lock(), lock.acquire(), lock.acquire()),
}


@app.get("/daemon/{kind}")
def daemon(kind: str) -> str:
    threading.Thread(target=DAEMONS[kind], daemon=True).start()
    return kind


class Counting(logging.Handler):
    """Says what it was given, slowly, as one that sends it somewhere."""

    def emit(self, record: logging.LogRecord) -> None:
        time.sleep(0.002)
        say(f"event {record.getMessage()} from {record.threadName}")


def start_listener() -> logging.Logger:
    events: queue.Queue[logging.LogRecord] = queue.Queue()
    listener = logging.handlers.QueueListener(events, Counting())
    listener.start()
    # What applications do, or their loss at a script's end is documented.
    atexit.register(listener.stop)
    logger = logging.Logger("events")
    logger.addHandler(logging.handlers.QueueHandler(events))
    return logger


LOGGER: list[logging.Logger] = []


@app.get("/listener/{number:int}")
def listener(number: int) -> str:
    if not LOGGER:
        LOGGER.append(start_listener())
    LOGGER[0].info("%d", number)
    return "logged"


@app.get("/batch")
def batch() -> str:
    """Batch events on a daemon thread that only its exit function makes send, as sentry-sdk and OpenTelemetry do."""
    events: queue.Queue[int | None] = queue.Queue()
    sent = threading.Event()

    def run() -> None:
        wanted = threading.Event()
        while not wanted.wait(0.001) and events.qsize() < 100:
            pass
        for _ in range(events.qsize()):
            say(f"sent {events.get()}")
        sent.set()
        time.sleep(3600)

    threading.Thread(target=run, daemon=True, name="batch").start()
    events.put(1)

    def flush() -> None:
        for number in range(2, 101):
            events.put(number)
        say(f"flushed {sent.wait(10)}")

    atexit.register(flush)
    return "batching"


@app.get("/thread")
def thread() -> str:
    threading.Thread(target=queue.Queue().get, name="the endless one").start()
    return "started"


@app.get("/until-main-is-over")
def until_main_is_over() -> str:
    """Start threads that are no daemons and live until main is over: debugpy's asks now and then, another joins it."""

    def asks() -> None:
        while any(thread.is_alive() for thread in (threading.main_thread(), own)):
            time.sleep(0.001)
        say("asked until main was over")

    def joins() -> None:
        threading.main_thread().join()
        say("joined main")

    own = threading.current_thread()
    for target in (asks, joins):
        threading.Thread(target=target).start()
    return "started"


@app.get("/timer")
def timer() -> str:
    threading.Timer(3600, print).start()
    return "started"


@app.get("/atexit")
def at_exit() -> str:
    atexit.register(time.sleep, 3600)
    return "registered"


@app.get("/atexit/python")
def at_exit_of_python() -> str:
    atexit.register(never_ends)
    return "registered"


def never_ends() -> None:
    time.sleep(3600)


@app.get("/atexit/raises")
def at_exit_raises() -> str:
    def raises() -> None:
        raise ValueError("at exit")

    atexit.register(raises)
    return "registered"


@app.get("/atexit/starts")
def at_exit_starts_threads() -> str:
    """Start threads in an exit function: one that ends, and a daemon."""

    def starts() -> None:
        def late() -> None:
            time.sleep(0.2)
            say("the late thread ended")

        try:
            threading.Thread(target=late).start()
        except RuntimeError as error:
            say(f"the late thread: {error}")

    atexit.register(starts)
    return "registered"


@app.get("/atexit/unregistered")
def at_exit_unregistered() -> str:
    atexit.register(never_ends)
    atexit.unregister(never_ends)
    assert atexit.register(say, "the right one") is say
    return "registered"


@app.get("/atexit/quick")
def at_exit_quick() -> str:
    atexit.register(say, "exit function ran")
    return "registered"


@app.on_shutdown
def close() -> None:
    if os.environ.get("LEAVING_HOOK"):
        time.sleep(3600)


if os.environ.get("LEAVING_HOOK_OF_C"):
    app.on_shutdown(threading.Lock().acquire)
    HELD = threading.Lock()
    HELD.acquire()
    app.on_shutdown(HELD.acquire)

if os.environ.get("LEAVING_MODULE") == "thread":
    # In main too, which imports the app to read its routes.
    threading.Thread(target=time.sleep, args=(3600,), name="of the module").start()
elif os.environ.get("LEAVING_MODULE") == "daemon":
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    atexit.register(say, "exit function of the module")
