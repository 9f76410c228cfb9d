"""From a request to its function, four ways, and from there to a response, in one sub-interpreter and one run.

    .venv/bin/python benches/dispatch_cost.py

Prints nanoseconds per call: the median over the rounds, the smallest and the largest, and how much more than the bare call.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from polygil import _native

ROUNDS, CALLS = 15, 100_000


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
    rows = _native.dispatch_cost("hello", "index", ROUNDS, CALLS)
    bare = statistics.median(dict(rows)["bare C-API call"])
    print(f"CPython {sys.version.split()[0]}, {ROUNDS} interleaved rounds of {CALLS} calls, ns per call")
    print(f"{'way':36}{'median':>9}{'min':>9}{'max':>9}{'over bare':>11}")
    for name, figures in rows:
        median = statistics.median(figures)
        print(f"{name:36}{median:9.0f}{min(figures):9.0f}{max(figures):9.0f}{median - bare:+11.0f}")


if __name__ == "__main__":
    main()
