"""The specification of how a return value becomes JSON: CPython's own `json.dumps`, with three options.

The native side writes the same bytes without calling this; tests compare the two, and it may come here for rare types.

    json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)

A dataclass instance becomes a dict of its fields, in order, wherever it stands. Everything that `json.dumps` refuses is
refused (TypeError for unknown types and keys; ValueError for NaN, infinities and cycles; RecursionError for depth), and
so are lone surrogates (UnicodeEncodeError), because the answer is UTF-8.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dataclass_to_dict(value: Any) -> dict[str, Any]:
    """Return a dataclass instance's fields in order, one level deep (unlike `dataclasses.asdict`, nothing is copied).

    Raises TypeError, in the words of `json`, for everything else, dataclass types included.
    """
    fields = getattr(type(value), "__dataclass_fields__", None)
    if fields is None:
        raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
    from dataclasses import fields as fields_of

    return {field.name: getattr(value, field.name) for field in fields_of(value)}


def dumps(value: Any) -> bytes:
    """Return `value` as compact JSON in UTF-8, or raise what `json.dumps` and `str.encode` raise."""
    import json

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=dataclass_to_dict)
    return text.encode("utf-8")
