"""The handlers that the comparison with FastAPI runs, written as a user of polygil would write them.

`test_fastapi.py` gives FastAPI the same functions; where FastAPI wants a query list or a body declared, it declares
them there. Each returns its arguments, so that equal answers mean equal values of equal types.
"""

from __future__ import annotations

from enum import Enum, IntEnum, StrEnum
from typing import Any, Optional


class Color(Enum):
    RED = "red"
    GREEN = "it's green"
    QUOTED = 'a "b"'


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Kind(StrEnum):
    ONE = "one"


class Ratio(float, Enum):
    HALF = 0.5
    ONE = 1.0


class Number(Enum):
    ONE = 1
    TWO = 2


class Alias(Enum):
    TRUE = "yes"

    @classmethod
    def _missing_(cls, value: object) -> Alias | None:
        return cls.TRUE if value == "ja" else None


def path_any(x):
    return {"x": x}


def path_str(x: str) -> Any:
    return {"x": x}


def path_int(x: int) -> Any:
    return {"x": x}


def path_float(x: float) -> Any:
    return {"x": x}


def path_bool(x: bool) -> Any:
    return {"x": x}


def path_optional(x: int | None) -> Any:
    return {"x": x}


def path_color(x: Color) -> Any:
    return {"x": x}


def path_level(x: Level) -> Any:
    return {"x": x}


def query_any(x):
    return {"x": x}


def query_str(x: str) -> Any:
    return {"x": x}


def query_int(x: int) -> Any:
    return {"x": x}


def query_float(x: float) -> Any:
    return {"x": x}


def query_bool(x: bool) -> Any:
    return {"x": x}


def query_any_typed(x: Any) -> Any:
    return {"x": x}


def query_optional(x: Optional[float]) -> Any:  # noqa: UP045
    return {"x": x}


def query_optional_default(x: int | None = None) -> Any:
    return {"x": x}


def query_default(x: int = 7) -> Any:
    return {"x": x}


def query_untyped_default(x=None):
    return {"x": x}


def query_wrong_default(x: int = "seven") -> Any:
    return {"x": x}  # type: ignore[assignment]


def query_color(x: Color) -> Any:
    return {"x": x}


def query_color_default(x: Color = Color.RED) -> Any:
    return {"x": x}


def query_level(x: Level) -> Any:
    return {"x": x}


def query_kind(x: Kind) -> Any:
    return {"x": x}


def query_ratio(x: Ratio) -> Any:
    return {"x": x}


def query_number(x: Number) -> Any:
    return {"x": x}


def query_alias(x: Alias) -> Any:
    return {"x": x}


def list_bare(x: list) -> Any:
    return {"x": x}  # type: ignore[type-arg]


def list_str(x: list[str]) -> Any:
    return {"x": x}


def list_int(x: list[int]) -> Any:
    return {"x": x}


def list_bool(x: list[bool]) -> Any:
    return {"x": x}


def list_color(x: list[Color]) -> Any:
    return {"x": x}


def list_optional(x: list[int] | None = None) -> Any:
    return {"x": x}


def list_of_optional(x: list[int | None]) -> Any:
    return {"x": x}


def list_default(x: list[int] = [1, 2]) -> Any:  # noqa: B006
    return {"x": x}


def body_any(body):
    return {"x": body}


def body_str(body: str) -> Any:
    return {"x": body}


def body_int(body: int) -> Any:
    return {"x": body}


def body_float(body: float) -> Any:
    return {"x": body}


def body_bool(body: bool) -> Any:
    return {"x": body}


def body_dict(body: dict) -> Any:
    return {"x": body}  # type: ignore[type-arg]


def body_list(body: list) -> Any:
    return {"x": body}  # type: ignore[type-arg]


def body_optional(body: dict[str, Any] | None) -> Any:
    return {"x": body}


def body_default(body: dict[str, Any] | None = None) -> Any:
    return {"x": body}


def body_ints(body: dict[str, int]) -> Any:
    return {"x": body}


def body_by_int(body: dict[int, str]) -> Any:
    return {"x": body}


def body_by_color(body: dict[Color, bool]) -> Any:
    return {"x": body}


def body_nested(body: dict[str, list[int | None]]) -> Any:
    return {"x": body}


def body_rows(body: list[dict[str, float]]) -> Any:
    return {"x": body}


def body_color(body: Color) -> Any:
    return {"x": body}


def body_level(body: Level) -> Any:
    return {"x": body}


def body_number(body: Number) -> Any:
    return {"x": body}


def everything(body: dict[str, int], flag: bool, x: int, y: float = 1.5, *, color: Color, tag: list[int]) -> Any:
    return {"x": x, "y": y, "flag": flag, "color": color, "tag": tag, "body": body}
