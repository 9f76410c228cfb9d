"""The suite's app for WSGI servers: gunicorn, waitress, granian (PEP 3333)."""

import os
from collections.abc import Callable, Iterable
from http import HTTPStatus

from table import Table

TABLE = Table(os.environ.get("CONFORMANCE_APP", "suite:app"))


def raw_path(environ: dict[str, object]) -> str:
    """Return the path as sent where the server passes it on; PATH_INFO is decoded, and cannot be undone."""
    for name in ("RAW_URI", "REQUEST_URI"):
        target = environ.get(name)
        if isinstance(target, str):
            if "://" in target.split("?")[0]:
                target = "/" + target.split("://", 1)[1].partition("/")[2]
            return target.partition("?")[0]
    from urllib.parse import quote

    return quote(str(environ.get("PATH_INFO", "")).encode("latin-1"), safe="/*!$&'()+,;=:@~-._") or "/"


def application(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Serve one request."""
    headers = [
        (name[5:].replace("_", "-").lower(), str(value)) for name, value in environ.items() if name.startswith("HTTP_")
    ]
    length = environ.get("CONTENT_LENGTH")
    source = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated") or environ.get("HTTP_TRANSFER_ENCODING"):
        body = source.read()  # type: ignore[attr-defined]
    else:
        body = source.read(int(str(length))) if length else b""  # type: ignore[attr-defined]
    status, fields, content = TABLE.answer(
        str(environ["REQUEST_METHOD"]), raw_path(environ), str(environ.get("QUERY_STRING", "")), headers, body
    )
    if status not in (204, 304):
        fields = [*fields, ("content-length", str(len(content)))]
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    start_response(f"{status} {phrase}", fields)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [content]
