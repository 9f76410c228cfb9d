"""Where the time of one request goes, kept as text: `make profile` writes docs/generated/PROFILE.md.

Instructions by callgrind, over benches/path: the same figures on a busy machine as on a quiet one. The share of each library by perf,
over servers under wrk, times the CPU time of one request: how much of it is the kernel's, which no server can save.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import work

from side_by_side import load, report
from side_by_side.meter import Meter, busy_before, tree
from side_by_side.servers import ROOT, Server, all_servers, started
from side_by_side.workloads import BY_NAME, Workload

BENCHES = {"whole::1$": "one small request", "whole::16$": "16 at once", "whole_browser$": "what a browser sends"}
AT_ONCE = {"whole::16$": 16}
SAMPLES, SIZE = 10, 100
# The function whose instructions are counted, with all that it calls.
WHOLE = "*World::exchange"
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "dist" / "examples"
# Whose time is split, and under which load. The constant server is what is left where there is no Python.
PROFILED = [(name, "json") for name in ("polygil-1", "constant", "granian-rsgi-1", "uvicorn-1")]
PROFILED += [(name, "json-1000") for name in ("polygil-1", "constant")]
# Whose system calls are counted: handlers that run where the I/O is done, and handlers that are too long for that.
COUNTED = [("polygil-1", "json"), ("constant", "json"), ("granian-rsgi-1", "json"), ("polygil-1", "json-1000"), ("constant", "json-1000"),
           ("polygil-2", "cpu"), ("granian-rsgi-2", "cpu")]
CALLS = {"recv": ("recvfrom", "recvmsg"), "send": ("sendto", "sendmsg", "writev"), "epoll_ctl": ("epoll_ctl",),
         "epoll_wait": ("epoll_wait", "epoll_pwait", "epoll_pwait2"), "eventfd": ("read", "write"), "timer": ("timerfd_settime",),
         "futex": ("futex",)}


def place(file: str) -> str:
    """What a source file is part of."""
    found = re.search(r"(?:^|/)src/(http|dispatch|server|io|python|router|task)\b", file) if "/registry/" not in file else None
    if found:
        return found[1]
    found = re.search(r"/registry/src/[^/]+/([\w-]+?)-\d", file)
    if found:
        return found[1]
    if "/malloc/" in file:
        return "malloc and free"
    if re.search(r"(?:^|/)benches/", file):
        return "the benchmark itself"
    return "the Rust library" if "/rustc/" in file else "the C library"


def parse_callgrind(text: str) -> dict[str, int]:
    """Instructions by part, from callgrind_annotate's lines `count  file:function [object]`."""
    parts: dict[str, int] = {}
    for line in text.splitlines():
        found = re.match(r"\s*([\d,]+)\s+(\S*?/\S+?):", line)
        if found:
            name = place(found[2])
            parts[name] = parts.get(name, 0) + int(found[1].replace(",", ""))
    return parts


def parse_perf(text: str) -> list[tuple[str, float]]:
    """(name, share) from perf report's lines `12.34%|name`."""
    found = re.findall(r"^\s*([\d.]+)%\s*\|\s*(.+?)\s*$", text, re.MULTILINE)
    return [(name, float(share) / 100) for share, name in found]


def library(name: str) -> str:
    """A name without what differs from machine to machine."""
    if name.startswith("[kernel"):
        return "kernel"
    return re.sub(r"\.cpython-.*|\.so.*", "", name)


def instructions(program: str, bench: str, samples: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as directory:
        out = f"{directory}/callgrind"
        subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--collect-atstart=no",
             f"--toggle-collect={WHOLE}", program, "--bench", bench, "--sample-count", str(samples),
             "--sample-size", str(SIZE)], check=True, capture_output=True)
        annotate = ["callgrind_annotate", "--threshold=100", "--show-percs=no", "--auto=no", out]
        found = parse_callgrind(subprocess.run(annotate, check=True, capture_output=True, text=True).stdout)
    if not found:
        raise ValueError(f"callgrind counted nothing in {WHOLE}: is there a function of that name in benches/path.rs, and is it not inlined?")
    return found


def counted(program: str) -> report.Section:
    """A section of instructions per request: of twice as many samples less those of the first, so that the start is not in it."""
    section = report.Section("Instructions per request", [
        "Of the whole way without sockets and Python (`benches/path.rs`), by callgrind. Counts are of where the source stands, inlined "
        "or not."], ["", *BENCHES.values()])
    columns = []
    for bench in BENCHES:
        few, many = instructions(program, bench, SAMPLES), instructions(program, bench, 2 * SAMPLES)
        requests = SAMPLES * SIZE * AT_ONCE.get(bench, 1)
        columns.append({part: (many[part] - few.get(part, 0)) / requests for part in many})
    sums = [sum(column.values()) for column in columns]
    section.rows.append(["all", *(f"{total:,.0f}" for total in sums)])
    for part in sorted(columns[0], key=lambda part: -columns[0][part]):
        if columns[0][part] >= 20:
            section.rows.append([part, *(f"{column.get(part, 0):,.0f}" for column in columns)])
    return section


def under_load(
    server: Server, workload: Workload, database: str, seconds: float
) -> tuple[dict[str, float], list[tuple[str, float]], list[tuple[str, float]]]:
    """CPU µs per request, the server's and wrk's, and the shares of libraries and of symbols in the server's."""
    with started(server, database) as running, tempfile.TemporaryDirectory() as directory:
        load.wrk(running.port, workload, 1)
        data = f"{directory}/perf.data"
        pids = ",".join(map(str, tree(running.pid)))
        perf = subprocess.Popen(["perf", "record", "-q", "-o", data, "-e", "cpu-clock", "-F", "1999", "-p", pids, "--", "sleep",
                                 str(seconds)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Meter(running.pid) as meter:
            figures = load.wrk(running.port, workload, seconds + 1)
        perf.wait(60)
        if figures["errors"]:
            raise ValueError(f"{server.name}: {figures['errors']} errors")

        def by(sort: str) -> list[tuple[str, float]]:
            command = ["perf", "report", "-i", data, "--no-children", "-g", "none", "--sort", sort, "-t", "|"]
            return parse_perf(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        each = {"server": meter.cpu_s / figures["requests"] * 1e6, "wrk": figures["wrk_cpu"] / figures["rps"] * 1e6}
        return each, by("dso"), by("dso,symbol")


def shares(servers: dict[str, Server], seconds: float) -> list[report.Section]:
    """Who spends what, and a section of symbols for each load on the first server."""
    parts = report.Section("CPU time of one request under load", [
        "User and system time of the server, µs per request, split by perf's samples; and wrk's, which runs on the same processors."])
    parts.header = ["load", "server", "all", "kernel", "the rest", "by library", "wrk"]
    symbols = []
    spent: dict[tuple[str, str], tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        database = f"{directory}/items.sqlite"
        work.make_database(database)
        for name, load_name in PROFILED:
            workload = BY_NAME[load_name]
            each, libraries, by_symbol = under_load(servers[name], workload, database, seconds)
            all_ = each["server"]
            kernel = sum(share for name_, share in libraries if library(name_) == "kernel")
            spent[name, load_name] = (all_, kernel * all_, each["wrk"])
            rest = [f"{library(name_)} {share * all_:.2f}" for name_, share in libraries if library(name_) != "kernel" and share > 0.005]
            parts.rows.append([workload.about, name, f"{all_:.1f}", f"{kernel * all_:.1f} ({kernel:.0%})", f"{(1 - kernel) * all_:.1f}",
                               ", ".join(rest), f"{each['wrk']:.1f}"])
            if name == PROFILED[0][0]:
                symbols.append(symbols_section(name, workload, by_symbol, all_))
    parts.text.append(least_kept(PROFILED[0][0], spent))
    return [parts, *symbols]


def least_kept(name: str, spent: dict[tuple[str, str], tuple[float, float, float]]) -> str:
    """How much of the throughput 1,000 connections could keep at most, from (all, the kernel's, wrk's) µs per request."""
    all_, _, wrk = spent[name, "json"]
    _, kernel, wrk_1000 = spent[name, "json-1000"]
    few, many = all_ + wrk, kernel + wrk_1000
    return (f"With 64 connections a request costs {few:.1f} µs on both sides together. With 1,000 the kernel's part and wrk's alone are {many:.1f} "
            f"µs, so that {name} would keep {few / many:.2f} of its requests/s if its own code took no time at all: what each connection is made of "
            "has left the caches when its turn comes again, the kernel's sockets and wrk's buffers as well.")


def symbols_section(name: str, workload: Workload, by_symbol: list[tuple[str, float]], all_us: float) -> report.Section:
    section = report.Section(f"Where {name} spends it: {workload.about}", [
        "By symbol, the 15 largest of the kernel and the 30 largest of the rest; share of all its time, and µs per request."])
    section.header = ["share", "µs", "library", "symbol"]
    split = [(*(part.strip() for part in name.split("|")[:2]), share) for name, share in by_symbol]
    for wanted, count in ((True, 15), (False, 30)):
        chosen = [row for row in split if (library(row[0]) == "kernel") == wanted][:count]
        section.rows += [[f"{share:.1%}", f"{share * all_us:.2f}", library(dso), re.sub(r"\[[.k]\]\s*", "", symbol)]
                         for dso, symbol, share in chosen]
    return section


def parse_counts(text: str) -> dict[str, int]:
    """Events by name, from the lines of perf stat -x, with what it could not count left out."""
    rows = [line.split(",") for line in text.splitlines() if line and not line.startswith("#")]
    return {row[2].removeprefix("syscalls:sys_enter_"): int(row[0]) for row in rows if len(row) > 2 and row[0].isdigit()}


def system_calls(servers: dict[str, Server], seconds: int) -> report.Section:
    """A section of system calls per request, by all of a server's threads."""
    section = report.Section("System calls of one request", [
        "By all threads of the server, per request, counted by perf while it is under load; `eventfd` is reads and writes of anything but "
        "sockets: wakeups of one thread by another that waits for sockets."])
    section.header = ["load", "server", "all", *CALLS]
    events = ["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{call}" for calls in CALLS.values() for call in calls)]
    with tempfile.TemporaryDirectory() as directory:
        database = f"{directory}/items.sqlite"
        work.make_database(database)
        for name, load_name in COUNTED:
            workload = BY_NAME[load_name]
            with started(servers[name], database) as running:
                load.wrk(running.port, workload, 1)
                out = f"{directory}/counts"
                pids = ",".join(map(str, tree(running.pid)))
                perf = subprocess.Popen(["perf", "stat", "-x,", "-o", out, "-e", ",".join(events), "-p", pids, "--", "sleep", str(seconds)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                figures = load.wrk(running.port, workload, seconds + 1)
                perf.wait(60)
            counts = parse_counts(Path(out).read_text())
            requests = figures["rps"] * seconds
            each = [sum(counts.get(call, 0) for call in calls) / requests for calls in CALLS.values()]
            every = counts.get("raw_syscalls:sys_enter", 0) / requests
            section.rows.append([workload.about, name, *(f"{count:.2f}" for count in (every, *each))])
    return section


def bench_program() -> str:
    """Builds benches/path.rs, and says where it is."""
    command = ["cargo", "bench", "--quiet", "--profile", "dist", "--bench", "path", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in built.splitlines()]
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "path")


def main() -> None:
    parser = argparse.ArgumentParser(prog="side_by_side.profile", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--polygil", default=str(ROOT / ".venv/bin/polygil"))
    parser.add_argument("--constant", type=Path, default=BUILT / "constant", help="the constant server")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    for program in ("valgrind", "perf", "wrk", str(given.constant)):
        if shutil.which(program) is None:
            sys.exit(f"{program} is needed, and not here")
    known = {server.name: server for server in all_servers(given.polygil, str(given.constant))}
    busy = busy_before()
    found = [*shares(known, given.seconds), system_calls(known, given.seconds), counted(bench_program())]
    intro = ["Where the time of one request goes: `make profile` writes this. Times are of the machine as it was; "
             f"instructions are counted, whatever else it did. CPython {platform.python_version()}, {os.cpu_count()} cores, Linux "
             f"{platform.release()}; busy before: {busy}."]
    text = report.markdown("Profile", intro, found)
    if given.out:
        given.out.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
