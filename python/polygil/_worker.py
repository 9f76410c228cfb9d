"""What runs inside a worker's interpreter before and around its requests; the native side calls it.

    bootstrap → resolve (each handler, once) → startup → after_import → … requests … → shutdown

It stands beside the request's way, not on it: a request calls the resolved function with arguments bound by its plan.
Nothing here lets an exception out: what fails is a verdict with a report that names the user's own line and the ways
out, because "ImportError in interpreter 3" helps nobody.
"""

from __future__ import annotations

import gc
import os
import sys

from polygil._app import App, collect_mistakes
from polygil._errors import SignatureError
from polygil._leave import name_exit_functions, name_thread
from polygil._names import same
from polygil._report import failure_report, short_report
from polygil._signature import inspect_handler
from polygil._traceback import called_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from polygil._app import Route
    from polygil._signature import Plan

    type Report = dict[str, Any]
    type Resolved = tuple[str, Callable[..., Any] | None, Plan | Report]

# With the default threshold a collection starts about every 2,000 allocations that survive, inside some request, and
# walks every object that the imports made. What the imports made is frozen out of its sight, and the rest is collected
# by the worker when it is idle, or by this safety net when a handler makes this many cycles without a pause.
GC_THRESHOLD = 50_000


def bootstrap(
    sys_path: list[str],
    argv: list[str],
    thread_name: str | None = None,
    current_frames: Callable[[], dict[int, FrameType]] | None = None,
) -> None:
    """Give this interpreter main's import path and arguments, and its thread a name; the first call in a worker.

    From here on registering an unreachable handler records the reason instead of raising: main has decided already
    whether that is fatal, and one such route must not take the module's other handlers with it.
    """
    sys.path[:] = sys_path
    sys.argv[:] = argv
    # CPython's own make or hand out objects of every interpreter in the process; whoever touches them corrupts another's heap.
    sys._current_frames = current_frames or _refused("sys._current_frames", "reaches into other interpreters")
    sys._current_exceptions = _refused("sys._current_exceptions", "reaches into other interpreters")
    # These end the process, and with it every other worker and its requests, without a word in the log.
    os._exit = _refused("os._exit", "would end every worker, not just the handler,")
    os.abort = _refused("os.abort", "would end every worker, not just the handler,")
    # It closes the server's sockets, the pipe of its signals and its log with what it was meant for: nobody could stop the process then.
    os.closerange = _refused("os.closerange", "would close descriptors of the server and of every worker,")
    if thread_name is not None:
        name_thread(thread_name)
        name_exit_functions()
    collect_mistakes(True)


def import_eagerly() -> None:
    """Import at once what says `lazy import` (PEP 810): a check has to see whether it loads. Before 3.15 there is nothing to do."""
    set_filter = getattr(sys, "set_lazy_imports_filter", None)
    if set_filter is not None:
        set_filter(lambda importer, name, fromlist: False)


def _refused(name: str, why: str) -> Callable[..., Any]:
    def refuse(*_: object) -> Any:
        raise RuntimeError(f"{name}() {why} and is refused in a sub-interpreter")

    return refuse


def resolve(
    module: str,
    qualname: str,
    path_parameter_names: tuple[str, ...],
    app: tuple[str, str] = ("", ""),
    route: tuple[str, str] = ("", ""),
) -> Resolved:
    """Find a handler by name: ("ok", callable, plan), or (verdict, None, report).

    `app` is the module and the attribute of the App that has the `route` (method and pattern), if there is one: it is
    imported first, as in main, and what the name leads to must be what it has registered here.
    Verdicts: module_not_found, import_failed, function_not_found, not_callable. See `_report` for the report.
    """
    registered, app_verdict, app_report = _registered(*app)
    if app_report is not None and module == app[0]:
        return app_verdict, None, app_report
    imported, verdict, report = _import(module)
    if report is not None:
        return verdict, None, report
    if app_report is not None:
        return app_verdict, None, app_report
    found: Any = imported
    walked = module
    for step in qualname.split("."):
        try:
            found = getattr(found, step)
        except Exception as error:
            return "function_not_found", None, _not_found(found, walked, step, error)
        walked = f"{walked}.{step}"
    wanted = registered.get(route)
    if wanted is not None and not same(found, wanted.handler):
        message = (
            f"{module}:{qualname} is not the function that {route[0]} {route[1]} registers in this interpreter "
            f"({wanted.module}:{wanted.qualname}, {wanted.origin})"
        )
        return "function_not_found", None, short_report(message, advice=["register the same function in every import"])
    if not callable(found):
        message = f"{module}:{qualname} is {_article(type(found).__name__)}, which cannot be called"
        return "not_callable", None, short_report(message, advice=["point the route at a function"])
    try:
        plan = inspect_handler(found, path_parameter_names)
    except SignatureError as error:
        return "not_callable", None, short_report(f"{module}:{qualname}: {error}")
    except Exception as error:  # a callable whose own attributes raise
        return "not_callable", None, failure_report(error, f"the signature of {module}:{qualname} cannot be read")
    return "ok", found, plan


# What an app has registered in this interpreter, by method and pattern: `_registered` fills it, once for each app.
_apps: dict[tuple[str, str], tuple[dict[tuple[str, str], Route], str, Report | None]] = {}


def _registered(module: str, attribute: str) -> tuple[dict[tuple[str, str], Route], str, Report | None]:
    """Import an app and return its routes: (routes, "ok", None), or ({}, verdict, report). Without one: no routes."""
    if not module:
        return {}, "ok", None
    if (module, attribute) not in _apps:
        _, verdict, report = _import(module)
        app = None if report is not None else _app(module, attribute)[0]
        routes = {} if app is None else {(route.method, route.pattern): route for route in app.routes}
        _apps[module, attribute] = routes, verdict, report
    return _apps[module, attribute]


def startup(module: str, attribute: str) -> Report | None:
    """Run the app's startup hooks in order; return None, or the report of the first that failed."""
    app, report = _app(module, attribute)
    if app is None:
        return report
    for hook in app._startup_hooks:
        try:
            hook()
        except BaseException as error:  # SystemExit too: a hook must not take the process down
            return failure_report(error, f"startup hook {_name(hook)} failed")
    return None


def shutdown(module: str, attribute: str) -> list[Report]:
    """Run the app's shutdown hooks in reverse order, every one of them; return the reports of those that failed."""
    app, report = _app(module, attribute)
    if app is None:
        return [] if report is None else [report]
    reports: list[Report] = []
    for hook in reversed(app._shutdown_hooks):
        try:
            hook()
        except BaseException as error:
            reports.append(failure_report(error, f"shutdown hook {_name(hook)} failed"))
    return reports


def renew_context() -> Callable[[], object] | None:
    """Return what gives a request a decimal context of its own, where imports or hooks have used theirs; else None.

    A request runs in a copy of the context that imports and hooks leave. The copy shares its values, and a decimal context
    is one that arithmetic itself changes: its flags, and the precision that a handler sets.
    """
    if "decimal" not in sys.modules:
        return None
    from contextvars import copy_context
    from decimal import Context, setcontext

    used = [value for value in copy_context().values() if isinstance(value, Context)]
    if not used:
        return None
    copy = used[0].copy
    return lambda: setcontext(copy())


def after_import() -> None:
    """Take what the imports made out of the collector's sight and keep the collector off the requests' way."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


def report_text(reports: Report | list[Report]) -> str:
    """Return the reports of failed hooks as text for the log."""
    texts = [reports] if isinstance(reports, dict) else reports
    return "\n".join(f"{report['message']}\n{report['traceback']}".rstrip() for report in texts)


def _app(module: str, attribute: str) -> tuple[App | None, Report | None]:
    """Return the App of a target; (None, None) for a target without one, such as a manifest's."""
    if not attribute:
        return None, None
    imported, _, report = _import(module)
    if report is not None:
        return None, report
    found: Any = imported
    try:
        for step in attribute.split("."):
            found = getattr(found, step)
    except Exception as error:
        return None, failure_report(error, f"{module}:{attribute} cannot be found")
    return (found, None) if isinstance(found, App) else (None, None)


def _import(module: str) -> tuple[Any, str, Report | None]:
    """Import a module by its dotted name: (module, "ok", None), or (None, verdict, report)."""
    try:
        __import__(module)
        return sys.modules[module], "ok", None
    except ModuleNotFoundError as error:
        # Its own module, or a package on the way to it, as opposed to one that it imports.
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            return None, "module_not_found", _module_missing(module, error)
        return None, "import_failed", failure_report(error, f"importing {module} failed")
    except BaseException as error:  # SystemExit and KeyboardInterrupt too: a module must not take the process down
        return None, "import_failed", failure_report(error, f"importing {module} failed")


def _module_missing(module: str, error: ModuleNotFoundError) -> Report:
    missing = error.name
    message = f"there is no module {missing!r}"
    if missing != module:
        message += f", needed for {module!r}"
    if "is not a package" in str(error):
        message += f" ({error.msg})"
    advice = [f"looked in: {', '.join(entry or '(the working directory)' for entry in sys.path)}"]
    return short_report(message, advice=advice)


def _not_found(found: Any, walked: str, step: str, error: Exception) -> Report:
    if not isinstance(error, AttributeError):
        return failure_report(error, f"looking up {step!r} in {walked} raised")
    kind = "module" if isinstance(found, type(sys)) else type(found).__name__
    message = f"{kind} {walked} has no attribute {step!r}"
    close = _close(step, found)
    return short_report(message, advice=[f"did you mean {close!r}?"] if close else [])


def _close(step: str, found: Any) -> str | None:
    try:
        from difflib import get_close_matches

        return next(iter(get_close_matches(step, [name for name in dir(found) if not name.startswith("__")], 1)), None)
    except Exception:  # a __dir__ of the program's own may do anything
        return None


def _name(hook: Any) -> str:
    return f"{getattr(hook, '__module__', '?')}:{getattr(hook, '__qualname__', type(hook).__name__)}"


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


# The stack of a hook that does not end says which one it is, were it a function of C without a frame.
for _runs_hooks in (startup, shutdown):
    called_by[_runs_hooks.__code__] = ("hook", lambda frame: _name(frame.f_locals.get("hook")))
