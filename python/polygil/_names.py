"""The name of a handler, and whether it leads back to the very function that was registered.

A route is called by name in every interpreter, so the name must mean one thing: `Users.list`, inherited from `Crud`, is
another handler than `Crud.list`, and a name that was bound again means what it was bound to last. Python's own
`__qualname__` knows neither: it says where a function was written. So a name is taken from what the handler is bound to
(`name_of`), looked up as a worker does (`follow`), and compared with what was registered (`same`). Where it leads
elsewhere, the module may still hold the function under another name (`locate`).

Both sides do this: main for its table, when every name is bound, and each worker for what its own import registered.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def name_of(handler: object) -> tuple[str, str]:
    """Return the module and the qualified name a worker would look for; for what has none, the best description.

    A method that is bound to a class is found on that class, wherever it was inherited from.
    """
    owner = class_of(handler)
    if owner is not None:
        step = getattr(handler.__func__, "__name__", "?")  # type: ignore[attr-defined]
        return owner.__module__, f"{owner.__qualname__}.{step}"
    module = getattr(handler, "__module__", None)
    qualname = getattr(handler, "__qualname__", None)
    return (
        module if isinstance(module, str) else "",
        qualname if isinstance(qualname, str) else describe(handler),
    )


def class_of(handler: object) -> type | None:
    """Return the class that a method is bound to; None for everything else."""
    owner = getattr(handler, "__self__", None)
    return owner if isinstance(owner, type) and hasattr(handler, "__func__") else None


def describe(value: object) -> str:
    """Return what a value is, for people: its type, and its name if it has one."""
    name = getattr(value, "__qualname__", None)
    kind = type(value).__name__
    return f"{kind} {name}" if isinstance(name, str) else kind


def follow(module: str, qualname: str) -> Any:
    """Return what the name leads to in this interpreter, whose modules are imported; raises what the lookup raises."""
    found: Any = sys.modules[module]
    for step in qualname.split("."):
        found = getattr(found, step)
    return found


def same(found: object, wanted: object) -> bool:
    """Whether a call of `found` is a call of `wanted`, which was registered.

    A method is itself by its function and what it is bound to. `@classmethod` and `@staticmethod` may stand on either
    side of the route's decorator: one of them was registered, or its bare function. Any other wrapper is another function,
    whether or not it calls the one that was registered.
    """
    if found is wanted:
        return True
    function = getattr(found, "__func__", None)
    if isinstance(wanted, staticmethod):
        return found is wanted.__func__
    if function is None:
        return False
    owner = class_of(wanted)
    if owner is not None:
        return class_of(found) is owner and function is wanted.__func__  # type: ignore[attr-defined]
    return class_of(found) is not None and function is getattr(wanted, "__func__", wanted)


def leads_to(module: str, qualname: str, wanted: object) -> bool:
    """Whether the name leads to the registered function; a lookup that raises does not."""
    try:
        return same(follow(module, qualname), wanted)
    except Exception:  # a __getattr__ of the program's own may do anything
        return False


def locate(handler: object, registered_in: str | None) -> tuple[str, str] | None:
    """Return a name that leads to the handler: its own, or another one in its module or in the one that registered it."""
    name = name_of(handler)
    if leads_to(*name, handler):
        return name
    owner = class_of(handler)
    for module in dict.fromkeys((name[0], registered_in)):
        for attribute, value in list(getattr(sys.modules.get(module or ""), "__dict__", {}).items()):
            if not attribute.isidentifier() or module is None or module == "__main__":
                continue
            if owner is None and value is handler:
                return module, attribute
            if owner is not None and value is owner:
                step = _step_to(owner, handler)
                if step is not None:
                    return module, f"{attribute}.{step}"
    # The class has the name that it says, and the method another one than its function.
    step = None if owner is None else _step_to(owner, handler)
    if owner is not None and step is not None and leads_to(owner.__module__, f"{owner.__qualname__}.{step}", handler):
        return owner.__module__, f"{owner.__qualname__}.{step}"
    return None


def _step_to(owner: type, handler: object) -> str | None:
    """Return the attribute of `owner` that is the handler."""
    name = getattr(handler.__func__, "__name__", "")  # type: ignore[attr-defined]
    for step in (name, *dir(owner)):
        try:
            if same(getattr(owner, step), handler):
                return step
        except Exception:  # a descriptor of the program's own may do anything
            continue
    return None
