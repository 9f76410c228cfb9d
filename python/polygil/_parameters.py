"""How a value from a request becomes what a handler's annotation says, and what is answered when it does not.

The rules and the words are those of pydantic 2 in its lax mode, as FastAPI shows them, because clients know them; the
tests compare the two on a table and on generated input. The rules that surprise:

- an int may have spaces around it, a sign, leading zeros, `_` between digits, and a fraction of zeros: " +1_000.00 ";
- a float may be `inf`, `infinity` or `nan`, in any case;
- a bool is one of twelve words, in any case, without spaces around it;
- an int out of JSON may be a bool or a float without a fraction (within 64 bits), or text as above.

A validator is called with the value, its location and the errors so far ([`Errors`](_validation.py)). It returns the
converted value, or adds an error; it never raises on any input.

What JSON has brought is converted in place: a list of a million numbers is not held twice. So validation takes no memory
that grows with what a client sends.
"""

from __future__ import annotations

import sys

from polygil._errors import SignatureError
from polygil._validation import Errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from polygil._validation import Loc


class _Missing:
    """The type of MISSING: no annotation, no default, no value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


# What Rust's `str::trim` takes away (Unicode White_Space). `str.strip` without an argument would take U+001C to U+001F
# too.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_DIGITS = frozenset("0123456789")
_FLOAT_CHARACTERS = frozenset("0123456789+-.eE")
_FLOAT_WORDS = frozenset(("inf", "infinity", "nan"))
_TRUE = frozenset(("1", "on", "t", "true", "y", "yes"))
_FALSE = frozenset(("0", "off", "f", "false", "n", "no"))

# pydantic's limit on the digits of an integer, and CPython's own for int(): longer ones take quadratic time.
_INT_DIGITS_MAX = 4300


class Validator:
    """One node of an annotation. This one takes any value as it is; the others derive from it."""

    __slots__ = ()

    #: What the native side calls it when it may convert the obvious forms by itself, or None.
    kind: str | None = "str"
    #: Whether it takes every value of a query parameter instead of the last.
    is_list = False

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        """Return the converted value, or append to `errors`; what is returned then is not used."""
        return value


class StrValidator(Validator):
    """`str`: text, unchanged; nothing else is turned into text."""

    __slots__ = ()

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        if isinstance(value, str):
            return value
        errors.add("string_type", loc, "Input should be a valid string", value)
        return None


def _has_surrogate(text: str) -> bool:
    r"""Whether there is a lone surrogate, which JSON can spell ("\ud800") and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _not_unicode(text: str, loc: Loc, errors: Errors) -> None:
    message = "Input should be a valid string, unable to parse raw data as a unicode string"
    errors.add("string_unicode", loc, message, text)


class IntValidator(Validator):
    """`int`."""

    __slots__ = ()
    kind = "int"

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        if isinstance(value, str):
            return _int_from_text(value, loc, errors)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return _int_from_float(value, loc, errors)
        errors.add("int_type", loc, "Input should be a valid integer", value)
        return None


def _int_from_text(text: str, loc: Loc, errors: Errors) -> int | None:
    # The limit is checked on the digits at the start, whatever follows; a number that turns out longer only after
    # spaces, a plus or underscores are taken away is answered as text that is not a number.
    unsigned = text[1:] if text.startswith("-") else text
    if len(unsigned) > _INT_DIGITS_MAX and _DIGITS.issuperset(unsigned[: _INT_DIGITS_MAX + 1]) and unsigned[0] != "0":
        _int_too_large(text, loc, errors)
        return None
    digits = _clean_int(text)
    if digits is None and _has_surrogate(text):
        _not_unicode(text, loc, errors)
        return None
    if digits is None or len(digits) - digits.startswith("-") > _INT_DIGITS_MAX:
        message = "Input should be a valid integer, unable to parse string as an integer"
        errors.add("int_parsing", loc, message, text)
        return None
    return int(digits)


def _int_too_large(value: Any, loc: Loc, errors: Errors) -> None:
    message = "Unable to parse input string as an integer, exceeded maximum size"
    errors.add("int_parsing_size", loc, message, value)


def _clean_int(text: str) -> str | None:
    """Return the sign and digits of an integer in any of the accepted spellings, or None."""
    text = text.strip(_WHITE_SPACE)
    sign = ""
    if text[:1] in ("+", "-"):
        sign, text = text[0].replace("+", ""), text[1:]
    if text.startswith("0"):
        # Leading zeros go, and underscores among them, however many; the last one stays when nothing else is left.
        rest = text.lstrip("0_")
        text = rest if rest[:1] in _DIGITS else text[len(text) - len(rest) - 1 :]
    text, point, fraction = text.partition(".")
    if point and (not fraction or fraction.strip("0")):
        return None
    if "_" in text:
        parts = text.split("_")
        if "" in parts:
            return None
        text = "".join(parts)
    return sign + text if text and _DIGITS.issuperset(text) else None


def _int_from_float(value: float, loc: Loc, errors: Errors) -> int | None:
    if value != value or value in (float("inf"), float("-inf")):
        errors.add("finite_number", loc, "Input should be a finite number", value)
    elif value % 1 != 0:
        message = "Input should be a valid integer, got a number with a fractional part"
        errors.add("int_from_float", loc, message, value)
    elif not -(2.0**63) < value < 2.0**63:
        _int_too_large(value, loc, errors)
    else:
        return int(value)
    return None


class FloatValidator(Validator):
    """`float`."""

    __slots__ = ()
    kind = "float"

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        if isinstance(value, str):
            number = float_from_text(value)
            if number is None and _has_surrogate(value):
                _not_unicode(value, loc, errors)
            elif number is None:
                message = "Input should be a valid number, unable to parse string as a number"
                errors.add("float_parsing", loc, message, value)
            return number
        if isinstance(value, float | int):
            try:
                return float(value)
            except OverflowError:
                pass
        errors.add("float_type", loc, "Input should be a valid number", value)
        return None


def float_from_text(text: str) -> float | None:
    """Return the number in any of the accepted spellings, or None."""
    if "_" in text:
        # Either spaces around the number or underscores in it.
        if text.startswith("_") or text.endswith("_") or "__" in text:
            return None
        text = text.replace("_", "")
    else:
        text = text.strip(_WHITE_SPACE)
    if not _FLOAT_CHARACTERS.issuperset(text):
        unsigned = text[1:] if text[:1] in ("+", "-") else text
        if not unsigned.isascii() or unsigned.lower() not in _FLOAT_WORDS:
            return None
    try:
        return float(text)
    except ValueError:
        return None


class BoolValidator(Validator):
    """`bool`."""

    __slots__ = ()
    kind = "bool"

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            word = value.lower()
            if word in _TRUE:
                return True
            if word in _FALSE:
                return False
            if _has_surrogate(value):
                _not_unicode(value, loc, errors)
                return None
        elif not _is_small(value):
            errors.add("bool_type", loc, "Input should be a valid boolean", value)
            return None
        elif value in (0, 1):
            return bool(value)
        message = "Input should be a valid boolean, unable to interpret input"
        errors.add("bool_parsing", loc, message, value)
        return None


def _is_small(value: Any) -> bool:
    """Whether it is a whole number of 64 bits, as an int or a float."""
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float) and value % 1 == 0 and -(2.0**63) < value < 2.0**63


class BytesValidator(Validator):
    """`body: bytes`: the content as it came, whatever its media type."""

    __slots__ = ()
    kind = "raw"


class EnumValidator(Validator):
    """An `Enum`: by value. An int or float kind also takes text that converts to a value.

    What is no member's value goes to the enumeration itself, so that its own `_missing_` (aliases) and the combinations
    of a Flag work; an exception of its own other than ValueError is a fault of the program, and not caught.
    """

    __slots__ = ("_convert", "_enum", "_expected", "_members", "_value_types")
    kind = None

    def __init__(self, enum: Any) -> None:
        members = enum.__members__.values()
        if not members:
            raise SignatureError(f"the enumeration {enum.__qualname__} has no members")
        self._enum = enum
        # Not the enumeration's own map: a Flag adds to that whenever a combination is made.
        self._members = [(member.value, member) for member in members]
        self._value_types = {type(member.value) for member in members}
        shown = [repr(member.value) for member in members]
        self._expected = " or ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
        self._convert: Validator | None = None
        if issubclass(enum, int):
            self._convert = IntValidator()
        elif issubclass(enum, float):
            self._convert = FloatValidator()

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        member = self._member(value)
        if member is not None:
            return member
        number = value
        if isinstance(value, str):
            if str in self._value_types and _has_surrogate(value):
                _not_unicode(value, loc, errors)
                return None
            if self._convert is not None:
                number = self._convert(value, loc, Errors())
        if isinstance(number, int) and int in self._value_types and not _is_small(number):
            _int_too_large(number, loc, errors)
            return None
        member = self._member(number)
        if member is not None:
            return member
        try:
            return self._enum(value)
        except ValueError:
            message = f"Input should be {self._expected}"
            errors.add("enum", loc, message, value, {"expected": self._expected})
            return None

    def _member(self, value: Any) -> Any:
        # A loop instead of a dict: enumerations are short, and neither their values nor JSON's need be hashable.
        for own, member in self._members:
            if own == value:
                return member
        return None


class OptionalValidator(Validator):
    """`Optional[X]`, `X | None`: null stays None. A value that is absent is another matter: that is the default's."""

    __slots__ = ("_inner", "is_list", "kind")

    def __init__(self, inner: Validator) -> None:
        self._inner = inner
        self.kind = inner.kind
        self.is_list = inner.is_list

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        return None if value is None else self._inner(value, loc, errors)


class ListValidator(Validator):
    """`list`, `list[X]`: every value of a query parameter, or a JSON array."""

    __slots__ = ("_item",)
    kind = None
    is_list = True

    def __init__(self, item: Validator) -> None:
        self._item = item

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        if isinstance(value, list):
            item = self._item
            for index, given in enumerate(value):
                value[index] = item(given, (*loc, index), errors)
            return value
        errors.add("list_type", loc, "Input should be a valid list", value)
        return None


class DictValidator(Validator):
    """`dict`, `dict[K, V]`: a JSON object."""

    __slots__ = ("_keeps_keys", "_key", "_value")
    kind = None

    def __init__(self, key: Validator, value: Validator) -> None:
        self._key = key
        self._value = value
        # The names in a JSON object are text already.
        self._keeps_keys = type(key) in (Validator, StrValidator, _JsonValidator)

    def __call__(self, value: Any, loc: Loc, errors: Errors) -> Any:
        if isinstance(value, dict):
            before = errors.count
            for key, given in value.items():
                self._key(key, (*loc, key, "[key]"), errors)
                value[key] = self._value(given, (*loc, key), errors)
            if self._keeps_keys or errors.count > before:
                return value
            return {self._key(key, loc, errors): converted for key, converted in value.items()}
        errors.add("dict_type", loc, "Input should be a valid dictionary", value)
        return None


_SCALARS: dict[Any, type[Validator]] = {
    str: StrValidator,
    int: IntValidator,
    float: FloatValidator,
    bool: BoolValidator,
}


def fast_kind(validator: Validator, source: str) -> str | None:
    """Return what the native side may convert by itself: text from path and query, and an unparsed body."""
    if source == "body":
        return validator.kind if validator.kind == "raw" else None
    return validator.kind


def validator_for(annotation: Any, source: str) -> Validator:
    """Return the validator for an annotation of a parameter from `source` ("path", "query" or "body").

    Raises SignatureError for an annotation that has no conversion there.
    """
    annotation = _plain(annotation)
    if annotation is MISSING or annotation is object or _is_typing(annotation, "Any"):
        return Validator() if source != "body" else _JsonValidator()
    if annotation in _SCALARS:
        return _SCALARS[annotation]()
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return EnumValidator(annotation)
    if annotation is bytes and source == "body":
        return BytesValidator()
    origin, args = _generic(annotation)
    if origin == "union":
        return _union(annotation, args, source)
    if origin is list and source != "path":
        # Inside a query parameter's list there is text only; a JSON array may hold anything.
        return ListValidator(validator_for(args[0] if args else MISSING, "path" if source == "query" else source))
    if origin is dict and source == "body":
        key, value = args or (MISSING, MISSING)
        return DictValidator(validator_for(key, source), validator_for(value, source))
    raise _unsupported(annotation, source)


class _JsonValidator(Validator):
    """A body without annotation: the JSON value as it is."""

    __slots__ = ()
    kind = None


def _union(annotation: Any, args: tuple[Any, ...], source: str) -> Validator:
    rest = [arg for arg in args if arg is not type(None)]
    if len(rest) == 1 and len(args) == 2:
        return OptionalValidator(validator_for(rest[0], source))
    raise _unsupported(annotation, source)


def _plain(annotation: Any) -> Any:
    """Look through `type` aliases, NewType and Annotated with nothing but text for the reader."""
    while True:
        if type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__metadata__"):
            if not all(isinstance(item, str) for item in annotation.__metadata__):
                raise SignatureError(f"the metadata of {annotation} would have no effect here; check it in the handler")
            annotation = annotation.__origin__
        else:
            return annotation


def _is_typing(annotation: Any, name: str) -> bool:
    typing = sys.modules.get("typing")
    return typing is not None and annotation is getattr(typing, name)


def _generic(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the origin ("union" for both kinds of union) and the arguments of an annotation."""
    args: tuple[Any, ...] = getattr(annotation, "__args__", ())
    origin = getattr(annotation, "__origin__", annotation)
    if isinstance(annotation, type(int | None)) or _is_typing(origin, "Union"):
        return "union", args
    return origin, args


def _unsupported(annotation: Any, source: str) -> SignatureError:
    name = annotation.__qualname__ if type(annotation) is type else str(annotation)
    kinds = {
        "path": "str, int, float, bool, an Enum",
        "query": "str, int, float, bool, an Enum, a list of these",
        "body": "dict, list, str, int, float, bool, an Enum, bytes",
    }[source]
    return SignatureError(f"cannot convert to {name}; use {kinds}, or one of these with `| None`")
