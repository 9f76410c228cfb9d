"""In real isolated interpreters, which is where the worker half of the package lives.

`_interpreters.create("isolated")` makes what the server makes: own GIL, own allocator, and no extension module
that does not declare multi-interpreter support.
"""

from __future__ import annotations

import _interpreters
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polygil
import pytest

Write = Callable[..., str]
Run = Callable[[str], Any]

# What an interpreter may import for polygil's sake besides polygil itself and what Python's own start imports. All are
# there already or cost nothing; `typing`, `re`, `json`, `enum`, `inspect`, `collections` do not belong here.
ALLOWED = {"__future__", "gc"}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Run source in a new isolated interpreter, whose variable `result` (JSON) is returned."""
    interpreters: list[int] = []

    def execute(source: str) -> Any:
        interpreter = _interpreters.create("isolated")
        interpreters.append(interpreter)
        output = tmp_path / "result.json"
        failure = _interpreters.exec(
            interpreter,
            f"import sys\nsys.path[:] = {[str(tmp_path), *sys.path]!r}\n"
            f"from polygil import _worker\n_worker.bootstrap(list(sys.path), [])\n"
            f"{textwrap.dedent(source)}\n"
            f"import json\nopen({str(output)!r}, 'w').write(json.dumps(result))\n",
        )
        assert failure is None, failure
        return json.loads(output.read_text())

    yield execute
    # Newest first: see IMPORT_IN_MAIN_FIRST.
    for interpreter in reversed(interpreters):
        _interpreters.destroy(interpreter)


def test_a_handler_is_found_and_called(run: Run, write_module: Write) -> None:
    name = write_module(
        """
        from polygil import App, HTTPException, Request, Response
        app = App()

        @app.get("/users/{user_id}")
        def show(user_id: int, request: Request, tags: list[str] = []):
            return [user_id, request.headers["A"], tags]
        """
    )
    assert run(
        f"""
        from polygil import Request
        verdict, handler, plan = _worker.resolve({name!r}, "show", ("user_id",))
        args, kwargs = plan.bind(("7",), "tags=a&tags=b", b"", Request(headers=[("a", "x")]))
        hooks = [_worker.startup({name!r}, "app"), _worker.shutdown({name!r}, "app")]
        result = [verdict, handler(*args, **kwargs), *hooks]
        """
    ) == ["ok", [7, "x", ["a", "b"]], None, []]


def test_importing_the_package_imports_next_to_nothing() -> None:
    """Every interpreter pays for it in time and memory; counted in modules, because those do not vary with the load."""
    source = (
        "import sys; before = set(sys.modules); import polygil, polygil._worker, polygil._signature;"
        "print(*sorted(m for m in set(sys.modules) - before if not m.startswith('polygil')))"
    )
    path = str(Path(polygil.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env={"PYTHONPATH": path}, check=True
    )
    assert set(done.stdout.split()) <= ALLOWED


def test_workers_never_see_the_native_module(run: Run, write_module: Write) -> None:
    name = write_module("from polygil import App\napp = App()\n@app.get('/')\ndef f(): ...")
    assert (
        run(
            f"""
        _worker.resolve({name!r}, "f", ())
        _worker.after_import()
        result = sorted(sys.modules.keys() & {{"polygil._native", "polygil._serve", "polygil._loader", "threading"}})
        """
        )
        == []
    )


class TestRefusals:
    """An extension module without multi-interpreter support, told from the user's own line."""

    def test_directly(self, run: Run, write_module: Write, tmp_path: Path) -> None:
        name = write_module("import json\nimport faulthandler\ndef f(): ...")
        verdict, _, report = run(f"result = _worker.resolve({name!r}, 'f', ())")
        assert verdict == "import_failed"
        assert report["library"] == "faulthandler"
        assert report["message"] == (
            f"importing {name} failed: faulthandler does not support sub-interpreters (its extension module "
            f"faulthandler refuses)"
        )
        assert report["import_chain"] == [{"file": f"{tmp_path}/{name}.py", "line": 2, "code": "import faulthandler"}]
        assert report["advice"] == [
            "use a pure-Python alternative, or a release with multi-interpreter support (PEP 489) if there is one",
            "run what needs it in a subprocess, and let the handler talk to that",
            "import it in another service, and call that from the handler",
            f"import it only where it is needed: {tmp_path}/{name}.py:2 (import faulthandler) brings it in",
        ]
        assert report["traceback"].endswith(
            "ImportError: module faulthandler does not support loading in subinterpreters\n"
        )

    @pytest.mark.parametrize(
        "raising",
        [
            "raise ImportError('try again') from error",
            "raise ImportError('try again')",
            "raise RuntimeError('try again') from None",
        ],
    )
    def test_raised_again_in_other_words(self, run: Run, write_module: Write, tmp_path: Path, raising: str) -> None:
        write_module("import site_packages_x.inner", "site-packages.wrapping.__init__")
        wrapping = tmp_path / "site-packages" / "wrapping"
        (wrapping / "__init__.py").write_text("from . import core\n")
        (wrapping / "core.py").write_text(
            f"try:\n    import faulthandler\nexcept ImportError as error:\n    {raising}\n"
        )
        name = write_module("from middle import x", "user_app")
        write_module("\nimport sys\nsys.path.insert(0, 'site-packages')\nimport wrapping\nx = 1", "middle")
        verdict, _, report = run(
            f"sys.path.insert(0, {str(tmp_path / 'site-packages')!r})\nresult = _worker.resolve({name!r}, 'f', ())"
        )
        assert verdict == "import_failed"
        assert report["library"] == "faulthandler"
        chain = [
            (Path(entry["file"]).relative_to(tmp_path).as_posix(), entry["line"], entry["code"])
            for entry in report["import_chain"]
        ]
        assert chain == [
            ("user_app.py", 1, "from middle import x"),
            ("middle.py", 4, "import wrapping"),
            ("site-packages/wrapping/__init__.py", 1, "from . import core"),
            ("site-packages/wrapping/core.py", 2, "import faulthandler"),
        ]
        assert report["advice"][-1] == (
            f"import it only where it is needed: {tmp_path}/middle.py:4 (import wrapping) brings it in"
        )

    def test_a_real_one(self, run: Run, write_module: Write) -> None:
        name = write_module("import fastapi\ndef f(): ...")
        verdict, _, report = run(f"result = _worker.resolve({name!r}, 'f', ())")
        assert verdict == "import_failed"
        assert report["library"] == "pydantic_core"
        assert report["import_chain"][0]["code"] == "import fastapi"
        assert report["import_chain"][-1]["file"].endswith("pydantic_core/__init__.py")
        assert f"{name}.py:1 (import fastapi) brings it in" in report["advice"][-1]
        # The failed import left nothing behind that makes the second attempt look different.
        again = run(f"_worker.resolve({name!r}, 'f', ())\nresult = _worker.resolve({name!r}, 'f', ())")
        assert again[2]["library"] == "pydantic_core"

    def test_inside_a_hook(self, run: Run, write_module: Write) -> None:
        name = write_module("from polygil import App\napp = App()\n@app.on_startup\ndef hook(): import faulthandler")
        report = run(f"result = _worker.startup({name!r}, 'app')")
        assert report["library"] == "faulthandler"


def test_datetime_is_imported_in_main_first() -> None:
    """gh-136421: without it, ending interpreters oldest first corrupts the heap on 3.13.0. In a process of its own."""
    source = """
    import _interpreters
    from polygil._loader import prepare_main
    prepare_main()
    import sys
    assert "datetime" in sys.modules
    for _ in range(10):
        interpreters = [_interpreters.create("isolated") for _ in range(4)]
        for interpreter in interpreters:
            assert _interpreters.exec(interpreter, "import datetime; datetime.datetime.now()") is None
        for interpreter in interpreters:
            _interpreters.destroy(interpreter)
    """
    path = str(Path(polygil.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, env={"PYTHONPATH": path}
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_requests_will_need_is_imported_at_load(run: Run, write_module: Write) -> None:
    """An import inside the first request would make it slow, and its objects would not be frozen."""
    name = write_module("def f(body: dict, tags: list[str] = []): ...\ndef g(x: int = 5): ...")
    source = "_worker.resolve({name!r}, {handler!r}, ())\nresult = sorted(sys.modules.keys() & {{'json', 'copy'}})"
    assert run(source.format(name=name, handler="g")) == []
    assert run(source.format(name=name, handler="f")) == ["copy", "json"]


def test_closing_whatever_the_process_has_open_is_refused(run: Run) -> None:
    said = run(
        """
        import os
        reader, writer = os.pipe()
        try:
            os.closerange(reader, writer + 1)
            result = ["closed"]
        except RuntimeError as error:
            result = [str(error), os.write(writer, b"open")]
        """
    )
    assert said == [
        "os.closerange() would close descriptors of the server and of every worker, and is refused in a sub-interpreter",
        len("open"),
    ]
