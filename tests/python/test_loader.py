"""`polygil._loader`: the table of a target as JSON, and every way in which there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from polygil import RegistrationError
from polygil._app import App
from polygil._loader import describe, find_name, load, set_app_dir

Write = Callable[..., str]

HELLO = """
from polygil import App
app = App()

@app.get("/hello/{name}", timeout=1, queue_timeout=0.5)
def hello(name): ...
"""


def loaded(target: str, collect: bool = False) -> dict[str, Any]:
    table = json.loads(load(target, collect))
    assert list(table) == ["module", "attribute", "routes", "errors"]
    return table


def only_error(target: str, collect: bool = False) -> dict[str, str]:
    table = loaded(target, collect)
    assert len(table["errors"]) == 1
    return table["errors"][0]


def test_a_table(write_module: Write) -> None:
    name = write_module(HELLO)
    assert loaded(f"{name}:app") == {
        "module": name,
        "attribute": "app",
        "routes": [
            {
                "method": "GET",
                "pattern": "/hello/{name}",
                "module": name,
                "qualname": "hello",
                "origin": f"{name}.py:5",
                "timeout_ms": 1000,
                "queue_timeout_ms": 500,
                "unreachable": None,
            }
        ],
        "errors": [],
    }


def test_the_attribute_is_app_unless_said(write_module: Write) -> None:
    name = write_module(HELLO)
    assert loaded(name) == loaded(f"{name}:") == loaded(f"{name}:app")


def test_a_module_in_a_package_and_a_nested_attribute(write_module: Write) -> None:
    write_module("", "package_a.__init__")
    write_module(HELLO + "class Holder: inner = app", "package_a.web")
    table = loaded("package_a.web:Holder.inner")
    assert table["errors"] == []
    assert (table["module"], table["attribute"]) == ("package_a.web", "Holder.inner")
    assert table["routes"][0]["origin"] == "package_a/web.py:5"


@pytest.mark.parametrize("target", ["", ":", ":app", "a b:app", "a:b c", "a..b", "a:b:c", "../app.py", "app.py:1"])
def test_a_target_of_another_form(target: str) -> None:
    error = only_error(target)
    assert error["code"] == "module_not_found"
    assert error["message"] == f"{target!r} is not of the form module:attribute, such as app:app or package.module:app"


class TestModuleErrors:
    def test_no_such_module(self) -> None:
        looked = "; looked in: " + ", ".join(sys.path)
        assert only_error("nowhere_to_be_found:app") == {
            "code": "module_not_found",
            "message": "there is no module 'nowhere_to_be_found'" + looked,
            "traceback": "",
        }
        assert only_error("json.nowhere:app")["message"] == "there is no module 'json.nowhere'" + looked
        missing = "there is no module 'nowhere', needed for 'nowhere.below'"
        assert only_error("nowhere.below:app")["message"] == missing + looked

    def test_a_parent_that_is_no_package(self, write_module: Write) -> None:
        name = write_module("")
        error = only_error(f"{name}.below:app")
        assert error["code"] == "module_not_found"
        assert f"'{name}' is not a package" in error["message"]

    def test_a_module_it_imports_is_missing(self, write_module: Write) -> None:
        name = write_module("import nowhere_to_be_found")
        error = only_error(f"{name}:app")
        assert error["code"] == "import_failed"
        assert (
            error["message"] == f"importing {name} failed: ModuleNotFoundError: No module named 'nowhere_to_be_found'"
        )
        assert error["traceback"] == (
            f'Traceback (most recent call last):\n  File "{Path.cwd()}/{name}.py", line 1, in <module>\n'
            "    import nowhere_to_be_found\nModuleNotFoundError: No module named 'nowhere_to_be_found'\n"
        )

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("import sys\nsys.exit(3)", "SystemExit: 3"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("def f(:", "SyntaxError: invalid syntax"),
            ("x = '\0'", "SyntaxError: source code string cannot contain null bytes"),
            ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "E"),
        ],
    )
    def test_it_raises(self, write_module: Write, source: str, message: str) -> None:
        name = write_module(source)
        error = only_error(f"{name}:app")
        assert error["code"] == "import_failed"
        assert error["message"].startswith(f"importing {name} failed: {message}")
        assert "_worker.py" not in error["traceback"]
        assert "importlib" not in error["traceback"]

    def test_a_registration_error_says_where(self, write_module: Write) -> None:
        name = write_module("from polygil import App\napp = App()\napp.get('/')(lambda: 1)\n")
        error = only_error(f"{name}:app")
        assert error["code"] == "import_failed"
        assert f"RegistrationError: {name}.py:3: a lambda cannot be found by name" in error["message"]


class TestAttributeErrors:
    def test_no_such_attribute(self, write_module: Write) -> None:
        name = write_module("application_x = 5")
        assert only_error(f"{name}:app")["message"] == f"{name} has no attribute 'app'"
        assert only_error(f"{name}:application_y")["message"].endswith("; did you mean 'application_x'?")
        assert only_error(f"{name}:application_x.inner")["message"] == f"{name}.application_x has no attribute 'inner'"

    def test_the_app_has_another_name(self, write_module: Write) -> None:
        name = write_module("from polygil import App\nsite = App()")
        error = only_error(name)
        assert error["code"] == "function_not_found"
        assert error["message"] == f"{name} has no attribute 'app'; its App is {name}:site"

    def test_the_lookup_raises(self, write_module: Write) -> None:
        name = write_module("def __getattr__(name): raise RuntimeError(name)")
        error = only_error(name)
        assert error["code"] == "function_not_found"
        assert error["message"] == f"looking up 'app' in {name} raised: RuntimeError: app"
        assert "RuntimeError: app" in error["traceback"]

    def test_not_an_app(self, write_module: Write) -> None:
        name = write_module("from polygil import App\nnumber = 5\ndef create_app(): return App()")
        assert only_error(f"{name}:number") == {
            "code": "not_an_app",
            "message": f"{name}:number is not a polygil.App but int",
            "traceback": "",
        }
        assert only_error(f"{name}:create_app")["message"] == (
            f"{name}:create_app is not a polygil.App but function; a factory is called in the module: app = "
            f"create_app()"
        )
        other = write_module("from polygil import App\nsite = App()\napp = site.get")
        assert only_error(other)["message"].endswith(f"; the module's App is {other}:site")


class TestShadowed:
    """A name that no longer means the registered function would silently call something else."""

    def test_a_later_def(self, write_module: Write) -> None:
        name = write_module(
            """
            from polygil import App
            app = App()
            @app.get("/a")
            def show(): ...
            @app.get("/b")
            def show(): ...
            """
        )
        message = (
            f"{name}:show is registered ({name}.py:4), and the name now means another object ({name}.py:6), "
            f"which would be "
            "called instead; rename one, or give a decorator's inner function @functools.wraps"
        )
        assert loaded(name)["errors"] == [{"code": "shadowed", "message": f"{name}.py:4: {message}", "traceback": ""}]
        collected = loaded(name, collect=True)
        assert collected["errors"] == []
        assert [route["unreachable"] for route in collected["routes"]] == [message, None]

    def test_a_deleted_name(self, write_module: Write) -> None:
        name = write_module(HELLO + "del hello")
        assert only_error(name)["message"] == (
            f"{name}.py:5: {name}:hello is registered, and no longer there by that name; leave it a global of "
            f"its module"
        )

    @pytest.mark.parametrize(
        ("wraps", "advice"),
        [
            ("@functools.wraps(f)", "let the route's decorator stand above all others"),
            ("", "give a decorator's inner function @functools.wraps"),
        ],
    )
    def test_a_decorator_above(self, write_module: Write, wraps: str, advice: str) -> None:
        name = write_module(
            f"""
            import functools
            from polygil import App
            app = App()
            def logged(f):
                {wraps}
                def wrapper(*args): return f(*args)
                return wrapper
            @logged
            @app.get("/")
            def show(): ...
            """
        )
        assert advice in only_error(name)["message"]

    def test_a_decorator_below(self, write_module: Write) -> None:
        name = write_module(
            """
            import functools
            from polygil import App
            app = App()
            def logged(f):
                @functools.wraps(f)
                def wrapper(*args): return f(*args)
                return wrapper
            @app.get("/")
            @logged
            def show(): ...
            """
        )
        assert loaded(name)["errors"] == []

    def test_another_name_in_the_module_is_taken(self, write_module: Write) -> None:
        name = write_module(
            """
            import functools
            from polygil import App
            app = App()
            def show(): ...
            other = functools.wraps(show)(lambda: 1)
            app.get("/")(other)
            class Crud:
                @classmethod
                def list(cls): ...
            Kept = type("View", (Crud,), {})
            app.get("/kept")(Kept.list)
            """
        )
        assert [route["qualname"] for route in loaded(name)["routes"]] == ["other", "Kept.list"]

    def test_another_name_in_the_module_that_registers_it_is_taken(self, write_module: Write) -> None:
        library = write_module("def hidden(): ...\nfound = [hidden]\ndel hidden")
        name = write_module(
            f"""
            from polygil import App
            from {library} import found
            app = App()
            show = found[0]
            app.get("/")(show)
            """
        )
        table = loaded(name)
        assert table["errors"] == []
        assert (table["routes"][0]["module"], table["routes"][0]["qualname"]) == (name, "show")

    def test_methods(self, write_module: Write) -> None:
        name = write_module(
            """
            from polygil import App
            app = App()
            class Users:
                @app.get("/1")
                @staticmethod
                def one(): ...
                @staticmethod
                @app.get("/2")
                def two(): ...
                @app.get("/3")
                @classmethod
                def three(cls): ...
                @classmethod
                @app.get("/4")
                def four(cls): ...
                @app.get("/5")
                @staticmethod
                def five(): ...
                five = staticmethod(lambda: 5)
            app.get("/6")(Users.three)
            """
        )
        assert [error["message"].partition(" is ")[0] for error in loaded(name)["errors"]] == [
            f"{name}.py:17: {name}:Users.five"
        ]

    def test_a_wrapped_chain_without_end(self, write_module: Write) -> None:
        name = write_module(HELLO + "def hello(name): ...\nhello.__wrapped__ = hello")
        assert only_error(name)["code"] == "shadowed"


class TestDescribe:
    def test_the_name_is_found(self, write_module: Write) -> None:
        name = write_module(HELLO)
        module = __import__(name)
        user = write_module(f"from {name} import app as imported")
        __import__(user)
        assert find_name(module.app) == (name, "app")
        assert json.loads(describe(module.app, False)) == loaded(name)

    def test_made_elsewhere_and_kept_here(self, write_module: Write) -> None:
        factory = write_module("from polygil import App\ndef make(): return App()")
        holder = write_module(f"from {factory} import make\nsite = make()")
        assert find_name(__import__(holder).site) == (holder, "site")

    def test_no_global_of_any_module(self) -> None:
        with pytest.raises(
            RegistrationError,
            match="not a global of any module, so that workers could not find it; keep it in "
            r'one \(app = polygil.App\(\)\) and pass "module:app"',
        ):
            find_name(App())

    def test_a_global_of_main(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            "import polygil\nfrom polygil._loader import find_name\napp = polygil.App()\nfind_name(app)\n"
        )
        done = subprocess.run(
            [sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": python_path()}
        )
        assert done.stderr.splitlines()[-1] == (
            "polygil._errors.RegistrationError: the app is 'app' in __main__, which is another module in every "
            "other interpreter; "
            'pass its name instead, polygil.serve("module:app"), or start it with `polygil serve module:app`'
        )

    def test_handlers_in_main_name_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "web.py").write_text("import polygil\napp = polygil.App()\n@app.get('/')\ndef f(): ...\n")
        done = subprocess.run(
            [sys.executable, "web.py"], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": python_path()}
        )
        assert done.stderr.splitlines()[-1] == (
            "polygil._errors.RegistrationError: web.py:3: f is in __main__, which is another module in every "
            "other interpreter; "
            "start it with `polygil serve web:app`, or move the handlers to a module and import it"
        )


def python_path() -> str:
    import polygil

    return str(Path(polygil.__file__).parents[1])


def test_app_dir_comes_first_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/elsewhere", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    set_app_dir(".")
    set_app_dir(str(tmp_path))
    assert sys.path == [str(tmp_path), "/elsewhere"]
