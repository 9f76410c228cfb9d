"""One build of polygil against another: `make against REV=…` says what a change costs.

Both serve the same app in turn, in paired rounds (A B, then B A), so that what the machine does meanwhile falls on both alike. A ratio
is taken within a round: the median of the rounds, and the interval that holds the true median with at least 95 % confidence (order
statistics, no assumption about how the rounds are spread). The server's CPU time per request is the figure to trust; requests/s
stand beside it. Instructions are counted by callgrind over the whole server with its Python, with no other load: of many requests less
those of few, so that the start is not in it.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

import work

from side_by_side import load
from side_by_side.meter import Meter, busy_before
from side_by_side.servers import APPS, Server, free_port, polygil_command, started, stop
from side_by_side.workloads import BY_NAME

FEW, MANY = 2_000, 6_000
CONFIDENCE = 0.95


def median_interval(values: list[float]) -> tuple[float, float]:
    """The narrowest pair of order statistics between which the true median lies with at least `CONFIDENCE`; with too few, all of them."""
    ordered, count = sorted(values), len(values)
    cut = 0
    # Below the k-th smallest the median lies with the chance that fewer than k of `count` fair coins fall heads.
    while 2 * sum(math.comb(count, heads) for heads in range(cut + 1)) / 2**count <= 1 - CONFIDENCE and cut < count // 2:
        cut += 1
    cut = max(0, cut - 1)
    return ordered[cut], ordered[count - 1 - cut]


def ratio_line(name: str, ratios: list[float]) -> str:
    low, high = median_interval(ratios)
    return f"{name:44}{statistics.median(ratios):7.3f}   ({low:.3f} to {high:.3f})   {len(ratios)} rounds"


def one(server: Server, workload: str, database: str, warm_s: float, seconds: float) -> tuple[float, float]:
    """CPU µs per request and requests/s."""
    with started(server, database) as running:
        load.check(running.port, BY_NAME[workload])
        load.wrk(running.port, BY_NAME[workload], warm_s)
        with Meter(running.pid) as meter:
            figures = load.wrk(running.port, BY_NAME[workload], seconds)
    if figures["errors"]:
        raise ValueError(f"{server.name}: {figures['errors']:.0f} errors")
    return meter.cpu_s / figures["requests"] * 1e6, figures["rps"]


def ask(port: int, path: str, requests: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    for _ in range(requests):
        connection.request("GET", path)
        connection.getresponse().read()
    connection.close()


def instructions(program: str, path: str, requests: int) -> int:
    """Of one whole life of a server with one worker that answers so many requests, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        script = Path(program).read_text().splitlines()[0].removeprefix("#!")
        command = [part.format(port=port) for part in polygil_command(program, "hello_app:app", "--workers", "1")]
        out = f"{directory}/callgrind"
        # PYTHONHASHSEED: so that no dict is another one in each run.
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", script, *command], cwd=APPS, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONHASHSEED": "0"})
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    ask(port, path, 1)
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise
                    time.sleep(0.1)
            ask(port, path, requests)
            process.terminate()
            process.wait(60)
        finally:
            stop(process)
        found = re.search(r"^(?:summary|totals): (\d+)", Path(out).read_text(), re.MULTILINE)
    if not found:
        raise ValueError("callgrind counted nothing")
    return int(found[1])


def per_request(program: str, path: str) -> float:
    return (instructions(program, path, MANY) - instructions(program, path, FEW)) / (MANY - FEW)


def main() -> None:
    parser = argparse.ArgumentParser(prog="side_by_side.against", description=__doc__)
    parser.add_argument("new", help="the command of the build in question")
    parser.add_argument("old", help="the command of the build that it is held against")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--workloads", default="json,cpu,json-1000", help="names of side_by_side.workloads, by comma")
    parser.add_argument("--workers", default="1,2", help="numbers of workers, by comma")
    parser.add_argument("--no-instructions", action="store_true", help="no callgrind")
    given = parser.parse_args()
    print(f"{given.new} over {given.old}; busy before: {busy_before()}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        database = f"{directory}/items.sqlite"
        work.make_database(database)
        for workload in given.workloads.split(","):
            for workers in given.workers.split(","):
                pair = [Server(name, "polygil", name, polygil_command(program, "polygil_app:app", "--workers", workers))
                        for name, program in (("new", given.new), ("old", given.old))]
                cpu, rate, old_cpu = [], [], []
                for round_ in range(given.rounds):
                    got = {server.name: one(server, workload, database, 0.5, given.seconds)
                           for server in (pair if round_ % 2 == 0 else pair[::-1])}
                    cpu.append(got["new"][0] / got["old"][0])
                    rate.append(got["new"][1] / got["old"][1])
                    old_cpu.append(got["old"][0])
                name = f"{BY_NAME[workload].about}, workers {workers}"
                print(f"{name}: {statistics.median(old_cpu):.1f} µs a request before")
                print(ratio_line("  server CPU per request", cpu))
                print(ratio_line("  requests/s", rate), flush=True)
    if not given.no_instructions:
        new, old = per_request(given.new, "/json"), per_request(given.old, "/json")
        print(f"instructions a request, one at a time, with its Python: {new:,.0f} and {old:,.0f} before: {new / old:.3f}")


if __name__ == "__main__":
    sys.exit(main())
