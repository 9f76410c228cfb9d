"""What every app answers, so that servers are compared and not handlers: the same functions under each protocol."""

import json
import os
import sqlite3
import threading
import time

# One encoder made once: json.dumps with separators would make one on each call.
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode

TEXT = "Hello, World!"
SMALL = {"hello": "world"}
ITEMS = [{"id": n, "name": f"item {n:04}", "price": n * 1.25, "tags": ["red", "blue"], "in": n % 2 == 0} for n in range(133)]
LARGE = {"items": ITEMS}  # 10 kB as JSON

# Turns of the loop below; a turn is about 50 ns on the machines that these figures were made on.
MILLISECOND_TURNS = 20_000


def cpu(turns: int = MILLISECOND_TURNS) -> dict[str, int]:
    """Pure Python that computes: about a millisecond."""
    value = 1
    for turn in range(turns):
        value = (value * 31 + turn) & 0xFFFF
    return {"value": value}


def slow_cpu() -> dict[str, int]:
    """Pure Python that computes: about 50 ms."""
    return cpu(MILLISECOND_TURNS * 50)


def slow_wait() -> dict[str, int]:
    """A blocking wait of 50 ms, as for another service."""
    time.sleep(0.05)
    return {"waited": 50}


def user(user_id: int, verbose: bool, tag: str) -> dict[str, object]:
    return {"id": user_id, "verbose": verbose, "tag": tag}


_local = threading.local()


def row() -> dict[str, object]:
    """One row by its key, over a connection of this thread's own."""
    connection = getattr(_local, "connection", None)
    if connection is None:
        path = os.environ["BENCH_SQLITE"]
        connection = _local.connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    name, price = connection.execute("SELECT name, price FROM items WHERE id = ?", (42,)).fetchone()
    return {"name": name, "price": price}


def make_database(path: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL)")
    connection.executemany("INSERT INTO items VALUES (?, ?, ?)", ((n, f"item {n}", n * 1.25) for n in range(1000)))
    connection.commit()
    connection.close()


def user_from(path: str, query: str) -> dict[str, object]:
    """Parse path and query by hand, where a protocol has no router: the least that answers right."""
    values = dict(pair.split("=", 1) for pair in query.split("&"))
    return user(int(path[7:]), values["verbose"] == "true", values["tag"])


def answer(path: str, query: str) -> tuple[str, str]:
    """The content type and the text for a GET, for protocols without a router."""
    if path == "/json":
        return "application/json", encode(SMALL)
    if path == "/text":
        return "text/plain; charset=utf-8", TEXT
    if path.startswith("/users/"):
        return "application/json", encode(user_from(path, query))
    return "application/json", encode(JSON[path]())


JSON = {
    "/json10k": lambda: LARGE,
    "/cpu": cpu,
    "/sqlite": row,
    "/slow-cpu": slow_cpu,
    "/slow-wait": slow_wait,
}
# What an asynchronous app hands to a thread, as frameworks do for functions that block.
BLOCKS = {"/slow-cpu", "/slow-wait"}
