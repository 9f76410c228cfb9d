"""The suite's app for Robyn, whose router is its own: every path and method of it leads to the table."""

import os
import sys

from robyn import Headers, Request, Response, Robyn
from table import Table

TABLE = Table(os.environ.get("CONFORMANCE_APP", "suite:app"))
app = Robyn(__file__)


def handle(request: Request) -> Response:
    """Serve one request."""
    headers: list[tuple[str, str]] = []
    for name, values in request.headers.get_headers().items():
        headers.extend((name, value) for value in (values if isinstance(values, list) else [values]))
    query = "&".join(f"{name}={value}" for name, values in request.query_params.to_dict().items() for value in values)
    body = request.body if isinstance(request.body, bytes) else str(request.body or "").encode()
    status, fields, content = TABLE.answer(request.method, request.url.path, query, headers, body)
    answer = Headers({})
    for name, value in fields:
        answer.append(name, value)
    return Response(status_code=status, headers=answer, description=content)


for register in (app.get, app.post, app.put, app.delete, app.patch, app.head, app.options):
    register("/*path")(handle)
    register("/")(handle)

if __name__ == "__main__":
    app.start(host="127.0.0.1", port=int(sys.argv[-1]))
