"""Mixed load at one given rate: Poisson arrivals, one in a hundred slow, and the latency of the short ones from when they were due.

wrk asks again when it has been answered, so that it waits politely while a server is stuck, and two servers would be compared at
different rates. The generator in benches/open_loop keeps its rate whatever the server does.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any


def parse(output: str) -> dict[str, Any]:
    """The generator's line of JSON; what was not answered is an error."""
    raw = json.loads(output)
    figures = {name: raw[name] for name in ("requests", "errors", "seconds")}
    figures["rps"] = raw["requests"] / raw["seconds"]
    for name in ("p50", "p90", "p99", "p999", "max"):
        figures[f"{name}_ms"] = raw["short"][name] / 1000
        figures[f"slow_{name}_ms"] = raw["slow"][name] / 1000
    return figures


def run(program: str, port: int, slow_path: str, rate: int, seconds: float, seed: int) -> dict[str, Any]:
    """One run: the same seed gives the same arrivals to each server of a round."""
    command = [program, str(port), "/json", slow_path, str(rate), str(max(1, round(seconds))), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode:
        raise ValueError(f"the generator ended with {done.returncode}: {done.stderr[-500:]}")
    return parse(done.stdout)
