"""From samples to figures: medians and spreads, ratios paired by round, and the points that are to be shown.

A sample with errors is never counted as fast: it takes no part in a median, in a ratio or in a choice of the best, and is told.
"""

from __future__ import annotations

import contextlib
import operator
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from side_by_side.budget import Rate

if TYPE_CHECKING:
    from collections.abc import Callable

Sample = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """The median over rounds, the smallest, the largest, and how many rounds there were."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: list[float]) -> Spread | None:
        return cls(statistics.median(values), min(values), max(values), len(values)) if values else None

    def text(self, digits: int = 0) -> str:
        spread = f" ({self.low:,.{digits}f}–{self.high:,.{digits}f})" if self.rounds > 1 else ""
        return f"{self.median:,.{digits}f}{spread}"


class Figures:
    """The samples of one run, by server and workload."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples
        self._by: dict[tuple[str, str], dict[int, Sample]] = {}
        for sample in samples:
            self._by.setdefault((sample["server"], sample["workload"]), {})[sample["round"]] = sample

    def servers(self, workload: str) -> list[str]:
        """Who was asked this, in the order of first appearance."""
        return [server for server, asked in self._by if asked == workload]

    def by_round(self, server: str, workload: str, metric: str) -> dict[int, float]:
        """The metric in each round that went without an error."""
        return {
            round_: sample["figures"][metric]
            for round_, sample in self._by.get((server, workload), {}).items()
            if "figures" in sample and not sample["figures"]["errors"] and metric in sample["figures"]
        }

    def spread(self, server: str, workload: str, metric: str) -> Spread | None:
        return Spread.of(list(self.by_round(server, workload, metric).values()))

    def cores(self, server: str, workload: str) -> list[float]:
        """The median utilisation of each core."""
        each = list(self.by_round(server, workload, "cores").values())
        return [statistics.median(values) for values in zip(*each, strict=True)]  # type: ignore[arg-type]

    def trouble(self, server: str, workload: str) -> str:
        """What went wrong, or nothing."""
        told = []
        samples = self._by.get((server, workload), {}).values()
        errors = [sample["figures"] for sample in samples if "figures" in sample and sample["figures"]["errors"]]
        if errors:
            total = sum(figures["errors"] for figures in errors)
            asked = sum(figures.get("requests", 0) for figures in errors)
            told.append(f"{total:,.0f} errors beside {asked:,.0f} answers in {len(errors)} of {len(samples)} rounds")
        failed = [sample["failed"] for sample in samples if "failed" in sample]
        if failed:
            told.append(f"failed in {len(failed)} of {len(samples)} rounds: {failed[0]}")
        return "; ".join(told)

    def ratio(self, over: tuple[str, str, str], under: tuple[str, str, str]) -> Spread | None:
        """(server, workload, metric) over another, round by round."""
        return self.paired(operator.truediv, over, under)

    def paired(self, combine: Callable[..., float], *of: tuple[str, str, str]) -> Spread | None:
        """What is made of several (server, workload, metric), round by round, where each has a figure and none is divided by 0."""
        each = [self.by_round(*metric) for metric in of]
        made = []
        for round_ in each[0]:
            with contextlib.suppress(KeyError, ZeroDivisionError):
                made.append(combine(*(values[round_] for values in each)))
        return Spread.of(made)

    def best(self, names: list[str], workload: str, metric: str = "rps", smallest: bool = False) -> str | None:
        """Who has the best median; a server that was not always without errors is not among them."""
        medians = {
            name: spread.median
            for name in names
            if not self.trouble(name, workload) and (spread := self.spread(name, workload, metric)) is not None
        }
        if not medians:
            return None
        return (min if smallest else max)(medians, key=lambda name: medians[name])


@dataclass(frozen=True)
class Point:
    """One point of what is to be shown: a figure beside its target."""

    what: str
    target: str
    measured: str
    met: bool | None
    how: str
    # The rate that it asks for, where it is one that processor time explains.
    rate: Rate | None = None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "missed", None: "not measured"}[self.met]


def point(what: str, spread: Spread | None, bound: float, at_least: bool, unit: str, how: str, digits: int = 2) -> Point:
    sign = "≥" if at_least else "≤"
    target = f"{sign} {bound:g}{unit}"
    if spread is None:
        return Point(what, target, "–", None, how)
    met = spread.median >= bound if at_least else spread.median <= bound
    return Point(what, target, spread.text(digits) + unit, met, how)


def points(figures: Figures, families: dict[str, list[str]], many: int, no_mipyre: str) -> list[Point]:
    """Each point of what is to be shown, also where it is missed; `no_mipyre` says why mipyre was not measured, if so."""

    def best(family: str, workload: str, metric: str = "rps", smallest: bool = False) -> str:
        return figures.best(families.get(family, []), workload, metric, smallest) or "none"

    def over(workload: str, metric: str, ours: str, theirs: str) -> Spread | None:
        return figures.ratio((ours, workload, metric), (theirs, workload, metric))

    def beside(family: str, how: str) -> str:
        return no_mipyre if family == "mipyre" and no_mipyre else how

    def rated(what: str, rate: Rate, how: str) -> Point:
        return replace(point(what, rate.reached(figures), rate.times, True, "×", how), rate=rate)

    one, all_ = "polygil-1", f"polygil-{many}"
    ours = best("polygil", "json")
    found = []
    for family, bound in (("granian", 2.5), ("uvicorn", 4), ("robyn", 6), ("constant", 0.85), ("mipyre", 1.3)):
        theirs = best(family, "json")
        ceiling = over("json", "rps", "constant", theirs)
        limit = f"; the constant server is {ceiling.text(2)}×" if ceiling and family != "constant" else ""
        found.append(rated(f"small JSON, 64 connections, over {family}", Rate(ours, "json", bound, theirs, "json"),
                           beside(family, f"requests/s, {ours} over {theirs}{limit}")))
    target = 1.9 if many == 2 else round(0.95 * many, 1)
    found.append(rated(f"CPU-bound, from one worker to {many}", Rate(all_, "cpu", target, one, "cpu"), f"requests/s, {all_} over {one}"))
    granian = figures.best([name for name in families.get("granian", []) if name.endswith("-1")], "cpu") or "none"
    found.append(rated("CPU-bound, over granian with one worker", Rate(all_, "cpu", 1.9, granian, "cpu"),
                       f"requests/s, {all_} over {granian}"))
    found.append(point("CPU-bound, p99 beside granian's with one worker", over("cpu", "p99_ms", all_, granian), 1, False, "×",
                       f"p99, {all_} over {granian}"))
    mipyre = best("mipyre", "cpu")
    found.append(rated("CPU-bound, beside mipyre", Rate(all_, "cpu", 1, mipyre, "cpu"),
                       beside("mipyre", f"requests/s, {all_} over {mipyre}")))
    mipyre = best("mipyre", "cpu", "p99_ms", smallest=True)
    found.append(point("CPU-bound, p99 beside mipyre's", over("cpu", "p99_ms", all_, mipyre), 1, False, "×",
                       beside("mipyre", f"p99, {all_} over {mipyre}")))
    mixed = best("polygil", "mixed-cpu", "p99_ms", smallest=True)
    for family in ("granian", "uvicorn", "robyn", "gunicorn", "mipyre"):
        # What is asked is about a thread for each core; mipyre's pool hands requests over, as polygil does, and is told as well.
        names = families.get(family, [])
        theirs = figures.best([name for name in names if "-pool-" not in name], "mixed-cpu", "p99_ms", smallest=True) or "none"
        pool = figures.best([name for name in names if "-pool-" in name], "mixed-cpu", "p99_ms", smallest=True)
        also = f"; over {pool}, which is no thread per core, {ratio.text(2)}×" if pool and (ratio := over("mixed-cpu", "p99_ms", mixed, pool)) else ""
        found.append(point(f"mixed load, p99 of the short requests, beside {family}", over("mixed-cpu", "p99_ms", mixed, theirs),
                           0.5, False, "×", beside(family, f"p99 at the same rate, {mixed} over {theirs}{also}")))
    theirs = best("granian", "json", "cpu_us", smallest=True)
    least = best("polygil", "json", "cpu_us", smallest=True)
    found.append(point("CPU seconds per request, small JSON, beside granian", over("json", "cpu_us", least, theirs), 0.6, False,
                       "×", f"user and system, {least} over {theirs}"))
    for workers, bound in ((many, 40), (6 * many, 80)):
        found.append(point(f"memory, hello with {workers} workers", figures.spread(f"hello-{workers}", "memory", "rss_mib"), bound,
                           False, " MiB", "resident (RSS), after load", 1))
    ceiling = figures.ratio(("constant", "json-1000", "rps"), ("constant", "json", "rps"))
    keeps = f"; the constant server keeps {ceiling.text(2)}×" if ceiling else ""
    for name in (one, all_):
        found.append(point(f"memory of each idle connection, {name}", figures.spread(name, "crowd", "idle_kib"), 8, False,
                           " KiB", "growth of PSS with the idle connections open", 1))
        found.append(rated(f"1,000 connections, {name}", Rate(name, "json-1000", 0.9, name, "json"),
                           f"requests/s, over 64 connections{keeps}"))
        found.append(point(f"10,000 idle connections beside 64 busy, {name}", figures.spread(name, "crowd", "kept"), 0.9, True,
                           "×", "requests/s, over 64 connections alone"))
    return found
