"""What clients that are slow on purpose cost those that are not, and when they are cut.

    .venv/bin/python benches/slow_clients.py [--rounds 3] [--seconds 10] [--scale 1]

A normal client asks 200 times a second over one connection. Its latencies are taken alone, and beside each kind of disturbance:

- slowloris: 2,000 connections that send a byte of a request's head each second, and come back when they are cut;
- idle: 10,000 connections that got one answer each, and say nothing;
- slow readers: 500 connections that ask for 1 MiB and read 1 KiB each second.

Rounds are interleaved, and the quiet runs stand between the others. What the disturber measures is told, too: after how many seconds
the server cut a connection, and with what. On a machine with few cores the disturber competes with the server for them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from multiprocessing.connection import Connection
    from typing import Any

POLYGIL = Path(sys.executable).parent / "polygil"
APP = """
from polygil import App

app = App()
LARGE = b"x" * (1 << 20)


@app.get("/")
def index() -> str:
    return "hello"


@app.get("/large")
def large() -> bytes:
    return LARGE
"""
RATE = 200
# The server's default.
HEAD_TIMEOUT_S = 10
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "slow_app.py").write_text(APP)
        port_file = Path(directory) / "port"
        command = [POLYGIL, "serve", "slow_app:app", "--app-dir", directory, "--port", "0", "--port-file", port_file, *options]
        process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
        try:
            while not port_file.exists():
                assert process.poll() is None
                time.sleep(0.01)
            yield process, int(port_file.read_text())
        finally:
            process.terminate()
            process.wait(60)


def resident_mib(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def normal(port: int, seconds: float) -> list[float]:
    """Latencies in milliseconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    taken = []
    start = time.perf_counter()
    for number in range(int(seconds * RATE)):
        # The next tick, whatever the last request took.
        time.sleep(max(0.0, start + number / RATE - time.perf_counter()))
        begun = time.perf_counter()
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        taken.append((time.perf_counter() - begun) * 1000)
    connection.close()
    return taken


class Cuts:
    """What became of the slow connections."""

    def __init__(self) -> None:
        self.after: list[float] = []
        self.answers: dict[str, int] = {}
        self.open = 0

    def cut(self, begun: float, answer: bytes) -> None:
        self.after.append(time.monotonic() - begun)
        name = answer[9:12].decode("latin-1") if answer else "closed"
        self.answers[name] = self.answers.get(name, 0) + 1


async def slowloris(port: int, cuts: Cuts) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        cuts.open += 1
        begun = time.monotonic()
        answer = asyncio.ensure_future(reader.read(4096))
        sent = 0
        while not answer.done():
            byte = HEAD[sent : sent + 1] if sent < len(HEAD) else b"X"
            sent += 1
            with contextlib.suppress(ConnectionError):
                writer.write(byte)
            await asyncio.wait([answer], timeout=1)
        text = b"" if answer.exception() else answer.result()
        cuts.open -= 1
        cuts.cut(begun, text)
        writer.close()


async def idle(port: int, cuts: Cuts) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD + b"\r\n")
    await reader.readuntil(b"hello")
    cuts.open += 1
    begun = time.monotonic()
    rest = b""
    with contextlib.suppress(ConnectionError):
        rest = await reader.read(4096)
    cuts.open -= 1
    cuts.cut(begun, rest)
    writer.close()


async def slow_reader(port: int, cuts: Cuts) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        cuts.open += 1
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while await reader.read(1024):
                await asyncio.sleep(1)
        cuts.open -= 1
        cuts.cut(begun, b"")
        writer.close()


async def disturb(kind: Callable[[int, Cuts], Coroutine[Any, Any, None]], count: int, port: int, pipe: Connection) -> None:
    cuts = Cuts()
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.ensure_future(kind(port, cuts)))
        if kind is slowloris:
            # They are cut after the head timeout and come back at once: in step, if they began in step.
            await asyncio.sleep(HEAD_TIMEOUT_S / count)
        elif len(tasks) % 100 == 0:
            await asyncio.sleep(0.01)
    while cuts.open < count * 0.95:
        await asyncio.sleep(0.05)
    pipe.send("ready")
    while not pipe.poll():
        await asyncio.sleep(0.1)
    pipe.send((cuts.open, cuts.after, cuts.answers))


def child(name: str, count: int, port: int, pipe: Connection) -> None:
    asyncio.run(disturb(KINDS[name], count, port, pipe))


KINDS = {"slowloris": slowloris, "idle": idle, "slow readers": slow_reader}


def percentiles(taken: list[float]) -> tuple[float, float]:
    ordered = sorted(taken)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]


@contextmanager
def disturbed(name: str, count: int, port: int, found: dict[str, Any]) -> Iterator[None]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=child, args=(name, count, port, theirs))
    process.start()
    assert ours.poll(120) and ours.recv() == "ready"
    try:
        yield
    finally:
        ours.send("stop")
        still_open, after, answers = ours.recv()
        found.setdefault("after", []).extend(after)
        found["open"] = still_open
        for answer, times in answers.items():
            found.setdefault("answers", {}).setdefault(answer, 0)
            found["answers"][answer] += times
        process.terminate()
        process.join()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=10)
    arguments.add_argument("--scale", type=float, default=1, help="of the numbers of connections")
    arguments.add_argument("--only", choices=KINDS, help="one kind of disturbance")
    arguments.add_argument("--json", action="store_true")
    given = arguments.parse_args()
    counts = {"slowloris": 2000, "idle": 10_000, "slow readers": 500}
    counts = {name: max(1, int(count * given.scale)) for name, count in counts.items() if given.only in (None, name)}
    quiet: list[tuple[float, float]] = []
    loud: dict[str, list[tuple[float, float]]] = {name: [] for name in counts}
    found: dict[str, dict[str, Any]] = {name: {} for name in counts}
    memory: dict[str, float] = {}
    # The minimum rate and the head's time are the defaults; an idle connection is cut sooner than by default, to see it here.
    options = ["--max-connections", "20000", "--idle-timeout", f"{int(given.seconds) + 15}s", "--backlog", "4096"]
    for _ in range(given.rounds):
        for name, count in counts.items():
            with serving(*options) as (process, port):
                normal(port, 1)
                quiet.append(percentiles(normal(port, given.seconds)))
                before = resident_mib(process)
                with disturbed(name, count, port, found[name]):
                    loud[name].append(percentiles(normal(port, given.seconds)))
                    memory[name] = resident_mib(process) - before
    quiet_p50, quiet_p99 = (statistics.median(column) for column in zip(*quiet, strict=True))
    result = {"quiet": {"p50_ms": quiet_p50, "p99_ms": quiet_p99}}
    print(f"{'':14}{'connections':>12}{'p50 ms':>9}{'p99 ms':>9}{'× quiet p99':>13}{'MiB':>8}  cut after (s), with what")
    print(f"{'quiet':14}{1:>12}{quiet_p50:>9.2f}{quiet_p99:>9.2f}")
    for name, count in counts.items():
        p50, p99 = (statistics.median(column) for column in zip(*loud[name], strict=True))
        after = found[name].get("after", [])
        told = f"{min(after):.1f} to {max(after):.1f}, {found[name].get('answers')}" if after else "none in this time"
        print(f"{name:14}{count:>12}{p50:>9.2f}{p99:>9.2f}{p99 / quiet_p99:>13.2f}{memory[name]:>8.1f}  {told}")
        result[name] = {"connections": count, "p50_ms": p50, "p99_ms": p99, "memory_mib": memory[name], "cuts": len(after)}
    if given.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
