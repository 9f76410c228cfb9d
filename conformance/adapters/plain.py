"""The suite's app on the standard library's http.server: a server to plant mistakes in, and an example for `--start`.

    python conformance/adapters/plain.py PORT
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from table import Table

TABLE = Table(os.environ.get("CONFORMANCE_APP", "suite:app"))


class Handler(BaseHTTPRequestHandler):
    """Answers each method alike: by the table."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Read the content, ask the table, write the answer."""
        raw_path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = [(name, value) for name, value in self.headers.items()]
        status, fields, content = TABLE.answer(self.command, raw_path, query, headers, body)
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: standard error is for failures."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
