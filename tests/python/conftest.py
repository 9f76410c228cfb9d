"""What the tests of the Python package share.

They import `polygil` as it is installed or, in a fresh clone, from `python/`. Most need no native module: `--without-build` runs those
alone, and no other build can help them.
Generated input is the same in every run, so that a failure means a change; `pytest --hypothesis-profile=explore` draws
new input, and much more of it.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]
if importlib.util.find_spec("polygil") is None:
    sys.path.insert(0, str(ROOT / "python"))
sys.path.insert(0, str(Path(__file__).parent))

# As the loader does it: before any test makes a sub-interpreter (gh-136421).
from polygil._loader import prepare_main  # noqa: E402

prepare_main()

# These ask the native module, the command as `make build` leaves it, or the simulator.
NEED_BUILD = {
    "test_browser.py", "test_clients.py", "test_fuzz_json.py", "test_json.py", "test_metrics.py", "test_sim_page.py",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-build", action="store_true", help="leave out what needs more than the Python sources")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--without-build"):
        # An older build may lie in python/polygil: whoever imports it has to be in the list.
        sys.modules["polygil._native"] = None  # type: ignore[assignment]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("--without-build") and collection_path.name in NEED_BUILD:
        return True
    return None


settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=600)
settings.register_profile("explore", deadline=None, max_examples=20_000)
settings.load_profile("repeatable")

_numbers = itertools.count()


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Write a module's source below `tmp_path`, which is the working directory, and return the module's name.

    The modules are forgotten again, so that every test imports its own.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(source: str, name: str | None = None) -> str:
        name = name or f"written_{next(_numbers)}"
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return name

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def import_source(write_module: Callable[..., str]) -> Callable[[str], ModuleType]:
    """Import a module made of the given source."""

    def load(source: str) -> ModuleType:
        return importlib.import_module(write_module(source))

    return load
