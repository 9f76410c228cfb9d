"""An ASGI app that tells what it got, and plays the score that the request brings. See MIRROR.md.

One file, no dependencies: `uvicorn mirror_asgi:app`. Each step of the score tells what it gave or raised, in the answer where the score
says `tell`, and always in `$MIRROR_FOLDER/<call>.jsonl`, line by line as it happens. What the lifespan did is in `lifespan.jsonl`.
"""

import asyncio
import json
import os
import tempfile
import threading
import time

FOLDER = os.environ.get("MIRROR_FOLDER")
LIFESPAN = os.environ.get("MIRROR_LIFESPAN", "complete")
PROBE = b"polygil conformance probe"


def told(value):
    """Return a value as JSON that shows its exact type: bytes, tuples and foreign objects are tables of one key."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is bytes:
        return {"bytes": value.decode("latin-1")}
    if type(value) is list:
        return [told(item) for item in value]
    if type(value) is tuple:
        return {"tuple": [told(item) for item in value]}
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: told(item) for key, item in value.items()}
    return {"object": f"{type(value).__module__}.{type(value).__qualname__}", "callable": callable(value)}


def raised(error):
    """Return what a step raised: the names of its class and of those it is derived from, and its text."""
    return {"raised": {"classes": [base.__name__ for base in type(error).__mro__], "text": str(error)[:200]}}


def strict(value):
    """Return a value of the score with its exact type: `{"bytes": …}`, `{"tuple": …}`, `{"repeat": [n, text]}` are no dicts."""
    if type(value) is list:
        return [strict(item) for item in value]
    if type(value) is dict:
        if set(value) == {"bytes"}:
            return value["bytes"].encode("latin-1")
        if set(value) == {"tuple"}:
            return tuple(strict(item) for item in value["tuple"])
        if set(value) == {"iterator"}:
            return iter([strict(item) for item in value["iterator"]])
        if set(value) == {"none"}:
            return None
        if set(value) == {"repeat"}:
            return value["repeat"][1].encode("latin-1") * value["repeat"][0]
        if set(value) == {"list"}:
            return [strict(item) for item in value["list"]]
        return {key: strict(item) for key, item in value.items()}
    return value


def event_of(event):
    """Return an event to send. In `body`, `bytes` and headers a text stands for bytes; `{"str": …}` is a text that stays one."""

    def binary(value):
        if type(value) is str:
            return value.encode("latin-1")
        if type(value) is dict and set(value) == {"str"}:
            return value["str"]
        return strict(value)

    made = {}
    for key, value in event.items():
        if key in ("body", "bytes") and value is not None:
            made[key] = binary(value)
        elif key == "headers" and type(value) is list:
            made[key] = [(binary(pair[0]), binary(pair[1])) for pair in value]
        elif key == "links":
            made[key] = [binary(link) for link in value]
        else:
            made[key] = strict(value)
    return made


class Planned(Exception):
    """What a score raises, and nothing else does."""


def write_line(name, label, what):
    """Append one line to the file of a call."""
    if not FOLDER or not name:
        return
    file = os.open(os.path.join(FOLDER, f"{name}.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(file, json.dumps({label: what}).encode() + b"\n")
    finally:
        os.close(file)


class Call:
    """One connection: its score, and what was told of it."""

    # How many calls of this process play a score just now.
    playing = 0

    def __init__(self, scope, receive, send, score, name):
        self.scope, self.receive, self.send, self.score = scope, receive, send, score
        self.name = name if name.replace("-", "").isalnum() else ""
        self.told = {}
        self.waiting = None
        self.tasks = []
        self.tell("got", told(scope))
        self.tell("facts", facts(scope))

    def tell(self, label, what):
        """Note what a step came to; the second step of a name has `-2` behind it."""
        number, given = 1, label
        while label in self.told:
            number += 1
            label = f"{given}-{number}"
        self.told[label] = what
        write_line(self.name, label, what)

    async def play(self, score):
        """Play the steps in order; an exception that is not let go is told, and the score goes on."""
        for step in score:
            name, *arguments = [step] if isinstance(step, str) else step
            if name == "return":
                return
            if name == "unless":
                if arguments[0] in (self.scope.get("extensions") or {}):
                    continue
                self.tell("unsupported", {"gave": None})
                await (self.send({"type": "websocket.close"}) if self.scope["type"] == "websocket" else self.do_tell())
                return
            if name == "raise":
                self.tell(name, None)
                planned = {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt, "OSError": OSError}
                raise planned.get(arguments[0], Planned)("planned")
            lets = name == "let"
            if lets:
                name, *arguments = arguments
            try:
                gave = await getattr(self, "do_" + name)(*arguments)
            except Exception as error:
                self.tell(name, raised(error))
                if lets or name == "wait":
                    raise
            else:
                self.tell(name, {"gave": told(gave)})

    async def do_receive(self, within=10.0):
        """Receive one event; where none comes in time that is told, and the next `receive` goes on waiting for the same one."""
        if self.waiting is None:
            self.waiting = asyncio.ensure_future(self.receive())
        done, _ = await asyncio.wait([self.waiting], timeout=within)
        if not done:
            return "pending"
        task, self.waiting = self.waiting, None
        return task.result()

    async def do_receive_body(self):
        """Receive the content to its end: how many events it took, and all of it."""
        events, content = [], b""
        while True:
            event = await self.do_receive()
            if type(event) is not dict or event["type"] != "http.request":
                return {"events": events, "content": content, "last": event}
            events.append([event.get("more_body", False), len(event.get("body", b""))])
            content += event.get("body", b"")
            if not event.get("more_body", False):
                return {"events": events, "content": content if len(content) < 65536 else len(content)}

    async def do_send(self, event):
        return await self.send(event_of(event))

    async def do_send_raw(self, value):
        return await self.send(strict(value))

    async def do_respond(self, content="", headers=(), status=200):
        """Send a whole answer."""
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await self.send({"type": "http.response.start", "status": status, "headers": pairs})
        return await self.send({"type": "http.response.body", "body": content.encode("latin-1")})

    async def do_send_many(self, count, size, within=1.0):
        """Send pieces of content until all are sent, or one is not taken in time: how many were taken."""
        for number in range(count):
            task = asyncio.ensure_future(self.send({"type": "http.response.body", "body": b"x" * size, "more_body": True}))
            done, _ = await asyncio.wait([task], timeout=within)
            if not done:
                task.cancel()
                return number
            task.result()
        return count

    async def do_kept(self, label):
        """Tell whether a send to a client that is gone came to what the server's version promises: OSError since 2.4, nothing before."""
        outcome = self.told[label]
        version = tuple(int(part) for part in (self.scope["asgi"].get("spec_version") or "2.0").split("."))
        if "raised" in outcome:
            return "OSError" in outcome["raised"]["classes"]
        return version < (2, 4)

    async def do_tell(self):
        content = json.dumps(self.told).encode()
        if self.scope["type"] == "websocket":
            return await self.send({"type": "websocket.send", "text": content.decode()})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        return await self.send({"type": "http.response.body", "body": content})

    async def do_send_file(self, content):
        """Send an answer whose content is a file, by its path."""
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
            file.write(content.encode("latin-1"))
        headers = [(b"content-length", str(len(content)).encode())]
        await self.send({"type": "http.response.start", "status": 200, "headers": headers})
        await self.send({"type": "http.response.pathsend", "path": file.name})

    async def do_send_open(self, content):
        """Send an answer whose content is a file, by its descriptor."""
        with tempfile.TemporaryFile() as file:
            file.write(content.encode("latin-1"))
            file.seek(0)
            headers = [(b"content-length", str(len(content)).encode())]
            await self.send({"type": "http.response.start", "status": 200, "headers": headers})
            await self.send({"type": "http.response.zerocopysend", "file": file})

    async def do_sleep(self, seconds):
        await asyncio.sleep(seconds)

    async def do_wait(self, flag):
        """Wait until the runner raises a flag: a file beside that of what is told."""
        deadline = time.monotonic() + 10
        while not os.path.exists(os.path.join(FOLDER or "", f"{self.name}.flag-{flag}")):
            if time.monotonic() > deadline:
                raise Planned(f"nobody raises {flag}")
            await asyncio.sleep(0.005)

    async def do_spawn(self, score):
        """Play another score beside this one."""
        self.tasks.append(asyncio.ensure_future(self.play(score)))

    async def do_join(self):
        await asyncio.gather(*self.tasks)

    async def do_state(self, key, value=None):
        """Look up a key of the state, and set it where a value is given."""
        before = self.scope["state"].get(key)
        if value is not None:
            self.scope["state"][key] = value
        return before

    async def do_shared(self, value):
        """Put a value into what the lifespan left in the state, which all calls share; return what was there."""
        before = list(self.scope["state"]["shared"])
        self.scope["state"]["shared"].append(value)
        return before

    async def do_set(self, key, value):
        self.scope[key] = value

    async def do_task(self):
        """Tell whether there is a task and a running loop, and whether it is that of the lifespan."""
        loop = asyncio.get_running_loop()
        same_thread = threading.get_ident() == Lifespan.thread
        return {"task": asyncio.current_task() is not None, "same-loop": Lifespan.loop is loop, "same-thread": same_thread}

    async def do_now(self):
        return time.monotonic()


def facts(scope):
    """Return what the rules ask about many keys at once."""
    pairs = [list(pair) for pair in scope.get("headers", ())]
    fields = {}
    for name, value in pairs:
        fields.setdefault(bytes(name).decode("latin-1").lower(), []).append(bytes(value).decode("latin-1"))

    def pair_of(value):
        return list(value) if value is not None else None

    return {
        "class": f"{type(scope).__module__}.{type(scope).__qualname__}",
        "keys-not-str": [repr(key) for key in scope if type(key) is not str],
        "fields": fields,
        "names": [bytes(name).decode("latin-1") for name, _ in pairs],
        "headers-not-bytes": [repr(pair) for pair in pairs if [type(part) for part in pair] != [bytes, bytes]],
        "client": pair_of(scope.get("client")),
        "server": pair_of(scope.get("server")),
        "subprotocols": list(scope.get("subprotocols", ())),
        "has-state": "state" in scope,
        "state-consistent": ("state" in scope) == Lifespan.had_state,
        "extensions": sorted(scope.get("extensions") or {}),
        "extensions-no-dict": [name for name, value in (scope.get("extensions") or {}).items() if type(value) is not dict],
        "concurrent": Call.playing > 0,
        "lifespan": Lifespan.reached,
    }


class Lifespan:
    """What this process did in its lifespan."""

    reached = "none"
    had_state = False
    loop = None
    thread = None

    @staticmethod
    def tell(label, what):
        write_line("lifespan", f"{label}", what)

    @classmethod
    async def serve(cls, scope, receive, send):
        cls.loop, cls.thread = asyncio.get_running_loop(), threading.get_ident()
        cls.tell("got", told(scope))
        cls.had_state = "state" in scope
        if LIFESPAN == "unsupported":
            cls.tell("unsupported", None)
            raise Planned("this app has no lifespan")
        event = await receive()
        cls.tell("startup", told(event))
        if LIFESPAN == "raises":
            raise Planned("planned, instead of a start")
        if LIFESPAN == "returns":
            return
        if LIFESPAN == "failed":
            await send({"type": "lifespan.startup.failed", "message": "the mirror does not start"})
            cls.tell("failed-sent", None)
            return
        if LIFESPAN == "slow":
            await asyncio.sleep(1.0)
        if type(scope.get("state")) is dict:
            scope["state"].update(shared=[], plain="from lifespan")
        cls.reached = "complete"
        cls.tell("ready", time.time())
        await send({"type": "lifespan.startup.complete"})
        event = await receive()
        cls.tell("shutdown", told(event))
        if LIFESPAN == "shutdown-slow":
            await asyncio.sleep(0.7)
        if LIFESPAN == "shutdown-failed":
            await send({"type": "lifespan.shutdown.failed", "message": "the mirror does not stop well"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
        cls.tell("done", None)


async def app(scope, receive, send):
    """Serve one connection, or the lifespan."""
    if scope["type"] == "lifespan":
        return await Lifespan.serve(scope, receive, send)
    fields = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
    if b"mirror-score" in fields:
        call = Call(scope, receive, send, json.loads(fields[b"mirror-score"]), fields.get(b"mirror-call", b"").decode("latin-1"))
        Call.playing += 1
        try:
            await call.play(call.score)
        finally:
            Call.playing -= 1
            call.tell("end", None)
            if call.waiting is not None:
                call.waiting.cancel()
        return None
    if scope["type"] == "websocket":
        return await echo(receive, send)
    content = PROBE if scope["path"].endswith("/probe") else json.dumps({"got": told(scope), "facts": facts(scope)}).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
    return None


async def echo(receive, send):
    """Accept a WebSocket, and send back what comes."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") is not None:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})
