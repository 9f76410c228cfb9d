"""Runs a list of steps one after the other, stops at the first that fails and names it, and says in the end what each one took.

What scripts/gate and scripts/nightly share. A step is a name, what it is, and its commands; the table of steps says the rest.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv" / "bin" / "python"
# What a step has left behind that says it was here before: then its compiler keeps quiet.
STAMPS = ROOT / "target" / "steps"


class Skipped(Exception):
    """A step cannot be done here; the reason is for whoever reads the end of the output."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One step."""

    name: str
    what: str
    # Each a command, or a function of this process that raises `Failed` or `Skipped`.
    commands: Sequence[Sequence[str] | Callable[[], None]]
    # Its part of the time that all have together, in seconds, from nothing on two cores.
    share_s: int = 0


class Failed(Exception):
    """A step failed. Its output has said why."""


@dataclasses.dataclass(frozen=True)
class Took:
    """What a step took, in seconds: on the wall, and of processors by it and its children."""

    wall_s: float
    cpu_s: float


def cargo_test(*arguments: str) -> list[list[str]]:
    """Built first, with all that the compiler has to say on a machine that builds it for the first time; then run, which is quiet."""
    libtest = arguments.index("--") if "--" in arguments else len(arguments)
    return [["cargo", "test", *arguments[:libtest], "--no-run"], ["cargo", "test", "--quiet", *arguments]]


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run a command from the repository, its output where ours goes."""
    sys.stdout.flush()
    # Words like NAME=value before the command are for its environment, as in a shell.
    words = list(command)
    added = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        added[name] = value
    try:
        code = subprocess.run(words, cwd=ROOT, env={**os.environ, **(environment or {}), **added}, check=False).returncode
    except FileNotFoundError as error:
        print(f"{words[0]} is not there: {error}", file=sys.stderr)
        code = 127
    if code != 0:
        shown = " ".join([f"{name}={value}" for name, value in added.items()] + words)
        raise Failed(f"{shown} ended with {code}")


def python_environment() -> dict[str, str]:
    """What is built against a CPython is built against that of .venv, always by the same path: cargo builds anew for another one."""
    return {"PYO3_PYTHON": str(PYTHON)}


def give_back_signals() -> None:
    """Let what the steps start have its signals, whoever started them: `nohup`, or a shell in the background, has them ignored.

    A signal that is ignored stays so in every child; one that has a handler has its default there. The handler does nothing, so this
    program goes on ignoring it.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def run_steps(program: str, steps: Sequence[Step], names: Sequence[str], keep: Path | None = None) -> int:
    """Run the steps of these names, all if there are none, and return the exit code. `keep` gets the times as JSON.

    With names each is run alone, by `make PROGRAM-STEP`. A step that cannot be done here is told, and is no failure.
    """
    known = {step.name: step for step in steps}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"there is no step {', '.join(unknown)} in {program}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    give_back_signals()
    took: dict[str, Took] = {}
    skipped: dict[str, str] = {}
    for step in [known[name] for name in names] or steps:
        print(f"\n== {step.name}: {step.what}", flush=True)
        begun, used = time.monotonic(), _cpu_s()
        failed = None
        try:
            _run_step(program, step)
        except Skipped as reason:
            skipped[step.name] = str(reason)
            print(f"skipped: {reason}", flush=True)
        except Failed as error:
            failed = error
        took[step.name] = Took(time.monotonic() - begun, _cpu_s() - used)
        if failed is not None:
            _tell(took, skipped)
            print(f"FAILED: {step.name} ({failed}).\nAgain, this step alone: make {program}-{step.name}", flush=True)
            return 1
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        times = {name: dataclasses.asdict(of) for name, of in took.items()}
        keep.write_text(json.dumps({"program": program, "steps": times, "skipped": skipped}, indent=1) + "\n")
    _tell(took, skipped)
    what = program if not names else ", ".join(f"{program}-{name}" for name in names)
    left_out = f", but for what was skipped ({', '.join(skipped)})" if skipped else ""
    print(f"All is well: make {what}{left_out}.", flush=True)
    return 0


def _run_step(program: str, step: Step) -> None:
    stamp = STAMPS / f"{program}-{step.name}"
    quiet = {"CARGO_TERM_QUIET": "true"} if stamp.exists() else {}
    for command in step.commands:
        if callable(command):
            command()
        else:
            run(command, python_environment() | quiet)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = resource.getrusage(resource.RUSAGE_SELF)
    return children.ru_utime + children.ru_stime + own.ru_utime + own.ru_stime


def _tell(took: dict[str, Took], skipped: dict[str, str]) -> None:
    print()
    whole = Took(sum(of.wall_s for of in took.values()), sum(of.cpu_s for of in took.values()))
    for name, of in [*took.items(), ("in all", whole)]:
        reason = f"   skipped: {skipped[name]}" if name in skipped else ""
        print(f"  {name:14}{of.wall_s:9.1f} s {of.cpu_s:9.1f} s of CPU{reason}")
