"""What a server used, from /proc: CPU time and memory of its whole tree of processes, and how busy each core was."""

from __future__ import annotations

import os
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def parse_stat(text: str) -> tuple[int, float]:
    """Parent and CPU seconds (user + system) of one /proc/PID/stat; the name in it may hold spaces and parentheses."""
    fields = text[text.rindex(")") + 2 :].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS


def tree(root: int) -> dict[int, float]:
    """Each process of the tree below `root`, itself included, and its CPU seconds."""
    seen: dict[int, tuple[int, float]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                seen[int(entry)] = parse_stat(Path(f"/proc/{entry}/stat").read_text())
            except (FileNotFoundError, ProcessLookupError):
                continue
    found = {root: seen[root][1]} if root in seen else {}
    grown = True
    while grown:
        new = {pid: cpu for pid, (parent, cpu) in seen.items() if parent in found and pid not in found}
        found.update(new)
        grown = bool(new)
    return found


def kib(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0


@dataclass(frozen=True)
class Memory:
    """MiB. PSS shares out what forked processes have in common; RSS counts it once for each."""

    rss: float
    pss: float


def memory(root: int) -> Memory:
    rss = pss = 0
    for pid in tree(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        rss += kib(text, "Rss")
        pss += kib(text, "Pss")
    return Memory(rss / 1024, pss / 1024)


def parse_cores(text: str) -> list[tuple[int, int]]:
    """(busy, all) ticks of each core from /proc/stat; idle and iowait are not busy."""
    cores = []
    for line in text.splitlines():
        if re.match(r"cpu\d", line):
            ticks = [int(field) for field in line.split()[1:9]]
            cores.append((sum(ticks) - ticks[3] - ticks[4], sum(ticks)))
    return cores


def utilisation(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> list[float]:
    """Share of the time between that each core was busy, whoever kept it busy."""
    return [
        (b1 - b0) / (a1 - a0) if a1 > a0 else 0.0 for (b0, a0), (b1, a1) in zip(before, after, strict=True)
    ]


def cores_now() -> list[tuple[int, int]]:
    return parse_cores(Path("/proc/stat").read_text())


def busy_before(seconds: int = 3) -> str:
    """What the machine does beside the benchmarks, watched for so long before they begin: a percentage first."""
    before = cores_now()
    time.sleep(seconds)
    return f"{statistics.mean(utilisation(before, cores_now())):.0%} of the processors, over {seconds} s"


class Meter:
    """CPU seconds of a tree, and of each core, between `with` and its end."""

    def __init__(self, root: int) -> None:
        self.root = root

    def __enter__(self) -> Meter:
        self._tree = tree(self.root)
        self._cores = cores_now()
        return self

    def __exit__(self, *_: object) -> None:
        after = tree(self.root)
        # A process that came in between started at nothing; one that went took its count along, which is said as `lost`.
        self.cpu_s = sum(cpu - self._tree.get(pid, 0.0) for pid, cpu in after.items())
        self.lost = len(self._tree.keys() - after.keys())
        self.cores = utilisation(self._cores, cores_now())
