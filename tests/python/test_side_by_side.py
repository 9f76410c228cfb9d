"""The harness of `make bench`: what it reads from wrk, the generator and /proc, what it reckons, and what it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parent.parent.parent / "benches"
sys.path.insert(0, str(BENCHES))

from side_by_side import against, budget, crowd, load, meter, mixed, profile, report, rounds, servers, workloads  # noqa: E402
from side_by_side.figures import Figures, Spread, point, points  # noqa: E402

WRK = (
    'WRK {"requests":1000,"duration_us":2000000,"bytes":9,"connect":0,"read":1,"write":0,"status":2,"timeout":4,'
    '"p50_us":150.0,"p90_us":900.0,"p99_us":2500.0,"p999_us":9000.5,"max_us":12000.0}'
)


def sample(round_: int, server: str, rps: float, *, workload: str = "json", errors: int = 0, **more: object) -> dict:
    return {"round": round_, "server": server, "workload": workload, "figures": {"rps": rps, "errors": errors, **more}}


def test_wrk_s_line_becomes_rates_milliseconds_and_a_sum_of_errors() -> None:
    figures = load.parse_wrk(f"Running 2s test\n{WRK}\nRequests/sec: 500\n")
    assert figures == {
        "requests": 1000, "seconds": 2.0, "rps": 500.0, "p50_ms": 0.15, "p90_ms": 0.9, "p99_ms": 2.5, "p999_ms": 9.0005,
        "max_ms": 12.0, "errors_connect": 0, "errors_read": 1, "errors_write": 0, "errors_status": 2, "errors_timeout": 4,
        "errors": 7,
    }


@pytest.mark.parametrize("program", ["side_by_side", "side_by_side.profile", "side_by_side.against"])
def test_each_program_starts_by_itself(program: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(BENCHES)}
    done = subprocess.run([sys.executable, "-m", program, "--help"], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[0].split()[:2]) == (0, ["usage:", program]), done.stderr


@pytest.mark.parametrize(("count", "low", "high"), [(1, 1, 1), (5, 1, 5), (6, 1, 6), (12, 3, 10), (15, 4, 12), (30, 10, 21)])
def test_the_median_s_interval_is_the_order_statistics_that_hold_it_with_95_percent(count: int, low: int, high: int) -> None:
    # The ranks are those of the tables for the sign test (Conover, Practical Nonparametric Statistics, 3.2).
    assert against.median_interval([float(rank) for rank in range(count, 0, -1)]) == (low, high)


@pytest.mark.parametrize("output", ["", "unable to connect", f"{WRK}\n{WRK}\n"])
def test_wrk_without_exactly_one_line_of_figures_is_refused(output: str) -> None:
    with pytest.raises(ValueError, match="wrk printed no figures"):
        load.parse_wrk(output)


def test_the_lua_script_prints_what_the_parser_reads() -> None:
    script = load.SCRIPT.read_text()
    for name in ("requests", "duration_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us", *load.ERRORS):
        assert f'"{name}":%' in script, name


def test_the_generator_s_line_tells_short_and_slow_apart() -> None:
    times = {"p50": 100, "p90": 200, "p99": 3000, "p999": 4000, "max": 5000}
    raw = {"requests": 1000, "errors": 3, "seconds": 2, "short": {"count": 990, **times},
           "slow": {"count": 10, **{name: 10 * us for name, us in times.items()}}}
    figures = mixed.parse(json.dumps(raw))
    assert (figures["rps"], figures["errors"]) == (500, 3)
    assert (figures["p99_ms"], figures["slow_p99_ms"], figures["max_ms"]) == (3.0, 30.0, 5.0)


def test_a_process_s_name_may_hold_what_looks_like_the_end_of_it() -> None:
    text = "7 (a) b (c) S 3 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1"
    assert meter.parse_stat(text) == (3, 300 / meter.TICKS)


def test_the_tree_of_this_process_holds_it_and_not_its_parent() -> None:
    found = meter.tree(os.getpid())
    assert os.getpid() in found
    assert os.getppid() not in found


def test_memory_of_this_process_is_there_and_shared_pages_are_shared_out() -> None:
    used = meter.memory(os.getpid())
    assert 0 < used.pss <= used.rss


def test_idle_and_waiting_ticks_are_not_busy() -> None:
    before = meter.parse_cores("cpu  9 9 9 9 9 9 9 9\ncpu0 10 0 10 80 0 0 0 0\ncpu1 0 0 0 100 0 0 0 0\nintr 5\n")
    after = meter.parse_cores("cpu  9 9 9 9 9 9 9 9\ncpu0 60 0 10 120 10 0 0 0\ncpu1 0 0 0 100 0 0 0 0\nintr 5\n")
    assert before == [(20, 100), (0, 100)]
    assert meter.utilisation(before, after) == [0.5, 0.0]


def test_a_ratio_is_taken_within_each_round() -> None:
    figures = Figures([sample(0, "a", 100), sample(1, "a", 300), sample(2, "a", 90),
                       sample(0, "b", 50), sample(1, "b", 100), sample(2, "b", 90), sample(3, "b", 1)])
    assert figures.ratio(("a", "json", "rps"), ("b", "json", "rps")) == Spread(2.0, 1.0, 3.0, 3)


def test_a_round_without_one_of_the_figures_is_left_out_and_one_that_is_nothing_counts() -> None:
    figures = Figures([sample(0, "a", 100), sample(1, "a", 0), sample(2, "a", 7), sample(3, "a", 7), sample(0, "b", 50), sample(1, "b", 50),
                       sample(2, "b", 0)])
    assert figures.ratio(("a", "json", "rps"), ("b", "json", "rps")) == Spread(1.0, 0.0, 2.0, 2)
    assert figures.paired(lambda a, b: a + b, ("a", "json", "rps"), ("b", "json", "rps")) == Spread(50, 7, 150, 3)
    assert figures.paired(lambda a, b: a + b, ("a", "json", "rps"), ("c", "json", "rps")) is None


def test_what_the_machine_does_before_is_told_as_the_report_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([[(0, 0), (0, 0)], [(30, 300), (0, 300)]])
    monkeypatch.setattr(meter, "cores_now", lambda: next(seen))
    monkeypatch.setattr(meter.time, "sleep", lambda _: None)
    told = meter.busy_before()
    assert told == "5% of the processors, over 3 s"
    assert len(report.introduction({"busy before": told}, 7)) == 2


def test_a_run_with_errors_is_told_and_never_counts_as_fast() -> None:
    figures = Figures([sample(0, "quick", 900, errors=5, requests=1800), sample(1, "quick", 10), sample(0, "slow", 100),
                       sample(1, "slow", 110)])
    assert figures.spread("quick", "json", "rps") == Spread(10, 10, 10, 1)
    assert figures.best(["quick", "slow"], "json") == "slow"
    assert figures.trouble("quick", "json") == "5 errors beside 1,800 answers in 1 of 2 rounds"
    assert figures.trouble("slow", "json") == ""


def test_who_failed_has_no_figures_and_is_told() -> None:
    figures = Figures([{"round": 0, "server": "a", "workload": "json", "failed": "/json: 500 b''"}])
    assert figures.spread("a", "json", "rps") is None
    assert figures.best(["a"], "json") is None
    assert figures.trouble("a", "json") == "failed in 1 of 1 rounds: /json: 500 b''"


@pytest.mark.parametrize(
    ("at_least", "median", "verdict"), [(True, 2.5, "met"), (True, 2.49, "missed"), (False, 2.5, "met"), (False, 2.51, "missed")]
)
def test_a_target_is_met_when_it_is_reached(at_least: bool, median: float, verdict: str) -> None:
    assert point("x", Spread(median, 1, 9, 3), 2.5, at_least, "×", "").verdict == verdict


def test_every_point_is_told_also_where_nothing_was_measured() -> None:
    families = {"polygil": ["polygil-1"], "granian": ["granian-rsgi-1"]}
    figures = Figures([sample(0, "polygil-1", 300), sample(0, "granian-rsgi-1", 100)])
    found = points(figures, families, 2, "no 3.14")
    assert [p.verdict for p in found[:2]] == ["met", "not measured"]
    assert found[0].measured == "3.00×"
    assert found[0].how == "requests/s, polygil-1 over granian-rsgi-1"
    assert len(found) == len({p.what for p in found}) == 24
    assert [(p.target, p.verdict, p.how) for p in found if "mipyre" in p.what] == [
        (target, "not measured", "no 3.14") for target in ("≥ 1.3×", "≥ 1×", "≤ 1×", "≤ 0.5×")]


def test_mipyre_is_held_against_its_targets_where_it_was_measured_each_time_in_the_mode_that_is_best_at_it() -> None:
    families = {"polygil": ["polygil-2"], "mipyre": ["mipyre-2", "mipyre-pool-2"]}
    figures = Figures([
        sample(0, "polygil-2", 300), sample(0, "mipyre-2", 200), sample(0, "mipyre-pool-2", 150),
        sample(0, "polygil-2", 100, workload="cpu", p99_ms=12.0), sample(0, "mipyre-2", 110, workload="cpu", p99_ms=20.0),
        sample(0, "mipyre-pool-2", 50, workload="cpu", p99_ms=10.0),
        sample(0, "polygil-2", 9, workload="mixed-cpu", p99_ms=3.0), sample(0, "mipyre-2", 9, workload="mixed-cpu", p99_ms=60.0),
        sample(0, "mipyre-pool-2", 9, workload="mixed-cpu", p99_ms=30.0)])
    assert [(p.measured, p.verdict, p.how) for p in points(figures, families, 2, "") if "mipyre" in p.what] == [
        ("1.50×", "met", "requests/s, polygil-2 over mipyre-2"),
        ("0.91×", "missed", "requests/s, polygil-2 over mipyre-2"),
        ("1.20×", "missed", "p99, polygil-2 over mipyre-pool-2"),
        # What is asked there is about a thread for each core.
        ("0.05×", "met", "p99 at the same rate, polygil-2 over mipyre-2; over mipyre-pool-2, which is no thread per core, 0.10×"),
    ]


@pytest.mark.parametrize(("version", "installed", "why"), [
    ((3, 13), True, "it needs CPython 3.14"), ((3, 14), False, "it is not installed for"), ((3, 14), True, "")])
def test_mipyre_is_measured_where_it_is_installed_for_a_python_that_it_runs_on(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], installed: bool, why: str
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    monkeypatch.setattr(servers, "find_spec", lambda _: object() if installed else None)
    reason = servers.no_mipyre()
    assert why in reason
    assert bool(why) == bool(reason)
    left = {server.family for server in servers.present(servers.all_servers("polygil", ""))}
    assert ("mipyre" in left) == (not why)
    assert {"polygil", "granian", "uvicorn", "robyn"} <= left


def test_mipyre_has_a_thread_for_each_core_in_both_of_its_modes_and_is_asked_what_polygil_s_other_peers_are() -> None:
    found = {server.name: server for server in servers.all_servers("polygil", "") if server.family == "mipyre"}
    many = max(2, servers.CORES)
    assert list(found) == ["mipyre-1", f"mipyre-{many}", f"mipyre-pool-{many}", f"mipyre-{2 * many}", f"mipyre-pool-{2 * many}"]
    every, rest = rounds.headline(found[f"mipyre-{many}"], many)
    assert every == ["json", "cpu", "mixed-cpu"]
    assert rest == [*rounds.HEADLINE_OTHER, "mixed-wait"]
    assert rounds.headline(found["mipyre-1"], many) == (["json", "cpu"], [])
    assert rounds.headline(found[f"mipyre-pool-{many}"], many) == (["json", "cpu", "mixed-cpu"], ["mixed-wait"])
    assert rounds.headline(found[f"mipyre-pool-{2 * many}"], many) == (["mixed-cpu"], ["mixed-wait"])
    assert f"--threads {many}" in " ".join(found[f"mipyre-{many}"].command)
    assert f"--tpc off --subinterpreters {many}" in " ".join(found[f"mipyre-pool-{many}"].command)


def test_servers_take_turns_at_being_first() -> None:
    names = ["a", "b", "c", "d"]
    orders = [rounds.rotated(names, round_) for round_ in range(4)]  # type: ignore[arg-type]
    assert sorted(order[0] for order in orders) == names
    assert all(sorted(order) == names for order in orders)


def test_every_workload_of_the_headline_exists() -> None:
    known = {*workloads.BY_NAME, *workloads.OTHERS, "memory"}
    for server in servers.all_servers("polygil", __file__) + servers.hello_servers("polygil"):
        every, rest = rounds.headline(server, 2)
        assert set(every) | set(rest) <= known, server.name
        assert not set(every) & set(rest), server.name
        assert every[0] == ("memory" if server.family == "hello" else "mixed-cpu" if server.name.endswith("-4") else "json")


def test_the_constant_server_is_not_asked_to_close_which_it_does_not() -> None:
    (constant,) = (server for server in servers.all_servers("polygil", __file__) if server.family == "constant")
    assert rounds.headline(constant, 2) == (["json", "json-1000"], ["pipelined", "json-1"])


def test_idle_connections_are_as_many_as_the_limit_allows() -> None:
    assert 0 < crowd.possible(10) <= 10


def test_a_missed_rate_is_explained_by_the_time_that_the_load_leaves_for_it() -> None:
    figures = Figures([sample(0, "polygil-2", 100_000, wrk_cpu=0.8, cpu_us=11.0), sample(0, "uvicorn-2", 50_000, cpu_us=33.0),
                       sample(0, "constant", 99_000, cpu_us=9.0)])
    rate = budget.Rate("polygil-2", "json", 4, "uvicorn-2", "json")
    assert rate.row(figures, "over uvicorn", 2) == ["over uvicorn", "200,000", "10.0", "8.0", "2.0", "11.0", "9.0"]
    text, rows = budget.told(figures, [("over uvicorn", rate)], 2, 2)
    assert len(rows) == len(text) == 1
    assert "would have 3.00× uvicorn-2's of the requests/s" in text[0]
    unmeasured = budget.Rate("polygil-2", "json", 4, "granian-rsgi-1", "json")
    assert unmeasured.row(figures, "over granian", 2) is None


def test_what_cpu_bound_could_reach_is_reckoned_from_what_one_worker_alone_spends() -> None:
    figures = Figures([sample(0, "polygil-1", 1_000, workload="cpu"),
                       sample(0, "polygil-2", 1_800, workload="cpu", wrk_cpu=0.045, cpu_us=1_060.0)])
    (text,), rows = budget.told(figures, [("1 to 2", budget.Rate("polygil-2", "cpu", 1.9, "polygil-1", "cpu"))], 2, 2)
    assert rows == [["1 to 2", "1,900", "1,052.6", "25.0", "1,027.6", "1,060.0", "–"]]
    assert "takes 1,000 µs of it" in text and "60 µs with 2 workers" in text and "1.95× at most" in text


def test_only_what_was_missed_is_explained() -> None:
    families = {"polygil": ["polygil-1"], "robyn": ["robyn-1"], "uvicorn": ["uvicorn-1"]}
    figures = Figures([sample(0, "polygil-1", 700, wrk_cpu=0.5, cpu_us=9.0), sample(0, "robyn-1", 100, cpu_us=9.0),
                       sample(0, "uvicorn-1", 500, cpu_us=9.0)])
    missed = report.missed_section(figures, points(figures, families, 2, ""), 2)
    assert missed is not None
    assert [row[0] for row in missed.rows] == ["small JSON, 64 connections, over uvicorn"]
    assert report.missed_section(figures, [p for p in points(figures, families, 2, "") if p.met is not False], 2) is None


FOUND = [
    report.Section("A <title>", ["Said & `done`."], ["server", "x"], [["polygil-1", "1 | 2"], ["b", "<3"]],
                   [report.Bar("polygil-1", Spread(10, 5, 20, 3)), report.Bar("b", Spread(5, 5, 5, 1))], "requests/s"),
]


def test_markdown_has_a_table_whose_cells_cannot_break_it() -> None:
    assert report.markdown("T", ["Intro."], FOUND) == (
        "# T\n\nIntro.\n\n## A <title>\n\nSaid & `done`.\n\n| server | x |\n|---|---|\n| polygil-1 | 1 \\| 2 |\n| b | <3 |\n"
    )


def test_the_page_loads_nothing_and_escapes_what_it_shows() -> None:
    page = report.page("T", ["Intro."], FOUND)
    assert "<h2>A &lt;title&gt;</h2>" in page
    assert "<td>&lt;3</td>" in page
    assert "<p>Said &amp; <code>done</code>.</p>" in page
    assert page.count("<svg") == page.count("</svg>") == 1
    assert '<rect class="ours" x="190" y="4" width="320.0"' in page
    assert 'x1="350.0" x2="830.0"' in page
    assert "http" not in page and "<script" not in page


def test_the_sections_of_a_run_show_each_server_once_and_the_fastest_first() -> None:
    many = [{"p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 3.0, "p999_ms": 4.0, "cpu_us": 5.0, "wrk_cpu": 0.25, "cores": [0.5, 1.0]}] * 2
    figures = Figures([sample(0, "uvicorn-1", 100, **many[0]), sample(0, "polygil-1", 200, **many[1])])
    listed = [server for server in servers.all_servers("polygil", "") if server.name in ("uvicorn-1", "polygil-1")]
    found = report.sections(figures, listed, {"date": "today"}, 2, "no 3.14")
    assert [section.title for section in found] == [
        "Conditions", "What is to be shown", "What is missed, and what it would take", "Small JSON, 64 connections"]
    table = found[3].rows
    assert [row[:4] for row in table] == [
        ["polygil-1", "1 worker", "200", "1.00×"], ["uvicorn-1", "uvloop, httptools, 1 process", "100", "2.00×"]]
    assert table[0][4:11] == ["1.00", "2.00", "3.00", "4.00", "5.0", "50% 100%", "25%"]


def test_every_app_answers_the_same_bytes() -> None:
    import work

    assert len(workloads.BY_NAME["json10k"].expected) in range(10_000, 10_500)
    assert work.answer("/users/42", "verbose=true&tag=new") == ("application/json", workloads.USER)
    assert work.answer("/text", "") == ("text/plain; charset=utf-8", "Hello, World!")


def test_a_summary_takes_the_place_of_the_one_before() -> None:
    text = "Before.\n<!-- bench -->\nold\n<!-- /bench -->\nAfter.\n"
    once = report.put_between(text, "new")
    assert once == "Before.\n<!-- bench -->\nnew\n<!-- /bench -->\nAfter.\n"
    assert report.put_between(once, "new") == once
    with pytest.raises(ValueError, match="no one place"):
        report.put_between("no marks", "new")


def test_the_readme_has_a_place_for_the_summary() -> None:
    readme = (BENCHES.parent / "README.md").read_text()
    assert "x\n<!-- /bench -->" in report.put_between(readme, "x")


def test_the_summary_compares_with_each_server_and_leaves_out_who_failed() -> None:
    figures = Figures([sample(0, "polygil-2", 300, rss_mib=30.0), sample(0, "robyn-1", 100), sample(0, "uvicorn-1", 9, errors=1),
                       sample(0, "constant", 600),
                       *(sample(0, name, 1, workload="memory", rss_mib=used) for name, used in (("hello-2", 30.0), ("hello-12", 60.0)))])
    rows = report.summary(figures, 2, {"date": "today", "machine": "a slide rule", "rounds": "1 round"}).splitlines()
    assert rows[0] == "Measured on today: a slide rule; 1 round."
    assert rows[7:9] == [
        "| small JSON, 64 connections, 2 workers, requests/s over constant | 0.50× |",
        "| small JSON, 64 connections, 2 workers, requests/s over robyn-1 | 3.00× |",
    ]
    assert rows[-1] == "| each further interpreter, MiB | 3.0 |"


def test_the_time_that_a_run_takes_is_known_before() -> None:
    settings = rounds.Settings(7, 3, 2, 1, "", "", 500, 10_000)
    named = servers.all_servers("polygil", "")
    assert rounds.estimate_s([(named[0], ["json"], [])], settings) == pytest.approx(7 * (1.5 + 3.1))
    assert rounds.estimate_s([(named[0], [], ["json", "mixed-wait"])], settings) == pytest.approx(7 * 1.5 + 3 * (3.1 + 7.2))

    def whole_s(asked: list[servers.Server]) -> float:
        return rounds.estimate_s([(server, *rounds.headline(server, 2)) for server in asked], settings)

    assert 10 * 60 < whole_s([server for server in named if server.family != "mipyre"]) < 40 * 60
    assert whole_s([server for server in named if server.family == "mipyre"]) < 10 * 60


def test_instructions_are_counted_by_where_the_source_stands() -> None:
    text = """Profiled target:  /x/path --bench whole (PID 7, part 1)
--------
1,000  PROGRAM TOTALS
--------
  500  /somewhere/src/server/drive.rs:polygil::server::drive::serve [/x/path]
  100  /somewhere/src/http/head.rs:polygil::http::head::parse [/x/path]
   50  /home/.cargo/registry/src/index-1/concurrent-queue-2.5.0/src/bounded.rs:Bounded<T>::pop
   40  ./malloc/./malloc/malloc.c:malloc [/usr/lib/libc.so.6]
   30  /rustc/5980/library/core/src/str/validations.rs:core::str::from_utf8
   20  ./string/../sysdeps/x86_64/memmove.S:memcpy [/usr/lib/libc.so.6]
   10  /somewhere/benches/path.rs:path::World::exchange [/x/path]
    5  src/server/wire.rs:inlined
"""
    assert profile.parse_callgrind(text) == {
        "server": 505, "http": 100, "concurrent-queue": 50, "malloc and free": 40, "the Rust library": 30, "the C library": 20,
        "the benchmark itself": 10,
    }


def test_instructions_of_a_function_that_is_not_there_are_an_error_and_not_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = profile.subprocess.CompletedProcess([], 0, "Profiled target:  /x/path\n0  PROGRAM TOTALS\n", "")
    monkeypatch.setattr(profile.subprocess, "run", lambda *_, **__: nothing)
    with pytest.raises(ValueError, match=r"callgrind counted nothing in \*World::exchange: is there a function of that name"):
        profile.instructions("path", "whole::1$", 10)


def test_shares_are_read_from_perf_with_and_without_symbols() -> None:
    text = "# Samples\n#\n 73.04% |[kernel.kallsyms]   \n 6.73%  |libc.so.6|[.] malloc  \n\n"
    assert profile.parse_perf(text) == [("[kernel.kallsyms]", 0.7304), ("libc.so.6|[.] malloc", pytest.approx(0.0673))]
    assert [profile.library(name) for name in ("[kernel.kallsyms]", "_native.cpython-313-x86_64-linux-gnu.so", "libc.so.6")] == [
        "kernel", "_native", "libc"]


def test_symbols_are_split_into_the_kernels_and_the_rest() -> None:
    shares = [("[kernel.kallsyms]|[k] tcp_ack|-", 0.5), ("_native.so |[.] a|b", 0.25), ("[vdso]|[.] clock", 0.125)]
    section = profile.symbols_section("polygil-1", workloads.BY_NAME["json"], shares, 8.0)
    assert section.title == "Where polygil-1 spends it: small JSON, 64 connections"
    assert section.rows == [
        ["50.0%", "4.00", "kernel", "tcp_ack"], ["25.0%", "2.00", "_native", "a"], ["12.5%", "1.00", "[vdso]", "clock"]]


def test_counts_are_read_from_perf_without_what_it_could_not_count() -> None:
    text = ("# started on today\n\n205,,raw_syscalls:sys_enter,100,100.00,,\n100,,syscalls:sys_enter_sendto,100,100.00,,\n"
            "<not supported>,,syscalls:sys_enter_epoll_wait,0,0.00,,\n")
    assert profile.parse_counts(text) == {"raw_syscalls:sys_enter": 205, "sendto": 100}


def test_what_1000_connections_can_keep_is_what_is_left_without_the_servers_own_code() -> None:
    spent = {("x", "json"): (10.0, 7.0, 8.0), ("x", "json-1000"): (16.0, 11.0, 12.0)}
    assert "costs 18.0 µs on both sides" in profile.least_kept("x", spent)
    assert "would keep 0.78 of its requests/s" in profile.least_kept("x", spent)


@pytest.mark.parametrize(("busy", "rounds", "doubts"), [("2%", 7, 0), ("2%", 2, 1), ("11%", 7, 1), ("100%", 1, 2)])
def test_the_report_says_what_speaks_against_believing_it(busy: str, rounds: int, doubts: int) -> None:
    assert len(report.introduction({"busy before": f"{busy} of the processors, over 3 s"}, rounds)) == 2 + doubts
