"""Python's own standard streams in the main interpreter, beside a native side that writes to the descriptors under them.

Writing to them may fail: a full disk, a reader that has left, a descriptor that was closed. Each function here says so, or gives
up, but never leaves text in a buffer that Python would fail to write at its exit, with a traceback and the exit code 120.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO


def flush() -> None:
    """Write what the program has printed so far; an OSError says which stream could not be written."""
    if (error := _flushed(sys.stdout)) is not None:
        raise OSError(f"polygil: standard output cannot be written: {error.strerror or error}")


def complain(text: str) -> None:
    """Write a line to standard error, whatever `sys.stderr` is. Should that fail, nobody is told."""
    try:
        os.write(2, f"{text.rstrip()}\n".encode(errors="backslashreplace"))
    except OSError:
        pass


def end(code: int) -> int:
    """Write what is left before the exit with `code`; return the code to exit with, 2 where it could not be written."""
    lost = _flushed(sys.stdout)
    _flushed(sys.stderr)
    if lost is None:
        return code
    complain(f"polygil: standard output cannot be written: {lost.strerror or lost}")
    return code or 2


def _flushed(stream: TextIO | None) -> OSError | None:
    """Flush a stream; where that fails, give its error and see to it that nothing of it is written later."""
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        _give_away(stream)
        return error
    except (AttributeError, ValueError):  # closed, or the program's own
        pass
    return None


def _give_away(stream: TextIO | None) -> None:
    """Have the rest of a stream go nowhere."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno() if stream is not None else -1)
        os.close(null)
    except (AttributeError, OSError, ValueError):
        pass
