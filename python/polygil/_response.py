"""`Response` and `HTTPException`: an answer said in full, and an answer that is raised.

Neither encodes anything: the native side reads `content`, `status_code`, `headers` and `media_type` in the worker and
makes the bytes. What is checked here is what the programmer can still be told by a traceback at the right line: types
and the range of the status. Framing fields (Content-Length, Transfer-Encoding) and bytes that would break the framing
are refused later, where the response is encoded.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    HeadersLike = Mapping[str, str] | Iterable[tuple[str, str]]

# The phrases of `http.HTTPStatus` (CPython 3.13), copied because importing `http` imports `enum`.
PHRASES = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    418: "I'm a Teapot",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    510: "Not Extended",
    511: "Network Authentication Required",
}


def _checked_status(status_code: int) -> int:
    """Return the status as a plain int; 1xx is refused because it cannot be the final answer (RFC 9110, 15.2)."""
    if not isinstance(status_code, int) or isinstance(status_code, bool):
        raise TypeError(f"status_code must be an int, not {type(status_code).__name__}")
    if not 200 <= status_code <= 599:
        raise ValueError(f"status_code must be between 200 and 599, not {int(status_code)}")
    return int(status_code)


def _checked_headers(headers: HeadersLike | None) -> list[tuple[str, str]]:
    """Return the fields as a new list of pairs of str; a name may repeat."""
    if headers is None:
        return []
    # `keys` tells a mapping from an iterable of pairs, as dict() does it.
    items: Any = headers.items() if hasattr(headers, "keys") else headers  # type: ignore[union-attr]
    pairs: list[tuple[str, str]] = []
    for item in items:
        try:
            name, value = item
        except (TypeError, ValueError):
            raise TypeError(f"headers must be a mapping or a list of (name, value) pairs, not {item!r}") from None
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r} must be a str with a str value, not {type(value).__name__}")
        pairs.append((name, value))
    return pairs


class Response:
    """An answer with everything said: content, status, headers and media type.

    `content` is converted like a handler's return value, and None is an empty body. `media_type` replaces the
    `content-type` that goes with the content's type; a `content-type` among the headers replaces both. `headers` is a
    mapping, or a list of pairs when a name repeats (`set-cookie`); the attribute is always a list of pairs.
    """

    __slots__ = ("content", "headers", "media_type", "status_code")

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: HeadersLike | None = None,
        media_type: str | None = None,
    ) -> None:
        """Check and store; raises TypeError or ValueError for a status, header or media type that cannot be sent."""
        if media_type is not None and not isinstance(media_type, str):
            raise TypeError(f"media_type must be a str, not {type(media_type).__name__}")
        self.content = content
        self.status_code = _checked_status(status_code)
        self.headers = _checked_headers(headers)
        self.media_type = media_type

    def __repr__(self) -> str:
        return f"<Response {self.status_code}>"


class HTTPException(Exception):
    """Raised by a handler to answer with a status, a JSON `detail` and headers, wherever in its call stack it is.

    `detail` is any JSON value and defaults to the status's standard phrase, as in FastAPI.
    """

    def __init__(self, status_code: int, detail: Any = None, headers: HeadersLike | None = None) -> None:
        """Check and store; raises TypeError or ValueError for a status or header that cannot be sent."""
        self.status_code = _checked_status(status_code)
        self.detail = PHRASES.get(self.status_code, "Unknown Status") if detail is None else detail
        self.headers = _checked_headers(headers)
        super().__init__(self.status_code, self.detail)

    def __str__(self) -> str:
        return f"{self.status_code}: {self.detail}"

    def __repr__(self) -> str:
        return f"HTTPException(status_code={self.status_code}, detail={self.detail!r})"
