"""polygil: an HTTP/1.1 server that runs Python handlers in a pool of sub-interpreters, one GIL per core.

This package is what handlers import. Everything a handler needs is here:

    from polygil import App, HTTPException

    app = App()

    @app.get("/users/{user_id}")
    def show(user_id: int, verbose: bool = False) -> dict[str, object]:
        if user_id == 0:
            raise HTTPException(404, "no such user")
        return {"id": user_id, "verbose": verbose}

and `polygil serve module:app` answers requests with it.

What it promises:

- Every interpreter imports this package once more, so importing it is cheap: nothing is imported at module level that
  the interpreter has not loaded already (`json`, `inspect`, `typing`, `re`… are imported where they are first needed).
- It is pure Python, and no module a worker imports touches `polygil._native`, which lives in the main interpreter only.
  `serve` and `Server` import it when they are called.
"""

from __future__ import annotations

from polygil._app import App, Router
from polygil._errors import HandlerTimeout, RegistrationError, SignatureError, ValidationError
from polygil._request import Headers, Query, Request
from polygil._response import HTTPException, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from polygil._serve import Server, serve, stats

__version__ = "0.1.0"

__all__ = [
    "App",
    "HTTPException",
    "HandlerTimeout",
    "Headers",
    "Query",
    "RegistrationError",
    "Request",
    "Response",
    "Router",
    "Server",
    "SignatureError",
    "ValidationError",
    "serve",
    "stats",
]


def __getattr__(name: str) -> object:
    """Load what only the main interpreter uses when it is first asked for, so that workers never pay for it."""
    if name in ("Server", "serve", "stats"):
        from polygil import _serve

        return getattr(_serve, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, those loaded on demand included."""
    return sorted(__all__)
