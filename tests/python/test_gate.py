"""The runner of `make check`, `make test` and `make nightly`, and what documents say of it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import signal
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "TESTING.md").read_text()
sys.path.insert(0, str(ROOT / "scripts"))


def load(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(f"script_{name}", str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


gate, nightly, pythons = load("gate"), load("nightly"), load("pythons")
steps = sys.modules["steps"]


def run(monkeypatch: pytest.MonkeyPatch, directory: Path, table: list[Any], *names: str, keep: Path | None = None) -> int:
    monkeypatch.setattr(steps, "STAMPS", directory)
    return steps.run_steps("test", table, names, keep)


def step(name: str, *commands: Any) -> Any:
    return steps.Step(name, f"what {name} is", commands)


def test_the_end_says_that_all_is_well_and_what_each_step_took(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = [step("one", ["echo", "first"]), step("two", ["NAME=a value", "sh", "-c", 'echo "$NAME"'])]
    assert run(monkeypatch, tmp_path, table, keep=tmp_path / "times.json") == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[1:3] == ["== one: what one is", "first"]
    assert "a value" in lines
    assert lines[-1] == "All is well: make test."
    assert [line.split()[0] for line in lines[-4:-1]] == ["one", "two", "in"]
    assert all(re.search(r" \d+\.\d s +\d+\.\d s of CPU$", line) for line in lines[-4:-1])
    assert list(json.loads((tmp_path / "times.json").read_text())["steps"]) == ["one", "two"]


def test_steps_have_their_signals_also_under_nohup_and_in_the_background(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        asks = "import signal as s; print([s.getsignal(n) == s.SIG_IGN for n in (s.SIGHUP, s.SIGINT, s.SIGQUIT)])"
        assert run(monkeypatch, tmp_path, [step("one", [sys.executable, "-c", asks])]) == 0
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    assert "[False, False, False]" in capfd.readouterr().out.splitlines()


def test_it_stops_at_the_first_step_that_fails_and_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = [step("one", ["true"]), step("two", ["sh", "-c", "exit 3"], ["echo", "never"]), step("three", ["echo", "never"])]
    assert run(monkeypatch, tmp_path, table) == 1
    out = capfd.readouterr().out
    assert out.endswith("FAILED: two (sh -c exit 3 ended with 3).\nAgain, this step alone: make test-two\n")
    assert "never" not in out
    assert "All is well" not in out


def test_one_step_alone_and_one_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = [step("one", ["echo", "first"]), step("two", ["echo", "second"])]
    assert run(monkeypatch, tmp_path, table, "two") == 0
    out = capfd.readouterr().out
    assert "second" in out
    assert "first" not in out
    assert out.endswith("All is well: make test-two.\n")
    assert run(monkeypatch, tmp_path, table, "three") == 2
    assert capfd.readouterr().err == "there is no step three in test; there are one, two\n"


def test_what_cannot_be_done_here_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def skip() -> None:
        raise steps.Skipped("there is no such machine")

    assert run(monkeypatch, tmp_path, [step("one", skip), step("two", ["nothing-of-this-name"])], "one") == 0
    assert capfd.readouterr().out.endswith("All is well: make test-one, but for what was skipped (one).\n")
    assert run(monkeypatch, tmp_path, [step("two", ["nothing-of-this-name"])]) == 1
    assert "nothing-of-this-name is not there" in capfd.readouterr().err


def test_the_compiler_speaks_the_first_time_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = [step("one", ["sh", "-c", 'echo "quiet=$CARGO_TERM_QUIET"'])]
    monkeypatch.delenv("CARGO_TERM_QUIET", raising=False)
    assert run(monkeypatch, tmp_path, table) == run(monkeypatch, tmp_path, table) == 0
    assert re.findall(r"quiet=(\w*)", capfd.readouterr().out) == ["", "true"]


def rows(title: str) -> list[list[str]]:
    section = DOCUMENT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    table = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table[1:]]


def test_the_budget_is_what_the_document_says_and_fits_into_25_minutes() -> None:
    assert rows("What CI may take") == [[of.name, str(of.share_s), of.what] for of in gate.TEST]
    assert sum(of.share_s for of in gate.TEST) <= 25 * 60


def test_the_parts_of_a_night_are_those_of_the_document() -> None:
    assert [row[0] for row in rows("What a night does")] == [of.name for of in nightly.NIGHTLY]


def test_the_pythons_are_those_of_the_document_and_of_the_package() -> None:
    told = rows("CPython")
    assert [(row[0], row[1]) for row in told] == pythons.PYTHONS
    assert all(row[2] == row[0] or row[2].startswith(row[0] + ".") for row in told)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classified = [line.rsplit(" ", 1)[1] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    minors = sorted({".".join(release.split(".")[:2]) for release, _ in pythons.PYTHONS})
    assert classified == minors
    assert project["requires-python"] == f">={minors[0]}"


def test_each_check_is_a_step_of_the_whole_by_its_name() -> None:
    assert {of.name for of in gate.CHECK} <= {of.name for of in gate.TEST}


def test_reach_is_read_from_the_document_and_what_is_not_reached_is_told() -> None:
    expected = nightly.expected_reach((ROOT / "docs" / "SIMULATOR.md").read_text())
    assert len(expected) > 50
    assert expected["a drain began"] > 0.5
    assert expected["200"] > 100
    assert expected["drained"] > 1
    usual: dict[str, Any] = {"seeds": 1000, "marks": {name: rate * 1000 for name, rate in expected.items()}, "statuses": {}, "closed": {}}
    assert nightly.too_rare(usual, expected) == []
    usual["marks"]["a drain began"] = 20
    (told,) = nightly.too_rare(usual, expected)
    assert told.startswith("reached too rarely: a drain began: 20 times, ")
    del usual["marks"]["a drain began"]
    assert len(nightly.too_rare(usual, expected)) == 1


FAKE = """#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(__file__).parent
arguments = sys.argv[1:]
if arguments[0] == "run":
    sys.exit(1 if arguments[2] in here.joinpath("bad").read_text().split() else 0)
if arguments[0] == "merge":
    parts = [json.loads(pathlib.Path(file).read_text()) for file in arguments[2:]]
    failed = [one for part in parts for one in part["failed"]]
    whole = {"seeds": sum(part["seeds"] for part in parts), "failures": len(failed), "failed": failed, "trace_hash": "0"}
    print(json.dumps(whole | {"marks": {}, "statuses": {}, "closed": {}}))
    sys.exit(1 if failed else 0)
begin, end = map(int, arguments[2].split(".."))
bad = [int(seed) for seed in here.joinpath("bad").read_text().split() if begin <= int(seed) < end]
count = here.joinpath("count")
count.write_text(str(int(count.read_text() or 0) + 1) if count.exists() else "1")
same = not here.joinpath("differs").exists()
failed = [{"seed": seed, "oracle": "right order", "detail": "x", "command": "y"} for seed in bad]
trace = f"{begin}" if same else count.read_text()
print(json.dumps({"seeds": end - begin, "failures": len(bad), "failed": failed, "trace_hash": trace}))
sys.exit(1 if bad else 0)
"""


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A night with a simulator that is told which seeds are bad."""
    fake = tmp_path / "polygil-sim"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    monkeypatch.setattr(nightly, "SIM", fake)
    monkeypatch.setattr(nightly, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(nightly, "build_sim", lambda: None)
    monkeypatch.setattr(nightly, "expected_reach", lambda _: {})
    for name, value in {"NIGHTLY_SEEDS": "60000", "NIGHTLY_FROM": "1000", "NIGHTLY_PROCESSES": "1"}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "bad").write_text("")
    return tmp_path


def test_a_seed_that_failed_is_kept_run_first_and_forgotten_when_it_holds(
    night: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = night / "kept" / "failing-seeds.tsv"
    (night / "bad").write_text("30000")
    with pytest.raises(steps.Failed, match="seed 30000: right order"):
        nightly.seeds()
    assert kept.read_text().split("\t")[:2] == ["30000", "right order"]

    monkeypatch.setenv("NIGHTLY_FROM", "100000")
    with pytest.raises(steps.Failed, match="seed 30000 failed in an earlier night, and still does"):
        nightly.seeds()
    assert kept.read_text().count("\n") == 1

    (night / "bad").write_text("")
    capsys.readouterr()
    nightly.seeds()
    assert capsys.readouterr().out.startswith("seed 30000\tright order\t")
    assert kept.read_text() == ""


def test_a_range_is_run_twice_and_not_again(night: Path) -> None:
    nightly.seeds()
    names = sorted(path.name for path in (night / "kept").rglob("*.json"))
    ranges = ["1000..26000", "26000..51000", "51000..61000"]
    assert names == sorted([*(f"{of}.json" for of in ranges), *(f"{of}.again.json" for of in ranges), "whole.json"])
    assert (night / "count").read_text() == "6"
    nightly.seeds()
    assert (night / "count").read_text() == "6", "what a night that was cut short had done is not done again"


def test_two_runs_of_a_seed_that_differ_make_the_night_fail(night: Path) -> None:
    (night / "differs").touch()
    with pytest.raises(steps.Failed, match=r"two runs of the seeds of 1000\.\.26000\.json differ"):
        nightly.seeds()


def test_a_survivor_that_moved_is_not_a_new_one(tmp_path: Path) -> None:
    known = tmp_path / "mutants-http.txt"
    line = "src/http/body.rs:{}:9: replace + with - in Decoder::next"
    assert nightly.new_survivors(known, line.format(80)) == [], "the first night knows all"
    assert nightly.new_survivors(known, line.format(95)) == []
    other = "src/http/body.rs:7:9: replace < with <= in Decoder::next"
    assert nightly.new_survivors(known, f"{line.format(95)}\n{other}") == [other]
