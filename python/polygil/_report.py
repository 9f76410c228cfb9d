"""Reports: why something of the user's failed to load, told from the user's own line down.

A report is a dict with the keys

- `message`: one line
- `traceback`: the text Python would print, without the frames of polygil and of the import machinery; "" without one
- `library`: the distribution that refuses sub-interpreters, or None
- `import_chain`: the lines that led to the failure, outermost first: `{"file", "line", "code"}`
- `advice`: what to do, one sentence each

An extension module without multi-interpreter support (PEP 489, Py_mod_multiple_interpreters) fails with an ImportError,
which its package often catches and raises again in other words ("error importing numpy: you should not try to import
numpy from its source directory"). So the refusal is looked for in the whole chain of causes, and named first.

Only failures come here, so this may import what it likes, inside the functions.
"""

from __future__ import annotations

import sys

from polygil._traceback import describe, is_machinery, summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    type Report = dict[str, Any]

# Lines of an import chain: the last ones, which lead to the failure.
CHAIN_LINES = 100

# CPython's words (Python/import.c), the same from 3.12 to 3.14; the module's full name stands before them.
_REFUSAL = "does not support loading in subinterpreters"

# Refusing extensions whose work pure Python can do, with what to use instead; the others get the general advice.
_ALTERNATIVES = {
    "orjson": "json, from the standard library",
    "ujson": "json, from the standard library",
    "msgspec": "json with dataclasses",
    "pydantic": "annotated parameters for requests, and dataclasses",
    "lxml": "xml.etree.ElementTree, from the standard library",
    "regex": "re, from the standard library",
    "httptools": "http.client, or httpx",
    "psycopg2": "pg8000 or asyncpg",
    "bcrypt": "hashlib.scrypt, from the standard library",
    "psutil": "os and resource, from the standard library",
}


def short_report(message: str, *, advice: list[str] | None = None) -> Report:
    """Return a report of something that has no traceback."""
    return {"message": message, "traceback": "", "library": None, "import_chain": [], "advice": advice or []}


def failure_report(error: BaseException, what: str) -> Report:
    """Return the report of an exception; `what` says what was tried: "importing app failed"."""
    message = f"{what}: {summary(error)}"
    report = short_report(message)
    report["traceback"] = describe(error, False)[1]
    report["import_chain"] = [_entry(file, line) for file, line in _lines(error)[-CHAIN_LINES:]]
    refused = _refused_module(error)
    if refused is not None:
        _explain_refusal(report, what, refused)
    return report


def _causes(error: BaseException) -> list[BaseException]:
    """Return the exception and what it came from, nearest first, as a traceback would show them."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < CHAIN_LINES and not any(current is seen for seen in chain):
        chain.append(current)
        # `raise … from None` hides the context from a reader; a refusal in it is still the reason.
        current = current.__cause__ or current.__context__
    return chain


def _lines(error: BaseException) -> list[tuple[str, int]]:
    """Return (file, line) from the outermost frame of the user's code down to where the root cause was raised."""
    lines: list[tuple[str, int]] = []
    for cause in _causes(error):
        found: list[tuple[str, int]] = []
        traceback = cause.__traceback__
        while traceback is not None:
            file = traceback.tb_frame.f_code.co_filename
            if not is_machinery(file):
                found.append((file, traceback.tb_lineno))
            traceback = traceback.tb_next
        # A cause's frames start where it was caught: at a frame of the exception that replaced it. Continue from there.
        if found and lines:
            files = [file for file, _ in lines]
            if found[0][0] in files:
                lines = lines[: files.index(found[0][0])]
        lines.extend(found)
    return lines


def _entry(file: str, line: int) -> dict[str, Any]:
    from linecache import getline

    return {"file": file, "line": line, "code": getline(file, line).strip()}


def _refused_module(error: BaseException) -> str | None:
    """Return the full name of the extension module that refuses sub-interpreters, if that is the reason."""
    for cause in _causes(error):
        text = str(cause) if isinstance(cause, ImportError) else ""
        if _REFUSAL in text:
            # "module numpy._core._multiarray_umath does not support loading in subinterpreters"
            before = text.partition(_REFUSAL)[0].split()
            return (before[-1] if before else None) or cause.name or "an extension module"  # type: ignore[attr-defined]
    return None


def _explain_refusal(report: Report, what: str, refused: str) -> None:
    # An extension that was built to sit in a package may know itself by its last name only: "_core", "_regex".
    chain = report["import_chain"]
    owner = _installed_package(chain[-1]["file"]) if chain and refused.startswith("_") else None
    library = _distribution(owner or refused.partition(".")[0])
    report["library"] = library
    report["message"] = f"{what}: {library} does not support sub-interpreters (its extension module {refused} refuses)"
    advice = [
        "run what needs it in a subprocess, and let the handler talk to that",
        "import it in another service, and call that from the handler",
    ]
    alternative = _ALTERNATIVES.get(library)
    if alternative is not None:
        advice.insert(0, f"use {alternative}")
    else:
        advice.insert(
            0, "use a pure-Python alternative, or a release with multi-interpreter support (PEP 489) if there is one"
        )
    user = _users_line(report["import_chain"])
    if user is not None:
        advice.append(f"import it only where it is needed: {user['file']}:{user['line']} ({user['code']}) brings it in")
    report["advice"] = advice


def _users_line(chain: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the last line of the user's own code before the chain enters an installed package."""
    own: dict[str, Any] | None = None
    for entry in chain:
        if any(f"/{folder}/" in entry["file"] for folder in ("site-packages", "dist-packages")):
            break
        own = entry
    return own


def _installed_package(file: str) -> str | None:
    """Return the top-level package or module that a file belongs to; None for a file of the user's own."""
    import os

    for folder in ("/site-packages/", "/dist-packages/", os.path.dirname(os.__file__) + "/"):
        _, found, inside = file.partition(folder)
        if found:
            return inside.partition("/")[0].removesuffix(".py")
    return None


def _distribution(package: str) -> str:
    """Return the name under which the top-level package is installed, or the package's own."""
    if package in sys.stdlib_module_names:
        return package
    try:
        from importlib.metadata import packages_distributions

        names = packages_distributions().get(package)
        return names[0] if names else package
    except Exception:  # a broken installation must not hide the report
        return package
