"""FastAPI's side of the comparison: an app with the handlers of `handlers.py`, asked without a network or threads."""

from __future__ import annotations

import asyncio
import inspect
import json
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import handlers
from fastapi import Body, FastAPI, Query, Response

JSON = [(b"content-type", b"application/json")]


class Asked:
    """What FastAPI made of one request: the arguments the handler got, or the status and the bytes of the answer."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] | None = None
        self.status = 0
        self.answer = b""


def _declared(name: str, annotation: Any) -> Any:
    """Declare what polygil knows from the name and the type: bodies, and lists of the query."""
    if annotation is inspect.Parameter.empty:
        annotation = Any
    if name == "body":
        return Annotated[annotation, Body()]
    parts = (annotation, *typing.get_args(annotation))
    if any(part is list or typing.get_origin(part) is list for part in parts):
        return Annotated[annotation, Query()]
    return annotation


class FastAPISide:
    """One FastAPI app with a route for each handler: `/name/{x}` where the handler's `x` is of the path, else
    `/name`.
    """

    def __init__(self) -> None:
        self._app = FastAPI()
        self._loop = asyncio.new_event_loop()
        self._asked = Asked()
        for name, handler in vars(handlers).items():
            if isinstance(handler, types.FunctionType) and handler.__module__ == handlers.__name__:
                self._app.post(f"/{name}/{{x}}" if path_names(name) else f"/{name}")(self._wrapped(handler))

    def _wrapped(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        async def record(**arguments: Any) -> Response:
            self._asked.arguments = arguments
            return Response()

        signature = inspect.signature(handler, eval_str=True)
        parameters = [
            parameter.replace(annotation=_declared(name, parameter.annotation), kind=parameter.KEYWORD_ONLY)
            for name, parameter in signature.parameters.items()
        ]
        record.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=parameters, return_annotation=inspect.Signature.empty
        )
        return record

    def ask(
        self,
        name: str,
        path_value: str | None = None,
        query_string: str = "",
        body: bytes = b"",
        headers: list[tuple[bytes, bytes]] = JSON,
    ) -> Asked:
        """Send one request to the handler called `name`."""
        self._asked = Asked()
        scope = {
            "type": "http",
            "method": "POST",
            "path": f"/{name}" + ("" if path_value is None else f"/{path_value}"),
            "query_string": query_string.encode(),
            "headers": headers,
            "http_version": "1.1",
            "scheme": "http",
            "server": ("test", 80),
            "client": ("test", 1),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            self._asked.status = message.get("status", self._asked.status)
            self._asked.answer += message.get("body", b"")

        self._loop.run_until_complete(self._app(scope, receive, send))  # type: ignore[arg-type]
        return self._asked


def path_names(name: str) -> tuple[str, ...]:
    """Return the names of the path parameters on the route of a handler."""
    return ("x",) if name.startswith("path_") or name == "everything" else ()


def answer(detail: object) -> bytes:
    """Return the bytes FastAPI writes for a `detail`."""
    return json.dumps({"detail": detail}, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
