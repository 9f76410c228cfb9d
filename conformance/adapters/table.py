"""The table of routes of the suite's app, served by whoever calls `answer`: what WSGI, ASGI and Robyn glue have in common.

It stands in for a framework. Handlers, patterns, conversions and 422 answers are those of the `polygil` package, in
pure Python, so that what differs between two servers in a comparison is the server: how it reads requests, what it
passes on, and how it writes answers. What only polygil's pool can do (budgets, lost workers) is not imitated.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

from polygil import HTTPException, Request, Response, ValidationError
from polygil._convert import dumps
from polygil._signature import Plan, inspect_handler

Pairs = list[tuple[str, str]]
Answer = tuple[int, Pairs, bytes]

KNOWN_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}


class NotSerializable(Exception):
    """A value has no conversion."""


class Table:
    """The routes of one app."""

    def __init__(self, target: str) -> None:
        """Import `module:attribute` from the directory in $CONFORMANCE_APPS, or ../app."""
        apps = os.environ.get("CONFORMANCE_APPS", str(Path(__file__).parent.parent / "app"))
        sys.path.insert(0, apps)
        module, _, attribute = target.partition(":")
        app = getattr(importlib.import_module(module), attribute or "app")
        self.routes: list[tuple[str, list[str], Callable[..., object], Plan]] = []
        for route in app.routes:
            pattern = route.pattern.strip("/").split("/")
            names = tuple(part[1:-1].partition(":")[0] for part in pattern if part.startswith("{"))
            self.routes.append((route.method, pattern, route.handler, inspect_handler(route.handler, names)))

    def answer(self, method: str, raw_path: str, query: str, headers: Pairs, body: bytes) -> Answer:
        """Find the handler, call it, and return status, fields and content."""
        if method not in KNOWN_METHODS:
            return failure(501, "not_implemented", f"the method {method} is not implemented")
        if raw_path == "*" and method == "OPTIONS":
            return 204, [], b""
        if not well_encoded(raw_path):
            return failure(400, "bad_request", "a % that two hexadecimal digits do not follow")
        found = sorted(self.matching(raw_path), key=lambda match: match[0])
        if not found:
            return failure(404, "not_found", "Not Found")
        best = [match for match in found if match[0] == found[0][0]]
        by_method = {match[1][0]: match for match in reversed(best)}
        match = by_method.get(method) or (by_method.get("GET") if method == "HEAD" else None)
        if match is None:
            allow = sorted({*by_method, "OPTIONS", *(["HEAD"] if "GET" in by_method else [])})
            if method == "OPTIONS":
                return 204, [("allow", ", ".join(allow))], b""
            status, fields, content = failure(405, "method_not_allowed", "Method Not Allowed")
            return status, [*fields, ("allow", ", ".join(allow))], content
        _, (_, pattern, handler, plan), values = match
        names = [part[1:-1].partition(":")[0] for part in pattern if part.startswith("{")]
        request = Request(method, raw_path, query, headers, body, path_params=dict(zip(names, values, strict=True)))
        return call(handler, plan, values, query, body, request)

    def matching(self, raw_path: str) -> Iterable[tuple[list[int], tuple, tuple[str, ...]]]:
        """Yield the routes that fit: how general they are, the route, and its values, decoded."""
        segments = raw_path[1:].split("/")
        for route in self.routes:
            pattern = route[1]
            general: list[int] = []
            values: list[str] = []
            for index, part in enumerate(pattern):
                rest = part.endswith(":path}")
                if index >= len(segments) or (part.startswith("{") and not segments[index] and not rest):
                    break
                if not part.startswith("{"):
                    if decoded(segments[index]) != part:
                        break
                    general.append(0)
                elif rest:
                    values.append(decoded("/".join(segments[index:])))
                    general.append(3)
                elif part.endswith(":int}"):
                    if not segments[index].lstrip("-").isdigit():
                        break
                    values.append(decoded(segments[index]))
                    general.append(1)
                else:
                    values.append(decoded(segments[index]))
                    general.append(2)
            else:
                if len(segments) == len(pattern) or (pattern and pattern[-1].endswith(":path}")):
                    yield general, route, tuple(values)


def well_encoded(path: str) -> bool:
    """Whether two hexadecimal digits follow each %."""
    return all(len(part) >= 2 and set(part[:2]) <= set("0123456789abcdefABCDEF") for part in path.split("%")[1:])


def decoded(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")


def call(
    handler: Callable[..., object], plan: Plan, values: tuple[str, ...], query: str, body: bytes, request: Request
) -> Answer:
    """Bind the parameters, call the handler, and convert what it returns or raises."""
    try:
        args, kwargs = plan.bind(values, query, body, request)
        return converted(handler(*args, **kwargs))
    except ValidationError as error:
        return 422, JSON, dumps({"detail": error.detail, "error": "validation_error"})
    except HTTPException as error:
        return error.status_code, [*JSON, *error.headers], dumps({"detail": error.detail})
    except NotSerializable:
        return failure(500, "response_not_serializable", "The handler's response cannot be written")
    except BaseException:
        return failure(500, "handler_raised", "Internal Server Error")


JSON = [("content-type", "application/json")]
TYPES = {"json": "application/json", "text": "text/plain; charset=utf-8", "bytes": "application/octet-stream"}
TOKEN = set("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


def failure(status: int, code: str, detail: str) -> Answer:
    return status, list(JSON), json.dumps({"detail": detail, "error": code}, separators=(",", ":")).encode()


def converted(value: object) -> Answer:
    """Return what the contract's table says for a return value."""
    try:
        if isinstance(value, Response):
            return whole(value.content, value.status_code, value.headers, value.media_type)
        if type(value) is tuple:
            if len(value) not in (2, 3) or type(value[1]) is bool or not isinstance(value[1], int):
                raise NotSerializable
            response = Response(value[0], value[1], value[2] if len(value) == 3 else None)
            return whole(response.content, response.status_code, response.headers, None)
        if value is None:
            return 204, [], b""
        return whole(value, 200, [], None)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotSerializable from error


def whole(content: object, status: int, headers: Pairs, media_type: str | None) -> Answer:
    if content is None:
        kind, body = None, b""
    elif isinstance(content, str):
        kind, body = "text", content.encode("utf-8")
    elif isinstance(content, bytes | bytearray | memoryview):
        kind, body = "bytes", bytes(content)
    elif isinstance(content, tuple):
        raise NotSerializable
    elif isinstance(content, Iterator):
        # In one piece: the answers' bytes are what is compared, not when they come.
        kind, body = "text", "".join(content).encode("utf-8")
    else:
        kind, body = "json", dumps(content)
    if status in (204, 304) and body:
        raise NotSerializable
    for name, value in headers:
        bad = any(char in value for char in "\r\n\0")
        if not name or not TOKEN.issuperset(name) or bad or name.lower() in ("content-length", "transfer-encoding"):
            raise NotSerializable
        value.encode("latin-1")
    fields = list(headers)
    if kind and not any(name.lower() == "content-type" for name, _ in headers):
        fields.insert(0, ("content-type", media_type or TYPES[kind]))
    return status, fields, body
