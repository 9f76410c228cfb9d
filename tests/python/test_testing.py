"""The clients for tests: without a socket and with one, and that both get the same answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from polygil.testing import Answer, Client, ServerClient

pytest_plugins = ["pytester"]

SUITE = Path(__file__).resolve().parents[2] / "conformance" / "app"

# Method, target, options: one of each kind of parameter, return value and failure.
REQUESTS: list[tuple[str, str, dict[str, object]]] = [
    ("GET", "/value/int", {}),
    ("GET", "/value/dict", {}),
    ("GET", "/value/str", {}),
    ("GET", "/value/none", {}),
    ("GET", "/value/pair-str", {}),
    ("HEAD", "/value/str", {}),
    ("OPTIONS", "/value/int", {}),
    ("DELETE", "/value/int", {}),
    ("BREW", "/value/int", {}),
    ("GET", "/nowhere", {}),
    ("GET", "/path/7", {}),
    ("GET", "/path/abc", {}),
    ("GET", "/path/text/a%20b%2Fc", {}),
    ("GET", "/path/text/%ff", {}),
    ("GET", "/path/text/%zz", {}),
    ("GET", "/path/fixed/known", {}),
    ("GET", "/path/fixed/other", {}),
    ("GET", "/path/rest/a/b", {}),
    ("GET", "/query", {"params": {"text": "é ü", "number": 7, "flag": True, "tag": ["a", "b"]}}),
    ("GET", "/query?number=x", {}),
    ("GET", "/query/required", {}),
    ("POST", "/body", {"json": {"a": [1, None]}}),
    ("POST", "/body", {"content": b"{bad"}),
    ("POST", "/body", {}),
    ("POST", "/body/raw", {"content": b"\x00\xff"}),
    ("PUT", "/body/length", {"content": "text"}),
    ("GET", "/field/x-a", {"headers": [("X-A", "1"), ("x-a", "2")]}),
    ("GET", "/status/410", {}),
    ("GET", "/status/304/empty", {}),
    ("GET", "/raise", {}),
    ("GET", "/raise/detail", {}),
    ("GET", "/head/both", {}),
    ("HEAD", "/head/own", {}),
    ("GET", "/stream?pieces=3", {}),
    ("GET", "/v1/shop/inner/deep", {}),
]


def shown(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What must be alike: all but what a server adds of itself, and how it frames."""
    own = {"date", "server", "x-request-id", "content-length", "transfer-encoding", "connection"}
    fields = sorted((name, value) for name, value in answer.headers.pairs() if name not in own)
    # How a 400 of the router words its detail is the router's own.
    content = answer.json()["error"].encode() if answer.status_code == 400 and answer.content else answer.content
    return answer.status_code, fields, content


@pytest.fixture(scope="module")
def both() -> object:
    """Both clients of the conformance suite's app."""
    before = set(sys.modules)
    client = Client("suite:app", app_dir=str(SUITE), raise_exceptions=False)
    with ServerClient("suite:app", app_dir=SUITE) as server:
        yield client, server
    sys.path.remove(str(SUITE))
    for name in set(sys.modules) - before:
        if str(SUITE) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize(("method", "target", "options"), REQUESTS)
def test_both_clients_get_the_same(
    method: str, target: str, options: dict[str, object], both: tuple[Client, ServerClient]
) -> None:
    client, server = both
    assert shown(client.request(method, target, **options)) == shown(server.request(method, target, **options))  # type: ignore[arg-type]


SOURCE = """
    from polygil import App
    app = App()
    log = []
    @app.on_startup
    def begin():
        log.append("begin")
    @app.on_shutdown
    def end():
        log.append("end")
    @app.get("/hello")
    def hello(name: str = "you"):
        return {"hello": name}
    @app.get("/fails")
    def fails():
        raise LookupError("of the handler")
    @app.get("/unknown")
    def unknown():
        return object()
"""


def test_what_a_handler_raises_comes_out_unless_it_is_to_be_a_500(write_module: Callable[..., str]) -> None:
    name = write_module(SOURCE)
    client = Client(f"{name}:app")
    assert client.get("/hello", params={"name": "x"}).json() == {"hello": "x"}
    with pytest.raises(LookupError, match="of the handler"):
        client.get("/fails")
    with pytest.raises(TypeError, match="object is not JSON serializable"):
        client.get("/unknown")
    server_like = Client(f"{name}:app", raise_exceptions=False)
    assert server_like.get("/fails").json() == {"detail": "Internal Server Error", "error": "handler_raised"}
    assert server_like.get("/unknown").json()["error"] == "response_not_serializable"
    with pytest.raises(AssertionError, match="the status is 404"):
        client.get("/nope").raise_for_status()


def test_hooks_run_around_the_block(write_module: Callable[..., str]) -> None:
    name = write_module(SOURCE)
    with Client(f"{name}:app") as client:
        log = sys.modules[name].log
        assert (client.get("/hello").status_code, log) == (200, ["begin"])
    assert log == ["begin", "end"]


def test_a_mistake_of_the_caller_is_told() -> None:
    with pytest.raises(Exception, match="there is no module 'no_such_module'"):
        Client("no_such_module:app")
    with pytest.raises(ValueError, match="a manifest has no App"):
        Client("routes.toml")


def test_a_url_is_a_path_and_content_is_said_once(write_module: Callable[..., str]) -> None:
    client = Client(f"{write_module(SOURCE)}:app")
    with pytest.raises(ValueError, match="begins with /"):
        client.get("http://127.0.0.1/hello")
    with pytest.raises(TypeError, match="give one"):
        client.post("/hello", json=1, content=b"1")


def test_the_fixtures_make_clients_and_end_them(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        app="from polygil import App\napp = App()\n@app.get('/')\ndef index():\n    return 'here'\n",
        test_it="""
            def test_client(polygil_client):
                assert polygil_client("app:app").get("/").text == "here"

            def test_server(polygil_server):
                client = polygil_server("app:app", workers=1)
                assert client.get("/").text == "here"
                assert client.url.startswith("http://127.0.0.1:")
        """,
    )
    loaded = [] if any("polygil" in str(plugin) for plugin in _entry_points()) else ["-p", "polygil._pytest"]
    pytester.runpytest_subprocess(*loaded).assert_outcomes(passed=2)


def _entry_points() -> list[object]:
    from importlib.metadata import entry_points

    return [entry for entry in entry_points(group="pytest11") if entry.name == "polygil"]
