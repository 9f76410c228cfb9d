"""The measurements of the README, made in one run: `make bench`.

    .venv/bin/python benches/report.py [--rounds 7]

Each figure is the median over interleaved rounds, with the smallest and the largest beside it; what is compared is measured in
the same run. Speeds depend on the machine; the ratios are the point.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
POLYGIL = Path(sys.executable).parent / "polygil"


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, ready_s: float) -> None:
        self.process, self.port, self.ready_s = process, port, ready_s

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) / 1024

    def get(self, path: str) -> bytes:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        answer = connection.getresponse().read()
        connection.close()
        return answer


@contextmanager
def serving(target: str, workers: int, *options: str) -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as directory:
        port_file = Path(directory) / "port"
        command = [POLYGIL, "serve", target, "--app-dir", ROOT / "examples", "--port", "0", "--port-file", port_file]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*map(str, command), "--workers", str(workers), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not port_file.exists():
                if process.poll() is not None:
                    sys.exit(f"polygil serve {target} ended with {process.returncode}")
                time.sleep(0.0005)
            yield Served(process, int(port_file.read_text()), time.perf_counter() - started)
        finally:
            process.terminate()
            process.wait()


def spread(figures: list[float], digits: int = 0) -> str:
    return f"{statistics.median(figures):,.{digits}f} ({min(figures):,.{digits}f}–{max(figures):,.{digits}f})"


def requests_per_second(served: Served, path: str, at_once: int, seconds: float) -> float:
    """Closed loop with plain sockets: enough for handlers that take milliseconds."""
    deadline = time.perf_counter() + seconds

    def ask(_number: int) -> int:
        connection = HTTPConnection("127.0.0.1", served.port, timeout=60)
        done = 0
        while time.perf_counter() < deadline:
            connection.request("GET", path)
            connection.getresponse().read()
            done += 1
        connection.close()
        return done

    started = time.perf_counter()
    with ThreadPoolExecutor(at_once) as clients:
        done = sum(clients.map(ask, range(at_once)))
    return done / (time.perf_counter() - started)


def cpu_speed_up(rounds: int) -> list[tuple[str, str]]:
    """A pure-Python CPU handler with one worker and with two, turn by turn."""
    one: list[float] = []
    two: list[float] = []
    with serving("cpu:app", 1) as single, serving("cpu:app", 2) as double:
        for served in (single, double):
            requests_per_second(served, "/primes?below=20000", 2, 0.5)
        for _ in range(rounds):
            one.append(requests_per_second(single, "/primes?below=20000", 4, 2))
            two.append(requests_per_second(double, "/primes?below=20000", 4, 2))
    ratios = [b / a for a, b in zip(one, two, strict=True)]
    return [
        ("CPU-bound handler, 1 worker, requests/s", spread(one)),
        ("CPU-bound handler, 2 workers, requests/s", spread(two)),
        ("two workers over one, same round", spread(ratios, 2) + " times"),
    ]


def start_time(rounds: int) -> list[tuple[str, str]]:
    """From exec of the Python process to the port being served, and what of it is the bare interpreter."""
    ready: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        with serving("hello:app", 2) as served:
            ready.append(served.ready_s * 1000)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare.append((time.perf_counter() - started) * 1000)
    return [("2 workers ready after exec, ms", spread(ready)), ("of which a bare Python start, ms", spread(bare))]


def memory() -> list[tuple[str, str]]:
    """Resident memory of hello, and what each further interpreter adds."""
    figures = {}
    for workers in (1, 2, 9):
        with serving("hello:app", workers) as served:
            for _ in range(200):
                served.get("/")
            figures[workers] = served.resident_mib()
    return [
        ("resident memory, hello with 2 workers, MiB", f"{figures[2]:.1f}"),
        ("each further interpreter, MiB", f"{(figures[9] - figures[1]) / 8:.1f}"),
    ]


def throughput(rounds: int) -> list[tuple[str, str]]:
    """Small JSON over 64 keep-alive connections; the load generator takes its share of the same cores."""
    if shutil.which("wrk") is None:
        return [("small JSON, requests/s", "not measured: wrk is not installed")]
    figures: dict[int, list[float]] = {1: [], 2: []}
    tails: dict[int, list[float]] = {1: [], 2: []}
    with serving("hello:app", 1) as single, serving("hello:app", 2) as double:
        for _ in range(rounds):
            for workers, served in ((1, single), (2, double)):
                url = f"http://127.0.0.1:{served.port}/"
                command = ["wrk", "-t1", "-c64", "-d2s", "--latency", url]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
                tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
                assert rate is not None and tail is not None and "Non-2xx" not in output, output
                figures[workers].append(float(rate[1]))
                tails[workers].append(float(tail[1]) * {"us": 0.001, "ms": 1, "s": 1000}[tail[2]])
    return [
        (f"small JSON, 64 connections, {workers} worker{'s' * (workers > 1)}, requests/s; p99, ms",
         f"{spread(figures[workers])}; {spread(tails[workers], 1)}")
        for workers in figures
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the table here")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"CPython {sys.version.split()[0]}, {cores} cores; median (smallest–largest) of {options.rounds} rounds\n")
    rows: list[tuple[str, str]] = []
    for part in (lambda: cpu_speed_up(options.rounds), lambda: throughput(options.rounds),
                 lambda: start_time(options.rounds), memory):
        for name, figure in part():
            print(f"{name:70} {figure}", flush=True)
            rows.append((name, figure))
    if options.json is not None:
        options.json.write_text(json.dumps(dict(rows), ensure_ascii=False, indent=2) + "\n")


if __name__ == "__main__":
    main()
