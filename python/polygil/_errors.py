"""The errors of the package, and whose mistake each of them is.

- `RegistrationError` and `SignatureError` are mistakes of the program: found when it is loaded, never while serving.
- `ValidationError` is a mistake of the client: it becomes the 422 answer of its request.
- `HandlerTimeout` is raised *into* a handler that is over its time budget. It derives from `BaseException`, like
  `KeyboardInterrupt`, so that `except Exception` in a handler does not swallow it by accident.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RegistrationError(Exception):
    """A route, hook or router that cannot be registered; the message names the file, the line and the fix."""


class SignatureError(Exception):
    """A handler whose parameters cannot be filled from a request; the message names the parameter and the fix."""


class ValidationError(Exception):
    """Parameters of one request that are missing or do not convert.

    `detail` is the list FastAPI clients know: one dict per error with the keys `type`, `loc`, `msg`, `input` and, where
    the error has one, `ctx`, in that order.
    """

    def __init__(self, detail: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.detail = detail


class HandlerTimeout(BaseException):
    """Raised asynchronously into a handler that has used up its time budget.

    A handler may catch it to clean up, and should then let it go on: the client is answered 504 either way, and a
    worker that does not come back within the grace period is replaced.
    """
