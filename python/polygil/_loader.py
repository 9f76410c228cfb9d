"""Reads a program's table of routes, in the main interpreter, before any worker exists.

`load` imports `module:attribute`; `describe` takes an App that exists already. Both return JSON, because the router
that uses it is written in Rust and needs nothing of Python's objects:

    {"module": "app", "attribute": "app",
     "routes": [{"method", "pattern", "module", "qualname", "origin", "timeout_ms",
                "queue_timeout_ms", "unreachable"}, …],
     "errors": [{"code", "message", "traceback"}, …]}

Error codes: module_not_found, import_failed, function_not_found, not_an_app, shadowed. With `collect` (for `polygil
check`) a route that no worker could call carries the reason in `unreachable`, so that every route gets its verdict;
without it, the first unreachable handler fails the import, and a shadowed one is an error.
"""

from __future__ import annotations

import sys

from polygil._app import App, Route, code_of, collect_mistakes, short_path
from polygil._errors import RegistrationError
from polygil._names import follow, locate
from polygil._report import failure_report
from polygil._worker import _close, _import

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    type Report = dict[str, Any]

# Modules that must have been imported in the main interpreter before the first sub-interpreter exists. `datetime`: on
# CPython 3.13.0, where sub-interpreters import it first and end oldest-first, the static types of `_datetime` are freed
# under the others and the heap is corrupted (gh-136421). It comes with http.client, sqlite3, urllib and most
# frameworks.
IMPORT_IN_MAIN_FIRST = ("datetime",)

DEFAULT_ATTRIBUTE = "app"


def prepare_main() -> None:
    """Import what main must import before the first sub-interpreter is made; cheap to call again."""
    for name in IMPORT_IN_MAIN_FIRST:
        __import__(name)


def set_app_dir(app_dir: str) -> None:
    """Put the directory that holds the user's modules first on the import path, as `python` does with a script's."""
    from os.path import abspath

    path = abspath(app_dir)
    if path in sys.path:
        sys.path.remove(path)
    sys.path.insert(0, path)


def load(target: str, collect: bool) -> str:
    """Import a target, `module:attribute` or `module` (whose attribute is `app` then), and return its table as JSON."""
    prepare_main()
    module, _, attribute = target.partition(":")
    attribute = attribute or DEFAULT_ATTRIBUTE
    if not all(map(str.isidentifier, (*module.split("."), *attribute.split(".")))):
        message = f"{target!r} is not of the form module:attribute, such as app:app or package.module:app"
        return _failed(module, attribute, "module_not_found", message)
    before = collect_mistakes(collect)
    try:
        imported, verdict, report = _import(module)
    finally:
        collect_mistakes(before)
    if report is not None:
        # Where it was looked for stands in the same line: what is on the path is what is wrong, most often.
        looked = "".join(f"; {advice}" for advice in report["advice"] if verdict == "module_not_found")
        return _failed(module, attribute, verdict, report["message"] + looked, report["traceback"])
    found: Any = imported
    walked = module
    for step in attribute.split("."):
        try:
            found = getattr(found, step)
        except Exception as error:
            return _attribute_missing(module, attribute, imported, walked, step, error)
        walked = f"{walked}.{step}"
    if not isinstance(found, App):
        return _failed(module, attribute, "not_an_app", _not_an_app(module, attribute, found, imported))
    return _table(found, module, attribute, collect)


def describe(app: App, collect: bool) -> str:
    """Return the table of an App that the program holds; its name is found among the globals of all modules.

    Raises RegistrationError when it has none that a worker could look up.
    """
    prepare_main()
    module, attribute = find_name(app)
    return _table(app, module, attribute, collect)


def find_name(app: App) -> tuple[str, str]:
    """Return the module and the global name that hold `app`; the module that made it is asked first.

    Raises RegistrationError when only `__main__` holds it, or no module does.
    """
    names = list(sys.modules)
    if app._made_in in names:
        names.remove(app._made_in)
        names.insert(0, app._made_in)
    in_main = None
    for name in names:
        for attribute, value in list(getattr(sys.modules.get(name), "__dict__", {}).items()):
            if value is not app:
                continue
            if name != "__main__":
                return name, attribute
            in_main = attribute
    if in_main is not None:
        raise RegistrationError(
            f"the app is {in_main!r} in __main__, which is another module in every other interpreter; "
            f'pass its name instead, polygil.serve("module:{in_main}"), '
            f"or start it with `polygil serve module:{in_main}`"
        )
    raise RegistrationError(
        "the app is not a global of any module, so that workers could not find it; "
        'keep it in one (app = polygil.App()) and pass "module:app"'
    )


def _table(app: App, module: str, attribute: str, collect: bool) -> str:
    errors: list[Report] = []
    rows: list[Report] = []
    for route in app.routes:
        unreachable = route.unreachable
        if unreachable is None:
            shadow = _shadowed(route)
            if shadow is not None and collect:
                unreachable = shadow
            elif shadow is not None:
                errors.append({"code": "shadowed", "message": f"{route.origin}: {shadow}", "traceback": ""})
        rows.append(
            {
                "method": route.method,
                "pattern": route.pattern,
                "module": route.module,
                "qualname": route.qualname,
                "origin": route.origin,
                "timeout_ms": route.timeout_ms,
                "queue_timeout_ms": route.queue_timeout_ms,
                "unreachable": unreachable,
            }
        )
    return _json({"module": module, "attribute": attribute, "routes": rows, "errors": errors})


def _shadowed(route: Route) -> str | None:
    """Say what hides the registered function, and None when a name leads to it, which the route has from then on.

    A later `def` of the same name, or a decorator above the route's, would silently be called instead of it.
    """
    named = locate(route.handler, route.registered_in)
    if named is not None:
        route.module, route.qualname = named
        return None
    name = f"{route.module}:{route.qualname}"
    try:
        found = follow(route.module, route.qualname)
    except Exception:
        return f"{name} is registered, and no longer there by that name; leave it a global of its module"
    wanted = getattr(route.handler, "__func__", route.handler)
    message = (
        f"{name} is registered ({_place(wanted)}), and the name now means another object ({_place(found)}), "
        "which would be called instead; "
    )
    if _wraps(found, wanted):
        return message + "let the route's decorator stand above all others, or give one of the two another name"
    return message + "rename one, or give a decorator's inner function @functools.wraps"


def _wraps(found: Any, wanted: Any) -> bool:
    """Whether `found` says that it wraps `wanted`."""
    seen: list[Any] = []
    while found is not None and not any(found is other for other in seen):
        if found is wanted or getattr(found, "__func__", found) is wanted:
            return True
        seen.append(found)
        found = getattr(found, "__wrapped__", None)
    return False


def _place(value: Any) -> str:
    code = code_of(value)
    if code is None:
        return type(value).__name__
    return f"{short_path(code.co_filename)}:{code.co_firstlineno}"


def _attribute_missing(module: str, attribute: str, imported: Any, walked: str, step: str, error: Exception) -> str:
    if not isinstance(error, AttributeError):
        report = failure_report(error, f"looking up {step!r} in {walked} raised")
        return _failed(module, attribute, "function_not_found", report["message"], report["traceback"])
    message = f"{walked} has no attribute {step!r}"
    apps = _apps_in(imported)
    close = _close(step, imported)
    if apps:
        message += f"; its App is {module}:{apps[0]}"
    elif close:
        message += f"; did you mean {close!r}?"
    return _failed(module, attribute, "function_not_found", message)


def _not_an_app(module: str, attribute: str, found: Any, imported: Any) -> str:
    message = f"{module}:{attribute} is not a polygil.App but {type(found).__name__}"
    apps = _apps_in(imported)
    if apps:
        message += f"; the module's App is {module}:{apps[0]}"
    elif callable(found):
        message += "; a factory is called in the module: app = create_app()"
    return message


def _apps_in(module: Any) -> list[str]:
    return [name for name, value in list(vars(module).items()) if isinstance(value, App)]


def _failed(module: str, attribute: str, code: str, message: str, traceback: str = "") -> str:
    error = {"code": code, "message": message, "traceback": traceback}
    return _json({"module": module, "attribute": attribute, "routes": [], "errors": [error]})


def _json(value: Report) -> str:
    from json import dumps

    return dumps(value)
