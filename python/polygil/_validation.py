"""What a 422 says of a request that does not convert: as FastAPI says it, and never more than 64 KiB.

A client writes what is repeated to it: where an error is, and what stood there. One name of 50 KB with ten thousand wrong
values would make an answer of 500 MB. So the answer is bounded, and so is what is kept until it is made:

- at most 100 errors are kept; the others are counted;
- a name in `loc`, and `input`, are shortened; what is cut off is shown as `…`;
- errors are listed until 64 KiB are full;
- what is not listed is counted in a last entry, `too_many_errors`.

An answer that is within all of this is the one that FastAPI gives.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    type Loc = tuple[str | int, ...]

#: Errors that an answer lists.
ERRORS_MAX: Final = 100
#: Bytes of the whole answer, as JSON.
ANSWER_BYTES_MAX: Final = 64 * 1024
#: Characters of one name in `loc`.
NAME_CHARACTERS_MAX: Final = 128
#: Names and places in `loc`.
LOC_ITEMS_MAX: Final = 32
#: Bytes of `input`, as JSON, and of `msg`.
INPUT_BYTES_MAX: Final = 1024
#: Levels of lists and objects in `input`.
INPUT_DEPTH_MAX: Final = 32

# Stands for what was cut off.
_CUT = "…"
# What is around the list in the answer, and the entry that counts the rest.
_RESERVED = 512


class Errors:
    """The errors of one request, in order: the first ones as they are, and the number of all.

    Nothing is copied until `detail` is called: an error holds the value that it is about, not a copy of it.
    """

    __slots__ = ("_kept", "count")

    def __init__(self) -> None:
        self._kept: list[tuple[str, Loc, str, Any, dict[str, str] | None]] = []
        #: How many there are, kept or not.
        self.count = 0

    def add(self, kind: str, loc: Loc, msg: str, given: Any, ctx: dict[str, str] | None = None) -> None:
        """Add an error: pydantic's type, where it is, what to say, the value, and what the message was made of."""
        self.count += 1
        if self.count <= ERRORS_MAX:
            self._kept.append((kind, loc, msg, given, ctx))

    def detail(self) -> list[dict[str, Any]]:
        """Return the list for the answer: values that strict JSON in UTF-8 can hold, shortened."""
        listed: list[dict[str, Any]] = []
        room = ANSWER_BYTES_MAX - _RESERVED
        for kind, loc, msg, given, ctx in self._kept:
            error: dict[str, Any] = {
                "type": kind,
                "loc": _shown_loc(loc),
                "msg": _text(msg, INPUT_BYTES_MAX),
                "input": shown(given),
            }
            if ctx is not None:
                error["ctx"] = {name: _text(value, INPUT_BYTES_MAX) for name, value in ctx.items()}
            room -= _size(error) + 1
            if room < 0:
                break
            listed.append(error)
        left = self.count - len(listed)
        if left:
            msg = f"{left} more error{'s are' if left > 1 else ' is'} not listed"
            listed.append({"type": "too_many_errors", "loc": [], "msg": msg, "input": None, "ctx": {"missing": left}})
        return listed


def shown(value: Any) -> Any:
    """Return a copy of a JSON value that an answer can hold: at most INPUT_BYTES_MAX, or its beginning and `…`.

    JSON in Python's reading has NaN, infinities and lone surrogates, and strict JSON in UTF-8 has none of them: they are
    null and U+FFFD.
    """
    return _shown(value, INPUT_BYTES_MAX, 0)[0]


def _shown(value: Any, room: int, depth: int) -> tuple[Any, int]:
    """Return the beginning of a value that fits `room` bytes of JSON, and how many it takes."""
    if isinstance(value, str):
        text = _text(value, room)
        return text, _size(text)
    if isinstance(value, float):
        return (value, 24) if value - value == 0 else (None, 4)
    if isinstance(value, list):
        return _shown_list(value, room, depth)
    if isinstance(value, dict):
        return _shown_dict(value, room, depth)
    if isinstance(value, int) and value.bit_length() > 3 * room:
        # Three bits are less than a digit. JSON has no longer integers than `str` converts.
        text = _text(str(value), room)
        return text, _size(text)
    return value, _size(value)


def _shown_list(value: list[Any], room: int, depth: int) -> tuple[Any, int]:
    left = room - 8
    items: list[Any] = []
    for item in value:
        if left <= 0 or depth == INPUT_DEPTH_MAX:
            items.append(_CUT)
            break
        item, size = _shown(item, left, depth + 1)
        left -= size + 1
        items.append(item)
    return items, room - left


def _shown_dict(value: dict[Any, Any], room: int, depth: int) -> tuple[Any, int]:
    left = room - 12
    items: dict[Any, Any] = {}
    for key, item in value.items():
        if left <= 0 or depth == INPUT_DEPTH_MAX:
            items[_CUT] = _CUT
            break
        key, size = _shown(key, min(left, 4 * NAME_CHARACTERS_MAX), depth)
        left -= size + 1
        items[key], size = _shown(item, max(left, 8), depth + 1)
        left -= size + 1
    return items, room - left


def _shown_loc(loc: Loc) -> list[str | int]:
    """Return where an error is, with long names shortened, and the middle left out of very many."""
    if len(loc) > LOC_ITEMS_MAX:
        loc = (*loc[: LOC_ITEMS_MAX // 2], _CUT, *loc[1 - LOC_ITEMS_MAX // 2 :])
    return [item if isinstance(item, int) else _text(_cut(item, NAME_CHARACTERS_MAX), INPUT_BYTES_MAX) for item in loc]


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[:characters] + _CUT


def _text(text: str, room: int) -> str:
    """Return the beginning of a text that fits `room` bytes of JSON, with U+FFFD for lone surrogates."""
    cut = _cut(text, max(room, 1))
    if not cut.isascii():
        cut = cut.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    while _size(cut) > room + 8 and len(cut) > 2:
        # Some of its characters take more than a byte.
        cut = cut[: len(cut) // 2] + _CUT
    return cut


def _size(value: Any) -> int:
    """Return the bytes of a value as JSON, or somewhat more."""
    if isinstance(value, str):
        size = len(value.encode("utf-8", "replace")) + value.count('"') + value.count("\\") + 2
        return size if value.isprintable() else size + 5 * sum(character < " " for character in value)
    if isinstance(value, dict):
        return 2 + sum(_size(key) + _size(item) + 2 for key, item in value.items())
    if isinstance(value, list):
        return 2 + sum(_size(item) + 1 for item in value)
    if isinstance(value, float):
        return 24
    return len(str(value)) + 2
