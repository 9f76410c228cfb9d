"""A short run of what fuzzes the JSON of answers against CPython's: fuzz/json_against_cpython.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "fuzz" / "json_against_cpython.py"


def test_no_value_is_written_otherwise_than_cpython_writes_it() -> None:
    command = [sys.executable, SCRIPT, "--cases", "10000", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["cases"] == 10_000
    assert 1000 < found["refused"] < 9000, "both kinds are met"
