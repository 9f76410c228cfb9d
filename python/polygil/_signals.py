"""Signals on their way to the Rust side, which owns the process while a server runs.

Python's C-level handler writes each signal's number into a pipe at once, whatever holds the GIL; the server reads the other
end. Nothing of the process is changed for good: on leaving, the handlers and the wakeup descriptor are as they were.
"""

from __future__ import annotations

import os
import signal
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

#: What asks a server to stop; the second one means at once, and so does SIGQUIT.
STOPPING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
#: What else has a meaning. Without a handler each of them would end the process.
ASKING = (signal.SIGUSR1, signal.SIGUSR2)

CLOSED = (-1, -1)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The number is in the pipe already. With no handler at all, SIGINT would raise KeyboardInterrupt after the server."""


class Signals:
    """A pipe that carries numbers of signals, and the context in which those that mean something to a server go into it.

    SIGHUP stays ignored where it was (nohup).

    Outside the main thread Python allows no handlers: then only `stop` writes into it.
    """

    def __init__(self) -> None:
        #: The ends of the pipe: the server reads the first.
        self.fds: tuple[int, int] = os.pipe()
        for fd in self.fds:
            os.set_blocking(fd, False)
        self._handlers: list[tuple[int, Any]] = []
        self._wakeup: int | None = None

    def stop(self) -> None:
        """Ask the server to stop, as SIGTERM would. Asking again means at once; asking a server that has ended is nothing."""
        if self.fds != CLOSED:
            os.write(self.fds[1], bytes([signal.SIGTERM]))

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            self._wakeup = signal.set_wakeup_fd(self.fds[1], warn_on_full_buffer=False)
            wanted = [number for number in (*STOPPING, *ASKING) if not _stays_ignored(number)]
            self._handlers = [(number, signal.signal(number, _noted)) for number in wanted]
        return self

    def again(self) -> None:
        """Take back what the import of an app has changed. Its handlers of the signals that do not stop a server stay."""
        if self._wakeup is not None:
            signal.set_wakeup_fd(self.fds[1], warn_on_full_buffer=False)
            for number, _ in self._handlers:
                if number in STOPPING:
                    signal.signal(number, _noted)

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers:
            # A handler that C code installed reads as None and cannot be put back from Python.
            if handler is not None:
                signal.signal(number, handler)
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup)
        fds, self.fds = self.fds, CLOSED
        for fd in fds:
            os.close(fd)


def _stays_ignored(number: int) -> bool:
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
