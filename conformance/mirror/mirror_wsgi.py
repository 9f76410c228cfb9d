"""A WSGI app that tells what it got, and plays the score that the request brings. See MIRROR.md.

One file, no dependencies: `gunicorn mirror_wsgi:app`. Each step of the score tells what it gave or raised, in the answer where the score
says `tell`, and always in `$MIRROR_FOLDER/<call>.jsonl`, line by line as it happens.
"""

import collections
import io
import json
import os
import sys
import threading
import time

FOLDER = os.environ.get("MIRROR_FOLDER")
PROBE = b"polygil conformance probe"

# What close() is asked of lives on for a while, so that it is the server that closes it, and not the garbage collector.
KEPT = collections.deque(maxlen=64)


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


def plain(value):
    """Return a value of the score: a text stands for bytes, `{"str": …}` for a text."""
    if type(value) is str:
        return value.encode("latin-1")
    if type(value) is dict and len(value) == 1:
        if "str" in value:
            return value["str"]
        if "bytes" in value:
            return value["bytes"].encode("latin-1")
        if "repeat" in value:
            return value["repeat"][1].encode("latin-1") * value["repeat"][0]
    return value


def strict(value):
    """Return an argument of start_response: as JSON has it, but for tuples, bytes, and types derived from the right ones."""
    if type(value) is list:
        return [strict(item) for item in value]
    if type(value) is dict:
        if "tuple" in value:
            return tuple(strict(item) for item in value["tuple"])
        if "bytes" in value:
            return value["bytes"].encode("latin-1")
        if "list" in value:
            return type("List", (list,), {})(strict(item) for item in value["list"])
    return value


class Planned(Exception):
    """What a score raises, and nothing else does."""


class Call:
    """One request: its score, and what was told of it."""

    # The threads of this process that play a score just now.
    playing = set()
    count = 0

    def __init__(self, environ, start_response):
        self.environ = environ
        self.start_response = start_response
        self.score = json.loads(environ["HTTP_MIRROR_SCORE"])
        self.name = environ.get("HTTP_MIRROR_CALL", "")
        if not self.name.replace("-", "").isalnum():
            self.name = ""
        self.told = {}
        self.write = None
        self.at = 0
        self.finished = False
        self.tell("got", told(environ))
        self.tell("facts", facts(environ, start_response))

    def tell(self, label, what):
        """Note what a step came to; the second step of a name has `-2` behind it."""
        number, given = 1, label
        while label in self.told:
            number += 1
            label = f"{given}-{number}"
        self.told[label] = what
        if FOLDER and self.name:
            line = json.dumps({label: what}).encode() + b"\n"
            file = os.open(os.path.join(FOLDER, f"{self.name}.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                os.write(file, line)
            finally:
                os.close(file)

    def step(self, step):
        """Play one step; an exception that the score did not plan is told, and the score goes on."""
        name, *arguments = [step] if isinstance(step, str) else step
        if name == "raise":
            self.tell(name, None)
            raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}.get(arguments[0], Planned)("planned")
        if name == "let":
            # As `step`, but what it raises goes on up, as an app does that does not catch it.
            name, *arguments = arguments
            try:
                gave = getattr(self, "do_" + name)(*arguments)
            except BaseException as error:
                self.tell(name, raised(error))
                raise
            self.tell(name, {"gave": told(gave)})
            return
        try:
            gave = getattr(self, "do_" + name)(*arguments)
        except Exception as error:
            self.tell(name, raised(error))
            if name == "wait":
                raise
        else:
            self.tell(name, {"gave": told(gave)})

    def do_start_response(self, status, headers, exc_info=None):
        if type(headers) is list:
            headers = [strict(pair) if type(pair) is dict else tuple(strict(pair)) for pair in headers]
        else:
            headers = strict(headers)
        status = strict(status)
        if exc_info is None:
            write = self.start_response(status, headers)
        else:
            try:
                raise Planned("trapped")
            except Planned:
                write = self.start_response(status, headers, sys.exc_info())
        self.write = write
        return "callable" if callable(write) else write

    def do_write(self, data):
        return self.write(plain(data))

    def do_read(self, *size):
        return self.environ["wsgi.input"].read(*size)

    def do_read_all(self):
        pieces = []
        while True:
            piece = self.environ["wsgi.input"].read(4096)
            pieces.append(piece)
            if not piece:
                return b"".join(pieces)

    def do_read_length(self):
        return len(self.environ["wsgi.input"].read(int(self.environ["CONTENT_LENGTH"])))

    def do_readline(self, *size):
        return self.environ["wsgi.input"].readline(*size)

    def do_readlines(self, *hint):
        return self.environ["wsgi.input"].readlines(*hint)

    def do_iterate_input(self):
        return list(iter(self.environ["wsgi.input"]))

    def do_errors_write(self, text):
        return self.environ["wsgi.errors"].write(text)

    def do_errors_writelines(self, texts):
        return self.environ["wsgi.errors"].writelines(texts)

    def do_errors_flush(self):
        return self.environ["wsgi.errors"].flush()

    def do_set(self, key, value):
        self.environ[key] = value

    def do_sleep(self, seconds):
        time.sleep(seconds)

    def do_now(self):
        return time.monotonic()

    def do_wait(self, flag):
        """Wait until the runner raises a flag: a file beside that of what is told."""
        deadline = time.monotonic() + 10
        while not os.path.exists(os.path.join(FOLDER or "", f"{self.name}.flag-{flag}")):
            if time.monotonic() > deadline:
                raise Planned(f"nobody raises {flag}")
            time.sleep(0.005)

    def do_again(self):
        """Tell of each later call in this process that it is the same app."""
        Call.count += 1
        return Call.count

    def play(self):
        """Play the steps of the call itself, and know that others are at it; return what the app returns."""
        me = threading.get_ident()
        others = Call.playing - {me}
        self.told["facts"]["multithread-lies"] = bool(others) and not self.environ["wsgi.multithread"]
        Call.playing.add(me)
        try:
            return self.played()
        finally:
            Call.playing.discard(me)

    def played(self):
        while self.at < len(self.score):
            step = self.score[self.at]
            self.at += 1
            name = step if isinstance(step, str) else step[0]
            if name == "tell":
                content = json.dumps(self.told).encode()
                self.start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))])
                return [content]
            if name == "iterate":
                return iterable(self, *([] if isinstance(step, str) else step[1:]))
            if name == "return":
                return [plain(item) for item in step[1]] if type(step[1]) is list else strict(step[1])
            if name == "file_wrapper":
                return self.wrapped(*step[1:])
            self.step(step)
        return []

    def wrapped(self, content, size=None, closes=True, position=0):
        """Return `wsgi.file_wrapper` around a file; without one, what the PEP says to do instead."""
        call = self

        class File(io.BytesIO):
            def read(self, *size):
                call.tell("file-read", told(list(size)))
                return super().read(*size)

            if closes:

                def close(self):
                    call.tell("file-close", None)
                    super().close()

        class Bare:
            def __init__(self, file):
                self.read = file.read

        file = File(plain(content)) if closes else Bare(File(plain(content)))
        KEPT.append(file)
        if position:
            file.seek(position)
        wrapper = self.environ.get("wsgi.file_wrapper")
        if wrapper is None:
            self.tell("file_wrapper", {"gave": None})
            return iter(lambda: file.read(size or 8192), b"")
        made = wrapper(file, size) if size else wrapper(file)
        is_iterable = hasattr(made, "__iter__") or hasattr(made, "__getitem__")
        self.tell("file_wrapper", {"gave": {"iterable": is_iterable, "close": hasattr(made, "close")}})
        return made

    def next(self):
        """Play up to the next block that the iterable gives."""
        while self.at < len(self.score):
            step = self.score[self.at]
            self.at += 1
            if step[0] == "yield":
                self.tell("yield", None)
                return plain(step[1])
            self.step(step)
        self.tell("exhausted", None)
        raise StopIteration


def facts(environ, start_response):
    """Return what the rules ask about all keys at once."""
    variables = {key: value for key, value in environ.items() if isinstance(key, str) and "." not in key and key.upper() == key}
    strings = {key: value for key, value in environ.items() if type(value) is str}

    def has(stream, names):
        return [name for name in names if not callable(getattr(environ.get(stream), name, None))]

    return {
        "class": f"{type(environ).__module__}.{type(environ).__qualname__}",
        "not-str": sorted(key for key, value in variables.items() if type(value) is not str),
        "not-latin-1": sorted(key for key, value in strings.items() if any(ord(char) > 255 for char in value)),
        "keys-not-str": [repr(key) for key in environ if type(key) is not str],
        "own-names": sorted(
            key
            for key in environ
            if isinstance(key, str) and "." in key and not all(char.islower() or char.isdigit() or char in "._" for char in key)
        ),
        "input-lacks": has("wsgi.input", ["read", "readline", "readlines", "__iter__"]),
        "errors-lacks": has("wsgi.errors", ["flush", "write", "writelines"]),
        "start_response": callable(start_response),
        "multithread": bool(environ.get("wsgi.multithread")),
        "multiprocess": bool(environ.get("wsgi.multiprocess")),
        "run_once": bool(environ.get("wsgi.run_once")),
    }


def iterable(call, kind="iterator", *extra):
    """Return an iterable of a kind that plays the rest of the score, and tells of its close()."""

    class Iterator:
        def __iter__(self):
            return self

        def __next__(self):
            return call.next()

        def close(self):
            call.tell("close", None)
            if kind == "close-raises":
                raise Planned("planned")

    class Bare:
        def __iter__(self):
            return self

        def __next__(self):
            return call.next()

    class Old:
        def __getitem__(self, index):
            try:
                return call.next()
            except StopIteration:
                raise IndexError(index) from None

        def close(self):
            call.tell("close", None)

    class Sized(Iterator):
        def __len__(self):
            return extra[0]

    class Touchy(Iterator):
        def __getattr__(self, name):
            if name != "__len__":
                call.tell("touched", name)
            raise AttributeError(name)

    def generator():
        try:
            while True:
                try:
                    block = call.next()
                except StopIteration:
                    return
                yield block
        finally:
            call.tell("close", None)

    kinds = {"iterator": Iterator, "close-raises": Iterator, "bare": Bare, "old": Old, "sized": Sized, "touchy": Touchy}
    made = generator() if kind == "generator" else kinds[kind]()
    KEPT.append(made)
    return made


def app(environ, start_response, /):
    """Serve one request. The names of its arguments are nobody's business: a server calls it by position."""
    if "HTTP_MIRROR_SCORE" in environ:
        return Call(environ, start_response).play()
    if environ.get("PATH_INFO", "").endswith("/probe"):
        content = PROBE
    else:
        content = json.dumps({"got": told(environ), "facts": facts(environ, start_response)}).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(content)))])
    return [content]


application = app
