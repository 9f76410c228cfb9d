"""Many idle connections: what each costs in memory, and what they cost those that are busy."""

from __future__ import annotations

import resource
import socket
from typing import TYPE_CHECKING, Any

from side_by_side import load
from side_by_side.meter import Meter, memory
from side_by_side.workloads import BY_NAME

if TYPE_CHECKING:
    from side_by_side.servers import Running

REQUEST = b"GET /json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def possible(wanted: int) -> int:
    """As many connections as this process may hold, after its limit has been raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted if hard == resource.RLIM_INFINITY else max(0, min(wanted, hard - 200))


def open_idle(port: int, count: int) -> list[socket.socket]:
    """Connections that each got one answer, and now say nothing."""
    held: list[socket.socket] = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=30)
        connection.sendall(REQUEST)
        received = b""
        while not received.endswith(b"}"):
            piece = connection.recv(4096)
            if not piece:
                raise OSError(f"closed after {len(held)} connections")
            received += piece
        held.append(connection)
    return held


def measure(running: Running, count: int, seconds: float) -> dict[str, Any]:
    """64 busy connections alone, then beside the idle ones."""
    workload = BY_NAME["json"]
    count = possible(count)
    load.check(running.port, workload)
    alone = load.wrk(running.port, workload, seconds)
    before = memory(running.pid)
    held = open_idle(running.port, count)
    try:
        after = memory(running.pid)
        with Meter(running.pid) as meter:
            figures: dict[str, Any] = load.wrk(running.port, workload, seconds)
    finally:
        for connection in held:
            connection.close()
    figures |= {"idle": count, "idle_kib": (after.pss - before.pss) * 1024 / count, "rps_alone": alone["rps"]}
    figures |= {"kept": figures["rps"] / alone["rps"], "errors": figures["errors"] + alone["errors"], "cores": meter.cores}
    return figures
