"""The load: wrk, and what it says."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from side_by_side.workloads import Workload

SCRIPT = Path(__file__).parent / "report.lua"
ERRORS = ("connect", "read", "write", "status", "timeout")


class WrongAnswer(Exception):
    """A server does not answer what it must."""


def parse_wrk(output: str) -> dict[str, float]:
    """The line that report.lua prints: requests per second, percentiles in ms, errors by kind."""
    lines = [line for line in output.splitlines() if line.startswith("WRK ")]
    if len(lines) != 1:
        raise ValueError(f"wrk printed no figures: {output[-500:]!r}")
    raw = json.loads(lines[0][4:])
    seconds = raw["duration_us"] / 1e6
    figures = {"requests": raw["requests"], "seconds": seconds, "rps": raw["requests"] / seconds}
    figures |= {f"{name}_ms": raw[f"{name}_us"] / 1000 for name in ("p50", "p90", "p99", "p999", "max")}
    figures |= {f"errors_{name}": raw[name] for name in ERRORS}
    figures["errors"] = sum(raw[name] for name in ERRORS)
    return figures


def check(port: int, workload: Workload) -> None:
    """See one answer, byte for byte."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        method, body = ("POST", b"x" * workload.post_bytes) if workload.post_bytes else ("GET", None)
        connection.request(method, workload.path, body, workload.headers)
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    if answer.status != 200 or content != workload.expected.encode():
        raise WrongAnswer(f"{workload.path}: {answer.status} {content[:200]!r}")


def wrk(port: int, workload: Workload, seconds: float) -> dict[str, float]:
    """One run; the figures, and what wrk itself took of the CPU."""
    command = ["wrk", "-t1", f"-c{workload.connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
    for name, value in workload.headers.items():
        command += ["-H", f"{name}: {value}"]
    command += ["-s", str(SCRIPT), f"http://127.0.0.1:{port}{workload.path}"]
    environment = os.environ | {"WRK_PIPELINE": str(workload.pipeline), "WRK_BODY_BYTES": str(workload.post_bytes)}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=seconds + 60)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - started
    if done.returncode:
        raise ValueError(f"wrk ended with {done.returncode}: {done.stderr[-500:]}")
    figures = parse_wrk(done.stdout)
    figures["wrk_cpu"] = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / took
    return figures
