"""The answer to what does not convert is bounded, however much does not: entries, bytes, memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from polygil._signature import Plan, ValidationError, inspect_handler
from polygil._validation import ANSWER_BYTES_MAX, ERRORS_MAX, Errors, shown


def lists(body: dict[str, list[int]]) -> None: ...
def numbers(body: list[int]) -> None: ...
def rows(body: list[list[int]]) -> None: ...
def by_number(body: dict[int, int]) -> None: ...
def one(body: int) -> None: ...
def query(n: list[int]) -> None: ...
def path(n: int) -> None: ...


def detail(handler: Callable[..., None], body: bytes = b"", *, of_query: str = "", of_path: str = "") -> Any:
    """Return the detail of the 422, which fits the answer's bound."""
    plan = inspect_handler(handler, ("n",) if of_path else ())
    with pytest.raises(ValidationError) as refused:
        plan.bind((of_path,) if of_path else (), of_query, body, None)
    text = json.dumps({"detail": refused.value.detail, "error": "validation_error"}, ensure_ascii=False)
    assert len(text.encode()) <= ANSWER_BYTES_MAX
    return refused.value.detail


def entry(*loc: str | int, given: Any = "") -> dict[str, Any]:
    message = "Input should be a valid integer, unable to parse string as an integer"
    return {"type": "int_parsing", "loc": list(loc), "msg": message, "input": given}


def left(count: int) -> dict[str, Any]:
    message = "1 more error is not listed" if count == 1 else f"{count} more errors are not listed"
    return {"type": "too_many_errors", "loc": [], "msg": message, "input": None, "ctx": {"missing": count}}


@pytest.mark.parametrize(("count", "more"), [(1, []), (100, []), (101, [left(1)]), (5_000, [left(4_900)])])
def test_a_hundred_errors_are_listed_and_the_others_counted(count: int, more: list[Any]) -> None:
    listed = [entry("body", index) for index in range(min(count, ERRORS_MAX))]
    assert detail(numbers, json.dumps([""] * count).encode()) == listed + more


def test_long_names_and_values_are_shortened() -> None:
    name, value = "k" * 55_000, "v" * 60_000
    expected = [entry("body", "k" * 128 + "…", 0, given="v" * 1024 + "…")]
    assert detail(lists, json.dumps({name: [value]}).encode()) == expected
    assert detail(path, of_path=value) == [entry("path", "n", given="v" * 1024 + "…")]
    assert detail(query, of_query=f"n={value}") == [entry("query", "n", 0, given="v" * 1024 + "…")]


def test_a_name_that_is_wrong_everywhere_is_not_repeated_whole() -> None:
    found = detail(lists, json.dumps({"k" * 55_000: [""] * 13_750}).encode())
    assert found == [entry("body", "k" * 128 + "…", index) for index in range(100)] + [left(13_650)]


@pytest.mark.parametrize("character", ["x", "é", "\U0001f600", "\x01", '"', "\\", "\ud800"])
def test_fewer_are_listed_where_they_are_long(character: str) -> None:
    body = json.dumps({character * 9_000 + str(number): [character * 9_000] for number in range(300)})
    *listed, last = detail(lists, body.encode())
    assert 20 < len(listed) <= 100
    assert last == left(300 - len(listed))


def test_values_that_are_not_text_are_shortened_too() -> None:
    kinds = ([[1] * 99_999], {"a": 1}, {f"key {n}": "x" * 50 for n in range(9_999)}, ["y" * 9_999] * 9)
    for given in (*kinds, json.loads("[" * 900 + "]" * 900)):
        (error,) = detail(one, json.dumps(given).encode())
        assert (error["type"], error["loc"]) == ("int_type", ["body"])
        text = json.dumps(error["input"], ensure_ascii=False, separators=(",", ":"))
        assert len(text.encode()) <= 1100
        assert ("…" in text) == (given != {"a": 1})
        assert type(error["input"]) is type(given)


def test_what_json_cannot_hold_is_replaced_wherever_it_stands() -> None:
    given = {"\ud800": [float("nan"), float("inf"), {"x": "\udfff"}]}
    # A surrogate is three bytes in UTF-8's form, none of which is valid.
    assert shown(given) == {"\ufffd" * 3: [None, None, {"x": "\ufffd" * 3}]}
    assert shown(10**400) == 10**400
    assert shown(10**4000) == "1" + "0" * 1023 + "…"


def test_a_location_of_many_parts_loses_its_middle() -> None:
    errors = Errors()
    errors.add("missing", tuple(range(1000)), "Field required", None)
    assert errors.detail()[0]["loc"] == [*range(16), "…", *range(985, 1000)]


def test_what_is_kept_and_answered_takes_no_memory_that_the_client_chooses() -> None:
    """Validation and answer together add at most 1 MiB to what parsing takes."""

    def peak(work: Callable[[], object]) -> int:
        tracemalloc.start()
        work()
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return taken

    def refused(plan: Plan, body: bytes) -> str:
        try:
            plan.bind((), "", body, None)
        except ValidationError as error:
            return json.dumps(error.detail)
        raise AssertionError("it converts")

    many = 200_000
    bodies: list[tuple[Callable[..., None], Any]] = [
        (lists, {"k" * 400_000: [""] * many}),
        (lists, {f"{number}" + "k" * 500: [""] for number in range(2_000)}),
        (numbers, [None] * many),
        (numbers, [*([1] * many), ""]),
        (rows, [*([[]] * many), ""]),
        (by_number, {**{str(number): 1 for number in range(many // 4)}, "x": 1}),
        (one, ["x" * 100] * (many // 10)),
    ]
    for handler, content in bodies:
        body = json.dumps(content).encode()
        plan = inspect_handler(handler, ())
        refused(plan, body)
        parsing = peak(lambda body=body: json.loads(body))  # type: ignore[misc]
        assert peak(lambda body=body, plan=plan: refused(plan, body)) - parsing <= 1 << 20, handler.__name__  # type: ignore[misc]
