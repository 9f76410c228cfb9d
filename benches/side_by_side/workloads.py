"""What is asked of each server, and the very bytes that it must answer."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import work


@dataclass(frozen=True)
class Workload:
    """One kind of load by wrk."""

    name: str
    about: str
    path: str
    expected: str
    connections: int = 64
    post_bytes: int = 0
    pipeline: int = 1
    headers: dict[str, str] = field(default_factory=dict)


SMALL = work.encode(work.SMALL)
USER = work.encode(work.user(42, True, "new"))

WRK = [
    Workload("json", "small JSON, 64 connections", "/json", SMALL),
    Workload("json-1", "small JSON, 1 connection", "/json", SMALL, connections=1),
    Workload("json-1000", "small JSON, 1,000 connections", "/json", SMALL, connections=1000),
    Workload("text", "text hello", "/text", work.TEXT),
    Workload("json10k", "10 kB of JSON", "/json10k", work.encode(work.LARGE)),
    Workload("params", "path and query parameters", "/users/42?verbose=true&tag=new", USER),
    Workload("post-1k", "POST of 1 kB", "/length", "1024", post_bytes=1024),
    Workload("post-100k", "POST of 100 kB", "/length", "102400", post_bytes=102400),
    Workload("cpu", "pure Python, about 1 ms, 16 connections", "/cpu", work.encode(work.cpu()), connections=16),
    Workload("sqlite", "one row from SQLite", "/sqlite", json.dumps({"name": "item 42", "price": 52.5}, separators=(",", ":"))),
    Workload("close", "small JSON, a connection for each request", "/json", SMALL, headers={"Connection": "close"}),
    Workload("pipelined", "small JSON, 16 requests at once on each connection", "/json", SMALL, pipeline=16),
]
BY_NAME = {workload.name: workload for workload in WRK}

# Not by wrk; `rounds` knows how.
OTHERS = {
    "mixed-cpu": "1 % of the requests compute 50 ms in Python, the rest are small JSON: latency of the short ones",
    "mixed-wait": "1 % of the requests wait 50 ms, the rest are small JSON: latency of the short ones",
    "crowd": "small JSON over 64 connections, alone and beside 10,000 idle ones",
}
