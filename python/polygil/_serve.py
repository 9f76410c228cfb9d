"""Starting the server from Python: `serve` blocks until it has stopped, `Server` runs it beside the program.

This is the only module that imports `polygil._native`, when it is asked to, and only in the main interpreter.
"""

from __future__ import annotations

import os
import sys
import threading

from polygil import _leave
from polygil._app import App
from polygil._loader import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self


def native() -> Any:
    """Import the native module; an ImportError says what to do about it."""
    try:
        from polygil import _native  # type: ignore[attr-defined,unused-ignore]
    except ImportError as error:
        if "does not support loading in subinterpreters" in str(error):
            raise ImportError("polygil can be started in the main interpreter only, not in a handler") from error
        raise ImportError(
            f"the native module polygil._native cannot be loaded ({error}). In a clone of the repository build it with "
            "`make build`; otherwise install the package for this Python: `pip install polygil`"
        ) from error
    return _native


class Control:
    """What the native side and the thread that waits for it tell each other."""

    def __init__(self) -> None:
        self._settled = threading.Event()
        self._process = os.getpid()
        self._stop: Callable[[], object] | None = None
        self.url = ""

    def on_ready(self, url: str, stop: Callable[[], object]) -> None:
        """Be told by the native side that it accepts connections at `url`, and how to make it drain and stop."""
        self.url = url
        self._stop = stop
        self._settled.set()

    def settle(self) -> None:
        """Be told that the server has ended, whether it was ever ready or not."""
        self._settled.set()

    def wait(self) -> None:
        """Block until the server accepts connections, or has ended."""
        self._settled.wait()

    def is_here(self) -> bool:
        """Whether the server runs in this process, and not in the one that this was forked from."""
        return self._process == os.getpid()

    def stop(self) -> None:
        """Ask the server to drain and stop; nothing happens before it is ready or after it has ended.

        Nor in a copy of the process that `os.fork` made: the server runs in the other one, which shares its pipe.
        """
        if self._stop is not None and self.is_here():
            self._stop()


def serve(target: str | App, **options: Any) -> int:
    """Serve `target` until a signal stops it, and return the exit code. Blocks; main thread only, because of signals.

    `target` is what `polygil serve` takes ("module:app", or the path of a manifest), or an `App` that is a global of
    an imported module. `options` are the command line's, with underscores, and times may be numbers of seconds:
    `serve("app:app", port=0, workers=2, handler_timeout=1.5)`.
    """
    code: int = native().serve(_target(target), _texts(options), None)
    return code


def stats() -> list[dict[str, Any]]:
    """Return what the servers of this process say of themselves, one dict each; `--admin` answers /stats with the same.

    Beside the counters, `health`, `queue_depths`, `oldest_wait_seconds`, and of `workers` how many are busy and with what.
    They balance: connections accepted = active + closed, requests received = in flight + answered + dropped, and, of the
    `pool`, submitted = completed + refused + expired + abandoned + waiting + running.
    """
    from json import loads

    rows: list[dict[str, Any]] = loads(native().stats())
    return rows


class Server:
    """The server on a thread of its own, for tests and notebooks:

        with polygil.Server("app:app", port=0) as server:
            urllib.request.urlopen(server.url)

    Takes what `serve` takes. Entering returns when it accepts connections, and raises RuntimeError if it cannot start;
    leaving drains it and waits until it has stopped. One that was only started is stopped at the end of the program,
    however that comes.
    """

    def __init__(self, target: str | App, **options: Any) -> None:
        """Check the target; nothing starts before the `with` block is entered."""
        self._target = _target(target)
        self._options = _texts(options)
        self._control = Control()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        #: The exit code, once it has stopped.
        self.exit_code: int | None = None

    @property
    def url(self) -> str:
        """Where it listens, "http://127.0.0.1:8000"; empty before it is ready."""
        return self._control.url

    def start(self) -> Self:
        """Start it and return when it accepts connections; raises RuntimeError if it ends before that."""
        if self._thread is not None:
            raise RuntimeError("this Server has been started already; make another one")
        self._thread = threading.Thread(target=self._run, name="polygil-server")
        _stop_at_exit(self)
        self._thread.start()
        self._control.wait()
        if not self._control.url:
            self._thread.join()
            _unstopped.discard(self)
            why = f": {self._failure}" if self._failure is not None else "; the log says why"
            raise RuntimeError(f"the server did not start{why}") from self._failure
        return self

    def stop(self) -> None:
        """Drain it and wait until it has stopped; raises what the server's thread raised."""
        self._control.stop()
        if self._thread is not None and self._control.is_here():
            self._thread.join()
            _unstopped.discard(self)
        if self._failure is not None:
            raise self._failure

    def _end(self) -> None:
        """Stop what the program left running; its own way of ending, an exception perhaps, is not changed by a failure here."""
        if self._control.is_here() and self._thread is not None:
            self._control.wait()
            self._control.stop()
            self._thread.join()

    def _run(self) -> None:
        try:
            self.exit_code = native().serve(self._target, self._options, self._control)
        except BaseException as error:  # handed to the thread that waits
            self._failure = error
        finally:
            self._control.settle()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


# Servers that the program has started and not stopped.
_unstopped: set[Server] = set()
_watches_exit = False


def _stop_at_exit(server: Server) -> None:
    """See to it that the program's end stops the server, before Python waits for its thread, and before exit functions run."""
    global _watches_exit
    if not _watches_exit:
        _watches_exit = True
        # As `concurrent.futures` does for its pools: `atexit` comes after the wait for threads, which would have no end.
        threading._register_atexit(_stop_all)  # type: ignore[attr-defined]
    _unstopped.add(server)


def _stop_all() -> None:
    for server in list(_unstopped):
        server._end()
    _leave.was_left_by(getattr(sys, "last_exc", None))


def _target(target: str | App) -> str:
    """Return a target's text, or the table of an App as JSON (which starts with `{`, as no target does)."""
    if isinstance(target, App):
        return describe(target, False)
    if not isinstance(target, str):
        raise TypeError(f'the target must be a str such as "module:app", or an App, not {type(target).__name__}')
    return target


def _texts(options: dict[str, Any]) -> list[tuple[str, str]]:
    """Return options as the text that the command line would have; None leaves an option at its default."""
    texts: list[tuple[str, str]] = []
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, bool):
            text = "true" if value else "false"
        else:
            text = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
        texts.append((name, text))
    return texts
