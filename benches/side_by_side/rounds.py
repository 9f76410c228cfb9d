"""The plan, and its rounds: for each round, for each server in rotated order: start, warm up, measure, stop.

Rounds are interleaved so that what the machine does meanwhile falls on all servers alike, and a ratio is taken within a round. A sample
is a plain dict: round, server, workload, and either `figures` or `failed` with the reason.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from side_by_side import crowd, load, mixed
from side_by_side.meter import Meter, memory
from side_by_side.servers import DoesNotStart, started
from side_by_side.workloads import BY_NAME, OTHERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from side_by_side.servers import Running, Server

Sample = dict[str, Any]

# A mixed run is this many times as long as the others: only one request in a hundred says what the p99 is.
MIXED_TIMES = 3

HEADLINE_CPU = {"polygil", "granian", "uvicorn", "mipyre"}
HEADLINE_OTHER = ("text", "json10k", "params", "post-1k", "post-100k", "sqlite", "json-1", "close", "pipelined")


@dataclass(frozen=True)
class Settings:
    """What the flags say."""

    rounds: int
    other_rounds: int
    seconds: float
    warm_s: float
    sqlite: str
    open_loop: str
    mixed_rate: int
    idle: int


def rotated(servers: list[Server], round_: int) -> list[Server]:
    """The same servers, another one first in each round."""
    by = round_ * 5 % len(servers) if servers else 0
    return servers[by:] + servers[:by]


def headline(server: Server, many: int) -> tuple[list[str], list[str]]:
    """What is asked of a server in every round, and what in the fewer rounds of the rest."""
    if server.only:
        # It knows of requests only where they end, so it would not close a connection.
        return ["json", "json-1000"], ["pipelined", "json-1"]
    if server.family == "hello":
        return ["memory"], []
    if server.name.endswith(f"-{2 * many}"):
        return ["mixed-cpu"], ["mixed-wait"]
    every = ["json"]
    default = server.name.endswith(("-1", f"-{many}"))
    if server.family in HEADLINE_CPU and default:
        every.append("cpu")
    if server.family == "polygil" and default:
        every += ["json-1000", "crowd"]
    if server.name.endswith(f"-{many}") and server.family != "hypercorn" and "sync" not in server.name:
        every.append("mixed-cpu")
    others = server.name in ("uvicorn-1", "granian-rsgi-1", "robyn-1", "polygil-1", f"polygil-{many}", f"mipyre-{many}")
    rest = list(HEADLINE_OTHER) if others else []
    if "mixed-cpu" in every:
        rest.append("mixed-wait")
    return every, rest


def estimate_s(plan: list[tuple[Server, list[str], list[str]]], settings: Settings) -> float:
    """How long it all takes, about: what is asked for, a second and a half around each server, and some for idle connections."""
    load_s = settings.warm_s + settings.seconds + 0.1
    special = {"crowd": 2 * settings.seconds + settings.idle / 3000, "memory": settings.warm_s}
    special |= {name: MIXED_TIMES * settings.seconds + 1.2 for name in OTHERS if name.startswith("mixed")}

    def once(names: list[str]) -> float:
        return sum(special.get(name, load_s) for name in names)

    rest_s = sum(once(rest) for _, _, rest in plan) * settings.other_rounds
    return rest_s + sum(1.5 + once(every) for _, every, _ in plan) * settings.rounds


def measure_one(running: Running, name: str, settings: Settings, round_: int) -> dict[str, Any]:
    """Warm up, measure."""
    if name == "crowd":
        return crowd.measure(running, settings.idle, settings.seconds)
    if name in OTHERS:
        path = "/slow-" + name.removeprefix("mixed-")
        with Meter(running.pid) as meter:
            figures = mixed.run(settings.open_loop, running.port, path, settings.mixed_rate, settings.seconds * MIXED_TIMES, round_)
    elif name == "memory":
        return load.wrk(running.port, BY_NAME["json"], settings.warm_s)
    else:
        workload = BY_NAME[name]
        load.check(running.port, workload)
        load.wrk(running.port, workload, settings.warm_s)
        with Meter(running.pid) as meter:
            figures = load.wrk(running.port, workload, settings.seconds)
    figures |= {"cpu_s": meter.cpu_s, "cores": meter.cores, "lost_processes": meter.lost}
    if figures["requests"]:
        figures["cpu_us"] = meter.cpu_s / figures["requests"] * 1e6
    return figures


def on_server(
    server: Server, names: Iterable[str], settings: Settings, round_: int, say: Callable[[str], None]
) -> list[Sample]:
    """Start one server, and ask it everything that this round asks of it."""
    samples: list[Sample] = []

    def add(workload: str, **what: object) -> None:
        samples.append({"round": round_, "server": server.name, "workload": workload, **what})

    try:
        with started(server, settings.sqlite) as running:
            add("start", figures={"start_ms": running.start_ms, "errors": 0})
            for name in names:
                try:
                    figures = measure_one(running, name, settings, round_)
                    used = memory(running.pid)
                    add(name, figures=figures | {"rss_mib": used.rss, "pss_mib": used.pss})
                    say(f"{name} {figures['rps']:,.0f}/s" + (f" {figures['errors']} ERRORS" if figures["errors"] else ""))
                except (load.WrongAnswer, ValueError, OSError) as error:
                    add(name, failed=str(error))
                    say(f"{name} FAILED: {error}")
    except DoesNotStart as error:
        add("start", failed=str(error))
        say(f"FAILED: {error}")
    return samples


def run(
    plan: list[tuple[Server, list[str], list[str]]],
    settings: Settings,
    progress: Callable[[str], None],
    keep: Callable[[list[Sample]], None],
) -> list[Sample]:
    """Every round; `progress` is told one line for each server, and `keep` what there is after each round."""
    samples: list[Sample] = []
    servers = [server for server, _, _ in plan]
    asked = {server.name: (every, rest) for server, every, rest in plan}
    began = time.monotonic()
    for round_ in range(max(settings.rounds, settings.other_rounds)):
        for number, server in enumerate(rotated(servers, round_)):
            every, rest = asked[server.name]
            names = (every if round_ < settings.rounds else []) + (rest if round_ < settings.other_rounds else [])
            if not names:
                continue
            said: list[str] = []
            samples += on_server(server, names, settings, round_, said.append)
            minutes = (time.monotonic() - began) / 60
            progress(f"[{minutes:4.1f} min] round {round_ + 1}, {number + 1}/{len(servers)} {server.name}: {'; '.join(said)}")
        keep(samples)
    return samples
