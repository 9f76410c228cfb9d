"""Why a target is missed: the processors' time that it leaves for a request, beside what server and load take of it.

Server and load share the processors here. At the rate that a target asks for there is a certain time of all processors for each request;
what the load generator takes of it is gone, and the rest is what a server may take. What servers do take was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from side_by_side.figures import Figures, Spread


@dataclass(frozen=True)
class Rate:
    """What a point asks of `ours` under `workload`: so many times the requests/s that `server` had under `base`."""

    ours: str
    workload: str
    times: float
    server: str
    base: str

    def reached(self, figures: Figures) -> Spread | None:
        """How many times it was."""
        return figures.ratio((self.ours, self.workload, "rps"), (self.server, self.base, "rps"))

    def row(self, figures: Figures, what: str, cores: int) -> list[str] | None:
        """The point's line in the table; None where something was not measured."""
        theirs = (self.server, self.base, "rps")
        load = ((self.ours, self.workload, "wrk_cpu"), (self.ours, self.workload, "rps"))
        asked = figures.paired(lambda rps: self.times * rps, theirs)
        left = figures.paired(lambda rps, busy, ours: self.whole_us(rps, cores) - load_us(busy, ours), theirs, *load)
        if not asked or not left:
            return None
        columns = [
            figures.paired(lambda rps: self.whole_us(rps, cores), theirs), figures.paired(load_us, *load), left,
            figures.spread(self.ours, self.workload, "cpu_us"), figures.spread("constant", self.workload, "cpu_us")]
        return [what, f"{asked.median:,.0f}", *(f"{column.median:,.1f}" if column else "–" for column in columns)]

    def whole_us(self, theirs: float, cores: int) -> float:
        """Processor time for each request, at the rate that is asked for where `server` had so many requests/s."""
        return cores * 1e6 / (self.times * theirs)


def load_us(busy: float, rps: float) -> float:
    """Processor time that the load takes for each request, from its share of a core."""
    return busy * 1e6 / rps


HEADER = ["missed", "requests/s it asks for", "µs of all cores for each", "the load takes", "left for a server", "polygil takes",
          "the constant server takes"]

THROUGHPUT = (
    "Small JSON: most of what polygil takes, and nearly all of what the constant server takes, is the kernel's, for receiving and sending "
    "(PROFILE.md has the shares). Where no more than that is left, no server on these processors could be as fast; it would take a "
    "load generator on a machine of its own. Then CPU time per request is what counts, and by that alone polygil would have {ratios} "
    "of the requests/s.")
CPU_BOUND = (
    "CPU-bound: one worker alone is never idle, so a request takes {worker:,.0f} µs of it, the handler and the answer's way out. All else is the "
    "thread that reads requests, {io:,.0f} µs with {workers} workers, on a processor of its own with one worker and on the workers' own "
    "with {workers}. Without it there would be {without:.2f}× at most. A reactor of its own, and a worker that looks for requests between two "
    "handlers, gave 1.5 % in a trial; ARCHITECTURE.md has the figures, and what the way through a queue buys: mixed "
    "load's p99.")
CROWD = (
    "1,000 connections: what belongs to a connection has left the caches when its turn comes again, in the kernel and in the load generator "
    "as well: the constant server, which has next to nothing of its own, loses as said above.")


def compute_bound(figures: Figures, many: int) -> dict[str, float] | None:
    """Of a CPU-bound request: µs of its worker, µs of the server beside that when all work, and how many times the throughput of one
    worker there would be without those."""
    one, all_ = ("polygil-1", "cpu", "rps"), (f"polygil-{many}", "cpu", "rps")
    takes, busy = (f"polygil-{many}", "cpu", "cpu_us"), (f"polygil-{many}", "cpu", "wrk_cpu")
    found = {
        "worker": figures.paired(lambda alone: 1e6 / alone, one),
        "io": figures.paired(lambda us, alone: us - 1e6 / alone, takes, one),
        "without": figures.paired(lambda alone, share, rps: many / (1 + load_us(share, rps) * alone / 1e6), one, busy, all_),
    }
    return {name: spread.median for name, spread in found.items() if spread} if all(found.values()) else None


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
