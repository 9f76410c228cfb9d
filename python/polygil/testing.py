"""Clients for tests of an app: one without a socket, one with a server of its own behind it.

    from polygil.testing import Client, ServerClient

    def test_show():
        client = Client("app:app")
        answer = client.get("/users/7", params={"verbose": "true"})
        assert answer.status_code == 200
        assert answer.json() == {"id": 7, "verbose": True}

    def test_served():
        with ServerClient("app:app", workers=1) as client:
            assert client.get("/users/7").status_code == 200

`Client` calls handlers in the test's own interpreter: the route is found as the router finds it, parameters are filled
and validated by the server's own code, and what is returned is converted by its table. It needs no native module, opens
no socket, starts no thread, and a debugger stops inside the handler. What only a server has is not there: workers and
their own globals, time budgets, limits, queues. `ServerClient` has all of that: it starts a `polygil.Server` on a free
port and asks over HTTP/1.1.

With pytest, the fixtures `polygil_client` and `polygil_server` make them and end them; see `polygil._pytest`.
"""

from __future__ import annotations

import json as _json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlencode, urlsplit

from polygil._app import App
from polygil._convert import dumps
from polygil._errors import RegistrationError, ValidationError
from polygil._loader import load, set_app_dir
from polygil._request import Headers, Request
from polygil._response import HTTPException, Response
from polygil._signature import Plan, inspect_handler

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    type Pairs = list[tuple[str, str]]
    type Params = Mapping[str, object] | Iterable[tuple[str, object]]

__all__ = ["Answer", "Client", "ServerClient"]

# RFC 9110, 9.1 and RFC 5789, less those that make a server a proxy: as the router has them.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TYPES = {"json": "application/json", "text": "text/plain; charset=utf-8", "bytes": "application/octet-stream"}
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")


class Answer:
    """An answer, as a client sees it."""

    __slots__ = ("content", "headers", "status_code")

    def __init__(self, status_code: int, headers: Pairs, content: bytes) -> None:
        #: The status.
        self.status_code = status_code
        #: The fields: a mapping in any case of names; `get_all` gives those that repeat.
        self.headers = Headers(headers)
        #: The content, whole.
        self.content = content

    @property
    def text(self) -> str:
        """The content as UTF-8; what is not is U+FFFD."""
        return self.content.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the content as a JSON value; raises ValueError where it is none."""
        return _json.loads(self.content)

    def raise_for_status(self) -> Self:
        """Return this answer; raises AssertionError, with the content, for a status of 400 or more."""
        if self.status_code >= 400:
            raise AssertionError(f"the status is {self.status_code}: {self.text[:500]}")
        return self

    def __repr__(self) -> str:
        return f"<Answer {self.status_code} {self.content[:60]!r}>"


class _Asks:
    """What both clients have: a method for each method of HTTP."""

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        json: Any = None,
        content: bytes | str | None = None,
    ) -> Answer:
        """Ask and return the answer.

        `url` is a path with or without a query. `params` are added to the query; a list of a name gives it more than once.
        `json` is written as JSON, with its Content-Type; `content` is sent as it is.
        """
        if json is not None and content is not None:
            raise TypeError("`json` and `content` are two ways to say the same: give one")
        parts = urlsplit(url)
        if parts.scheme or parts.netloc or not parts.path.startswith("/"):
            raise ValueError(f"the url is a path that begins with /, not {url!r}")
        query = parts.query
        if params is not None:
            items = params.items() if isinstance(params, Mapping) else params
            added = urlencode([(name, _texts(value)) for name, value in items], doseq=True)
            query = f"{query}&{added}" if query and added else query or added
        fields = list(headers.items() if isinstance(headers, Mapping) else headers or ())
        body = content.encode() if isinstance(content, str) else content
        if json is not None:
            body = dumps(json)
            if not any(name.lower() == "content-type" for name, _ in fields):
                fields.append(("content-type", "application/json"))
        return self._ask(method.upper(), parts.path, query, fields, body)

    def _ask(self, method: str, path: str, query: str, headers: Pairs, body: bytes | None) -> Answer:
        raise NotImplementedError

    def get(self, url: str, **options: Any) -> Answer:
        """Ask by GET; options as of `request`."""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Any) -> Answer:
        """Ask by HEAD."""
        return self.request("HEAD", url, **options)

    def post(self, url: str, **options: Any) -> Answer:
        """Ask by POST."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Answer:
        """Ask by PUT."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> Answer:
        """Ask by PATCH."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> Answer:
        """Ask by DELETE."""
        return self.request("DELETE", url, **options)

    def options(self, url: str, **options: Any) -> Answer:
        """Ask by OPTIONS."""
        return self.request("OPTIONS", url, **options)


def _text(value: object) -> str:
    """Return a parameter as a query has it: true and false in lower case, as JSON and FastAPI write them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(value: object) -> str | list[str]:
    return [_text(item) for item in value] if isinstance(value, list | tuple) else _text(value)


class Client(_Asks):
    """A client without a socket: handlers run in this interpreter, one call after the other.

    `target` is an `App`, or what `polygil serve` takes ("module:app"). `raise_exceptions` lets what a handler raises come
    out of the client; without it there is a 500, as a server would answer. As a context manager it runs the app's startup
    and shutdown hooks.
    """

    def __init__(self, target: str | App, *, app_dir: str | None = None, raise_exceptions: bool = True) -> None:
        """Load the app and read every handler's signature; raises RegistrationError or SignatureError where that fails."""
        self.app = target if isinstance(target, App) else _load(target, app_dir)
        self.raise_exceptions = raise_exceptions
        self._routes: list[tuple[str, list[str], Any, Plan]] = []
        for route in self.app.routes:
            pattern = route.pattern[1:].split("/")
            names = tuple(part[1:-1].partition(":")[0] for part in pattern if part.startswith("{"))
            self._routes.append((route.method, pattern, route.handler, inspect_handler(route.handler, names)))

    def __enter__(self) -> Self:
        for hook in self.app._startup_hooks:
            hook()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for hook in reversed(self.app._shutdown_hooks):
            hook()

    def _ask(self, method: str, path: str, query: str, headers: Pairs, body: bytes | None) -> Answer:
        status, fields, content = self._answer(method, path, query, headers, body or b"")
        if status not in (204, 304):
            fields = [*fields, ("content-length", str(len(content)))]
        return Answer(status, fields, b"" if method == "HEAD" or status in (204, 304) else content)

    def _answer(self, method: str, path: str, query: str, headers: Pairs, body: bytes) -> tuple[int, Pairs, bytes]:
        if method not in _METHODS and all(method != route[0] for route in self._routes):
            return _failure(501, "not_implemented", f"the method {method} is not implemented")
        try:
            segments = [_decoded(segment) for segment in path[1:].split("/")]
        except ValueError as error:
            return _failure(400, "bad_request", str(error))
        found = sorted(_matching(self._routes, segments), key=lambda match: match[0])
        if not found:
            return _failure(404, "not_found", "Not Found")
        by_method = {match[1][0]: match for match in reversed(found) if match[0] == found[0][0]}
        match = by_method.get(method) or (by_method.get("GET") if method == "HEAD" else None)
        if match is None:
            allow = ", ".join(sorted({*by_method, "OPTIONS", *(["HEAD"] if "GET" in by_method else [])}))
            if method == "OPTIONS":
                return 204, [("allow", allow)], b""
            status, fields, content = _failure(405, "method_not_allowed", "Method Not Allowed")
            return status, [*fields, ("allow", allow)], content
        _, (_, pattern, handler, plan), values = match
        names = [part[1:-1].partition(":")[0] for part in pattern if part.startswith("{")]
        params = dict(zip(names, values, strict=True))
        request = Request(method, path, query, headers, body, ("testclient", 50000), ("testserver", 80), "test", params)
        return self._call(handler, plan, values, query, body, request)

    def _call(
        self, handler: Any, plan: Plan, values: tuple[str, ...], query: str, body: bytes, request: Request
    ) -> tuple[int, Pairs, bytes]:
        try:
            args, kwargs = plan.bind(values, query, body, request)
        except ValidationError as error:
            return 422, _fields("json"), dumps({"detail": error.detail, "error": "validation_error"})
        except HTTPException as error:
            return error.status_code, [*_fields("json"), *error.headers], dumps({"detail": error.detail})
        try:
            value = handler(*args, **kwargs)
            # A generator's own code runs now: what it raises is the handler's.
            value = _collected(value)
        except HTTPException as error:
            return error.status_code, [*_fields("json"), *error.headers], dumps({"detail": error.detail})
        except Exception:
            if self.raise_exceptions:
                raise
            return _failure(500, "handler_raised", "Internal Server Error")
        try:
            return _converted(value)
        except (TypeError, ValueError, RecursionError):
            if self.raise_exceptions:
                raise
            return _failure(500, "response_not_serializable", "The handler's response cannot be written")


def _load(target: str, app_dir: str | None) -> App:
    """Import `module:attribute` as `polygil serve` does; raises RegistrationError with its message where that fails."""
    import sys

    if target.endswith(".toml"):
        raise ValueError("a manifest has no App: a ServerClient takes it, or name the App that holds the handlers")
    set_app_dir(app_dir or ".")
    described = _json.loads(load(target, False))
    for error in described["errors"]:
        raise RegistrationError(f"{error['code']}: {error['message']}\n{error.get('traceback') or ''}".rstrip())
    found: Any = sys.modules[described["module"]]
    for step in described["attribute"].split("."):
        found = getattr(found, step)
    app: App = found
    return app


class ServerClient(_Asks):
    """A client with a socket: a `polygil.Server` on a free port for as long as the `with` block lasts.

    Takes what `polygil.serve` takes. Each request has a connection of its own, so that no test is in another's way.
    """

    def __init__(self, target: str | App, *, timeout: float = 30.0, **options: Any) -> None:
        """Nothing starts before the `with` block is entered; `timeout` is how many seconds an answer may take."""
        from polygil._serve import Server

        self.server = Server(target, **{"port": 0, "workers": 1, **options})
        self._timeout = timeout

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.server.url

    def start(self) -> Self:
        """Start the server; it accepts connections when this returns."""
        self.server.start()
        return self

    def stop(self) -> None:
        """Drain and stop the server."""
        self.server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _ask(self, method: str, path: str, query: str, headers: Pairs, body: bytes | None) -> Answer:
        from http.client import HTTPConnection

        parts = urlsplit(self.url)
        connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=self._timeout)
        try:
            connection.putrequest(method, f"{path}?{query}" if query else path, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None and not any(name.lower() == "content-length" for name, _ in headers):
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body or None)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


def _decoded(segment: str) -> str:
    """Return a segment of a path without its percent-encoding; raises ValueError where the router answers 400."""
    for part in segment.split("%")[1:]:
        if len(part) < 2 or not set(part[:2]) <= set("0123456789abcdefABCDEF"):
            raise ValueError("the path has a % that two hexadecimal digits do not follow (RFC 3986, 2.1)")
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the path is not UTF-8 after percent-decoding") from None
    if "\0" in text:
        raise ValueError("the path has a NUL")
    return text


def _matching(
    routes: list[tuple[str, list[str], Any, Plan]], segments: list[str]
) -> Iterator[tuple[list[int], tuple[str, list[str], Any, Plan], tuple[str, ...]]]:
    """Yield the routes that fit: how general each step of the pattern is, the route, and its values."""
    for route in routes:
        pattern = route[1]
        general: list[int] = []
        values: list[str] = []
        for index, part in enumerate(pattern):
            if index >= len(segments):
                break
            segment = segments[index]
            if part.endswith(":path}"):
                rest = "/".join(segments[index:])
                if not rest:
                    break
                values.append(rest)
                general.append(3)
            elif part.startswith("{"):
                is_int = part.endswith(":int}")
                digits = segment.removeprefix("-") if is_int else segment
                if not digits or (is_int and not (digits.isascii() and digits.isdigit())):
                    break
                values.append(segment)
                general.append(1 if is_int else 2)
            elif segment == part:
                general.append(0)
            else:
                break
        else:
            if len(segments) == len(pattern) or pattern[-1].endswith(":path}"):
                yield general, route, tuple(values)


def _fields(kind: str) -> Pairs:
    return [("content-type", _TYPES[kind])]


def _failure(status: int, code: str, detail: str) -> tuple[int, Pairs, bytes]:
    return status, _fields("json"), dumps({"detail": detail, "error": code})


def _collected(value: Any) -> Any:
    """Return the value with generators run to their end, wherever the table lets one stand."""
    if isinstance(value, Response):
        collected = Response(_collected(value.content), value.status_code, value.headers, value.media_type)
        if isinstance(value.content, Iterator) and value.media_type is None and isinstance(collected.content, bytes):
            collected.media_type = _TYPES["text"]
        return collected
    if type(value) is tuple and len(value) in (2, 3):
        return (_collected(value[0]), *value[1:])
    if isinstance(value, Iterator):
        return _Pieces(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in value)
    return value


class _Pieces(bytes):
    """What a generator gave: bytes whose Content-Type is that of text."""

    def __new__(cls, pieces: Iterable[bytes]) -> Self:
        return super().__new__(cls, b"".join(pieces))


def _converted(value: Any) -> tuple[int, Pairs, bytes]:
    """Return what the table of return values makes of it; raises TypeError or ValueError where it has no conversion."""
    if isinstance(value, Response):
        return _whole(value.content, value.status_code, value.headers, value.media_type)
    if type(value) is tuple:
        if len(value) not in (2, 3):
            raise TypeError("a tuple is (value, status) or (value, status, headers)")
        response = Response(value[0], value[1], value[2] if len(value) == 3 else None)
        return _whole(response.content, response.status_code, response.headers, None)
    if value is None:
        return 204, [], b""
    return _whole(value, 200, [], None)


def _whole(content: Any, status: int, headers: Pairs, media_type: str | None) -> tuple[int, Pairs, bytes]:
    kind: str | None
    if content is None:
        kind, body = None, b""
    elif isinstance(content, _Pieces):
        kind, body = "text", bytes(content)
    elif isinstance(content, str):
        kind, body = "text", content.encode("utf-8")
    elif isinstance(content, bytes | bytearray | memoryview):
        kind, body = "bytes", bytes(content)
    elif isinstance(content, tuple):
        raise TypeError("Object of type tuple is not JSON serializable")
    else:
        kind, body = "json", dumps(content)
    if status in (204, 304) and body:
        raise ValueError(f"a {status} has no content")
    for name, value in headers:
        if not name or not _TOKEN.issuperset(name) or name.lower() in ("content-length", "transfer-encoding"):
            raise ValueError(f"the header {name!r} cannot be sent")
        if any(char in value for char in "\r\n\0"):
            raise ValueError(f"the value of the header {name} cannot be sent")
        value.encode("latin-1")
    fields = list(headers)
    if kind and not any(name.lower() == "content-type" for name, _ in headers):
        fields.insert(0, ("content-type", media_type or _TYPES[kind]))
    return status, fields, body
