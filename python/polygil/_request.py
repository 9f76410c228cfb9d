"""`Request`: what a handler may want to know about the request it answers.

The native side makes one per call, and only for handlers that ask for it, so it stores what it is given and parses on
first use: a handler that reads one header never pays for the query string. A `Request` belongs to one call in one
interpreter; nothing in it is shared.
"""

from __future__ import annotations

from _collections_abc import Mapping

from polygil._text import parse_query, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Query(Mapping[str, str]):
    """The query parameters, decoded: a mapping of names to values that may repeat.

    `query["name"]` is the last value of that name, as FastAPI and Starlette have it; `get_all` gives every one.
    """

    __slots__ = ("_last", "_pairs")

    def __init__(self, query_string: str = "") -> None:
        self._pairs = parse_query(query_string)
        self._last = dict(self._pairs)

    def __getitem__(self, name: str) -> str:
        return self._last[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __len__(self) -> int:
        return len(self._last)

    def get_all(self, name: str) -> list[str]:
        """Return every value of `name`, in the order sent; an empty list without one."""
        return [value for key, value in self._pairs if key == name]

    def pairs(self) -> list[tuple[str, str]]:
        """Return all `(name, value)` pairs, in the order sent."""
        return list(self._pairs)

    def __repr__(self) -> str:
        return f"Query({self._pairs!r})"


class Headers(Mapping[str, str]):
    """The header fields: a mapping that ignores the case of names; a name may repeat.

    `headers["name"]` is the first value of that name; `get_all` gives every one. Iterating gives lower-case names.
    Values are decoded as ISO-8859-1, so that every byte survives.
    """

    __slots__ = ("_first", "_pairs")

    def __init__(self, pairs: tuple[tuple[str, str], ...] | list[tuple[str, str]] = ()) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]
        self._first: dict[str, str] = {}
        for name, value in self._pairs:
            self._first.setdefault(name, value)

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._first

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def get_all(self, name: str) -> list[str]:
        """Return every value of `name`, in the order sent; an empty list without one."""
        name = name.lower()
        return [value for key, value in self._pairs if key == name]

    def pairs(self) -> list[tuple[str, str]]:
        """Return all `(lower-case name, value)` pairs, in the order sent."""
        return list(self._pairs)

    def __repr__(self) -> str:
        return f"Headers({self._pairs!r})"


class Request:
    """One request, as its handler sees it. Made by the server; a test may make one with the same arguments.

    - `method`: as sent, `"GET"`
    - `raw_path`: the path as sent, percent-encoded, without the query
    - `query_string`: what follows `?`, as sent; empty without one
    - `body`: the whole content, decoded from its transfer coding; empty without one
    - `client`, `server`: `(host, port)` of the two ends, or None on a unix socket
    - `request_id`: the id that the log gives this request
    """

    __slots__ = (
        "__weakref__",
        "_headers",
        "_path",
        "_path_params",
        "_query",
        "_raw_headers",
        "body",
        "client",
        "method",
        "query_string",
        "raw_path",
        "request_id",
        "server",
    )

    def __init__(
        self,
        method: str = "GET",
        raw_path: str = "/",
        query_string: str = "",
        headers: tuple[tuple[str, str], ...] | list[tuple[str, str]] = (),
        body: bytes = b"",
        client: tuple[str, int] | None = None,
        server: tuple[str, int] | None = None,
        request_id: str = "",
        path_params: dict[str, str] | tuple[tuple[str, ...], tuple[str, ...]] = ((), ()),
    ) -> None:
        """Store the parts; `path_params` is a dict, or the names and the values apart, as the server has them."""
        self.method = method
        self.raw_path = raw_path
        self.query_string = query_string
        self.body = body
        self.client = client
        self.server = server
        self.request_id = request_id
        self._raw_headers = headers
        self._path_params = path_params
        self._headers: Headers | None = None
        self._query: Query | None = None
        self._path: str | None = None

    @property
    def path(self) -> str:
        """The path, percent-decoded. `%2F` is a slash here; `raw_path` tells the two apart."""
        if self._path is None:
            self._path = unquote(self.raw_path)
        return self._path

    @property
    def query(self) -> Query:
        """The query parameters, decoded."""
        if self._query is None:
            self._query = Query(self.query_string)
        return self._query

    @property
    def headers(self) -> Headers:
        """The header fields."""
        if self._headers is None:
            self._headers = Headers(self._raw_headers)
        return self._headers

    @property
    def path_params(self) -> dict[str, str]:
        """The path parameters by name, percent-decoded: always text, whatever the handler's annotations."""
        if not isinstance(self._path_params, dict):
            names, values = self._path_params
            self._path_params = dict(zip(names, values, strict=True))
        return self._path_params

    def json(self) -> Any:
        """Parse the body as JSON in UTF-8, UTF-16 or UTF-32; raises ValueError for what is not."""
        from json import loads

        return loads(self.body)

    def text(self) -> str:
        """Return the body as text in the charset of its `content-type`, else UTF-8; bad bytes become U+FFFD."""
        try:
            return self.body.decode(self._charset(), "replace")
        except (LookupError, ValueError):
            # An unknown charset, a name that is none, or one (`idna`) that raises whatever it is told about errors.
            return self.body.decode("utf-8", "replace")

    def _charset(self) -> str:
        for parameter in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                return value.strip().strip('"') or "utf-8"
        return "utf-8"

    def __repr__(self) -> str:
        target = f"{self.raw_path}?{self.query_string}" if self.query_string else self.raw_path
        return f"<Request {self.method} {target}>"
