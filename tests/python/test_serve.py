"""`serve`, `Server` and the command line, against a stand-in for the native module: what is handed over, and when."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polygil
import pytest
from polygil import __main__ as command_line


class Native(ModuleType):
    """Stands in for `polygil._native` and remembers what it was called with."""

    def __init__(self) -> None:
        super().__init__("polygil._native")
        self.served: list[tuple[Any, ...]] = []
        self.arguments: list[str] = []
        self.stopped = threading.Event()
        self.fault: BaseException | None = None

    def main(self, arguments: list[str]) -> int:
        self.arguments = arguments
        return 3

    def serve(self, target: str, options: list[tuple[str, str]], control: Any) -> int:
        self.served.append((target, options))
        if self.fault is not None:
            raise self.fault
        if control is not None:
            control.on_ready("http://127.0.0.1:1234", self.stopped.set)
            assert self.stopped.wait(10)
        return 0


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> Native:
    stand_in = Native()
    monkeypatch.setitem(sys.modules, "polygil._native", stand_in)
    monkeypatch.setattr(polygil, "_native", stand_in, raising=False)
    return stand_in


def test_options_become_text(native: Native) -> None:
    code = polygil.serve(
        "app:app", port=0, pin=True, debug=False, app_dir=Path("/x"), uds=None, handler_timeout=1.5, host="::1"
    )
    assert code == 0
    assert native.served == [
        (
            "app:app",
            [
                ("port", "0"),
                ("pin", "true"),
                ("debug", "false"),
                ("app_dir", "/x"),
                ("handler_timeout", "1.5"),
                ("host", "::1"),
            ],
        )
    ]


def test_an_app_is_handed_over_as_its_table(native: Native, import_source: Callable[[str], ModuleType]) -> None:
    module = import_source("from polygil import App\napp = App()\n@app.get('/')\ndef f(): ...")
    polygil.serve(module.app)
    table = json.loads(native.served[0][0])
    assert (table["module"], table["attribute"]) == (module.__name__, "app")
    assert table["routes"][0]["qualname"] == "f"


def test_a_target_of_another_type(native: Native) -> None:
    with pytest.raises(TypeError, match='the target must be a str such as "module:app", or an App, not function'):
        polygil.serve(test_options_become_text)  # type: ignore[arg-type]
    with pytest.raises(polygil.RegistrationError, match="not a global of any module"):
        polygil.Server(polygil.App())


class TestServer:
    def test_it_runs_beside_the_program(self, native: Native) -> None:
        server = polygil.Server("app:app", port=0)
        assert server.url == ""
        assert native.served == []
        with server as entered:
            assert entered is server
            assert server.url == "http://127.0.0.1:1234"
            assert not native.stopped.is_set()
        assert native.stopped.is_set()
        assert server.exit_code == 0
        assert native.served == [("app:app", [("port", "0")])]

    def test_it_stops_when_the_block_raises(self, native: Native) -> None:
        with pytest.raises(ZeroDivisionError), polygil.Server("app:app"):
            _ = 1 / 0
        assert native.stopped.is_set()

    def test_a_start_that_fails(self, native: Native) -> None:
        native.fault = OSError("address in use")
        with (
            pytest.raises(RuntimeError, match="the server did not start: address in use") as raised,
            polygil.Server("a"),
        ):
            pass
        assert raised.value.__cause__ is native.fault

    def test_it_is_started_once(self, native: Native) -> None:
        server = polygil.Server("app:app")
        with server:
            pass
        with pytest.raises(RuntimeError, match="this Server has been started already; make another one"):
            server.start()

    def test_stopping_what_never_started(self) -> None:
        polygil.Server("app:app").stop()


def test_the_command_line_is_native(native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["polygil", "serve", "app:app"])
    assert command_line.main() == 3
    assert native.arguments == ["serve", "app:app"]


def test_without_the_native_module_it_says_what_to_do(tmp_path: Path) -> None:
    """In a process of its own, with a copy of the package that has no native module."""
    package = tmp_path / "polygil"
    package.mkdir()
    for source in Path(polygil.__file__).parent.glob("*.py"):
        (package / source.name).write_bytes(source.read_bytes())
    run = {"capture_output": True, "text": True, "cwd": tmp_path, "env": {"PYTHONPATH": str(tmp_path)}}
    done = subprocess.run([sys.executable, "-m", "polygil", "serve", "app:app"], **run)  # type: ignore[call-overload]
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("polygil: the native module polygil._native cannot be loaded (")
    assert done.stderr.endswith("`make build`; otherwise install the package for this Python: `pip install polygil`\n")


def test_the_public_names() -> None:
    assert set(polygil.__all__) <= set(dir(polygil))
    for name in polygil.__all__:
        assert getattr(polygil, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'polygil' has no attribute 'nothing'"):
        polygil.nothing  # noqa: B018
    assert issubclass(polygil.HandlerTimeout, BaseException)
    assert not issubclass(polygil.HandlerTimeout, Exception)
