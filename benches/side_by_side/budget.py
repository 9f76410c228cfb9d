"""Why a target is missed: the processors' time that it leaves for a request, beside what server and load take of it.

Server and load share the processors here. At the rate that a target asks for there is a certain time of all processors for each request;
what the load generator takes of it is gone, and the rest is what a server may take. What servers do take was measured.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from side_by_side.figures import Figures


@dataclass(frozen=True)
class Budget:
    """Processor time of one request, in µs, at the rate that a target asks for."""

    whole: float
    load: float

    @classmethod
    def at(cls, figures: Figures, rate: float, ours: str, workload: str, cores: int) -> Budget | None:
        """At `rate` requests/s, with a load generator that takes for each what it took of `ours`."""
        busy, rps = figures.spread(ours, workload, "wrk_cpu"), figures.spread(ours, workload, "rps")
        if not busy or not rps or not rate:
            return None
        return cls(cores * 1e6 / rate, busy.median * 1e6 / rps.median)

    @property
    def left(self) -> float:
        return self.whole - self.load


@dataclass(frozen=True)
class Rate:
    """What a missed point asks for: so many times the requests/s that `server` had under `base`, of `ours` under `workload`."""

    ours: str
    workload: str
    times: float
    server: str
    base: str

    def row(self, figures: Figures, what: str, cores: int) -> list[str] | None:
        """The point's line in the table; None where something was not measured."""
        theirs = figures.spread(self.server, self.base, "rps")
        takes = figures.spread(self.ours, self.workload, "cpu_us")
        budget = theirs and Budget.at(figures, self.times * theirs.median, self.ours, self.workload, cores)
        if not budget or not takes or not theirs:
            return None
        constant = figures.spread("constant", self.workload, "cpu_us")
        return [what, f"{self.times * theirs.median:,.0f}", f"{budget.whole:,.1f}", f"{budget.load:,.1f}", f"{budget.left:,.1f}",
                f"{takes.median:,.1f}", f"{constant.median:,.1f}" if constant else "–"]


HEADER = ["missed", "requests/s it asks for", "µs of all cores for each", "the load takes", "left for a server", "polygil takes",
          "the constant server takes"]

THROUGHPUT = (
    "Small JSON: three quarters of what polygil takes, and nearly all of what the constant server takes, is the kernel's, for receiving and "
    "sending (PROFILE.md has the shares). Where no more than that is left, no server on these processors could be as fast; it would take a "
    "load generator on a machine of its own. Then CPU time per request is what counts, and by that alone polygil would have {ratios} "
    "of the requests/s.")
CPU_BOUND = (
    "CPU-bound: one worker alone is never idle, so a request takes {worker:,.0f} µs of it, the handler and the answer's way out. All else is the "
    "thread that reads requests, {io:,.0f} µs with {workers} workers, on a processor of its own with one worker and on the workers' own "
    "with {workers}. Without it there would be {without:.2f}× at most. It would take a reactor without a helper thread, in which a worker can "
    "look for requests between two handlers; ARCHITECTURE.md says what was tried, and what the way through a queue buys: mixed load's p99.")
CROWD = (
    "1,000 connections: what belongs to a connection has left the caches when its turn comes again, in the kernel and in the load generator "
    "as well: the constant server, which has next to nothing of its own, loses as said above.")


def compute_bound(figures: Figures, many: int) -> dict[str, float] | None:
    """Of a CPU-bound request, medians of what each round says: µs of its worker, µs of the server beside that when all work, and how many
    times the throughput of one worker there would be without those."""
    one, all_ = (figures.by_round(f"polygil-{count}", "cpu", "rps") for count in (1, many))
    takes, busy = (figures.by_round(f"polygil-{many}", "cpu", metric) for metric in ("cpu_us", "wrk_cpu"))
    rounds = [round_ for round_ in one if round_ in all_ and round_ in takes and round_ in busy]
    if not rounds:
        return None
    worker = [1e6 / one[round_] for round_ in rounds]
    load = [busy[round_] * 1e6 / all_[round_] for round_ in rounds]
    return {
        "worker": statistics.median(worker),
        "io": statistics.median(takes[round_] - w for round_, w in zip(rounds, worker, strict=True)),
        "without": statistics.median(many * w / (w + l) for w, l in zip(worker, load, strict=True)),
    }


def told(figures: Figures, missed: list[tuple[str, Rate]], cores: int, many: int) -> tuple[list[str], list[list[str]]]:
    """Paragraphs and rows for the points that were missed."""
    rows = [row for what, rate in missed if (row := rate.row(figures, what, cores))]
    kinds = {rate.workload for _, rate in missed}
    text = []
    if "json" in kinds:
        ratios = [
            f"{ratio.median:.2f}× {rate.server}'s"
            for _, rate in missed
            if rate.workload == "json" and (ratio := figures.ratio((rate.server, "json", "cpu_us"), (rate.ours, "json", "cpu_us")))
        ]
        text.append(THROUGHPUT.format(ratios=", ".join(ratios)))
    cpu = compute_bound(figures, many)
    if "cpu" in kinds and cpu:
        text.append(CPU_BOUND.format(workers=many, **cpu))
    if "json-1000" in kinds:
        text.append(CROWD)
    return text, rows
