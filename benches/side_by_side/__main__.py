"""Measures polygil beside other servers, and writes the report: see the package's own words, and `--help`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import work

from side_by_side import report, rounds
from side_by_side.figures import Figures
from side_by_side.meter import busy_before
from side_by_side.servers import CORES, ROOM, ROOT, Server, all_servers, hello_servers, no_mipyre, polygil_servers, present
from side_by_side.workloads import BY_NAME, OTHERS

MANY = max(2, CORES)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="side_by_side", description=__doc__)
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "dist" / "examples"
    parser.add_argument("--rounds", type=int, help="rounds of the headline [7; --quick 2]")
    parser.add_argument("--other-rounds", type=int, help="rounds of the other workloads [3; --quick 0]")
    parser.add_argument("--seconds", type=float, help="whole seconds of each measurement [2; --quick 1]")
    parser.add_argument("--servers", help="only these, by comma: names, or families")
    parser.add_argument("--workloads", help="only these, by comma, in every round, on every server; or all")
    parser.add_argument("--quick", action="store_true", help="a look, in minutes: too few rounds to believe")
    parser.add_argument("--mixed-rate", type=int, default=500, help="requests a second of the mixed load")
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections")
    parser.add_argument("--polygil", default=str(ROOT / ".venv/bin/polygil"), help="the program")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PROGRAM", help="another build of polygil, beside it")
    parser.add_argument("--examples", type=Path, default=built, help="where the constant server and the generator were built")
    parser.add_argument("--out", type=Path, help="write OUT.md, OUT.json and OUT.html")
    parser.add_argument("--readme", type=Path, help="put a summary into this file, between its marks")
    parser.add_argument("--render", type=Path, metavar="JSON", help="measure nothing: write the report of an earlier run's JSON")
    parser.add_argument("--list", action="store_true", help="print servers and workloads")
    given = parser.parse_args()
    quick = given.quick
    given.rounds = given.rounds or (2 if quick else 7)
    given.other_rounds = given.other_rounds if given.other_rounds is not None else (0 if quick else 3)
    if given.workloads:
        given.other_rounds = 0
    given.seconds = given.seconds or (1 if quick else 2)
    return given


def choose(given: argparse.Namespace) -> list[Server]:
    servers = all_servers(given.polygil, str(given.examples / "constant"))
    for also in given.also:
        name, _, program = also.partition("=")
        servers += polygil_servers(program, name)
    servers += hello_servers(given.polygil)
    if given.servers:
        wanted = set(given.servers.split(","))
        unknown = wanted - {server.name for server in servers} - {server.family for server in servers}
        if unknown:
            sys.exit(f"no such server: {', '.join(sorted(unknown))}; --list tells them")
        servers = [server for server in servers if server.name in wanted or server.family in wanted]
    return servers


def plan(given: argparse.Namespace, servers: list[Server]) -> list[tuple[Server, list[str], list[str]]]:
    if not given.workloads:
        return [(server, *rounds.headline(server, MANY)) for server in servers]
    known = [*BY_NAME, *OTHERS]
    names = known if given.workloads == "all" else given.workloads.split(",")
    unknown = set(names) - set(known)
    if unknown:
        sys.exit(f"no such workload: {', '.join(sorted(unknown))}; --list tells them")
    bare = {"json", "json-1", "json-1000", "pipelined", "crowd"}
    return [(server, [name for name in names if not server.only or name in bare], []) for server in servers]


def conditions(given: argparse.Namespace) -> dict[str, object]:
    """What the figures depend on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    commit = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    ours = subprocess.run([given.polygil, "--version"], capture_output=True, text=True).stdout.split()
    wrk = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split("[")[0].strip()
    peers = ["uvicorn", "granian", "robyn", "gunicorn", "hypercorn", "uvloop", "httptools"] + ["mipyre"] * (not no_mipyre())
    told = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "polygil": f"{' '.join(ours[1:])} at {commit}",
        "servers": ", ".join(f"{name} {version(name)}" for name in peers),
        "mipyre": no_mipyre(),
        "polygil's options": f"{' '.join(ROOM)}: room for 1,000 requests at once and 10,000 idle connections; else the defaults",
        "Python": f"CPython {platform.python_version()} for all",
        "machine": f"{model[1] if model else platform.machine()}, {CORES} cores, Linux {platform.release()}",
        "load": f"{wrk}, one thread, on the same cores as the server: it takes its share of them",
        "busy before": busy_before(),
        "rounds": f"{given.rounds} interleaved ({given.other_rounds} for the workloads after the headline), "
                  f"{given.seconds:g} s each after a warm-up of 1 s",
        "mixed load": f"{given.mixed_rate} requests/s, Poisson arrivals, 64 connections, timed from when each was due",
    }
    return {name: value for name, value in told.items() if value}


def main() -> None:
    given = arguments()
    servers = choose(given)
    if not given.render:
        servers = present(servers)
    if not servers:
        sys.exit(no_mipyre())
    if given.list:
        print(*(f"{server.name:24} {server.about}" for server in servers), sep="\n")
        print(*(f"{w.name:24} {w.about}" for w in BY_NAME.values()), *(f"{n:24} {a}" for n, a in OTHERS.items()), sep="\n")
        return
    if given.render:
        raw = json.loads(given.render.read_text())
        told, samples = raw["conditions"], raw["samples"]
    else:
        told, samples = measure(given, servers)
    figures = Figures(samples)
    title = "Benchmarks"
    intro = report.introduction(told, len({sample["round"] for sample in samples}))
    found = report.sections(figures, servers, told, MANY, told.get("mipyre", ""))
    text = report.markdown(title, intro, found)
    if given.readme:
        given.readme.write_text(report.put_between(given.readme.read_text(), report.summary(figures, MANY, told)))
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.with_suffix(".md").write_text(text)
        given.out.with_suffix(".html").write_text(report.page(title, intro, found))
        keep(given.out, told, samples)
        print(f"written: {given.out}.md, .html and .json")
    else:
        print(text)


def keep(out: Path, told: dict[str, object], samples: list[rounds.Sample]) -> None:
    """The raw figures, whole at any time: a run that is cut short can be rendered as far as it came."""
    unfinished = out.with_suffix(".json.new")
    unfinished.write_text(json.dumps({"conditions": told, "samples": samples}, ensure_ascii=False, indent=1) + "\n")
    unfinished.replace(out.with_suffix(".json"))


def measure(given: argparse.Namespace, servers: list[Server]) -> tuple[dict[str, object], list[rounds.Sample]]:
    if shutil.which("wrk") is None:
        sys.exit("wrk makes the load: apt-get install wrk, or its like")
    for program in {server.command[0] for server in servers} | {str(given.examples / "open_loop")}:
        if shutil.which(program) is None:
            sys.exit(f"{program} is not there: make bench builds and installs everything first")
    told = conditions(given)
    planned = plan(given, servers)
    with tempfile.TemporaryDirectory() as directory:
        database = f"{directory}/items.sqlite"
        work.make_database(database)
        settings = rounds.Settings(given.rounds, given.other_rounds, given.seconds, 1, database,
                                   str(given.examples / "open_loop"), given.mixed_rate, given.idle)
        print(f"about {rounds.estimate_s(planned, settings) / 60:.0f} minutes", flush=True)
        if given.out:
            given.out.parent.mkdir(parents=True, exist_ok=True)
        samples = rounds.run(planned, settings, lambda line: print(line, flush=True),
                             lambda samples: keep(given.out, told, samples) if given.out else None)
    return told, samples


if __name__ == "__main__":
    main()
