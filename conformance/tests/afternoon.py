"""A server written in an afternoon, with three mistakes: it takes its app's table from the adapters, and the rest is its own.

1. A request without Host is answered as if nothing were missing, and so is one with two.
2. HEAD gets the content, too.
3. A chunked request's content is not read, so that what is behind its head is taken for the next request.
"""

import socketserver
import sys
from email.utils import formatdate

from table import Table

TABLE = Table("suite:app")
REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Read requests and answer them until the client has enough."""
        while self.one():
            pass

    def one(self) -> bool:
        """Answer one request; false where the connection ends."""
        line = self.rfile.readline(9000)
        if line in (b"\r\n",):
            line = self.rfile.readline(9000)
        words = line.decode("latin-1").rstrip("\r\n").split(" ")
        if not line:
            return False
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0") or not words[0].isalpha():
            return self.refuse()
        headers = []
        while (field := self.rfile.readline(9000)) not in (b"\r\n", b"\n", b""):
            name, colon, value = field.decode("latin-1").partition(":")
            if not colon or not name.replace("-", "").isalnum() or "\0" in value or "\r" in value.rstrip("\r\n"):
                return self.refuse()
            headers.append((name, value.strip(" \t\r\n")))
        lower = [(name.lower(), value) for name, value in headers]
        lengths = {value for name, value in lower if name == "content-length"}
        if len(lengths) > 1 or not all(length.isascii() and length.isdigit() for length in lengths):
            return self.refuse()
        if lengths and any(name == "transfer-encoding" for name, _ in lower):
            return self.refuse()
        body = self.rfile.read(int(next(iter(lengths), 0)))
        path, _, query = words[1].partition("?")
        status, fields, content = TABLE.answer(words[0], path, query, headers, body)
        close = words[2] == "HTTP/1.0" or any(name == "connection" and "close" in value.lower() for name, value in lower)
        self.send(status, [*fields, *([("connection", "close")] if close else [])], content)
        return not close

    def refuse(self) -> bool:
        """Answer 400 and end the connection."""
        self.send(400, [("connection", "close")], b"no")
        return False

    def send(self, status: int, fields: list[tuple[str, str]], content: bytes) -> None:
        """Write an answer."""
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, '')}", *(f"{name}: {value}" for name, value in fields)]
        lines.append(f"date: {formatdate(usegmt=True)}")
        if status not in (204, 304):
            lines.append(f"content-length: {len(content)}")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
