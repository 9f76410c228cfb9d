"""`App` and `Router`: where a program says which handler answers which method and path.

A decorator records metadata and returns the function as it is: (method, pattern, module, qualified name, origin).
Nothing here is ever called to serve a request. The main interpreter reads the table once; every worker finds the
handlers again by module and qualified name, so a handler that has no such name is refused where it is registered, with
the file, the line and the fix.

Two interpreters, two attitudes: in main a mistake raises `RegistrationError`, which stops the import at the line of the
mistake. While `polygil check` collects verdicts, and in workers (where main has decided already), nothing raises; the
route carries the reason in `unreachable` instead, so that one mistake does not hide the others.
"""

from __future__ import annotations

import sys
from os import getcwd

from polygil._errors import RegistrationError
from polygil._names import describe, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType, FrameType
    from typing import Any, Protocol

    type Handler = Callable[..., Any]
    type Hook = Callable[[], object]
    #: How long a handler may run and how long a request may wait for a worker, in milliseconds.
    type Budgets = tuple[int | None, int | None]

    class Decorator(Protocol):
        """Takes a handler and returns the very same one."""

        def __call__[F: Handler](self, handler: F, /) -> F: ...


# inspect.CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR; importing `inspect` would cost 20 ms.
_CO_GENERATOR, _CO_COROUTINE, _CO_ASYNC_GENERATOR = 0x20, 0x80, 0x200

# Whether mistakes are collected on the routes instead of raised; set through `collect_mistakes` only.
_collecting = False


def collect_mistakes(collect: bool) -> bool:
    """Choose whether registering an unreachable handler raises (False) or records the reason; return the old choice."""
    global _collecting
    before, _collecting = _collecting, collect
    return before


class Route:
    """One row of the table: what the router needs to match, and the name by which a worker finds the handler."""

    __slots__ = (
        "handler",
        "method",
        "module",
        "origin",
        "pattern",
        "qualname",
        "queue_timeout_ms",
        "registered_in",
        "timeout_ms",
        "unreachable",
    )

    def __init__(
        self,
        method: str,
        pattern: str,
        handler: Handler,
        origin: str,
        registered_in: str | None,
        budgets: Budgets,
        unreachable: str | None,
    ) -> None:
        self.method = method
        self.pattern = pattern
        self.handler = handler
        self.module, self.qualname = name_of(handler)
        self.origin = origin
        # The module whose code registered it: the second place where its name is looked for.
        self.registered_in = registered_in
        self.timeout_ms, self.queue_timeout_ms = budgets
        self.unreachable = unreachable

    def within(self, prefix: str, budgets: Budgets) -> Route:
        """Return this route under `prefix`; `budgets` are those of its router, for what it leaves open."""
        budgets = _first(((self.timeout_ms, self.queue_timeout_ms), budgets))
        return Route(
            self.method,
            prefix + self.pattern,
            self.handler,
            self.origin,
            self.registered_in,
            budgets,
            self.unreachable,
        )

    def __repr__(self) -> str:
        return f"<Route {self.method} {self.pattern} {self.module}:{self.qualname} ({self.origin})>"


class Router:
    """Routes that belong together, often under one prefix; `App.include` and `Router.include` take them in.

    `prefix` starts with `/` and does not end with one, or is empty. `timeout` and `queue_timeout`, in seconds, are for
    its routes that have none of their own; see `route`.
    """

    def __init__(
        self, prefix: str = "", *, timeout: float | None = None, queue_timeout: float | None = None
    ) -> None:
        """Make an empty router; raises RegistrationError for a prefix that could not start a path."""
        origin = place(sys._getframe(1))
        self.prefix = _checked_prefix(prefix, origin)
        self._budgets = _checked_budgets(timeout, queue_timeout, origin)
        self._entries: list[Route | tuple[str, Router]] = []

    @property
    def routes(self) -> list[Route]:
        """Every route in the order of registration, prefixed; those of an included router where `include` stands."""
        routes: list[Route] = []
        for entry in self._entries:
            if isinstance(entry, Route):
                routes.append(entry.within(self.prefix, self._budgets))
            else:
                prefix, router = entry
                routes.extend(route.within(self.prefix + prefix, self._budgets) for route in router.routes)
        return routes

    def include(self, router: Router, prefix: str = "") -> None:
        """Take in all routes of `router`, also those it gets later, under `prefix` followed by the router's own prefix.

        Raises RegistrationError when `router` already contains this one: the table would never end.
        """
        origin = place(sys._getframe(1))
        if not isinstance(router, Router):
            raise RegistrationError(f"{origin}: include() takes a Router, not {type(router).__name__}")
        if router._contains(self):
            raise RegistrationError(
                f"{origin}: include() would make a router contain itself; remove one of the includes"
            )
        self._entries.append((_checked_prefix(prefix, origin), router))

    def _contains(self, other: Router) -> bool:
        if self is other:
            return True
        return any(entry[1]._contains(other) for entry in self._entries if not isinstance(entry, Route))

    def route(
        self,
        path: str,
        methods: Iterable[str] = ("GET",),
        *,
        timeout: float | None = None,
        queue_timeout: float | None = None,
    ) -> Decorator:
        """Register the decorated function for `path` and every one of `methods`.

        `path` may hold `{name}` (one segment), `{name:int}` and `{name:path}` (the rest). `timeout` is how long the
        handler may run, `queue_timeout` how long a request may wait for a worker before that, both in seconds; without
        them the router's apply, then those of the routers that include it, then the server's.
        Raises RegistrationError for what no worker could find.
        """
        return self._decorator(path, methods, timeout, queue_timeout, sys._getframe(1))

    def get(self, path: str, *, timeout: float | None = None, queue_timeout: float | None = None) -> Decorator:
        """Register the decorated function for GET (and HEAD, where no route of its own has it); see `route`."""
        return self._decorator(path, ("GET",), timeout, queue_timeout, sys._getframe(1))

    def post(self, path: str, *, timeout: float | None = None, queue_timeout: float | None = None) -> Decorator:
        """Register the decorated function for POST; see `route`."""
        return self._decorator(path, ("POST",), timeout, queue_timeout, sys._getframe(1))

    def put(self, path: str, *, timeout: float | None = None, queue_timeout: float | None = None) -> Decorator:
        """Register the decorated function for PUT; see `route`."""
        return self._decorator(path, ("PUT",), timeout, queue_timeout, sys._getframe(1))

    def patch(self, path: str, *, timeout: float | None = None, queue_timeout: float | None = None) -> Decorator:
        """Register the decorated function for PATCH; see `route`."""
        return self._decorator(path, ("PATCH",), timeout, queue_timeout, sys._getframe(1))

    def delete(self, path: str, *, timeout: float | None = None, queue_timeout: float | None = None) -> Decorator:
        """Register the decorated function for DELETE; see `route`."""
        return self._decorator(path, ("DELETE",), timeout, queue_timeout, sys._getframe(1))

    def head(self, path: str, *, timeout: float | None = None, queue_timeout: float | None = None) -> Decorator:
        """Register the decorated function for HEAD; see `route`."""
        return self._decorator(path, ("HEAD",), timeout, queue_timeout, sys._getframe(1))

    def options(self, path: str, *, timeout: float | None = None, queue_timeout: float | None = None) -> Decorator:
        """Register the decorated function for OPTIONS; see `route`."""
        return self._decorator(path, ("OPTIONS",), timeout, queue_timeout, sys._getframe(1))

    def _decorator(
        self,
        path: str,
        methods: Iterable[str],
        timeout: float | None,
        queue_timeout: float | None,
        caller: FrameType,
    ) -> Decorator:
        origin, registered_in = place(caller), caller.f_globals.get("__name__")
        if not isinstance(path, str):
            # Most often `@app.get` without parentheses: say so instead of failing at the first request.
            raise RegistrationError(f'{origin}: the path must be a str such as "/users", not {describe(path)}')
        if not path.startswith("/") and not (path == "" and not isinstance(self, App)):
            raise RegistrationError(f"{origin}: the path {path!r} must start with '/'")
        checked_methods = _checked_methods(methods, origin)
        budgets = _checked_budgets(timeout, queue_timeout, origin)

        def register[F: Handler](handler: F, /) -> F:
            reason = unreachable_reason(handler)
            if reason is not None and not _collecting:
                raise RegistrationError(f"{_origin_of(handler) or origin}: {reason}")
            for method in checked_methods:
                self._entries.append(Route(method, path, handler, origin, registered_in, budgets, reason))
            return handler

        return register


class App(Router):
    """An application: routes, and hooks that every interpreter runs when it starts and before it ends.

    Keep it in a module global, because `polygil serve module:app` looks it up there, and so does every worker.
    `timeout` and `queue_timeout`, in seconds, are for its routes that have none of their own; see `route`.
    """

    def __init__(self, *, timeout: float | None = None, queue_timeout: float | None = None) -> None:
        """Make an empty app."""
        self.prefix = ""
        self._budgets = _checked_budgets(timeout, queue_timeout, place(sys._getframe(1)))
        self._entries = []
        self._startup_hooks: list[Hook] = []
        self._shutdown_hooks: list[Hook] = []
        # The module that made it is the first place where its global name is looked for.
        self._made_in: str | None = sys._getframe(1).f_globals.get("__name__")

    def on_startup[H: Hook](self, hook: H) -> H:
        """Run the decorated function in each interpreter after its handlers are loaded, in order of registration.

        It takes no arguments. An exception fails the start of the interpreter.
        """
        self._startup_hooks.append(_checked_hook(hook, place(sys._getframe(1))))
        return hook

    def on_shutdown[H: Hook](self, hook: H) -> H:
        """Run the decorated function in each interpreter before it ends, in reverse order of registration.

        It takes no arguments. An exception is logged; the remaining hooks still run.
        """
        self._shutdown_hooks.append(_checked_hook(hook, place(sys._getframe(1))))
        return hook


def place(frame: FrameType) -> str:
    """Return `file:line` of what the frame executes."""
    return f"{short_path(frame.f_code.co_filename)}:{frame.f_lineno}"


def short_path(path: str) -> str:
    """Return `path` relative to the working directory where it is below it: what a person would type."""
    try:
        here = getcwd()
    except OSError:
        return path
    here = here.rstrip("/") + "/"
    return path[len(here) :] if path.startswith(here) else path


def code_of(handler: object) -> CodeType | None:
    """Return the code object of a function, looking through bound methods, static methods and class methods."""
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    return code if hasattr(code, "co_firstlineno") else None


def _origin_of(handler: object) -> str | None:
    """Return `file:line` of the definition, or None for what is not a Python function."""
    code = code_of(handler)
    return None if code is None else f"{short_path(code.co_filename)}:{code.co_firstlineno}"


def unreachable_reason(handler: object) -> str | None:
    """Say why another interpreter cannot find or call `handler` by name, and the fix; None when it can."""
    module, qualname = name_of(handler)
    if isinstance(handler, classmethod | staticmethod):
        return _flags_reason(handler.__func__, qualname) or _scope_reason(module, qualname)
    if not callable(handler):
        return f"a handler must be a function, not {describe(handler)}"
    if not isinstance(getattr(handler, "__qualname__", None), str) or not module:
        return (
            f"a {type(handler).__name__} object has no name by which another interpreter could find it; "
            "write a module-level `def` that calls it, and register that"
        )
    scope = _scope_reason(module, qualname) or _flags_reason(handler, qualname)
    if scope is not None:
        return scope
    owner = getattr(handler, "__self__", None)
    if owner is not None and hasattr(handler, "__func__") and not isinstance(owner, type):
        return (
            f"{qualname} is a method bound to one object, which exists in this interpreter only; "
            "write a module-level `def` that calls it, or make it a static method"
        )
    code = code_of(handler)
    if owner is None and "." in qualname and code is not None and code.co_varnames[: code.co_argcount][:1] == ("self",):
        return f"{qualname} needs an object for `self`, and a route has none; make it a static method without `self`"
    return None


def _scope_reason(module: str, qualname: str) -> str | None:
    if "<lambda>" in qualname:
        return "a lambda cannot be found by name from another interpreter; write it as a module-level `def`"
    if "<locals>" in qualname:
        function, _, inner = qualname.rpartition(".<locals>.")
        return (
            f"{inner}, defined inside {function}(), cannot be found by name from another interpreter; "
            "move it to module level (a decorator's inner function needs @functools.wraps)"
        )
    if module == "__main__":
        return f"{qualname} is in __main__, which is another module in every other interpreter; {_main_fix()}"
    return None


def _main_fix() -> str:
    """Say how to start the program that runs as __main__ so that its handlers have a name."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = getattr(spec, "name", None)
    if not isinstance(name, str):
        file = getattr(main, "__file__", None)
        stem = file.rpartition("/")[2].removesuffix(".py") if isinstance(file, str) else ""
        name = stem if stem.isidentifier() else "module"
    name = name.removesuffix(".__main__")
    return f"start it with `polygil serve {name}:app`, or move the handlers to a module and import it"


def _flags_reason(handler: object, qualname: str) -> str | None:
    code = code_of(handler) or code_of(getattr(handler, "__call__", None))  # noqa: B004
    flags = code.co_flags if code is not None else 0
    if flags & (_CO_COROUTINE | _CO_ASYNC_GENERATOR):
        return (
            f"{qualname} is an `async def`; polygil runs plain functions, one at a time in each interpreter: "
            "use `def`, and asyncio.run(...) inside it for what must await"
        )
    return None


def _checked_prefix(prefix: str, origin: str) -> str:
    if not isinstance(prefix, str) or (prefix and (not prefix.startswith("/") or prefix.endswith("/"))):
        raise RegistrationError(f"{origin}: the prefix {prefix!r} must start with '/' and not end with '/'")
    return prefix


# RFC 9110, 5.6.2: the characters of a token, which a method is.
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def _checked_methods(methods: Iterable[str], origin: str) -> list[str]:
    if isinstance(methods, str):
        raise RegistrationError(f"{origin}: methods must be a list of names such as [{methods!r}], not a str")
    checked: list[str] = []
    for method in methods:
        if not isinstance(method, str) or not method or not _TOKEN.issuperset(method):
            raise RegistrationError(f"{origin}: {method!r} is not the name of a method")
        # RFC 9110, 9.1: method names are case-sensitive, and all registered ones are upper-case.
        if method.upper() not in checked:
            checked.append(method.upper())
    if not checked:
        raise RegistrationError(f"{origin}: methods must name at least one method")
    return checked


def _checked_budgets(timeout: float | None, queue_timeout: float | None, origin: str) -> Budgets:
    return _milliseconds("timeout", timeout, origin), _milliseconds("queue_timeout", queue_timeout, origin)


def _milliseconds(name: str, seconds: float | None, origin: str) -> int | None:
    """Return a budget in whole milliseconds, at least one."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        raise RegistrationError(f"{origin}: the {name} must be a number of seconds greater than 0, not {seconds!r}")
    return max(1, round(seconds * 1000))


def _first(levels: Iterable[Budgets]) -> Budgets:
    """Return each budget from the first of `levels` that has it."""
    running, waiting = (next((ms for ms in column if ms is not None), None) for column in zip(*levels, strict=True))
    return running, waiting


def _checked_hook[H: Hook](hook: H, origin: str) -> H:
    if not callable(hook):
        raise RegistrationError(f"{origin}: a hook must be a function, not {describe(hook)}")
    name = name_of(hook)[1]
    reason = _flags_reason(hook, name)
    code = code_of(hook)
    if code is not None and code.co_flags & _CO_GENERATOR:
        reason = f"{name} is a generator function, which does nothing when it is called; a hook is a plain function"
    if reason is not None:
        raise RegistrationError(f"{origin}: {reason}")
    return hook
