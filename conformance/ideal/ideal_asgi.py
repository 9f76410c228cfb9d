"""An ASGI server that does what the specifications say, slowly and in full: what the suite `asgi` must find nothing wrong with.

`ideal_asgi.py MODULE:APP PORT [ROOT_PATH]` serves HTTP/1.1 and WebSocket on 127.0.0.1, and the lifespan. The environment variable
IDEAL_VIOLATION names one rule to break: each place that does so asks `breaks("name")`, and tests/ideal.rs says which case finds it.
"""

import asyncio
import base64
import hashlib
import importlib
import os
import re
import signal
import struct
import sys
from email.utils import formatdate
from urllib.parse import unquote, unquote_to_bytes

VIOLATION = os.environ.get("IDEAL_VIOLATION", "")
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
HEAD_BYTES_MAX = 256 * 1024
PIECE_BYTES_MAX = 64 * 1024
MESSAGE_BYTES_MAX = 1024 * 1024
DRAIN_BYTES_MAX = 1024 * 1024


def breaks(name):
    """Whether this rule is to be broken."""
    return name == VIOLATION


class Bad(Exception):
    """The client's message is wrong: the status to answer with."""


class Gone(OSError):
    """The client is not there any more."""


class Connection:
    """The socket: what came is kept by a task that reads ahead, so that the client's end is seen at once."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.buffer = bytearray()
        self.ended = self.lost = False
        self.changed = asyncio.Event()
        self.room = asyncio.Event()
        self.task = asyncio.ensure_future(self.fill())

    async def fill(self):
        try:
            while True:
                while len(self.buffer) > 4 * PIECE_BYTES_MAX:
                    self.room.clear()
                    await self.room.wait()
                piece = await self.reader.read(PIECE_BYTES_MAX)
                if not piece:
                    break
                self.buffer += piece
                self.changed.set()
        except OSError:
            self.lost = True
        self.ended = True
        self.changed.set()

    async def more(self):
        """Wait for more bytes; False at the end."""
        before = len(self.buffer)
        while len(self.buffer) == before:
            if self.ended:
                return False
            self.changed.clear()
            self.room.set()
            await self.changed.wait()
        return True

    async def until_ended(self):
        while not self.ended:
            self.changed.clear()
            self.room.set()
            await self.changed.wait()

    async def take(self, count):
        """Take up to `count` bytes; none at the end."""
        if count and not self.buffer:
            await self.more()
        piece = bytes(self.buffer[:count])
        del self.buffer[:count]
        self.room.set()
        return piece

    async def exactly(self, count):
        while len(self.buffer) < count:
            if not await self.more():
                raise Gone("the client left")
        return await self.take(count)

    async def line(self):
        while b"\r\n" not in self.buffer:
            if len(self.buffer) > HEAD_BYTES_MAX or not await self.more():
                raise Bad(400)
        end = self.buffer.index(b"\r\n")
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        return line

    async def send(self, data):
        if self.lost or self.writer.transport.is_closing():
            raise Gone("the client is gone")
        self.writer.write(data)
        try:
            if not breaks("no-backpressure"):
                await self.writer.drain()
        except OSError as error:
            self.lost = True
            raise Gone(str(error)) from None


def version_of(kind):
    spec = {"http": "2.5", "websocket": "2.5", "lifespan": "2.0"}[kind]
    if breaks("asgi-missing") and kind == "http":
        return None
    return {"version": 3.0 if breaks("version-float") else "3.0", "spec_version": spec}


def scope_of(server, connection, kind, method, target, version, fields):
    """Make the scope of one request."""
    if b"://" in target.split(b"?")[0]:
        target = b"/" + target.split(b"://", 1)[1].partition(b"/")[2]
    path, _, query = target.partition(b"?")
    peer, own = connection.writer.get_extra_info("peername"), connection.writer.get_extra_info("sockname")
    headers = [[name.lower(), value] for name, value in fields]
    if breaks("headers-sorted"):
        headers.sort(reverse=True)
    if breaks("headers-joined"):
        joined = {}
        for name, value in headers:
            joined[name] = joined[name] + b", " + value if name in joined else value
        headers = [[name, value] for name, value in joined.items()]
    if breaks("headers-text"):
        headers = [[name, value.decode("latin-1") if name == b"x-text" else value] for name, value in headers]
    scope = {
        "type": kind,
        "asgi": version_of(kind),
        "http_version": "HTTP/" + version if breaks("http-version-long") else version,
        "scheme": "" if breaks("scheme-empty") else {"http": "http", "websocket": "http" if breaks("ws-scheme-http") else "ws"}[kind],
        "path": unquote(path.decode("latin-1"), "latin-1") if breaks("path-latin-1") else decoded(path),
        "raw_path": raw_path_of(path, query),
        "query_string": unquote_to_bytes(query) if breaks("query-decoded") else query.decode() if breaks("query-text") else query,
        "root_path": server.root_path,
        "headers": headers,
        "client": [peer[0], str(peer[1]) if breaks("client-port-text") else peer[1]],
        "server": [own[0], own[1]],
        "extensions": {"websocket.http.response": {}} if kind == "websocket" else {name: {} for name in EXTENSIONS},
    }
    if breaks("path-without-root") and scope["path"].startswith(server.root_path):
        scope["path"] = scope["path"][len(server.root_path) :]
    if breaks("tls-without-tls"):
        scope["extensions"]["tls"] = {}
    if breaks("extension-no-dict"):
        scope["extensions"]["http.response.other"] = True
    if server.state is not None:
        scope["state"] = server.state if breaks("state-not-copied") else {} if breaks("state-empty") else dict(server.state)
    if kind == "http":
        scope["method"] = method.decode("latin-1").lower() if breaks("method-lower") else method.decode("latin-1").upper()
    else:
        offered = b",".join(value for name, value in fields if name.lower() == b"sec-websocket-protocol").decode("latin-1")
        scope["subprotocols"] = [] if breaks("subprotocols-missing") else [one.strip() for one in offered.split(",") if one.strip()]
    return type("Scope", (dict,), {})(scope) if breaks("scope-subclass") else scope


def raw_path_of(path, query):
    if breaks("raw-path-decoded"):
        return unquote_to_bytes(path)
    return path + b"?" + query if query and breaks("raw-path-with-query") else path


def decoded(path):
    text = unquote_to_bytes(path.replace(b"+", b" ") if breaks("path-plus") else path)
    return text.decode("utf-8", "replace")


def checked_headers(headers):
    """The headers of an event as a list of pairs of bytes."""
    pairs = []
    for item in headers:
        name, value = item
        if type(name) is not bytes or type(value) is not bytes:
            if breaks("headers-unchecked"):
                name, value = (part if type(part) is bytes else part.encode() for part in (name, value))
            else:
                raise TypeError(f"a header is not bytes: {item!r}")
        if not TOKEN.match(name) or (re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value) and not breaks("header-control")):
            raise ValueError(f"no header: {item!r}")
        pairs.append((name, value))
    return pairs


class Exchange:
    """One HTTP request: what the app receives, what it sends, and where both stand."""

    def __init__(self, connection, method, version, keep, length, chunked, expects, trailers_wanted):
        self.connection, self.method, self.version, self.keep = connection, method, version, keep
        self.left, self.chunked, self.expects, self.trailers_wanted = length, chunked, expects, trailers_wanted
        self.body_ended = False
        self.broken = False
        self.state = "start"
        self.sent = False
        self.head = None
        self.out_left = None
        self.out_chunked = False
        self.finished = asyncio.Event()
        self.in_chunk = 0
        self.lock = asyncio.Lock()

    async def receive(self):
        async with self.lock:
            return await self.receive_one()

    async def receive_one(self):
        if self.body_ended or self.finished.is_set():
            if breaks("receive-repeats"):
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.until_over()
            return {"type": "http.disconnected" if breaks("disconnect-misspelt") else "http.disconnect"}
        if self.expects:
            self.expects = False
            if not breaks("no-100-continue"):
                await self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            piece = await self.piece()
        except (Gone, Bad):
            self.broken = self.body_ended = True
            self.keep = False
            if breaks("short-body-is-whole"):
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.disconnect"}
        if breaks("body-text"):
            piece = piece.decode("latin-1")
        more = not self.body_ended
        if breaks("more-body-missing"):
            return {"type": "http.request", "body": piece}
        return {"type": "http.request", "body": piece, "more_body": more}

    async def until_over(self):
        """Wait until the answer is sent, or the client is gone."""
        if breaks("disconnect-at-once"):
            return
        waits = [asyncio.ensure_future(self.finished.wait()), asyncio.ensure_future(self.connection.until_ended())]
        if breaks("disconnect-not-told"):
            waits = waits[:1]
        if breaks("no-disconnect-after-answer"):
            waits = waits[1:]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def piece(self):
        """Read the next piece of the content."""
        if self.chunked:
            if breaks("chunks-raw"):
                self.body_ended = True
                await self.connection.more() if not self.connection.buffer else None
                return await self.connection.take(PIECE_BYTES_MAX)
            if not self.in_chunk:
                digits = (await self.connection.line()).split(b";")[0].strip()
                if not re.fullmatch(rb"[0-9a-fA-F]+", digits):
                    raise Bad(400)
                self.in_chunk = int(digits, 16)
                if not self.in_chunk:
                    while await self.connection.line():
                        pass
                    self.body_ended = True
                    return b""
            piece = await self.connection.take(min(self.in_chunk, PIECE_BYTES_MAX))
            if not piece:
                raise Gone("the client left")
            self.in_chunk -= len(piece)
            if not self.in_chunk and await self.connection.line():
                raise Bad(400)
            return piece
        if not self.left:
            self.body_ended = True
            return b""
        piece = await self.connection.take(min(self.left, PIECE_BYTES_MAX))
        if not piece:
            raise Gone("the client left")
        self.left -= len(piece)
        self.body_ended = not self.left
        return piece

    async def send(self, event):
        if breaks("unknown-type-ignored") and type(event) is dict and event.get("type") not in KNOWN:
            return
        kind = check_event(event)
        if self.state == "done":
            if self.connection.ended and not breaks("gone-silent"):
                raise Gone("the client is gone")
            if breaks("late-event-raises"):
                raise RuntimeError("the answer is over")
            return
        is_closing = self.connection.ended and self.connection.writer.transport.is_closing()
        if (self.connection.lost or is_closing) and not breaks("gone-silent"):
            raise Gone("the client is gone")
        if self.state == "body" and kind == "http.response.early_hint":
            links = b"".join(b"Link: " + link + b"\r\n" for link in event["links"])
            await self.connection.send(b"HTTP/1.1 103 Early Hints\r\n" + links + b"\r\n")
            return
        if self.state == "body" and kind == "http.response.pathsend":
            with open(event["path"], "rb") as file:
                event = {"type": "http.response.body", "body": file.read()}
            kind = event["type"]
        if self.state == "body" and kind == "http.response.zerocopysend":
            if "offset" in event:
                event["file"].seek(event["offset"])
            content = event["file"].read(event.get("count", -1))
            event = {"type": "http.response.body", "body": content, "more_body": event.get("more_body", False)}
            kind = event["type"]
        expected = {"start": "http.response.start", "body": "http.response.body", "trailers": "http.response.trailers"}[self.state]
        if kind != expected and not (breaks("any-order") and kind.startswith("http.response.")):
            raise RuntimeError(f"{kind} where {expected} is due")
        try:
            if kind == "http.response.start":
                self.start(event)
            elif kind == "http.response.body":
                await self.body(event)
            else:
                await self.trailers(event)
        except Gone:
            if not breaks("gone-silent"):
                raise

    def start(self, event):
        status = event["status"]
        if type(status) is not int and not breaks("status-unchecked"):
            raise TypeError(f"the status is no int: {status!r}")
        if not 100 <= int(status) <= 599:
            raise ValueError(f"no status: {status!r}")
        headers = checked_headers(event.get("headers", ()))
        self.head = (int(status), headers, bool(event.get("trailers", False)))
        self.state = "body"
        if breaks("start-ends-response"):
            self.state = "done"

    async def send_head(self, whole):
        status, headers, self.wants_trailers = self.head
        self.sent = True
        self.bodiless = self.method == "HEAD" or status in (204, 304) or status < 200
        lines = [f"HTTP/1.1 {status} {reason(status)}".encode()]
        names = set()
        for name, value in headers:
            lower = name.lower()
            if lower == b"transfer-encoding" and not breaks("transfer-encoding-sent"):
                continue
            if lower == b"content-length" and (status == 204 or self.wants_trailers):
                continue
            if lower == b"connection":
                self.keep = self.keep and b"close" not in value.lower()
                continue
            names.add(lower)
            lines.append(name + b": " + value)
        if breaks("headers-out-reordered"):
            lines[1:] = sorted(lines[1:], reverse=True)
        if b"date" not in names:
            lines.append(f"Date: {formatdate(usegmt=True)}".encode())
        if b"server" not in names:
            lines.append(b"Server: ideal")
        if b"content-length" in names:
            self.out_left = int(next(value for name, value in headers if name.lower() == b"content-length"))
        elif not self.bodiless:
            if whole is not None and not self.wants_trailers:
                self.out_left = whole
                lines.append(f"Content-Length: {whole}".encode())
            elif self.version == "1.1":
                self.out_chunked = True
                lines.append(b"Transfer-Encoding: chunked")
            else:
                self.keep = False
        if not self.keep:
            lines.append(b"Connection: close")
        elif self.version == "1.0":
            lines.append(b"Connection: keep-alive")
        await self.connection.send(b"\r\n".join(lines) + b"\r\n\r\n")

    async def body(self, event):
        content, more = event.get("body", b""), event.get("more_body", False)
        if type(content) is not bytes:
            if not breaks("body-unchecked"):
                raise TypeError(f"the body is no bytes: {type(content).__name__}")
            content = content.encode()
        if breaks("buffers") and more:
            self.held = getattr(self, "held", b"") + content
            return
        content = getattr(self, "held", b"") + content
        self.held = b""
        if not self.sent:
            await self.send_head(None if more else len(content))
        over = False
        if not self.bodiless or breaks("head-with-body"):
            if self.out_left is not None:
                over = len(content) > self.out_left
                content = content if breaks("past-length") else content[: self.out_left]
                self.out_left = max(0, self.out_left - len(content))
            if content:
                framed = b"%x\r\n%s\r\n" % (len(content), content) if self.out_chunked else content
                await self.connection.send(framed)
        if over and not breaks("past-length"):
            self.keep = False
            raise ValueError("more content than content-length says")
        if not more or breaks("more-body-ignored"):
            await self.end_of_body()

    async def end_of_body(self):
        if self.out_left and not self.bodiless and not breaks("short-body-keeps"):
            self.keep = False
            self.state = "done"
            self.finished.set()
            raise ValueError("less content than content-length says")
        if self.wants_trailers and not breaks("trailers-ignored"):
            self.state = "trailers"
            self.trailer_lines = []
            return
        if self.out_chunked:
            await self.connection.send(b"0\r\n\r\n")
        self.state = "done"
        self.finished.set()

    async def trailers(self, event):
        self.trailer_lines += [name + b": " + value + b"\r\n" for name, value in checked_headers(event.get("headers", ()))]
        if event.get("more_trailers", False):
            return
        if self.out_chunked:
            lines = self.trailer_lines if self.trailers_wanted or breaks("trailers-unasked") else []
            await self.connection.send(b"0\r\n" + b"".join(lines) + b"\r\n")
        self.state = "done"
        self.finished.set()


def reason(status):
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


EXTENSIONS = ["http.response.trailers", "http.response.early_hint", "http.response.pathsend", "http.response.zerocopysend"]

KNOWN = {
    "http.response.start": {"status"},
    "http.response.body": set(),
    "http.response.trailers": set(),
    "http.response.early_hint": {"links"},
    "http.response.pathsend": {"path"},
    "http.response.zerocopysend": {"file"},
    "websocket.accept": set(),
    "websocket.send": set(),
    "websocket.close": set(),
    "websocket.http.response.start": {"status"},
    "websocket.http.response.body": set(),
}


def check_event(event):
    """Return the type of an event, or raise what is wrong with it."""
    if type(event) is not dict:
        raise TypeError(f"an event is no dict: {type(event).__name__}")
    kind = event.get("type")
    if kind not in KNOWN:
        raise ValueError(f"no event: {kind!r}")
    if missing := [key for key in KNOWN[kind] if key not in event]:
        if breaks("missing-key-ignored"):
            event["status"] = 200
        else:
            raise KeyError(f"{kind} without {missing[0]}")
    if breaks("extra-keys-raise") and "own" in event:
        raise ValueError("an unknown key")
    return kind


class Socket:
    """One WebSocket: the handshake, messages, and the close, from either side."""

    def __init__(self, connection, scope, key):
        self.connection, self.scope, self.key = connection, scope, key
        self.state = "connecting"
        self.connected = False
        self.denial = None
        self.close = None
        self.wire = asyncio.Lock()
        self.events = asyncio.Queue()
        self.over = asyncio.Event()
        self.reader = None
        self.disconnected = None

    async def receive(self):
        if not self.connected:
            self.connected = True
            return {"type": "websocket.connect"}
        if self.disconnected is not None and self.events.empty():
            return self.disconnected
        if self.state == "connecting":
            await self.connection.until_ended()
            self.disconnected = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
            return self.disconnected
        event = await self.events.get()
        if event["type"] == "websocket.disconnect":
            self.disconnected = event
        return event

    async def send(self, event):
        kind = check_event(event)
        if self.state in ("closed", "denied") or self.connection.lost:
            if kind == "websocket.close" and not self.connection.lost:
                return
            if breaks("ws-gone-silent"):
                return
            raise Gone("the WebSocket is closed")
        if self.state == "connecting":
            await self.answer(kind, event)
        elif self.state == "denying":
            await self.deny(kind, event)
        elif kind == "websocket.send":
            await self.message(event)
        elif kind == "websocket.close":
            await self.shut(event.get("code", 1000) or 1000, event.get("reason") or "")
        elif not breaks("ws-any-order"):
            raise RuntimeError(f"{kind} on an open WebSocket")

    async def answer(self, kind, event):
        if kind == "websocket.accept":
            await self.accept(event)
        elif kind == "websocket.close":
            self.state = "denied"
            self.over.set()
            status = b"200 OK" if breaks("ws-denied-200") else b"403 Forbidden"
            await self.connection.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.disconnected = {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        elif kind == "websocket.http.response.start":
            self.denial = (event["status"], checked_headers(event.get("headers", ())))
            self.state = "denying"
        elif breaks("ws-send-accepts") and kind == "websocket.send":
            await self.accept({})
            await self.message(event)
        else:
            raise RuntimeError(f"{kind} before websocket.accept")

    async def accept(self, event):
        accept = base64.b64encode(hashlib.sha1(self.key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
        lines.append(b"Sec-WebSocket-Accept: " + (self.key if breaks("ws-accept-key") else accept))
        subprotocol = event.get("subprotocol")
        if subprotocol is not None and not breaks("ws-subprotocol-dropped"):
            lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
        if breaks("ws-subprotocol-first") and subprotocol is None and self.scope["subprotocols"]:
            lines.append(b"Sec-WebSocket-Protocol: " + self.scope["subprotocols"][0].encode())
        headers = checked_headers(event.get("headers", ()))
        if any(name.lower() == b"sec-websocket-protocol" for name, _ in headers):
            raise ValueError("the subprotocol has a key of its own")
        if not breaks("ws-headers-dropped"):
            lines += [name + b": " + value for name, value in headers]
        self.state = "open"
        await self.connection.send(b"\r\n".join(lines) + b"\r\n\r\n")
        self.reader = asyncio.ensure_future(self.read())

    async def deny(self, kind, event):
        if kind != "websocket.http.response.body":
            raise RuntimeError(f"{kind} within a denial")
        if self.denial is not None:
            status, headers = self.denial
            self.denial = None
            if breaks("ws-denial-status"):
                status = 400
            names = {name.lower() for name, _ in headers}
            lines = [f"HTTP/1.1 {status} {reason(status)}".encode(), *(name + b": " + value for name, value in headers)]
            if b"content-length" not in names:
                lines.append(b"Transfer-Encoding: chunked")
            self.denial_chunked = b"content-length" not in names
            await self.connection.send(b"\r\n".join([*lines, b"Connection: close", b"", b""]))
        content = event.get("body", b"")
        if content:
            await self.connection.send(b"%x\r\n%s\r\n" % (len(content), content) if self.denial_chunked else content)
        if not event.get("more_body", False):
            if self.denial_chunked:
                await self.connection.send(b"0\r\n\r\n")
            self.state = "denied"
            self.over.set()
            self.disconnected = {"type": "websocket.disconnect", "code": 1006, "reason": ""}

    async def message(self, event):
        text, data = event.get("text"), event.get("bytes")
        if (text is None) == (data is None):
            if breaks("ws-both") and text is not None:
                data = None
            else:
                raise ValueError("exactly one of text and bytes")
        if text is not None:
            if type(text) is not str:
                raise TypeError("text is no str")
            await self.frame(2 if breaks("ws-text-as-bytes") else 1, text.encode())
        else:
            if type(data) is not bytes:
                raise TypeError("bytes is no bytes")
            await self.frame(2, data)

    async def frame(self, opcode, payload):
        size = len(payload)
        head = bytes([0x80 | opcode])
        head += bytes([size]) if size < 126 else struct.pack("!BH", 126, size) if size < 65536 else struct.pack("!BQ", 127, size)
        async with self.wire:
            await self.connection.send(head + payload)

    async def shut(self, code, reason):
        self.state = "closed"
        self.over.set()
        if breaks("ws-close-1000"):
            code = 1000
        if breaks("ws-reason-dropped"):
            reason = ""
        await self.frame(8, struct.pack("!H", code) + reason.encode()[:123])
        await self.leave({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def leave(self, event):
        if breaks("ws-disconnect-not-told"):
            return
        await self.events.put(event)

    async def read(self):
        """Read frames until the end, and tell the app of messages."""
        kind, content = None, b""
        code, reason = 1006, ""
        try:
            while True:
                first, second = await self.connection.exactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self.connection.exactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.connection.exactly(8))
                opcode, last = first & 0x0F, first & 0x80
                if first & 0x70 or not second & 0x80 or (opcode >= 8 and (size > 125 or not last)) or opcode not in (0, 1, 2, 8, 9, 10):
                    raise Bad(1002)
                if (opcode in (1, 2)) == (kind is not None) and opcode < 8:
                    raise Bad(1002)
                if len(content) + size > MESSAGE_BYTES_MAX and not breaks("ws-unbounded"):
                    raise Bad(1009)
                mask = await self.connection.exactly(4)
                payload = await self.connection.exactly(size)
                if any(mask):
                    payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
                if opcode == 8:
                    code, reason = self.closed_by(payload)
                    break
                if opcode == 9:
                    if not breaks("ws-no-pong"):
                        await self.frame(10, payload)
                    if breaks("ws-ping-told"):
                        await self.events.put({"type": "websocket.receive", "bytes": payload})
                elif opcode < 8:
                    kind, content = kind or opcode, content + payload
                    if last or breaks("ws-fragments-told"):
                        await self.events.put(self.event(kind, content))
                        kind, content = (None, b"") if last else (kind, b"")
            if self.state == "open":
                self.state = "closed"
                answer = payload[:2]
                if not breaks("ws-close-unanswered"):
                    await self.frame(8, answer)
        except Bad as bad:
            code = bad.args[0]
            if self.state == "open":
                self.state = "closed"
                await self.frame(8, struct.pack("!H", code))
        except OSError:
            pass
        was_open = not self.over.is_set()
        self.state = "closed"
        self.over.set()
        if was_open:
            event = {"type": "websocket.disconnect", "code": code, "reason": reason}
            if breaks("ws-code-missing"):
                del event["code"]
            await self.leave(event)

    def event(self, kind, content):
        if kind == 2:
            return {"type": "websocket.receive", "bytes": content}
        try:
            text = content.decode()
        except UnicodeDecodeError:
            if not breaks("ws-bad-utf-8"):
                raise Bad(1007) from None
            text = content.decode("utf-8", "replace")
        if breaks("ws-text-told-as-bytes"):
            return {"type": "websocket.receive", "bytes": content}
        if breaks("ws-both-told"):
            return {"type": "websocket.receive", "bytes": content, "text": text}
        return {"type": "websocket.receive", "text": text}

    @staticmethod
    def closed_by(payload):
        if not payload:
            return (1000 if breaks("ws-no-code-1000") else 1005), ""
        if len(payload) == 1:
            raise Bad(1002)
        (code,) = struct.unpack("!H", payload[:2])
        if code < 1000 or code in (1004, 1005, 1006, 1015) or 1016 <= code < 3000 or code >= 5000:
            raise Bad(1002)
        return (1000 if breaks("ws-code-not-told") else code), ("" if breaks("ws-reason-not-told") else payload[2:].decode())


class Server:
    """The server: lifespan first, then connections, then lifespan again."""

    def __init__(self, app, root_path):
        self.app, self.root_path = app, root_path
        self.state = {}
        self.connections = set()
        self.stopping = asyncio.Event()

    async def connection(self, reader, writer):
        connection = Connection(reader, writer)
        task = asyncio.current_task()
        self.connections.add(task)
        try:
            while await self.request(connection):
                pass
        except Bad as bad:
            await connection.send(f"HTTP/1.1 {bad} Bad\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        except OSError:
            pass
        finally:
            self.connections.discard(task)
            await self.hang_up(connection)

    async def hang_up(self, connection):
        try:
            # What the client still sends is read, so that no reset overtakes the answer.
            connection.writer.write_eof()
            async with asyncio.timeout(1):
                while not connection.ended:
                    connection.buffer.clear()
                    await connection.more()
        except (OSError, TimeoutError, RuntimeError):
            pass
        connection.task.cancel()
        connection.writer.close()

    async def head(self, connection):
        """Read one request's head; None where the client is done."""
        while b"\r\n\r\n" not in connection.buffer:
            if len(connection.buffer) > HEAD_BYTES_MAX:
                raise Bad(431)
            if not await connection.more():
                if connection.buffer.strip():
                    raise Bad(400)
                return None
        while connection.buffer.startswith(b"\r\n"):
            del connection.buffer[:2]
        end = connection.buffer.index(b"\r\n\r\n")
        line, *lines = bytes(connection.buffer[:end]).split(b"\r\n")
        del connection.buffer[: end + 4]
        match = re.fullmatch(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\x00-\x20\x7f]+) HTTP/(1\.[01])", line)
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
        if len(hosts) > 1 or (version == b"1.1" and not hosts):
            raise Bad(400)
        return method, target, version.decode(), fields

    async def request(self, connection):
        """Serve one request; whether the connection goes on."""
        head = await self.head(connection)
        if head is None:
            return False
        method, target, version, fields = head

        def values(wanted):
            return [value for name, value in fields if name.lower() == wanted]

        lengths, codings = values(b"content-length"), [value.lower() for value in values(b"transfer-encoding")]
        if codings and (lengths or codings != [b"chunked"] or version == "1.0"):
            raise Bad(400)
        if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
            raise Bad(400)
        named = {one.strip().lower() for value in values(b"connection") for one in value.split(b",")}
        if b"upgrade" in named and [value.lower() for value in values(b"upgrade")] == [b"websocket"]:
            key = values(b"sec-websocket-key")
            if method != b"GET" or len(key) != 1 or values(b"sec-websocket-version") != [b"13"]:
                raise Bad(400)
            await self.websocket(connection, scope_of(self, connection, "websocket", method, target, version, fields), key[0])
            return False
        keep = b"close" not in named and (version == "1.1" or b"keep-alive" in named)
        expects = version == "1.1" and [value.lower() for value in values(b"expect")] == [b"100-continue"]
        trailers_wanted = any(b"trailers" in value.lower() for value in values(b"te"))
        scope = scope_of(self, connection, "http", method, target, version, fields)
        length = int(lengths[0]) if lengths else 0
        exchange = Exchange(connection, method.decode(), version, keep, length, bool(codings), expects, trailers_wanted)
        return await self.http(connection, scope, exchange)

    async def http(self, connection, scope, exchange):
        error = await self.call(scope, exchange.receive, exchange.send)
        if exchange.state != "done":
            if not exchange.sent:
                status = b"200 OK" if breaks("error-says-200") else b"500 Internal Server Error"
                await connection.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            elif breaks("error-ends-well") and exchange.out_chunked:
                await connection.send(b"0\r\n\r\n")
            if breaks("unfinished-hangs") and exchange.sent:
                await asyncio.sleep(30)
            return False
        if error:
            return False
        if exchange.expects or exchange.broken:
            return False
        exchange.finished.clear()
        drained = 0
        try:
            while exchange.keep and not exchange.body_ended:
                drained += len(await exchange.piece())
                if drained > DRAIN_BYTES_MAX:
                    return False
        except (Gone, Bad):
            return False
        return exchange.keep

    async def websocket(self, connection, scope, key):
        websocket = Socket(connection, scope, key)
        error = await self.call(scope, websocket.receive, websocket.send)
        if websocket.state == "connecting" or websocket.denial is not None:
            await connection.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif websocket.state == "open" and not breaks("ws-app-end-leaves-open"):
            websocket.over.set()
            websocket.state = "closed"
            await websocket.frame(8, struct.pack("!H", 1011 if error else 1000))
        if websocket.reader is not None:
            # The client's close, or its end.
            try:
                await asyncio.wait_for(websocket.reader, 30 if breaks("ws-app-end-leaves-open") else 2)
            except (TimeoutError, asyncio.CancelledError):
                pass

    async def call(self, scope, receive, send):
        """Call the app; whether it raised, which is told in the log."""
        try:
            await asyncio.create_task(self.app(scope, receive, send))
        except Gone as error:
            if breaks("gone-logged"):
                print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return True
        except BaseException as error:
            if not breaks("error-not-logged"):
                print(f"Traceback: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            return True
        return False

    async def serve(self, port):
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        lifespan = Lifespan(self)
        if not breaks("lifespan-late"):
            await lifespan.start()
        if breaks("state-missing"):
            self.state = None
        listener = await asyncio.start_server(self.connection, "127.0.0.1", port, backlog=128)
        if breaks("lifespan-late"):
            await lifespan.start()
        await self.stopping.wait()
        listener.close()
        for task in list(self.connections):
            task.cancel()
        if self.connections:
            await asyncio.wait(self.connections, timeout=1)
        return await lifespan.stop()


class Lifespan:
    """The lifespan of the one loop that there is."""

    def __init__(self, server):
        self.server = server
        self.inbox = asyncio.Queue()
        self.answers = asyncio.Queue()
        self.task = None
        self.supported = False

    async def run(self):
        scope = {"type": "lifespan", "asgi": version_of("lifespan"), "state": self.server.state}
        if breaks("lifespan-no-state"):
            del scope["state"]
        try:
            if not breaks("lifespan-never"):
                await self.server.app(scope, self.inbox.get, self.send)
        except Exception:
            if breaks("lifespan-required"):
                os._exit(3)
        await self.answers.put({"type": "ended"})

    async def send(self, event):
        if type(event) is not dict or not str(event.get("type")).startswith("lifespan."):
            raise ValueError("no event of the lifespan")
        await self.answers.put(event)

    async def start(self):
        self.task = asyncio.create_task(self.run())
        await self.inbox.put({"type": "lifespan.startup"})
        answer = await self.answers.get()
        if answer["type"] == "lifespan.startup.failed" and not breaks("failed-start-serves"):
            if not breaks("failed-start-silent"):
                print(answer.get("message", ""), file=sys.stderr, flush=True)
            sys.exit(3)
        self.supported = answer["type"] == "lifespan.startup.complete"

    async def stop(self):
        if not self.supported or breaks("no-shutdown"):
            return 0
        await self.inbox.put({"type": "lifespan.shutdown"})
        if breaks("shutdown-not-awaited"):
            return 0
        answer = await self.answers.get()
        if answer["type"] == "lifespan.shutdown.failed":
            if not breaks("shutdown-failure-silent"):
                print(answer.get("message", ""), file=sys.stderr, flush=True)
            return 1
        await self.task
        return 0


def main():
    module, _, name = sys.argv[1].partition(":")
    app = getattr(importlib.import_module(module), name)
    server = Server(app, sys.argv[3] if len(sys.argv) > 3 else "")
    code = asyncio.run(server.serve(int(sys.argv[2])))
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
