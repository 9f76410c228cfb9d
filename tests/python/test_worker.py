"""`polygil._worker`: verdicts with reports that lead to the user's own line; hooks; and the collector."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polygil import _worker
from polygil._app import collect_mistakes

Write = Callable[..., str]
KEYS = ["message", "traceback", "library", "import_chain", "advice"]


def failed(module: str, qualname: str, names: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    verdict, found, report = _worker.resolve(module, qualname, names)
    assert found is None
    assert isinstance(report, dict)
    assert list(report) == KEYS
    return verdict, report


class TestResolve:
    def test_a_handler(self, write_module: Write) -> None:
        name = write_module("def f(x: int): ...\nclass C:\n    class D:\n        g = staticmethod(f)\n")
        verdict, found, plan = _worker.resolve(name, "f", ("x",))
        assert verdict == "ok"
        assert found is sys.modules[name].f
        assert plan.fast == (("x", "path", "int", False, None),)  # type: ignore[union-attr]
        assert _worker.resolve(name, "C.D.g", ())[:2] == ("ok", found)

    def test_what_the_app_has_registered_here(self, write_module: Write) -> None:
        views = write_module("def one(): ...\ndef two(): ...")
        name = write_module(
            f"from polygil import App\nimport {views}\napp = App()\napp.get('/x')({views}.one)\n"
        )
        app, route = (name, "app"), ("GET", "/x")
        assert _worker.resolve(views, "one", (), app, route)[0] == "ok"
        verdict, found, report = _worker.resolve(views, "two", (), app, route)
        assert (verdict, found) == ("function_not_found", None)
        assert report["message"] == (  # type: ignore[index]
            f"{views}:two is not the function that GET /x registers in this interpreter ({views}:one, {name}.py:4)"
        )
        assert _worker.resolve(views, "two", (), app, ("GET", "/of-main-alone"))[0] == "ok"

    def test_an_app_that_cannot_be_imported(self, write_module: Write) -> None:
        views = write_module("def one(): ...")
        name = write_module(f"import {views}\nimport sys\nsys.imports = getattr(sys, 'imports', 0) + 1\n1 / 0")
        for module in (name, views, name):
            verdict, found, report = _worker.resolve(module, "one", (), (name, "app"), ("GET", "/"))
            assert (verdict, found) == ("import_failed", None)
            assert report["message"] == f"importing {name} failed: ZeroDivisionError: division by zero"  # type: ignore[index]
        assert sys.imports == 1  # type: ignore[attr-defined]
        del sys.imports  # type: ignore[attr-defined]

    def test_module_not_found(self) -> None:
        verdict, report = failed("nowhere_at_all", "f")
        assert verdict == "module_not_found"
        assert report["message"] == "there is no module 'nowhere_at_all'"
        assert report["advice"][0].startswith("looked in: ")
        assert failed("nowhere_at_all.below", "f")[0] == "module_not_found"
        assert failed("json.nowhere", "f")[0] == "module_not_found"

    def test_a_name_that_is_a_prefix_in_letters_only(self, write_module: Write) -> None:
        name = write_module("import written")  # `written` is no parent of `written_7`
        assert failed(name, "f")[0] == "import_failed"

    @pytest.mark.parametrize(
        "source", ["import nowhere_at_all", "import json.nowhere", "1/0", "raise SystemExit", "def ("]
    )
    def test_import_failed(self, write_module: Write, source: str) -> None:
        name = write_module(f"import sys\n{source}\n")
        verdict, report = failed(name, "f")
        assert verdict == "import_failed"
        assert report["message"].startswith(f"importing {name} failed: ")
        assert report["library"] is None
        if source != "def (":
            assert report["import_chain"] == [{"file": f"{Path.cwd()}/{name}.py", "line": 2, "code": source}]

    def test_it_fails_again_the_same_way(self, write_module: Write) -> None:
        name = write_module("1 / 0")
        assert failed(name, "f") == failed(name, "f")

    def test_function_not_found(self, write_module: Write) -> None:
        name = write_module("class Users:\n    def show(): ...\n")
        assert failed(name, "shwo") == (
            "function_not_found",
            dict(zip(KEYS, (f"module {name} has no attribute 'shwo'", "", None, [], []), strict=True)),
        )
        assert failed(name, "user")[1]["advice"] == ["did you mean 'Users'?"]
        assert failed(name, "Users.shwo")[1]["message"] == f"type {name}.Users has no attribute 'shwo'"
        assert failed(name, "Missing.show.deep")[1]["message"] == f"module {name} has no attribute 'Missing'"
        assert failed(name, "Users.show.deep")[1]["message"] == f"function {name}.Users.show has no attribute 'deep'"

    def test_a_lookup_that_raises(self, write_module: Write) -> None:
        name = write_module("def __getattr__(name): raise ValueError(name)")
        verdict, report = failed(name, "f")
        assert verdict == "function_not_found"
        assert report["message"] == f"looking up 'f' in {name} raised: ValueError: f"
        assert report["traceback"].endswith("ValueError: f\n")

    def test_not_callable(self, write_module: Write) -> None:
        name = write_module("number = 5\nitems = []\ndef f(x: complex): ...\ndef g(*args): ...")
        assert failed(name, "number")[0] == "not_callable"
        assert failed(name, "number")[1]["message"] == f"{name}:number is an int, which cannot be called"
        assert failed(name, "items")[1]["message"] == f"{name}:items is a list, which cannot be called"
        assert failed(name, "f")[0] == "not_callable"
        assert failed(name, "f")[1]["message"].startswith(
            f"{name}:f: parameter `x` (from the query): cannot convert to complex"
        )
        assert failed(name, "g")[1]["message"].startswith(f"{name}:g: takes *args or **kwargs")


class TestBootstrap:
    def test_it_sets_the_path_and_collects_mistakes(self, monkeypatch: pytest.MonkeyPatch, write_module: Write) -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["before"])
        name = write_module("from polygil import App\napp = App()\napp.get('/')(lambda: 1)\ndef f(): ...")
        path = list(sys.path)
        try:
            _worker.bootstrap(path, ["polygil", "serve"])
            assert sys.path == path
            assert sys.argv == ["polygil", "serve"]
            assert _worker.resolve(name, "f", ())[0] == "ok"
        finally:
            collect_mistakes(False)


class TestHooks:
    SOURCE = """
    from polygil import App
    app, calls = App(), []

    @app.on_startup
    def first(): calls.append("first")

    @app.on_startup
    def second(): calls.append("second")

    @app.on_shutdown
    def last(): calls.append("last")

    @app.on_shutdown
    def before_last(): calls.append("before_last"); {fault}
    """

    def test_in_order_and_in_reverse(self, write_module: Write) -> None:
        name = write_module(self.SOURCE.format(fault=""))
        assert _worker.startup(name, "app") is None
        assert _worker.shutdown(name, "app") == []
        assert sys.modules[name].calls == ["first", "second", "before_last", "last"]

    def test_a_shutdown_that_fails_does_not_stop_the_others(self, write_module: Write) -> None:
        name = write_module(self.SOURCE.format(fault="raise SystemExit(3)"))
        (report,) = _worker.shutdown(name, "app")
        assert report["message"] == f"shutdown hook {name}:before_last failed: SystemExit: 3"
        assert sys.modules[name].calls == ["before_last", "last"]

    def test_a_startup_that_fails_is_the_last(self, write_module: Write) -> None:
        name = write_module(
            "from polygil import App\napp, calls = App(), []\n"
            "@app.on_startup\ndef bad(): raise OSError('no database')\n"
            "@app.on_startup\ndef never(): calls.append(1)\n"
        )
        report = _worker.startup(name, "app")
        assert report is not None
        assert report["message"] == f"startup hook {name}:bad failed: OSError: no database"
        assert report["import_chain"][-1]["code"] == "def bad(): raise OSError('no database')"
        assert "_worker.py" not in report["traceback"]
        assert sys.modules[name].calls == []

    def test_a_target_without_an_app_has_no_hooks(self, write_module: Write) -> None:
        name = write_module("number = 5")
        assert _worker.startup(name, "number") is None
        assert _worker.startup(name, "") is None
        assert _worker.shutdown(name, "number") == []

    def test_a_module_that_is_gone(self) -> None:
        report = _worker.startup("nowhere_at_all", "app")
        assert report is not None
        assert report["message"] == "there is no module 'nowhere_at_all'"
        assert [report["message"] for report in _worker.shutdown("json", "nowhere")] == [
            "json:nowhere cannot be found: AttributeError: module 'json' has no attribute 'nowhere'"
        ]


def test_what_was_imported_is_frozen() -> None:
    before = gc.get_threshold()
    try:
        _worker.after_import()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == _worker.GC_THRESHOLD
        cycle: list[Any] = []
        cycle.append(cycle)
        del cycle
        assert gc.collect() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
