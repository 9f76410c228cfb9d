"""`inspect_handler` and `Plan`: what is known about a handler once, and what its every call gets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import Annotated, Any, NewType

import pytest
from polygil import HTTPException, Request
from polygil._errors import SignatureError, ValidationError
from polygil._signature import inspect_handler

type Age = int
UserId = NewType("UserId", int)


class Color(Enum):
    RED = "red"


def plain(user_id: int, q, verbose: bool = False, limit: float | None = None, name: str = "") -> None: ...


class TestFast:
    """The native side may convert these by itself; everything else has `fast` None."""

    def test_scalars_of_path_and_query(self) -> None:
        assert inspect_handler(plain, ("user_id",)).fast == (
            ("user_id", "path", "int", False, None),
            ("q", "query", "str", False, None),
            ("verbose", "query", "bool", True, False),
            ("limit", "query", "float", True, None),
            ("name", "query", "str", True, ""),
        )

    def test_request_and_raw_body(self) -> None:
        def handler(request: Request, body: bytes) -> None: ...

        plan = inspect_handler(handler, ())
        assert plan.fast == (("request", "request", "raw", False, None), ("body", "body", "raw", False, None))
        assert plan.needs_request
        assert plan.needs_body

    def test_no_parameters(self) -> None:
        def handler() -> None: ...

        plan = inspect_handler(handler, ("unused",))
        assert plan.fast == ()
        assert not plan.needs_request
        assert not plan.needs_body

    def test_what_the_native_side_cannot_do(self) -> None:
        def enum(x: Color) -> None: ...
        def several(x: list[int]) -> None: ...
        def json_body(body: dict[str, int]) -> None: ...
        def any_body(body) -> None: ...
        def keyword(*, x: int) -> None: ...
        def mutable(x: str = []) -> None: ...  # type: ignore[assignment]

        for handler in (enum, several, json_body, any_body, keyword, mutable):
            assert inspect_handler(handler, ()).fast is None, handler.__name__


class TestSources:
    def test_the_pattern_comes_first(self) -> None:
        def handler(request: str, body: str) -> None: ...

        plan = inspect_handler(handler, ("body", "request"))
        assert plan.bind(("b", "r"), "request=no", b"no", None) == (("r", "b"), {})

    def test_the_request_by_annotation_or_by_name(self) -> None:
        def annotated(incoming: Request) -> None: ...
        def named(request) -> None: ...
        def anything(request: Any) -> None: ...

        request = Request()
        for handler in (annotated, named, anything):
            plan = inspect_handler(handler, ())
            assert plan.needs_request
            assert plan.bind((), "", b"", request) == ((request,), {})

    def test_a_body_of_bytes_is_the_content(self) -> None:
        def required(body: bytes) -> None: ...
        def optional(body: bytes = b"none") -> None: ...

        assert inspect_handler(required, ()).bind((), "", b"{\xff", None) == ((b"{\xff",), {})
        assert inspect_handler(optional, ()).bind((), "", b"", None) == ((b"none",), {})
        with pytest.raises(ValidationError) as raised:
            inspect_handler(required, ()).bind((), "", b"", None)
        assert raised.value.detail == [{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}]

    def test_positional_only_and_keyword_only(self) -> None:
        def handler(a: int, /, b: int = 2, *, c: int, d: int = 4) -> None: ...

        plan = inspect_handler(handler, ())
        assert plan.bind((), "a=1&c=3", b"", None) == ((1, 2), {"c": 3, "d": 4})

    def test_path_values_are_taken_by_position_in_the_pattern(self) -> None:
        def handler(second: int, first: int) -> None: ...

        assert inspect_handler(handler, ("first", "second")).bind(("1", "2"), "", b"", None) == ((2, 1), {})

    def test_a_default_is_no_way_out_of_a_path(self) -> None:
        def handler(x: int = 5) -> None: ...

        assert inspect_handler(handler, ("x",)).fast == (("x", "path", "int", False, None),)


class TestErrors:
    def test_every_error_in_fastapis_words_and_order(self) -> None:
        def handler(q: int, body: list[int], user_id: int) -> None: ...

        with pytest.raises(ValidationError) as raised:
            inspect_handler(handler, ("user_id",)).bind(("x",), "", b'[1, "y"]', None)
        message = "Input should be a valid integer, unable to parse string as an integer"
        assert raised.value.detail == [
            {"type": "int_parsing", "loc": ["path", "user_id"], "msg": message, "input": "x"},
            {"type": "missing", "loc": ["query", "q"], "msg": "Field required", "input": None},
            {"type": "int_parsing", "loc": ["body", 1], "msg": message, "input": "y"},
        ]
        assert list(raised.value.detail[0]) == ["type", "loc", "msg", "input"]

    def test_an_enum_names_its_values(self) -> None:
        def handler(color: Color) -> None: ...

        with pytest.raises(ValidationError) as raised:
            inspect_handler(handler, ()).bind((), "color=blue", b"", None)
        error = raised.value.detail[0]
        assert error == {
            "type": "enum",
            "loc": ["query", "color"],
            "msg": "Input should be 'red'",
            "input": "blue",
            "ctx": {"expected": "'red'"},
        }
        assert list(error) == ["type", "loc", "msg", "input", "ctx"]

    def test_a_body_that_is_no_text(self) -> None:
        def handler(body) -> None: ...

        with pytest.raises(HTTPException) as raised:
            inspect_handler(handler, ()).bind((), "", b"\xff", None)
        assert (raised.value.status_code, raised.value.detail) == (400, "There was an error parsing the body")

    def test_what_no_answer_can_hold_is_replaced(self) -> None:
        def handler(body: dict[int, int]) -> None: ...

        with pytest.raises(ValidationError) as raised:
            inspect_handler(handler, ()).bind((), "", b'{"\\ud800": [NaN, 1, -Infinity]}', None)
        assert [error["input"] for error in raised.value.detail] == ["\ufffd" * 3, [None, 1, None]]
        assert raised.value.detail[1]["loc"] == ["body", "\ufffd" * 3]


class TestDefaults:
    def test_a_mutable_default_is_new_for_every_call(self) -> None:
        def handler(tags: list[str] = []) -> None: ...  # noqa: B006

        plan = inspect_handler(handler, ())
        (first,), _ = plan.bind((), "", b"", None)
        first.append("changed")
        assert plan.bind((), "", b"", None) == (([],), {})

    def test_a_default_is_not_converted(self) -> None:
        def handler(x: int = "seven") -> None: ...  # type: ignore[assignment]

        assert inspect_handler(handler, ()).bind((), "", b"", None) == (("seven",), {})


class TestCallables:
    def test_a_wrapper_has_the_signature_of_what_it_wraps(self) -> None:
        @functools.wraps(plain)
        def wrapper(*args: Any, **kwargs: Any) -> None: ...

        assert inspect_handler(wrapper, ("user_id",)).fast == inspect_handler(plain, ("user_id",)).fast

    def test_static_and_class_methods(self) -> None:
        class Users:
            @staticmethod
            def show(user_id: int) -> None: ...

            @classmethod
            def all(cls, limit: int = 5) -> None: ...

        assert inspect_handler(Users.show, ("user_id",)).fast == (("user_id", "path", "int", False, None),)
        assert inspect_handler(Users.all, ()).fast == (("limit", "query", "int", True, 5),)

    def test_a_class_and_an_object_with_call(self) -> None:
        class Answer:
            def __init__(self, x: int = 1, *, y: str = "") -> None: ...
            def __call__(self, z: bool) -> None: ...

        plan = inspect_handler(Answer, ())
        assert plan.bind((), "x=2&y=a", b"", None) == ((2,), {"y": "a"})
        assert inspect_handler(Answer(), ()).fast == (("z", "query", "bool", False, None),)

    def test_a_signature_of_its_own(self) -> None:
        import inspect

        def handler(*args: Any) -> None: ...

        handler.__signature__ = inspect.signature(lambda x=3: x)  # type: ignore[attr-defined]
        assert inspect_handler(handler, ()).fast == (("x", "query", "str", True, 3),)

    @pytest.mark.parametrize(
        "source",
        [
            "from __future__ import annotations\nfrom polygil import Request\n",
            "from polygil import Request\n",
            "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from polygil import Request\nfrom __future__ import "
            "annotations\n",
        ],
    )
    def test_annotations_as_text(self, import_source: Callable[[str], ModuleType], source: str) -> None:
        lines = source.splitlines()
        lines.sort(key=lambda line: "__future__" not in line)
        module = import_source("\n".join([*lines, "def handler(request: Request, x: int | None = None): ..."]))
        assert inspect_handler(module.handler, ()).fast == (
            ("request", "request", "raw", False, None),
            ("x", "query", "int", True, None),
        )

    def test_aliases(self) -> None:
        def handler(a: Age, b: UserId, c: Annotated[int, "years"], d: "int") -> None: ...  # noqa: UP037

        plan = inspect_handler(handler, ())
        assert [parameter.kind for parameter in plan.parameters] == ["int"] * 4


class TestSignatureErrors:
    """Mistakes that are found at load, each naming the parameter and the fix."""

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            (
                "x: complex",
                "parameter `x` (from the query): cannot convert to complex; use str, int, float, bool, an Enum, a list "
                "of these, or one of these with `| None`",
            ),
            ("x: dict", "parameter `x` (from the query): cannot convert to dict; use"),
            ("x: bytes", "parameter `x` (from the query): cannot convert to bytes; use"),
            ("x: int | str", "parameter `x` (from the query): cannot convert to int | str; use"),
            ("x: int | str | None", "parameter `x` (from the query): cannot convert to int | str | None; use"),
            ("x: list[list[int]]", "parameter `x` (from the query): cannot convert to list[int]; use"),
            ("x: list[dict]", "parameter `x` (from the query): cannot convert to dict; use"),
            (
                "p: list[int]",
                "parameter `p` (from the path): cannot convert to list[int]; use str, int, float, bool, an "
                "Enum, or one",
            ),
            ("body: set[int]", "parameter `body` (from the body): cannot convert to set[int]; use dict, list, str"),
            (
                "x: Annotated[int, 5]",
                "parameter `x` (from the query): the metadata of typing.Annotated[int, 5] would have no effect",
            ),
            ("x: Empty", "parameter `x` (from the query): the enumeration Empty has no members"),
            ("request: int", "parameter `request` receives the Request and cannot be annotated int; rename it"),
            ("x: Nowhere", "parameter `x`: the annotation 'Nowhere' does not evaluate: name 'Nowhere' is not defined"),
            (
                "*args",
                "takes *args or **kwargs, so that there are no names to fill from a request; name the parameters",
            ),
            ("x: int, **kwargs", "takes *args or **kwargs"),
        ],
    )
    def test_parameters(self, import_source: Callable[[str], ModuleType], parameters: str, message: str) -> None:
        module = import_source(
            "from __future__ import annotations\nfrom enum import Enum\nfrom typing import Annotated\n"
            f"class Empty(Enum): pass\ndef handler({parameters}): ...\n"
        )
        with pytest.raises(SignatureError) as raised:
            inspect_handler(module.handler, ("p",))
        assert str(raised.value).startswith(message)

    def test_a_builtin_without_a_signature(self) -> None:
        with pytest.raises(SignatureError, match="its parameters are not known"):
            inspect_handler(range, ())
