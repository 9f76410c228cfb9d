"""The end of an interpreter, and of the process: threads, exit functions, streams; and who keeps it from ending.

As a script's end does it: threads that are no daemons are waited for, then what `atexit` was given runs, then the streams
are flushed. Daemon threads are alive all the while, as in a script: libraries send their last events from an exit
function. What comes after that in a script, the end of the interpreter, does not come where a daemon thread is left: CPython
3.13 aborts and 3.14 crashes or hangs. The native side leaves such an interpreter as it is, and the process by `_exit`.
"""

from __future__ import annotations

import sys

from polygil._streams import end
from polygil._traceback import called_by, format_stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any


def join_threads() -> None:
    """Wait for the threads that are no daemons, as a script's end does; asks pools of `concurrent.futures` to end first."""
    threading = sys.modules.get("threading")
    if threading is not None:
        if not threading._is_main_interpreter():
            _end_own_threads(threading)
        threading._shutdown()


def _end_own_threads(threading: Any) -> None:
    """Mark as over what stands for a script's main thread in a worker, as CPython does in the main interpreter alone.

    Threads that are no daemons may live until it is: debugpy's asks now and then, others join `threading.main_thread()`.
    """
    for thread in (threading.main_thread(), threading.current_thread()):
        # Its name since CPython 3.14 comes first.
        handle = getattr(thread, "_os_thread_handle", None) or thread._handle
        handle._set_done()
        # A thread that `threading` did not start would raise instead.
        thread.is_alive = lambda: False


def run_exit_functions() -> None:
    """Run what `atexit` was given, join threads that it has started, and flush the streams."""
    import atexit

    atexit._run_exitfuncs()
    join_threads()
    flush()
    forget_thread()


def flush() -> None:
    """Flush standard output and error; a stream that is closed or broken has nothing more to say."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass


def name_thread(name: str) -> None:
    """Give the calling thread, which `threading` did not start, its name; `logging` shows it too.

    `threading` takes it for a daemon, and what a daemon starts is one: here it stands for a script's main thread, which is none.
    """
    import threading

    thread = threading.current_thread()
    thread.name = name
    thread._daemonic = False  # type: ignore[attr-defined]


def forget_thread() -> None:
    """Let `threading` forget the calling thread, which it did not start.

    CPython 3.13 keeps something in a local of the thread that is to do this, runs it when the interpreter's modules are gone
    already, and prints "Exception ignored in: <function _DeleteDummyThreadOnDel.__del__>".
    """
    threading = sys.modules.get("threading")
    local = getattr(threading, "_thread_local_info", None)
    if local is not None:
        local.__dict__.clear()


class ExitFunction:
    """What `atexit` calls in place of a program's function: a frame that says which one it is, were it C's or had it none."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return self.function == (other.function if isinstance(other, ExitFunction) else other)

    def __repr__(self) -> str:
        return repr(self.function)

    __hash__ = None  # type: ignore[assignment]


def name_exit_functions() -> None:
    """Have `atexit.register` remember by name what it is given."""
    import atexit

    register, unregister = atexit.register, atexit.unregister

    def named(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        if not callable(function):
            register(function)  # raises what it always did
        register(ExitFunction(function), *args, **kwargs)
        return function

    def forgotten(function: Callable[..., Any], /) -> None:
        unregister(ExitFunction(function))

    named.__name__ = named.__qualname__ = "register"
    forgotten.__name__ = forgotten.__qualname__ = "unregister"
    named.__doc__, forgotten.__doc__ = register.__doc__, unregister.__doc__
    atexit.register, atexit.unregister = named, forgotten


called_by[ExitFunction.__call__.__code__] = ("exit function", lambda frame: _named(frame.f_locals["self"].function))


def _named(function: Any) -> str:
    """Return a function's name without running anything of the program's."""
    kind = type(function)
    if kind.__module__ in ("builtins", "functools") and isinstance(getattr(function, "__qualname__", None), str):
        return f"{function.__module__}.{function.__qualname__}"
    return object.__repr__(function)


def in_words(own: FrameType | None, others: tuple[FrameType, ...]) -> str:
    """Return the stacks of an interpreter's threads, given the innermost frame of each: its own, and those of others.

    The native side finds them: `sys._current_frames` of the main interpreter reaches into the others.
    """
    words: list[str] = []
    if own is not None:
        words.append(f"its own thread:\n{format_stack(own)}")
    for frame in others:
        thread = _thread_of(frame)
        if thread is None:
            words.append(f"a thread that was started below `threading`:\n{format_stack(frame)}")
        elif not thread.daemon:
            words.append(f"thread {thread.name!r}:\n{format_stack(frame)}")
    return "".join(words)


def _thread_of(frame: FrameType) -> Any:
    """Return the Thread object whose stack this is: the outermost frame is its `_bootstrap`."""
    threading = sys.modules.get("threading")
    if threading is None:
        return None
    outermost = frame
    while outermost.f_back is not None:
        outermost = outermost.f_back
    if outermost.f_code is not threading.Thread._bootstrap.__code__:
        return None
    return outermost.f_locals.get("self")


def finish(code: int) -> int:
    """End what the program of a process has begun: its threads that are no daemons, its exit functions, its streams.

    Return the exit code: 2 where the streams could not be written, else `code`.
    """
    join_threads()
    import atexit

    atexit._run_exitfuncs()
    join_threads()
    return end(code)


def leave_at_exit() -> None:
    """Let a program that has called `polygil.serve` end, when it does, without finalizing Python: an interpreter is left.

    Its other exit functions run, its streams are flushed, and the exit code is the one it would have had.
    """
    global _ending
    if _ending is None:
        import atexit

        _ending = _Ending()
        atexit.register(_ending.leave)


def was_left_by(exception: BaseException | None) -> None:
    """Be told what the program ended by, where that was not seen: its servers have stopped after it."""
    if _ending is not None and _ending.exception is None:
        _ending.exception = exception


_ending: _Ending | None = None


class _Ending:
    """How a program ends: seen as the exception that leaves its outermost frame, because no exit function is told."""

    def __init__(self) -> None:
        import threading

        self.exception: BaseException | None = None
        self._main = threading.main_thread()
        monitoring = sys.monitoring
        for tool in (4, 3, 5, 2):
            if monitoring.get_tool(tool) is None:
                monitoring.use_tool_id(tool, "polygil")
                monitoring.register_callback(tool, monitoring.events.PY_UNWIND, self._unwound)
                monitoring.set_events(tool, monitoring.events.PY_UNWIND)
                break

    def _unwound(self, _code: object, _offset: int, exception: BaseException) -> None:
        import threading

        if threading.current_thread() is self._main and sys._getframe(1).f_back is None:
            self.exception = exception

    def code(self) -> int:
        """Return the exit code: SystemExit's, 1 for any other exception, else 0."""
        if self.exception is None:
            return 0
        code = self.exception.code if isinstance(self.exception, SystemExit) else 1
        if code is None or isinstance(code, int):
            return (code or 0) & 0xFF
        return 1

    def leave(self) -> None:
        import atexit
        import os

        atexit.unregister(self.leave)
        atexit._run_exitfuncs()
        os._exit(end(self.code()))
