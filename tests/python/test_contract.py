"""The contract of an app: what it holds, that it is the same every time, and what is said of a change."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from polygil._contract import changes, contract

APP = """
    from enum import Enum
    from polygil import App, Request
    app = App()
    class Size(Enum):
        S = "small"
        L = "large"
    @app.get("/users/{user_id}")
    def show(user_id: int, verbose: bool = False, tag: list[str] | None = None, size: Size = Size.S):
        return {}
    @app.post("/notes", timeout=1.5)
    def add(request: Request, body: dict, *, q: str):
        return {}
"""


def rows_of(module: str) -> str:
    table = json.loads(__import__("polygil._loader", fromlist=["load"]).load(module, False))
    assert table["errors"] == []
    return json.dumps(
        [
            {
                "method": row["method"],
                "path": row["pattern"],
                "module": "app_module",
                "function": row["qualname"],
                "timeout_ms": row["timeout_ms"],
            }
            | {"module": row["module"]}
            for row in table["routes"]
        ]
    )


@pytest.fixture
def contract_of(write_module: Callable[..., str]) -> Callable[[str], str]:
    """Return the contract of an app's source, as if its module always had the same name."""

    def make(source: str) -> str:
        module = write_module(source)
        return contract(rows_of(module)).replace(module, "app")

    return make


def test_a_contract_has_routes_parameters_and_budgets_and_no_lines(contract_of: Callable[[str], str]) -> None:
    assert json.loads(contract_of(APP)) == {
        "contract": 1,
        "routes": [
            {
                "method": "POST",
                "path": "/notes",
                "handler": "app:add",
                "parameters": [
                    {"name": "body", "in": "body", "type": "dict", "required": True},
                    {"name": "q", "in": "query", "type": "str", "required": True},
                ],
                "timeout_ms": 1500,
            },
            {
                "method": "GET",
                "path": "/users/{user_id}",
                "handler": "app:show",
                "parameters": [
                    {"name": "user_id", "in": "path", "type": "int", "required": True},
                    {"name": "verbose", "in": "query", "type": "bool", "required": False, "default": False},
                    {"name": "tag", "in": "query", "type": "list[str] | None", "required": False, "default": None},
                    {
                        "name": "size",
                        "in": "query",
                        "type": "Size: small | large",
                        "required": False,
                        "default": "small",
                    },
                ],
            },
        ],
    }


def test_lines_and_the_order_of_definitions_do_not_matter(contract_of: Callable[[str], str]) -> None:
    head, first, second = APP.partition("    @app.get")[0], "    @app.get", APP.partition("    @app.get")[2]
    one, two = (first + second).split("    @app.post")
    moved = f"{head}\n\n\n    @app.post{two}\n{one}"
    assert contract_of(moved) == contract_of(APP)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "/users/{user_id}",
            "/people/{user_id}",
            [
                "GET /users/{user_id}: the route is gone; its handler app:show answers GET /people/{user_id} now",
                "GET /people/{user_id}: the route is new: the contract does not have it",
            ],
        ),
        ("def show", "def display", ["GET /users/{user_id}: the handler was app:show and is app:display"]),
        ("user_id: int", "user_id: str", ["GET /users/{user_id}: the parameter user_id was annotated int and is str"]),
        (
            "verbose: bool = False",
            "verbose: bool = True",
            ["GET /users/{user_id}: the default of verbose was False and is True"],
        ),
        ("*, q: str", "*, q: str = ''", ["POST /notes: the parameter q is optional now"]),
        (
            "*, q: str",
            "*, p: str",
            [
                "POST /notes: the parameter q (from the query) is gone",
                "POST /notes: the parameter p (from the query, required) is new",
            ],
        ),
        ("timeout=1.5", "timeout=2", ["POST /notes: timeout_ms was 1500 and is 2000"]),
        (", timeout=1.5", "", ["POST /notes: timeout_ms was 1500 and is the server's"]),
        (
            'L = "large"',
            'L = "big"',
            ["GET /users/{user_id}: the parameter size was annotated Size: small | large and is Size: small | big"],
        ),
        ("return {}", "return {'more': 1}", []),
    ],
)
def test_a_change_is_named(old: str, new: str, expected: list[str], contract_of: Callable[[str], str]) -> None:
    assert old in APP
    found = json.loads(changes(contract_of(APP), contract_of(APP.replace(old, new))))
    assert [f"{change['route']}: {change['message']}" for change in found] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "line 1: it is not JSON"),
        ("[]", "it is not a contract"),
        ('{"contract": 2, "routes": []}', "its version is 2, and this program knows 1"),
        ('{"contract": 1, "routes": [{}]}', "each of its routes is an object"),
    ],
)
def test_what_is_no_contract_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="^" + expected):
        changes(text, '{"contract": 1, "routes": []}')
