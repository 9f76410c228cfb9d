"""Exceptions, values and objects that have Python run the program's code after the handler is done."""

import dataclasses
import enum
import gc
import os
import time
from collections.abc import Iterator
from typing import Any

from polygil import App, HTTPException

# Each route has this budget.
app = App(timeout=0.3)

_calls = 0


@app.get("/count")
def count() -> dict[str, int]:
    import threading

    global _calls
    _calls += 1
    return {"thread": threading.get_native_id(), "count": _calls}


def spin() -> Any:
    """Take for ever, and be interruptible: one that sleeps in C is what tests/pool.rs has."""
    while True:
        pass


class SpinningText(Exception):
    def __str__(self) -> str:
        return spin()


class SpinningRepr:
    def __repr__(self) -> str:
        return spin()


class SpinningEnd:
    def __del__(self) -> None:
        spin()


class SpinningName(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        return spin()


class Unnameable(Exception, metaclass=SpinningName):
    pass


class Liar(Exception):
    @property
    def __class__(self) -> Any:  # type: ignore[override]
        return spin()


class SpinningNotes(Exception):
    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        return spin()


class SpinningCause(Exception):
    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        return spin()

    @property
    def __context__(self) -> Any:  # type: ignore[override]
        return spin()


class SpinningBool(Exception):
    def __bool__(self) -> bool:
        return spin()


@app.get("/text")
def text() -> None:
    raise SpinningText


@app.get("/text/of-argument")
def argument() -> None:
    raise KeyError(SpinningRepr())


@app.get("/text/swallows")
def swallows() -> None:
    class Swallows(Exception):
        def __str__(self) -> str:
            try:
                return spin()
            except BaseException:
                return "swallowed"

    raise Swallows


@app.get("/text/of-cause")
def cause() -> None:
    raise ValueError("outer") from SpinningText()


@app.get("/text/of-context")
def context() -> None:
    try:
        raise SpinningText
    except SpinningText:
        raise ValueError("outer")  # noqa: B904


@app.get("/text/of-group")
def group() -> None:
    raise ExceptionGroup("a group", [ValueError("fine"), SpinningText()])


@app.get("/text/after-interrupt")
def after_interrupt() -> None:
    """Be over the budget while an exception is handled whose text would take for ever."""
    try:
        raise SpinningText
    except SpinningText:
        spin()


@app.get("/notes")
def notes() -> None:
    raise SpinningNotes("the text")


@app.get("/class-of-class")
def class_of_class() -> None:
    raise Unnameable("the text")


@app.get("/liar")
def liar() -> None:
    raise Liar("the text")


@app.get("/properties")
def properties() -> None:
    raise SpinningCause("the text")


@app.get("/bool")
def truth() -> None:
    raise SpinningBool("the text")


@app.get("/suggestions")
def suggestions() -> None:
    class Slow:
        def __dir__(self) -> Any:
            return spin()

    Slow().atribute  # type: ignore[attr-defined]  # noqa: B018


@app.get("/source")
def source() -> None:
    """Raise in code whose source comes from a loader of the program's."""

    class Loader:
        def get_source(self, _name: str) -> str:
            return spin()

    names: dict[str, Any] = {"__name__": "generated", "__loader__": Loader()}
    exec(compile("def f(): raise ValueError('generated')", "/nowhere/generated.py", "exec"), names)
    names["f"]()


@app.get("/source/pipe")
def pipe() -> None:
    """Raise in code whose file is a pipe that nobody writes to."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "fifo.py")
        os.mkfifo(path)
        names: dict[str, Any] = {"__name__": "piped"}
        exec(compile("def f(): raise ValueError('piped')", path, "exec"), names)
        names["f"]()


@app.get("/http/detail")
def detail() -> None:
    @dataclasses.dataclass
    class Row:
        x: int

        def __getattribute__(self, name: str) -> Any:
            return spin() if name == "x" else object.__getattribute__(self, name)

    raise HTTPException(404, detail=Row(1))


@app.get("/http/headers")
def headers() -> None:
    class Headers:
        def __iter__(self) -> Iterator[tuple[str, str]]:
            return spin()

    error = HTTPException(404)
    error.headers = Headers()  # type: ignore[assignment]
    raise error


@app.get("/end/of-locals")
def end_of_locals() -> str:
    ends = SpinningEnd()
    return type(ends).__name__


@app.get("/end/of-raised")
def end_of_raised() -> None:
    ends = SpinningEnd()
    raise ValueError(type(ends).__name__)


@app.get("/end/of-value")
def end_of_value() -> Any:
    class Ends(str):
        def __del__(self) -> None:
            spin()

    return Ends("the value")


@app.get("/end/raises")
def end_raises() -> str:
    class Raises:
        def __del__(self) -> None:
            raise RuntimeError("in the finalizer")

    ends = Raises()
    return type(ends).__name__


@app.get("/value/enum")
def member() -> Any:
    class Slow(enum.Enum):
        A = 1

        @property
        def value(self) -> Any:
            return spin()

        @property
        def __dataclass_fields__(self) -> Any:
            return spin()

    return Slow.A


@app.get("/value/type-name")
def type_name() -> Any:
    class Odd(metaclass=SpinningName):
        pass

    return Odd()


@app.get("/value/status")
def status() -> Any:
    return "", SpinningRepr()


@app.get("/catches")
def catches() -> str:
    """Come back with a value after the interrupt."""
    try:
        spin()
    except BaseException:
        return "caught"
    return "never"


@app.get("/catches/piece")
def catches_before_first_piece() -> Iterator[str]:
    try:
        try:
            spin()
        except BaseException:
            yield "caught"
        yield "never"
    finally:
        os.write(1, b"closed the late one\n")


@app.get("/generator")
def generator() -> Iterator[str]:
    raise SpinningText
    yield "never"


@app.get("/generator/close")
def generator_close() -> Iterator[str]:
    try:
        raise KeyError("k")
    finally:
        raise KeyError(SpinningRepr())
    yield "never"


@app.get("/garbage")
def garbage() -> str:
    """Leave a cycle whose finalizer never ends."""

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            if os.environ.get("REPORTS_FINALIZER"):
                os.write(1, b"the finalizer runs\n")
                spin()

    Cycle()
    # More than the worker lets pile up between two collections.
    gc.disable()
    globals()["KEPT"] = [[] for _ in range(20_000)]
    return "left"


def deep(depth: int) -> int:
    return deeper(depth - 1) if depth else 1 // 0


def deeper(depth: int) -> int:
    return deep(depth) + 1


@app.get("/deep", timeout=20)
def deep_recursion() -> int:
    import sys

    sys.setrecursionlimit(20_000)
    return deep(5_000)


@app.get("/long", timeout=20)
def long_message() -> None:
    raise ValueError("x" * 10_000_000)


@app.get("/chain", timeout=20)
def long_chain() -> None:
    error: Exception | None = None
    for number in range(2_000):
        try:
            raise ValueError(f"number {number}") from error
        except ValueError as next_one:
            error = next_one
    assert error is not None
    raise error


@app.get("/surrogate")
def surrogate() -> None:
    raise ValueError("a lone \ud800 surrogate")


@app.get("/sleeps")
def sleeps() -> None:
    time.sleep(30)
