"""A WSGI server that does what PEP 3333 says, slowly and in full: what the suite `wsgi` must find nothing wrong with.

`ideal_wsgi.py MODULE:APP PORT [SCRIPT_NAME]` serves on 127.0.0.1, a thread for each connection. The environment variable IDEAL_VIOLATION
names one rule to break: each place that does so asks `breaks("name")`, and tests/ideal.rs says which case finds it.
"""

import importlib
import os
import re
import socket
import sys
import threading
from email.utils import formatdate

VIOLATION = os.environ.get("IDEAL_VIOLATION", "")
HOP_BY_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
HEAD_BYTES_MAX = 256 * 1024
DRAIN_BYTES_MAX = 1024 * 1024


def breaks(name):
    """Whether this rule is to be broken."""
    return name == VIOLATION


class Bad(Exception):
    """The client's message is wrong: the status to answer with."""


class Gone(OSError):
    """The client is not there any more."""


class Connection:
    """The socket, with what was read ahead."""

    def __init__(self, sock, peer):
        self.sock, self.peer, self.buffer = sock, peer, b""

    def more(self):
        piece = self.sock.recv(65536)
        self.buffer += piece
        return bool(piece)

    def take(self, count):
        """Take up to `count` bytes; none at the end."""
        if not self.buffer and count:
            self.more()
        piece, self.buffer = self.buffer[:count], self.buffer[count:]
        return piece

    def line(self, limit=HEAD_BYTES_MAX):
        while b"\r\n" not in self.buffer:
            if len(self.buffer) > limit or not self.more():
                raise Bad(400)
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from None


class Input:
    """`wsgi.input`: the content without its framing, and nothing behind it."""

    def __init__(self, connection, length, chunked, expects):
        self.connection, self.left, self.chunked, self.expects = connection, length, chunked, expects
        self.held = b""
        self.ended = not chunked and not length
        self.in_chunk = 0

    def fill(self):
        """Read one more piece; False at the end."""
        if self.ended:
            return False
        if self.expects:
            self.expects = False
            if not breaks("no-100-continue"):
                self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        piece = self.chunk() if self.chunked else self.connection.take(min(self.left, 65536))
        if not self.chunked:
            self.left -= len(piece)
            if not piece or not self.left:
                self.ended = True
            if not piece and self.left:
                raise OSError("the client left before its content was whole")
        self.held += piece
        return not self.ended or bool(piece)

    def chunk(self):
        if not self.in_chunk:
            digits = self.connection.line().split(b";")[0].strip()
            if not re.fullmatch(rb"[0-9a-fA-F]+", digits):
                raise OSError("the chunk size is no number")
            self.in_chunk = int(digits, 16)
            if not self.in_chunk:
                while self.connection.line():
                    pass
                self.ended = True
                return b""
        piece = self.connection.take(min(self.in_chunk, 65536))
        if not piece:
            raise OSError("the client left before its content was whole")
        self.in_chunk -= len(piece)
        if not self.in_chunk and self.connection.line():
            raise OSError("the chunk has no end")
        return piece

    def cut(self, count):
        data, self.held = self.held[:count], self.held[count:]
        return bytearray(data) if breaks("read-gives-bytearray") else data

    def read(self, size=-1):
        if breaks("read-needs-size") and size == -1:
            raise TypeError("read() takes a size")
        if breaks("read-past-end") and self.ended and not self.held:
            return self.connection.take(1)
        whole = size is None or size < 0
        while (whole or len(self.held) < size) and self.fill():
            pass
        if breaks("read-none-at-end") and not self.held:
            return None
        return self.cut(len(self.held) if whole else size)

    def readline(self, size=-1):
        limit = None if size is None or size < 0 or breaks("readline-ignores-size") else size
        while b"\n" not in self.held and (limit is None or len(self.held) < limit) and self.fill():
            pass
        end = self.held.find(b"\n") + 1 or len(self.held)
        line = self.cut(end if limit is None else min(end, limit))
        return line.rstrip(b"\n") if breaks("readline-strips") else line

    def readlines(self, hint=-1):
        if breaks("readlines-one"):
            return [self.readline()]
        lines, total = [], 0
        for line in self:
            lines.append(line)
            total += len(line)
            if hint is not None and 0 < hint <= total:
                break
        return lines

    def __iter__(self):
        while line := self.readline():
            yield line


if VIOLATION == "no-input-iteration":
    del Input.__iter__


class Errors:
    """`wsgi.errors`: text of any kind, to the log."""

    def write(self, text):
        if breaks("errors-ascii"):
            text.encode("ascii")
        sys.stderr.write(text.encode("ascii", "backslashreplace").decode())

    def writelines(self, texts):
        for text in texts:
            self.write(text)

    def flush(self):
        sys.stderr.flush()


if VIOLATION == "no-errors-flush":
    del Errors.flush


class FileWrapper:
    """`wsgi.file_wrapper`: blocks of a file."""

    def __init__(self, filelike, size=8192):
        self.filelike, self.size = filelike, size
        if hasattr(filelike, "close") and not breaks("file-wrapper-no-close"):
            self.close = filelike.close
        if breaks("file-wrapper-reads-early"):
            self.first = filelike.read(size)

    def __iter__(self):
        if breaks("file-wrapper-reads-early"):
            yield self.first
        if breaks("file-wrapper-rewinds"):
            self.filelike.seek(0)
        while block := self.filelike.read(self.size):
            yield block


class Response:
    """The answer to one request: start_response, write, and the way to the client."""

    def __init__(self, connection, method, version, keep):
        self.connection, self.method, self.version, self.keep = connection, method, version, keep
        self.head = None
        self.sent = False
        self.left = None
        self.chunked = False
        self.single = None

    def start_response(self, status, headers, exc_info=None, /):
        try:
            if exc_info and self.sent and not breaks("exc-info-after-head"):
                if breaks("exc-info-other-error"):
                    raise RuntimeError("the head is sent")
                raise exc_info[1].with_traceback(exc_info[2])
            if not exc_info and self.head is not None and not breaks("start-response-twice"):
                raise AssertionError("start_response was called already")
        finally:
            exc_info = None
        if self.head is not None and breaks("exc-info-keeps-head"):
            return self.write
        # Even where it is wrong, it was called.
        self.head, self.good = (status, headers), False
        self.check(status, headers)
        self.head, self.good = (status, list(headers)), True
        if breaks("head-at-once"):
            self.send_head()
        if breaks("start-response-returns-none"):
            return None
        return self.write

    def check(self, status, headers):
        if not breaks("status-unchecked"):
            if type(status) is not str:
                raise TypeError(f"the status is no str: {status!r}")
            if not re.fullmatch(r"[1-9][0-9]{2} [^\x00-\x1f\x7f]*", status) or status != status.strip():
                raise ValueError(f"the status is no code and reason: {status!r}")
            status.encode("latin-1")
        if type(headers) is not list and not breaks("headers-tuple"):
            raise TypeError(f"the headers are no list: {headers!r}")
        for item in headers:
            if type(item) is not tuple or len(item) != 2:
                raise TypeError(f"a header is no tuple of two: {item!r}")
            name, value = item
            if (type(name) is not str or type(value) is not str) and not breaks("header-bytes"):
                raise TypeError(f"a header is no str: {item!r}")
            if breaks("header-bytes"):
                continue
            if not TOKEN.match(name.encode("latin-1")) and not breaks("header-name-unchecked"):
                raise ValueError(f"no header name: {name!r}")
            if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value) and not breaks("header-control"):
                raise ValueError(f"a control character: {item!r}")
            if not breaks("header-not-latin-1"):
                value.encode("latin-1")
            if name.lower() in HOP_BY_HOP and not breaks("hop-by-hop"):
                raise ValueError(f"a hop-by-hop header: {name!r}")
            if name.lower() == "content-length" and not re.fullmatch("[0-9]+", value):
                raise ValueError(f"no length: {value!r}")

    def send_head(self):
        if not self.good:
            raise AssertionError("start_response refused this head")
        status, headers = self.head
        self.sent = True
        names = {str(name).lower() for name, _ in headers}
        code = int(status[:3])
        self.bodiless = self.method == "HEAD" or code in (204, 304) or code < 200
        lines = [f"HTTP/1.1 {status}"]
        for name, value in headers:
            if code == 204 and name.lower() == "content-length":
                continue
            lines.append(f"{name}: {value}")
        if breaks("headers-reordered"):
            lines[1:] = sorted(lines[1:], reverse=True)
        if breaks("header-joined") and "set-cookie" in names:
            cookies = [value for name, value in headers if name.lower() == "set-cookie"]
            lines = [line for line in lines if not line.lower().startswith("set-cookie:")] + [f"Set-Cookie: {', '.join(cookies)}"]
        if "date" not in names and not breaks("no-date"):
            lines.append(f"Date: {formatdate(usegmt=True)}")
        if "server" not in names:
            lines.append("Server: ideal")
        if "content-length" in names:
            self.left = int(next(value for name, value in headers if name.lower() == "content-length"))
        elif not self.bodiless:
            if self.single is not None:
                self.left = self.single
                lines.append(f"Content-Length: {self.single}")
            elif self.version == "HTTP/1.1":
                self.chunked = True
                lines.append("Transfer-Encoding: chunked")
            else:
                self.keep = False
        if not self.keep:
            lines.append("Connection: close")
        elif self.version == "HTTP/1.0":
            lines.append("Connection: keep-alive")
        text = "\r\n".join(lines) + "\r\n\r\n"
        self.connection.send(text.encode("latin-1", "replace"))

    def write(self, data, /):
        if self.head is None:
            raise AssertionError("write before start_response")
        if type(data) is not bytes:
            if breaks("text-block"):
                data = data.encode()
            else:
                raise TypeError(f"a block is no bytes: {type(data).__name__}")
        if breaks("write-buffered") and self.sent is False:
            self.early = getattr(self, "early", b"") + data
            return
        self.push(data)

    def push(self, data):
        if not data and not self.sent and not breaks("head-with-empty-block"):
            return
        if not self.sent:
            self.send_head()
        if self.bodiless:
            return
        if self.left is not None:
            over = len(data) > self.left
            data = data[: self.left] if not breaks("sends-past-length") else data
            self.left = max(0, self.left - len(data))
            if over and VIOLATION not in ("sends-past-length", "iterates-past-length"):
                self.connection.send(data)
                raise ValueError("more than Content-Length says")
        if not data:
            return
        if breaks("newlines-altered"):
            data = data.replace(b"\n", b"\r\n")
        if self.chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        self.connection.send(data)

    def finish(self):
        early = getattr(self, "early", None)
        if early:
            del self.early
            self.push(early)
        if self.head is None:
            raise AssertionError("start_response was not called")
        if not self.sent:
            if self.single is None and "content-length" not in {name.lower() for name, _ in self.head[1]}:
                self.single = 0
            self.send_head()
        if self.chunked:
            self.connection.send(b"0\r\n\r\n")
        if self.left and not self.bodiless:
            self.keep = breaks("short-body-keeps")
            raise ValueError("less than Content-Length says")


def environ_of(connection, script_name, method, target, version, fields):
    """Make the environ of one request."""
    if b"://" in target.split(b"?")[0]:
        target = b"/" + target.split(b"://", 1)[1].partition(b"/")[2]
    path, _, query = target.partition(b"?")
    path = path if breaks("path-not-decoded") else unquote(path)
    if breaks("path-plus"):
        path = path.replace(b"+", b" ")
    path = path.decode("utf-8", "replace") if breaks("path-utf-8") else path.decode("latin-1")
    script = script_name.encode().decode("latin-1")
    if script and (path == script or path.startswith(script + "/")) and not breaks("script-name-left-in-path"):
        path = path[len(script) :]
    host, port = connection.sock.getsockname()[:2]
    environ = {
        "REQUEST_METHOD": method.decode("latin-1"),
        "SCRIPT_NAME": "/" if breaks("script-name-slash") else script,
        "PATH_INFO": path,
        "QUERY_STRING": unquote(query).decode("latin-1") if breaks("query-decoded") else query.decode("latin-1"),
        "SERVER_NAME": "" if breaks("server-name-empty") else host,
        "SERVER_PORT": port if breaks("port-int") else str(port),
        "SERVER_PROTOCOL": "HTTP/1.1" if breaks("protocol-fixed") else version,
        "REMOTE_ADDR": connection.peer[0],
        "REMOTE_PORT": str(connection.peer[1]),
        "wsgi.version": [1, 0] if breaks("version-list") else (1, 0),
        "wsgi.url_scheme": "HTTP" if breaks("scheme-upper") else "http",
        "wsgi.errors": Errors(),
        "wsgi.multithread": not breaks("multithread-false"),
        "wsgi.multiprocess": False,
        "wsgi.run_once": breaks("run-once-true"),
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }
    for name, value in fields:
        key = name.decode("latin-1").upper().replace("-", "_")
        if b"_" in name:
            continue
        value = value.decode("utf-8", "replace") if breaks("header-utf-8") else value.decode("latin-1")
        if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            environ[f"HTTP_{key}" if breaks("content-type-as-http") else key] = value
        elif key == "TRANSFER_ENCODING":
            continue
        elif f"HTTP_{key}" in environ:
            environ[f"HTTP_{key}"] += ("; " if key == "COOKIE" else ", ") + value if not breaks("first-header-only") else ""
        else:
            environ[f"HTTP_{key}"] = value
    return type("Environ", (dict,), {})(environ) if breaks("environ-subclass") else environ


def unquote(path):
    return re.sub(rb"%([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), path)


def read_head(connection):
    """Read one request's head; None where the client is done."""
    while b"\r\n\r\n" not in connection.buffer:
        if len(connection.buffer) > HEAD_BYTES_MAX:
            raise Bad(431)
        if not connection.more():
            if connection.buffer.strip():
                raise Bad(400)
            return None
    head, _, connection.buffer = connection.buffer.lstrip(b"\r\n").partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    match = re.fullmatch(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\x00-\x20\x7f]+) (HTTP/1\.[01])", line)
    if not match:
        raise Bad(400)
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.match(name) or re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise Bad(400)
        fields.append((name, value.strip(b" \t")))
    method, target, version = match.groups()
    hosts = [value for name, value in fields if name.lower() == b"host"]
    if len(hosts) > 1 or (version == b"HTTP/1.1" and not hosts):
        raise Bad(400)
    return method, target, version.decode(), fields


def framing(version, fields):
    """Return the length of the content, and whether it is chunked."""
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    codings = [value.lower() for name, value in fields if name.lower() == b"transfer-encoding"]
    if codings and (lengths or codings != [b"chunked"] or version == "HTTP/1.0"):
        raise Bad(400)
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        raise Bad(400)
    return int(lengths[0]) if lengths else 0, bool(codings)


def serve_request(app, script_name, connection):
    """Serve one request; whether the connection goes on."""
    head = read_head(connection)
    if head is None:
        return False
    method, target, version, fields = head
    length, chunked = framing(version, fields)
    named = {value.strip().lower() for name, values in fields if name.lower() == b"connection" for value in values.split(b",")}
    keep = b"close" not in named and (version == "HTTP/1.1" or b"keep-alive" in named)
    expects = version == "HTTP/1.1" and any(name.lower() == b"expect" and value.lower() == b"100-continue" for name, value in fields)
    environ = environ_of(connection, script_name, method, target, version, fields)
    source = environ["wsgi.input"] = Input(connection, length, chunked and not breaks("chunks-raw"), expects)
    if breaks("chunks-raw") and chunked:
        source.left, source.ended = 15, False
    response = Response(connection, method.decode("latin-1"), version, keep)
    try:
        play(app, environ, response)
    except Gone:
        return False
    except BaseException as error:
        if not breaks("error-not-logged"):
            sys.stderr.write(f"Traceback: {type(error).__name__}: {error}\n")
            sys.stderr.flush()
        if response.sent:
            if breaks("error-ends-well"):
                if response.chunked:
                    connection.send(b"0\r\n\r\n")
                return keep
            return response.keep and breaks("short-body-keeps")
        if breaks("error-says-200"):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            connection.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return False
    if source.expects:
        # The client may send its content or not: nobody can know.
        return False
    drained = 0
    try:
        while response.keep and source.fill():
            drained += len(source.held)
            source.held = b""
            if drained > DRAIN_BYTES_MAX:
                return False
    except (OSError, Bad):
        return False
    return response.keep


def play(app, environ, response):
    """Call the app, and send what it gives."""
    if breaks("keyword-call"):
        result = app(environ=environ, start_response=response.start_response)
    else:
        result = app(environ, response.start_response)
    closes = not (breaks("no-close") or (breaks("no-close-for-generators") and hasattr(result, "gi_frame")))
    failed = False
    try:
        if breaks("touches-attributes"):
            getattr(result, "status", None)
        if breaks("head-before-iteration"):
            response.send_head()
        if breaks("list-only") and not isinstance(result, list):
            result = [b"".join(result)]
        try:
            if len(result) == 1 and not response.sent:
                response.single = -1
        except TypeError:
            pass
        held = b""
        for block in result:
            if response.single == -1:
                if type(block) is bytes:
                    response.single = len(block) if not response.sent else None
                else:
                    response.single = None
            if breaks("stops-at-empty") and not block:
                break
            if breaks("blocks-joined"):
                held += block
                continue
            response.write(block)
            if response.left == 0 and response.sent and not response.bodiless and not breaks("iterates-past-length"):
                break
        if response.single == -1:
            response.single = None
        if held:
            response.write(held)
        response.finish()
    except Gone:
        failed = True
        raise
    except BaseException:
        failed = failed or breaks("no-close-after-error")
        raise
    finally:
        forgets = failed and VIOLATION in ("no-close-after-error", "no-close-when-gone")
        if hasattr(result, "close") and closes and not forgets:
            result.close()
            if breaks("closes-twice"):
                result.close()


def serve_connection(app, script_name, sock, peer):
    connection = Connection(sock, peer)
    try:
        while serve_request(app, script_name, connection):
            pass
    except Bad as bad:
        connection.send(f"HTTP/1.1 {bad} Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    except OSError:
        pass
    finally:
        try:
            # What the client still sends is read, so that no reset overtakes the answer.
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(1)
            while sock.recv(65536):
                pass
        except OSError:
            pass
        sock.close()


def main():
    module, _, name = sys.argv[1].partition(":")
    app = getattr(importlib.import_module(module), name)
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=128)
    script_name = sys.argv[3] if len(sys.argv) > 3 else ""
    while True:
        sock, peer = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve_connection, args=(app, script_name, sock, peer), daemon=True).start()


if __name__ == "__main__":
    main()
