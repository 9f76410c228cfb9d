"""What is said of an exception, in the log and by `--debug`: its one line, and its traceback as Python prints it.

Both are bounded, whatever the program raises: the first and the last frames of a deep recursion, the first and the last
of a long chain of exceptions, the beginning and the end of a long message.

To say it, Python asks the program: for `__str__`, for `__repr__` of arguments, for notes, for the source of generated
code. All of that runs within the budget of the request. Two ways, therefore:

- in full (`plain=False`): an Exception of the program's while it is asked gives a placeholder in its place, and the
  budget's interrupt goes through.
- plain: for a request that is over its budget already, nothing of the program's runs any more. Names and lines are read
  past what classes and metaclasses define, and a text is given only where it is made of built-in values.
"""

from __future__ import annotations

from polygil._errors import HandlerTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Any

#: Frames of one exception that are shown, from its outer and from its inner end.
FRAMES_FIRST = 20
FRAMES_LAST = 30
#: Exceptions of a chain that are shown, from either end; members of a group; groups within groups.
CHAIN_EACH_END = 8
GROUP_MEMBERS = 15
GROUP_DEPTH = 10
#: Characters of a message or a source line.
TEXT_CHARACTERS = 4_000
#: Characters of a whole traceback. At most four bytes each in the worst of languages; source code is nearly all ASCII.
TRACEBACK_CHARACTERS = 60_000

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
_HEADING = "Traceback (most recent call last):\n"
_NOT_ASKED = "(its text is not asked for: the request is over its budget)"

# Read past properties that an exception's class, or the class of its class, may have under these names.
_args = BaseException.__dict__["args"].__get__
_cause = BaseException.__dict__["__cause__"].__get__
_context = BaseException.__dict__["__context__"].__get__
_suppresses = BaseException.__dict__["__suppress_context__"].__get__
_traceback = BaseException.__dict__["__traceback__"].__get__
_class_name = type.__dict__["__name__"].__get__
_class_qualname = type.__dict__["__qualname__"].__get__
_class_mro = type.__dict__["__mro__"].__get__
_class_dict = type.__dict__["__dict__"].__get__
_class_flags = type.__dict__["__flags__"].__get__
_HEAP_TYPE = 1 << 9

_PACKAGE = __file__.rpartition("/")[0] + "/"


def describe(error: BaseException, plain: bool) -> tuple[str, str]:
    """Return an exception's one line and its traceback. Lets nothing out but the budget's interrupt, and that only in full."""
    if not plain:
        try:
            return _describe(error, _Asking(False))
        except HandlerTimeout:
            raise
        except BaseException:  # an exception whose parts are not what they should be
            pass
    return _describe(error, _Asking(True))


def summary(error: BaseException) -> str:
    """Return `TypeName: text`, the text in one line."""
    name, text = _class_name(type(error)), " ".join(_Asking(False).text(error).split())
    return f"{name}: {text}" if text else name


def format_traceback(error: BaseException) -> str:
    """Return the traceback, without the frames of polygil and of the import machinery at the top."""
    return _describe(error, _Asking(False))[1]


def _describe(error: BaseException, asking: _Asking) -> tuple[str, str]:
    out = _Bounded(TRACEBACK_CHARACTERS)
    _write_chain(out, error, asking, 0)
    name, text = _class_name(type(error)), asking.text(error)
    return _sendable(f"{name}: {text}" if text else name), _sendable(out.text())


def interrupted_at(frame: FrameType) -> str:
    """Note that an interrupt is on its way to the interpreter's own thread, whose innermost frame this is; return where it is."""
    global _interrupts
    stack = format_stack(frame)
    _interrupts += 1
    return stack


#: How many there were. A `__str__` may swallow its interrupt; the report that asked for it goes on without asking for more.
_interrupts = 0


def format_stack(frame: FrameType | None) -> str:
    """Return where a thread is, given its innermost frame: the innermost call comes last. Runs nothing of the program's."""
    frames: list[tuple[FrameType, int]] = []
    while frame is not None:
        frames.append((frame, frame.f_lineno))
        frame = frame.f_back
    frames.reverse()
    return _sendable("".join(shortened(line, TEXT_CHARACTERS) for line in _plain_lines(frames)))


def shortened(text: str, characters: int) -> str:
    """Return a text with its middle left out where it is too long."""
    if len(text) <= characters:
        return text
    first, last = characters * 3 // 4, characters // 4
    return f"{text[:first]} … {len(text) - first - last} characters left out … {text[-last:]}"


class _Bounded:
    """Pieces of text, of which the first and the last are kept."""

    def __init__(self, characters: int) -> None:
        self._first: list[str] = []
        self._last: list[str] = []
        self._room = self._half = characters // 2
        self._size = self._left_out = 0

    def add(self, piece: str) -> None:
        if not self._last and len(piece) <= self._room:
            self._room -= len(piece)
            self._first.append(piece)
            return
        self._last.append(piece)
        self._size += len(piece)
        if self._size > 2 * self._half:
            self._trim()

    def _trim(self) -> None:
        drop = 0
        while self._size > self._half and drop < len(self._last) - 1:
            self._size -= len(self._last[drop])
            self._left_out += len(self._last[drop])
            drop += 1
        del self._last[:drop]

    def text(self) -> str:
        self._trim()
        gap = [f"… {self._left_out} characters left out …\n"] if self._left_out else []
        return "".join(self._first + gap + self._last)


def _write_chain(out: _Bounded, error: BaseException, asking: _Asking, depth: int) -> None:
    """Write an exception after what it came from, as Python does: the root comes first."""
    chain: list[tuple[BaseException, str]] = [(error, "")]
    seen = {id(error)}
    while True:
        current = chain[-1][0]
        cause, context = _cause(current), _context(current)
        if cause is not None and id(cause) not in seen:
            following, words = cause, _CAUSE
        elif cause is None and context is not None and not _suppresses(current) and id(context) not in seen:
            following, words = context, _CONTEXT
        else:
            break
        seen.add(id(following))
        # The words stand after the one that came first, and before the one that it led to.
        chain.append((following, words))
    chain.reverse()
    left_out = len(chain) - 2 * CHAIN_EACH_END
    margin = _margin(depth)
    for index, (each, words) in enumerate(chain):
        if left_out > 0 and CHAIN_EACH_END <= index < CHAIN_EACH_END + left_out:
            if index == CHAIN_EACH_END:
                out.add(f"{margin}… {left_out} exceptions left out …\n\n")
            continue
        _write_one(out, each, asking, depth)
        for line in words.splitlines(keepends=True):
            out.add(margin + line)


def _margin(depth: int) -> str:
    """Return what stands before each line of an exception that is in so many groups."""
    return "  " * depth + "| " if depth else ""


def _write_one(out: _Bounded, error: BaseException, asking: _Asking, depth: int) -> None:
    frames = _own_frames(_traceback(error))
    is_group = BaseExceptionGroup in _class_mro(type(error))
    opens = is_group and depth == 0
    depth += opens
    lines: list[str] = []
    if frames is not None:
        heading = f"Exception Group {_HEADING}" if is_group else _HEADING
        if opens:
            out.add(f"  + {heading}")
        else:
            lines.append(heading)
        lines.extend(_stack(frames, asking.plain))
    lines.extend(_last_lines(error, frames, asking))
    margin = _margin(depth)
    for line in lines:
        for part in shortened(line, TEXT_CHARACTERS).splitlines(keepends=True):
            out.add(margin + part)
    if is_group:
        _write_members(out, error, asking, depth)


def _write_members(out: _Bounded, group: BaseException, asking: _Asking, depth: int) -> None:
    members = BaseExceptionGroup.__dict__["exceptions"].__get__(group)
    indent = "  " * depth
    if depth > GROUP_DEPTH:
        out.add(f"{indent}| … a group of {len(members)} exceptions left out …\n")
        return
    for number, member in enumerate(members[:GROUP_MEMBERS], 1):
        out.add(f"{indent}{'+-' if number == 1 else '  '}+---------------- {number} ----------------\n")
        _write_chain(out, member, asking, depth + 1)
    if len(members) > GROUP_MEMBERS:
        out.add(f"{indent}  +---------------- … {len(members) - GROUP_MEMBERS} exceptions left out …\n")
    elif BaseExceptionGroup not in _class_mro(type(members[-1])):
        out.add(f"{indent}  +------------------------------------\n")


def _own_frames(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and is_machinery(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback


def is_machinery(file: str) -> bool:
    """Whether a file is polygil's own or the import system's: what no traceback needs to show at its top."""
    return file.startswith(("<frozen importlib", _PACKAGE))


def _stack(traceback: TracebackType, plain: bool) -> list[str]:
    entries: list[TracebackType] = []
    current: TracebackType | None = traceback
    while current is not None:
        entries.append(current)
        current = current.tb_next
    frames = [(entry.tb_frame, entry.tb_lineno) for entry in entries]
    if plain or not all(_is_kind(frame.f_code.co_filename, missing=True) for frame, _ in _shown(frames)):
        return _plain_lines(frames)
    from traceback import extract_tb

    left_out = len(entries) - FRAMES_FIRST - FRAMES_LAST
    if left_out <= 0:
        return extract_tb(traceback).format()
    first = extract_tb(traceback, limit=FRAMES_FIRST).format()
    last = extract_tb(entries[FRAMES_FIRST + left_out]).format()
    return [*first, _frames_left_out(left_out), *last]


def _frames_left_out(count: int) -> str:
    return f"  … {count} frames left out …\n"


def _shown(frames: list[tuple[FrameType, int]]) -> list[tuple[FrameType, int]]:
    left_out = len(frames) - FRAMES_FIRST - FRAMES_LAST
    return frames if left_out <= 0 else frames[:FRAMES_FIRST] + frames[FRAMES_FIRST + left_out :]


def _plain_lines(frames: list[tuple[FrameType, int]]) -> list[str]:
    """Return the lines of a stack, its source from regular files only: a loader is the program's, a pipe has no end."""
    from linecache import getline

    left_out = len(frames) - FRAMES_FIRST - FRAMES_LAST
    lines: list[str] = []
    for index, (frame, number) in enumerate(_shown(frames)):
        if left_out > 0 and index == FRAMES_FIRST:
            lines.append(_frames_left_out(left_out))
        code = frame.f_code
        source = getline(code.co_filename, number).strip() if _is_kind(code.co_filename, missing=False) else ""
        lines.append(f'  File "{code.co_filename}", line {number}, in {_place_name(frame)}\n')
        if source:
            lines.append(f"    {source}\n")
    return lines


def _place_name(frame: FrameType) -> str:
    """Return the name of what a frame runs; of polygil's own frames, what of the program's they have called."""
    code = frame.f_code
    called = called_by.get(code)
    if called is not None:
        kind, name_of = called
        return f"{code.co_name}: {kind} {name_of(frame)}"
    return code.co_name


#: Code of polygil's own that calls functions of the program's, which may be C's and have no frame: what they are for, and
#: how the name is found.
called_by: dict[Any, tuple[str, Any]] = {}


def _is_kind(file: str, missing: bool) -> bool:
    """Whether a file is a regular one, which takes no longer to read than a file takes; `missing` where there is none."""
    from os import stat
    from stat import S_ISREG

    try:
        return S_ISREG(stat(file).st_mode)
    except (OSError, ValueError):
        return missing


def _last_lines(error: BaseException, frames: TracebackType | None, asking: _Asking) -> list[str]:
    """Return the line with the exception's name and text, and its notes."""
    kind = type(error)
    text = asking.text(error)
    special = (SyntaxError, ImportError, NameError, AttributeError)
    if not asking.plain and any(base in special for base in _class_mro(kind)):
        from traceback import TracebackException

        try:
            # The source of a syntax error, "Did you mean". With `_seen`, it leaves the chain alone.
            said = TracebackException(kind, error, frames, limit=0, _seen=set())
            said.exceptions = None  # left unset for members of a chain until the chain is walked
            lines = list(said.format_exception_only())
            asking.go_on()
            return lines
        except Exception:
            pass
    name = _class_qualname(kind)
    module = _class_dict(kind).get("__module__")
    if type(module) is str and module not in ("__main__", "builtins"):
        name = f"{module}.{name}"
    lines = [f"{name}: {text}\n" if text else f"{name}\n"]
    if not asking.plain:
        lines.extend(asking.notes(error))
    return lines


class _Asking:
    """What one report asks of the program; nothing, when it is plain. Each exception is asked once."""

    def __init__(self, plain: bool) -> None:
        self.plain = plain
        self._interrupts = _interrupts
        self._texts: dict[int, str] = {}

    def go_on(self) -> None:
        """Raise the interrupt that came since the report began, should the program have swallowed it."""
        if self._interrupts != _interrupts:
            raise HandlerTimeout

    def text(self, error: BaseException) -> str:
        text = self._texts.get(id(error))
        if text is None:
            text = self._texts[id(error)] = _plain_text(error) if self.plain else self._full_text(error)
        return text

    def _full_text(self, error: BaseException) -> str:
        try:
            text = shortened(_exact(str(error)), TEXT_CHARACTERS)
        except HandlerTimeout:
            raise
        except BaseException:
            text = "<exception str() failed>"
        self.go_on()
        return text

    def notes(self, error: BaseException) -> list[str]:
        try:
            notes = getattr(error, "__notes__", None)
            if notes is None:
                return []
            shown = [_exact(str(note)) for note in notes[:GROUP_MEMBERS]] if type(notes) is list else [repr(notes)]
            lines = [f"{shortened(note, TEXT_CHARACTERS)}\n" for note in shown]
        except HandlerTimeout:
            raise
        except BaseException:
            lines = ["(its notes cannot be shown)\n"]
        self.go_on()
        return lines


def _plain_text(error: BaseException) -> str:
    args = _args(error)
    if not _says_its_arguments(type(error)) or not all(_is_built_in(arg) for arg in args):
        return _NOT_ASKED
    text = "" if not args else str(args[0]) if len(args) == 1 else repr(args)
    return shortened(text, TEXT_CHARACTERS)


def _says_its_arguments(kind: type) -> bool:
    """Whether a class has the text that BaseException gives it, and nothing of the program's."""
    for base in _class_mro(kind):
        if "__str__" in _class_dict(base):
            return not _class_flags(base) & _HEAP_TYPE
    return False


def _is_built_in(value: object) -> bool:
    return type(value) in (str, int, float, bool, bytes, type(None)) and (
        type(value) not in (str, bytes) or len(value) <= 1_000_000  # type: ignore[arg-type]
    )


def _exact(text: str) -> str:
    """Return the text as a str: `__str__` may give an instance of a subclass, whose methods are the program's."""
    return text if type(text) is str else "".join((text,))


def _sendable(text: str) -> str:
    """Return the text without lone surrogates, which no UTF-8 can say."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
