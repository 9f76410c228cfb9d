"""The report: one list of sections, written as Markdown and as HTML with SVG that needs nothing else."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from side_by_side import budget
from side_by_side.figures import Figures, Point, Spread, points
from side_by_side.servers import CORES
from side_by_side.workloads import BY_NAME, OTHERS

if TYPE_CHECKING:
    from side_by_side.servers import Server

# A machine that does more than this beside the benchmarks, in percent of its processors, is not quiet.
BUSY_MAX = 5

PROJECTED = [
    ("4 cores over one GIL", "3–4×"),
    ("8 cores over one GIL", "5–8×"),
    ("12 cores over one GIL", "8–12×"),
    ("utilisation of the cores", "90 %"),
]


@dataclass(frozen=True)
class Bar:
    """One bar: its name, and the spread."""

    name: str
    spread: Spread


@dataclass
class Section:
    """A title, what it says, a table, bars."""

    title: str
    text: list[str] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    unit: str = ""


def shown(spread: Spread | None, digits: int = 0) -> str:
    return spread.text(digits) if spread else "–"


def middle(spread: Spread | None, digits: int = 0) -> str:
    return f"{spread.median:,.{digits}f}" if spread else "–"


def load_section(figures: Figures, workload: str, about: dict[str, str], starts: bool) -> Section | None:
    """One workload by wrk: each server's line, and how many times slower than the best polygil it is."""
    names = figures.servers(workload)
    if not names:
        return None
    ours = figures.best([name for name in names if name.startswith("polygil")], workload) or ""
    section = Section(BY_NAME[workload].about[0].upper() + BY_NAME[workload].about[1:], unit="requests/s")
    if starts:
        section.text.append("CPU is user and system time of all of the server's processes; `cores busy` is the whole machine; `wrk` is the "
                            "share of one core that the load generator took: near 100 % it was the limit, not the server. PSS shares out "
                            "what processes have in common, RSS counts it for each.")
    section.header = ["server", "", "requests/s", f"{ours or 'polygil'} is", "p50 ms", "p90", "p99", "p99.9", "CPU µs/request",
                      "cores busy", "wrk", "RSS MiB", "PSS"]
    if starts:
        section.header.append("start ms")
    section.header.append("")

    def order(name: str) -> float:
        spread = figures.spread(name, workload, "rps")
        return -spread.median if spread else 0.0

    for name in sorted(names, key=order):
        rps = figures.spread(name, workload, "rps")
        times = figures.ratio((ours, workload, "rps"), (name, workload, "rps")) if ours else None
        row = [name, about.get(name, ""), shown(rps), f"{times.median:.2f}×" if times else "–"]
        row += [middle(figures.spread(name, workload, f"{which}_ms"), 2) for which in ("p50", "p90", "p99", "p999")]
        row.append(middle(figures.spread(name, workload, "cpu_us"), 1))
        row.append(" ".join(f"{share:.0%}" for share in figures.cores(name, workload)) or "–")
        wrk = figures.spread(name, workload, "wrk_cpu")
        row.append(f"{wrk.median:.0%}" if wrk else "–")
        row += [middle(figures.spread(name, workload, f"{which}_mib"), 1) for which in ("rss", "pss")]
        if starts:
            row.append(middle(figures.spread(name, "start", "start_ms")))
        row.append(figures.trouble(name, workload))
        section.rows.append(row)
        if rps:
            section.bars.append(Bar(name, rps))
    return section


def mixed_section(figures: Figures, workload: str, about: dict[str, str]) -> Section | None:
    names = figures.servers(workload)
    if not names:
        return None
    section = Section(f"Mixed load: {workload}", [OTHERS[workload][0].upper() + OTHERS[workload][1:] + "."], unit="p99 ms")
    section.header = ["server", "", "answered/s", "short p50 ms", "p90", "p99", "p99.9", "slow p50", "slow p99", "cores busy", ""]

    def order(name: str) -> float:
        spread = figures.spread(name, workload, "p99_ms")
        return spread.median if spread else float("inf")

    for name in sorted(names, key=order):
        p99 = figures.spread(name, workload, "p99_ms")
        row = [name, about.get(name, ""), middle(figures.spread(name, workload, "rps"))]
        row += [middle(figures.spread(name, workload, f"{which}_ms"), 2) for which in ("p50", "p90")]
        row += [shown(p99, 1)]
        row += [middle(figures.spread(name, workload, f"{which}_ms"), 1) for which in ("p999", "slow_p50", "slow_p99")]
        row.append(" ".join(f"{share:.0%}" for share in figures.cores(name, workload)) or "–")
        section.rows.append([*row, figures.trouble(name, workload)])
        if p99:
            section.bars.append(Bar(name, p99))
    return section


def crowd_section(figures: Figures) -> Section | None:
    names = figures.servers("crowd")
    if not names:
        return None
    section = Section("Idle connections", [
        "64 busy connections alone, then beside the idle ones, each of which got one answer first. Memory is the growth of the "
        "server's PSS; what the kernel holds for a socket is not in it."])
    section.header = ["server", "idle", "alone, requests/s", "beside them", "kept", "KiB each", ""]
    for name in names:
        spread = figures.spread
        section.rows.append([
            name, middle(spread(name, "crowd", "idle")), shown(spread(name, "crowd", "rps_alone")),
            shown(spread(name, "crowd", "rps")), shown(spread(name, "crowd", "kept"), 2),
            shown(spread(name, "crowd", "idle_kib"), 1), figures.trouble(name, "crowd")])
    return section


def scaling_section(figures: Figures, many: int) -> Section | None:
    """One interpreter against as many as there are cores, beside what was once projected for this kind of server."""
    one, all_ = "polygil-1", f"polygil-{many}"
    if not figures.spread(one, "cpu", "rps"):
        return None
    up = figures.ratio((all_, "cpu", "rps"), (one, "cpu", "rps"))
    section = Section("One interpreter against many", [
        "A handler that computes for about a millisecond in Python, 16 connections. The projections are those published for the "
        f"design that polygil follows; this machine has cores for {many} workers, so the wider ones stand unmeasured.",
        "CPU time by core is of the whole machine, the load generator's included."])
    section.header = ["", "projected", "measured"]
    section.rows = [[f"{many} cores over one GIL", f"up to {many}×", shown(up, 2) + "×" if up else "–"]]
    for what, projected in PROJECTED:
        measured = f"not measured: {many} cores here"
        if "utilisation" in what:
            measured = " ".join(f"{share:.0%}" for share in figures.cores(all_, "cpu"))
        elif what.startswith(f"{many} "):
            measured = shown(up, 2) + "×"
        section.rows.append([what, projected, measured])
    for name in (one, all_):
        for label, metric, digits in (("p50", "p50_ms", 1), ("p90", "p90_ms", 1), ("p99", "p99_ms", 1), ("p99.9", "p999_ms", 1)):
            section.rows.append([f"{name}: {label}, ms", "", shown(figures.spread(name, "cpu", metric), digits)])
        section.rows.append([f"{name}: each core", "", " ".join(f"{share:.0%}" for share in figures.cores(name, "cpu"))])
    return section


def missed_section(figures: Figures, aimed: list[Point], many: int) -> Section | None:
    """What the processors have for a request at the rates that were not reached, and what it would take to reach them."""
    text, rows = budget.told(figures, [(p.what, p.rate) for p in aimed if p.met is False and p.rate], CORES, many)
    if not rows:
        return None
    intro = ("Server and load share the processors of this machine. At the rate that a target asks for they have so much time for each request; "
             "what the load takes of it is gone. Each figure is the median of its rounds, so what is missed by less than rounds differ may "
             "look as if it fitted.")
    return Section("What is missed, and what it would take", [intro, *text], budget.HEADER, rows)


def sections(figures: Figures, servers: list[Server], conditions: dict[str, Any], many: int, no_mipyre: str) -> list[Section]:
    """The whole report, in order."""
    about = {server.name: server.about for server in servers}
    families: dict[str, list[str]] = {}
    for server in servers:
        families.setdefault(server.family, []).append(server.name)
    facts = Section("Conditions", header=["", ""], rows=[[name, str(value)] for name, value in conditions.items()])
    aimed = points(figures, families, many, no_mipyre)
    aims = Section(
        "What is to be shown", ["Each a figure beside its target, also where it is missed. A ratio is taken within a round; the "
        "median of the rounds is given, and the smallest and the largest."],
        ["point", "target", "measured", "", "how"], [[p.what, p.target, p.measured, p.verdict, p.how] for p in aimed])
    found = [facts, aims, missed_section(figures, aimed, many), load_section(figures, "json", about, True), scaling_section(figures, many)]
    found += [load_section(figures, "cpu", about, False)]
    found += [mixed_section(figures, name, about) for name in ("mixed-cpu", "mixed-wait")]
    found += [crowd_section(figures), load_section(figures, "json-1000", about, False)]
    found += [load_section(figures, name, about, False) for name in BY_NAME if name not in ("json", "cpu", "json-1000")]
    return [section for section in found if section is not None]


def summary(figures: Figures, many: int, conditions: dict[str, Any]) -> str:
    """The few lines that a README has room for: when and where, and a Markdown table."""
    one, all_ = "polygil-1", f"polygil-{many}"
    rows = [
        ("pure-Python handler of about 1 ms, 1 worker, requests/s", shown(figures.spread(one, "cpu", "rps"))),
        (f"the same, {many} workers", shown(figures.spread(all_, "cpu", "rps"))),
        (f"{many} workers over one, round by round", shown(figures.ratio((all_, "cpu", "rps"), (one, "cpu", "rps")), 2) + "×"),
    ]
    for name in ("constant", *sorted(name for name in figures.servers("json") if not name.startswith(("polygil", "constant")))):
        ratio = figures.ratio((all_, "json", "rps"), (name, "json", "rps"))
        if ratio:
            rows.append((f"small JSON, 64 connections, {many} workers, requests/s over {name}", shown(ratio, 2) + "×"))
    rows += [(f"small JSON, 64 connections, {name}, requests/s", shown(figures.spread(name, "json", "rps"))) for name in (one, all_)]
    rows.append((f"from exec to the first answer, {many} workers, ms", shown(figures.spread(all_, "start", "start_ms"))))
    rows.append((f"resident memory after load, {many} workers with the app of the benchmarks, MiB", shown(figures.spread(all_, "json", "rss_mib"), 1)))
    wide, narrow = (figures.spread(f"hello-{workers}", "memory", "rss_mib") for workers in (6 * many, many))
    if narrow:
        rows.append((f"the same with hello, which imports nothing, {many} workers, MiB", shown(narrow, 1)))
    if wide and narrow:
        rows.append(("each further interpreter, MiB", f"{(wide.median - narrow.median) / (5 * many):.1f}"))
    told = f"Measured on {conditions['date']}: {conditions['machine']}; {conditions['rounds']}."
    return "\n".join([told, "", "| | median (smallest–largest) |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows)])


def put_between(text: str, new: str, mark: str = "bench") -> str:
    """The text with what stands between `<!-- mark -->` and `<!-- /mark -->` replaced."""
    begin, end = f"<!-- {mark} -->\n", f"\n<!-- /{mark} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the text has no one place for it, {begin.strip()} to {end.strip()}")
    before, _, rest = text.partition(begin)
    return before + begin + new + rest[rest.index(end) :]


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def markdown(title: str, intro: list[str], found: list[Section]) -> str:
    """The report as Markdown; the bars are left to the HTML."""
    lines = [f"# {title}", ""]
    for paragraph in intro:
        lines += [paragraph, ""]
    for section in found:
        lines += [f"## {section.title}", ""]
        for paragraph in section.text:
            lines += [paragraph, ""]
        if section.rows:
            lines.append("| " + " | ".join(section.header) + " |")
            lines.append("|" + "---|" * len(section.header))
            lines += ["| " + " | ".join(cell(text) for text in row) + " |" for row in section.rows]
            lines.append("")
    return "\n".join(lines)


STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --paper: #fff; --line: #d5dae0; --bar: #2f6fb2; --ours: #1a8754; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #16191d; --line: #3a4048; --bar: #5b9bdc; --ours: #4cc38a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; display: block; overflow-x: auto; }
td, th { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg { max-width: 100%; height: auto; }
.bar { fill: var(--bar); } .ours { fill: var(--ours); } .whisker { stroke: var(--ink); }
"""


def bars_svg(bars: list[Bar], unit: str) -> str:
    """Horizontal bars: the median, with a line from the smallest round to the largest."""
    top = max(bar.spread.high for bar in bars) or 1
    left, width, step = 190, 640, 22
    height = step * len(bars) + 22
    out = [f'<svg viewBox="0 0 {left + width + 110} {height}" width="{left + width + 110}" role="img" '
           f'aria-label="{html.escape(unit)} by server">']
    for number, bar in enumerate(bars):
        y = number * step + 4
        low, middle_, high = (left + width * value / top for value in (bar.spread.low, bar.spread.median, bar.spread.high))
        kind = "ours" if bar.name.startswith("polygil") else "bar"
        digits = 0 if bar.spread.median >= 100 else 1
        out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{html.escape(bar.name)}</text>')
        out.append(f'<rect class="{kind}" x="{left}" y="{y}" width="{middle_ - left:.1f}" height="16" rx="2"/>')
        out.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{y + 8}" y2="{y + 8}"/>')
        out.append(f'<text x="{max(middle_, high) + 6:.1f}" y="{y + 13}">{bar.spread.median:,.{digits}f}</text>')
    out.append(f'<text x="{left}" y="{height - 4}">{html.escape(unit)}; the line is the smallest to the largest round</text></svg>')
    return "".join(out)


def introduction(conditions: dict[str, Any], rounds: int) -> list[str]:
    """What the report is, and what speaks against believing it."""
    intro = ["polygil beside other servers, as `make bench` measured them in one run: the same machine, CPython, answers and load. "
             "Medians of interleaved rounds, and the smallest and the largest. Speeds are this machine's; the ratios are the point.",
             "A run in which any request failed is told as such, and takes no part in a median, a ratio or a choice of the best."]
    if rounds < 5:
        intro.append("A quick look, with too few rounds to believe.")
    if int(conditions["busy before"].partition("%")[0]) > BUSY_MAX:
        intro.append("The machine was busy with something else when it began (see the conditions), which took its "
                     "share from servers and load alike: only memory and CPU time per request are to be believed.")
    return intro


def prose(text: str) -> str:
    """Text for the page; what stands between backticks is code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def page(title: str, intro: list[str], found: list[Section]) -> str:
    """The report as one HTML file that loads nothing."""
    out = [f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>',
           f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style><h1>{html.escape(title)}</h1>']
    out += [f"<p>{prose(paragraph)}</p>" for paragraph in intro]
    for section in found:
        out.append(f"<h2>{html.escape(section.title)}</h2>")
        out += [f"<p>{prose(paragraph)}</p>" for paragraph in section.text]
        if section.bars:
            out.append(bars_svg(section.bars, section.unit))
        if section.rows:
            out.append("<table><tr>" + "".join(f"<th>{html.escape(text)}</th>" for text in section.header) + "</tr>")
            out += ["<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in section.rows]
            out.append("</table>")
    return "\n".join([*out, "</html>", ""])
