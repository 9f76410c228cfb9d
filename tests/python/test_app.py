"""`App` and `Router`: what a decorator records, and every mistake it refuses with the place and the fix."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from polygil import App, RegistrationError, Router
from polygil._app import collect_mistakes

Import = Callable[[str], ModuleType]


def handler() -> None: ...
def other() -> None: ...


def table(app: Router) -> list[tuple[str, str, str, str]]:
    return [(route.method, route.pattern, route.module, route.qualname) for route in app.routes]


class TestRoutes:
    def test_every_method_has_a_decorator_that_returns_the_function(self) -> None:
        app = App()
        for method in ("get", "post", "put", "patch", "delete", "head", "options"):
            assert getattr(app, method)(f"/{method}")(handler) is handler
        assert app.route("/both", ["GET", "put", "GET"])(other) is other
        assert app.route("/default")(other) is other
        assert table(app) == [
            *(
                (method, f"/{method.lower()}", __name__, "handler")
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
            ),
            ("GET", "/both", __name__, "other"),
            ("PUT", "/both", __name__, "other"),
            ("GET", "/default", __name__, "other"),
        ]

    def test_the_origin_is_the_line_of_the_decorator(self, import_source: Import) -> None:
        module = import_source(
            """
            from polygil import App
            app = App()

            @app.get("/a")
            @app.get("/b")
            def handler(): ...
            app.post(
                "/c")(handler)
            """
        )
        name = Path(module.__file__ or "").name
        assert [(route.pattern, route.origin) for route in module.app.routes] == [
            ("/b", f"{name}:6"),
            ("/a", f"{name}:5"),
            ("/c", f"{name}:8"),
        ]

    @pytest.mark.parametrize(
        ("seconds", "milliseconds"), [(None, None), (1, 1000), (0.25, 250), (1e-9, 1), (1.0006, 1001)]
    )
    def test_a_timeout_is_in_seconds(self, seconds: float | None, milliseconds: int | None) -> None:
        app = App()
        app.get("/", timeout=seconds)(handler)
        assert app.routes[0].timeout_ms == milliseconds

    @pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan, "1s", True])
    @pytest.mark.parametrize("name", ["timeout", "queue_timeout"])
    def test_a_timeout_that_is_none(self, name: str, seconds: Any) -> None:
        message = rf"test_app\.py:\d+: the {name} must be a number of seconds greater than 0, not {seconds!r}"
        for registering in (lambda: App().get("/", **{name: seconds}), lambda: App(**{name: seconds})):
            with pytest.raises(RegistrationError, match=message):
                registering()

    def test_waiting_and_running_have_budgets_of_their_own(self) -> None:
        app = App(timeout=4, queue_timeout=3)
        inner = Router(timeout=2)
        app.include(inner, "/inner")
        for router in (app, inner):
            router.get("/none")(handler)
            router.get("/running", timeout=1)(handler)
            router.get("/waiting", queue_timeout=0.5)(handler)
        budgets = {route.pattern: (route.timeout_ms, route.queue_timeout_ms) for route in app.routes}
        assert budgets == {
            "/none": (4000, 3000),
            "/running": (1000, 3000),
            "/waiting": (4000, 500),
            "/inner/none": (2000, 3000),
            "/inner/running": (1000, 3000),
            "/inner/waiting": (2000, 500),
        }

    def test_methods_and_static_functions_of_classes(self, import_source: Import) -> None:
        module = import_source(
            """
            from polygil import App
            app = App()

            class Users:
                @app.get("/1")
                @staticmethod
                def inner(): ...

                @staticmethod
                @app.get("/2")
                def outer(): ...

                @app.get("/3")
                @classmethod
                def all(cls): ...

            app.get("/4")(Users.all)
            app.get("/5")(Users)
            """
        )
        assert [route.qualname for route in module.app.routes] == [
            "Users.inner",
            "Users.outer",
            "Users.all",
            "Users.all",
            "Users",
        ]


class TestRouters:
    def test_prefixes_add_up_and_later_routes_are_there(self) -> None:
        app, router, inner = App(), Router("/outer"), Router()
        app.get("/first")(handler)
        app.include(router, prefix="/api")
        app.get("/last")(handler)
        router.get("/x")(handler)
        router.include(inner, prefix="/inner")
        inner.get("")(handler)
        inner.get("/{id}", timeout=2)(other)
        assert [route.pattern for route in app.routes] == [
            "/first",
            "/api/outer/x",
            "/api/outer/inner",
            "/api/outer/inner/{id}",
            "/last",
        ]
        assert app.routes[3].timeout_ms == 2000

    def test_one_router_at_two_places(self) -> None:
        app, router = App(), Router()
        router.get("/x")(handler)
        app.include(router, prefix="/a")
        app.include(router, prefix="/b")
        assert [route.pattern for route in app.routes] == ["/a/x", "/b/x"]

    def test_a_router_cannot_contain_itself(self) -> None:
        outer, inner = Router(), Router()
        outer.include(inner)
        for router in (outer, inner):
            with pytest.raises(RegistrationError, match="would make a router contain itself"):
                inner.include(router)

    @pytest.mark.parametrize("prefix", ["x", "/x/", "/", 5])
    def test_prefixes_that_are_none(self, prefix: Any) -> None:
        with pytest.raises(RegistrationError, match="must start with '/' and not end with '/'"):
            Router(prefix)
        with pytest.raises(RegistrationError, match="must start with '/' and not end with '/'"):
            App().include(Router(), prefix=prefix)

    def test_only_routers_are_included(self) -> None:
        with pytest.raises(RegistrationError, match=r"include\(\) takes a Router, not list"):
            App().include([])  # type: ignore[arg-type]


class TestMistakes:
    """Each names the file, the line and the fix."""

    @pytest.mark.parametrize(
        ("code", "line", "message"),
        [
            (
                "app.get('/')(lambda: 1)",
                3,
                "a lambda cannot be found by name from another interpreter; write it as a module-level `def`",
            ),
            (
                "def make():\n    @app.get('/')\n    def inner(): ...\nmake()",
                4,
                "inner, defined inside make(), cannot be found by name from another interpreter; move it to "
                "module level "
                "(a decorator's inner function needs @functools.wraps)",
            ),
            (
                "import functools\ndef f(x): ...\napp.get('/')(functools.partial(f, 1))",
                5,
                "a partial object has no name by which another interpreter could find it; write a module-level "
                "`def` that calls "
                "it, and register that",
            ),
            (
                "class C:\n    def __call__(self): ...\napp.get('/')(C())",
                5,
                "a C object has no name by which another interpreter could find it; write a module-level `def` "
                "that calls it, "
                "and register that",
            ),
            (
                "@app.get('/')\nasync def f(): ...",
                3,
                "f is an `async def`; polygil runs plain functions, one at a time in each interpreter: use `def`, and "
                "asyncio.run(...) inside it for what must await",
            ),
            (
                "@app.get('/')\nasync def f(): yield 1",
                3,
                "f is an `async def`; polygil runs plain functions, one at a time in each interpreter: use `def`, and "
                "asyncio.run(...) inside it for what must await",
            ),
            (
                "@app.on_startup\ndef f(): yield 1",
                3,
                "f is a generator function, which does nothing when it is called; a hook is a plain function",
            ),
            (
                "class C:\n    def f(self): ...\napp.get('/')(C().f)",
                4,
                "C.f is a method bound to one object, which exists in this interpreter only; write a "
                "module-level `def` that "
                "calls it, or make it a static method",
            ),
            (
                "class C:\n    @app.get('/')\n    def f(self): ...",
                4,
                "C.f needs an object for `self`, and a route has none; make it a static method without `self`",
            ),
            ("app.get('/')(5)", 3, "a handler must be a function, not int"),
            ("app.get('/')(None)", 3, "a handler must be a function, not NoneType"),
            ("@app.get\ndef f(): ...", 3, 'the path must be a str such as "/users", not function f'),
            ("app.get('users')", 3, "the path 'users' must start with '/'"),
            ("app.get('')", 3, "the path '' must start with '/'"),
            ("app.route('/', methods='GET')", 3, "methods must be a list of names such as ['GET'], not a str"),
            ("app.route('/', methods=['G T'])", 3, "'G T' is not the name of a method"),
            ("app.route('/', methods=[''])", 3, "'' is not the name of a method"),
            ("app.route('/', methods=[5])", 3, "5 is not the name of a method"),
            ("app.route('/', methods=[])", 3, "methods must name at least one method"),
            ("app.on_startup(5)", 3, "a hook must be a function, not int"),
            (
                "@app.on_shutdown\nasync def f(): ...",
                3,
                "f is an `async def`; polygil runs plain functions, one at a time in each interpreter: use `def`, and "
                "asyncio.run(...) inside it for what must await",
            ),
        ],
    )
    def test_they_raise(self, write_module: Callable[..., str], code: str, line: int, message: str) -> None:
        name = write_module(f"from polygil import App\napp = App()\n{code}\n")
        with pytest.raises(RegistrationError) as raised:
            __import__(name)
        assert str(raised.value) == f"{name}.py:{line}: {message}"

    def test_main_has_another_name_elsewhere(self) -> None:
        def f() -> None: ...

        f.__module__, f.__qualname__ = "__main__", "f"
        with pytest.raises(
            RegistrationError,
            match="f is in __main__, which is another module in every other interpreter; "
            r"start it with `polygil serve \w+:app`, or move the handlers to a module and import it",
        ):
            App().get("/")(f)

    def test_a_decorator_with_wraps_is_fine(self) -> None:
        @functools.wraps(handler)
        def wrapper() -> None: ...

        app = App()
        app.get("/")(wrapper)
        app.get("/cached")(functools.cache(other))
        assert [route.qualname for route in app.routes] == ["handler", "other"]

    def test_while_collecting_the_route_has_the_reason(self) -> None:
        app = App()
        assert collect_mistakes(True) is False
        try:
            app.get("/1")(lambda: 1)
            app.get("/2")(functools.partial(handler))
            app.get("/3")(handler)
        finally:
            assert collect_mistakes(False) is True
        lambda_, partial, fine = app.routes
        assert lambda_.unreachable is not None
        assert lambda_.unreachable.startswith("a lambda cannot be found")
        assert lambda_.qualname == "TestMistakes.test_while_collecting_the_route_has_the_reason.<locals>.<lambda>"
        assert partial.unreachable is not None
        assert (partial.module, partial.qualname) == ("functools", "partial")
        assert fine.unreachable is None


class TestHooks:
    def test_they_are_kept_in_order_and_returned(self) -> None:
        app = App()
        assert app.on_startup(handler) is handler
        app.on_startup(other)
        app.on_shutdown(other)
        assert app._startup_hooks == [handler, other]
        assert app._shutdown_hooks == [other]
