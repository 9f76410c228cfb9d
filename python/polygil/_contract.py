"""The contract of an app: what its clients depend on, as JSON that is kept beside it, and what has changed since.

`polygil contract app:app > contract.json` writes it, `polygil check app:app --contract contract.json` compares. A
contract has each route with its method, path, handler, parameters and time budgets. It has no line numbers and an order
of its own, so that it changes when the app's signatures do and not when lines move.

Signatures are the contract's. What a handler answers is the business of a test, or of a suite of `polygil-conformance`.
"""

from __future__ import annotations

from polygil._parameters import MISSING
from polygil._signature import _parameters_of
from polygil._worker import resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    type Entry = dict[str, Any]

#: The version of the format; another one is refused.
VERSION = 1


def contract(rows: str) -> str:
    """Return the contract of a table of routes, given as a JSON list of rows, as JSON with one key or value a line."""
    from json import dumps, loads

    routes = [_entry(row) for row in loads(rows)]
    routes.sort(key=lambda entry: (entry["path"], entry["method"]))
    return dumps({"contract": VERSION, "routes": routes}, indent=2, ensure_ascii=False)


def changes(kept: str, now: str) -> str:
    """Return what differs between a contract that was kept and the one of today, as a JSON list of objects.

    Each has `kind`, `route` ("GET /users/{id}") and `message`. Raises ValueError, with what is wrong, for text that is no
    contract.
    """
    from json import dumps

    before, after = _routes_of(kept), _routes_of(now)
    found: list[Entry] = []

    def add(kind: str, route: str, message: str) -> None:
        found.append({"kind": kind, "route": route, "message": message})

    for route, entry in before.items():
        if route in after:
            for kind, message in _changed(entry, after[route]):
                add(kind, route, message)
            continue
        new = [name for name, other in after.items() if name not in before and other["handler"] == entry["handler"]]
        moved = f"; its handler {entry['handler']} answers {new[0]} now" if new else ""
        add("route_gone", route, f"the route is gone{moved}")
    for route in after:
        if route not in before:
            add("route_new", route, "the route is new: the contract does not have it")
    return dumps(found, ensure_ascii=False)


def _entry(row: Entry) -> Entry:
    entry: Entry = {"method": row["method"], "path": row["path"], "handler": f"{row['module']}:{row['function']}"}
    names = tuple(_names(row["path"]))
    verdict, handler, plan = resolve(row["module"], row["function"], names)
    if handler is None:
        # `check` says so as well; here it keeps its place, or the contract would lose a route for a moment's mistake.
        entry["unreadable"] = verdict
        return entry
    annotations = {name: annotation for name, annotation, _, _ in _parameters_of(handler)}
    entry["parameters"] = [
        _parameter(parameter, annotations.get(parameter.name, MISSING))
        for parameter in plan.parameters  # type: ignore[union-attr]
        if parameter.source != "request"
    ]
    for budget in ("timeout_ms", "queue_timeout_ms"):
        if row.get(budget) is not None:
            entry[budget] = row[budget]
    return entry


def _names(path: str) -> list[str]:
    """Return the names of a pattern's parameters, in order."""
    return [part[1:-1].partition(":")[0] for part in path.split("/") if part.startswith("{") and part.endswith("}")]


def _parameter(parameter: Any, annotation: Any) -> Entry:
    entry: Entry = {"name": parameter.name, "in": parameter.source, "type": type_text(annotation)}
    entry["required"] = parameter.default is MISSING
    if not entry["required"]:
        entry["default"] = _plain(parameter.default)
    return entry


def type_text(annotation: Any) -> str:
    """Return an annotation as text that is the same in every run: `int`, `list[str]`, `int | None`, `Size: small | large`."""
    if annotation is MISSING:
        return "any"
    if annotation is None or annotation is type(None):
        return "None"
    args = getattr(annotation, "__args__", None)
    origin = getattr(annotation, "__origin__", None)
    if type(annotation).__name__ in ("UnionType", "Union", "_UnionGenericAlias") and args:
        return " | ".join(type_text(arg) for arg in args)
    if origin is not None and args:
        name = getattr(origin, "__name__", str(origin))
        return f"{name}[{', '.join(type_text(arg) for arg in args)}]"
    members = getattr(annotation, "__members__", None)
    if members is not None:
        return f"{annotation.__name__}: {' | '.join(str(member.value) for member in members.values())}"
    return getattr(annotation, "__name__", None) or str(annotation)


def _plain(value: Any) -> Any:
    """Return a default as JSON has it; what JSON has not is named by its type."""
    if hasattr(type(value), "__members__"):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return str(value)
    return f"<{type(value).__name__}>"


def _routes_of(text: str) -> dict[str, Entry]:
    from json import JSONDecodeError, loads

    try:
        value = loads(text)
    except JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: it is not JSON: {error.msg}") from None
    if not isinstance(value, dict) or not isinstance(value.get("routes"), list):
        raise ValueError('it is not a contract: an object with "contract" and "routes" is expected')
    if value.get("contract") != VERSION:
        raise ValueError(f"its version is {value.get('contract')!r}, and this program knows {VERSION}: write it anew")
    routes: dict[str, Entry] = {}
    for entry in value["routes"]:
        if not isinstance(entry, dict) or not {"method", "path", "handler"} <= entry.keys():
            raise ValueError('each of its routes is an object with "method", "path" and "handler"')
        routes[f"{entry['method']} {entry['path']}"] = entry
    return routes


def _changed(before: Entry, after: Entry) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if before["handler"] != after["handler"]:
        found.append(("handler", f"the handler was {before['handler']} and is {after['handler']}"))
    if "unreadable" in after and "unreadable" not in before:
        return [*found, ("unreadable", f"the handler cannot be read any more: {after['unreadable']}")]
    old = {parameter["name"]: parameter for parameter in before.get("parameters", [])}
    new = {parameter["name"]: parameter for parameter in after.get("parameters", [])}
    for name, parameter in old.items():
        if name not in new:
            found.append(("parameter_gone", f"the parameter {name} (from the {parameter['in']}) is gone"))
            continue
        found.extend(_parameter_changed(name, parameter, new[name]))
    for name, parameter in new.items():
        if name not in old:
            need = "required" if parameter["required"] else "optional"
            found.append(("parameter_new", f"the parameter {name} (from the {parameter['in']}, {need}) is new"))
    for budget in ("timeout_ms", "queue_timeout_ms"):
        if before.get(budget) != after.get(budget):
            found.append(("timeout", f"{budget} was {_said(before, budget)} and is {_said(after, budget)}"))
    return found


def _parameter_changed(name: str, before: Entry, after: Entry) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if before.get("in") != after.get("in"):
        found.append(("parameter_place", f"the parameter {name} came from the {before['in']}, now from the {after['in']}"))
    if before.get("type") != after.get("type"):
        found.append(("parameter_type", f"the parameter {name} was annotated {before['type']} and is {after['type']}"))
    if before.get("required") != after.get("required"):
        word = "required now" if after.get("required") else "optional now"
        found.append(("parameter_required", f"the parameter {name} is {word}"))
    elif before.get("default") != after.get("default"):
        found.append(
            ("parameter_default", f"the default of {name} was {before.get('default')!r} and is {after.get('default')!r}")
        )
    return found


def _said(entry: Entry, budget: str) -> str:
    return "the server's" if entry.get(budget) is None else str(entry[budget])
