"""The suite's app for ASGI servers: uvicorn, hypercorn, granian (ASGI 3.0).

Handlers are plain functions, so each runs in a thread, as a framework would have it.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from table import Table

TABLE = Table(os.environ.get("CONFORMANCE_APP", "suite:app"))


async def application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Serve one request, or the start and the end of the server."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    raw_path = scope.get("raw_path") or scope["path"].encode()
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    status, fields, content = await asyncio.to_thread(
        TABLE.answer,
        scope["method"],
        raw_path.decode("latin-1").partition("?")[0],
        scope["query_string"].decode("latin-1"),
        headers,
        body,
    )
    if status not in (204, 304):
        fields = [*fields, ("content-length", str(len(content)))]
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
