"""The to-do example's start, which is where all of its workers meet in one database."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "todo.py"


# Each thread puts its connection where another one's was.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_all_workers_may_create_the_database_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("todo", EXAMPLE)
    assert spec is not None and spec.loader is not None
    todo: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(todo)
    failures = []

    def start(together: threading.Barrier) -> None:
        together.wait(60)
        try:
            todo.connect()
        except Exception as error:  # whatever it is, it is a worker that did not start
            failures.append(repr(error))

    for attempt in range(100):
        monkeypatch.setattr(todo, "DATABASE", str(tmp_path / f"{attempt}.sqlite3"))
        together = threading.Barrier(8)
        threads = [threading.Thread(target=start, args=(together,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
