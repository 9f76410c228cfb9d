"""`polygil._names`: which name leads to a handler, and what counts as the very same one."""

from __future__ import annotations

import functools
import sys
import time
from typing import Any

import pytest
from polygil._names import follow, leads_to, locate, name_of, same


class Crud:
    @classmethod
    def list(cls) -> None: ...

    @staticmethod
    def fixed() -> None: ...

    def method(self) -> None: ...


class Users(Crud): ...


class Meta(type):
    def meta(cls) -> None: ...


class Made(metaclass=Meta): ...


def show() -> None: ...


@functools.wraps(show)
def wrapper() -> None: ...


HERE = __name__


@pytest.mark.parametrize(
    ("handler", "qualname"),
    [
        (show, "show"),
        (wrapper, "show"),
        (Crud.list, "Crud.list"),
        (Users.list, "Users.list"),
        (Users.fixed, "Crud.fixed"),
        (Made.meta, "Made.meta"),
        (functools.cache(show), "show"),
    ],
)
def test_names(handler: Any, qualname: str) -> None:
    assert name_of(handler) == (HERE, qualname)


def test_what_has_no_name() -> None:
    assert name_of(functools.partial(show)) == ("functools", "partial")
    assert name_of(5) == ("", "int")
    assert name_of(time.time) == ("time", "time")


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        (show, show, True),
        (wrapper, show, False),
        (functools.cache(show), show, False),
        (Crud.list, Crud.list, True),
        (Users.list, Users.list, True),
        (Users.list, Crud.list, False),
        (Crud.list, Users.list, False),
        (Users().list, Users.list, True),
        (Crud.list, Crud.__dict__["list"], True),
        (Crud.list, Crud.__dict__["list"].__func__, True),
        (Crud.fixed, Crud.__dict__["fixed"], True),
        (Crud.fixed, Crud.fixed, True),
        (Crud().method, Crud.method, False),
        (Made.meta, Made.meta, True),
        (None, show, False),
        (time.time, time.time, True),
    ],
)
def test_the_same_one(found: Any, wanted: Any, expected: bool) -> None:
    assert same(found, wanted) is expected


def test_a_name_leads_or_does_not() -> None:
    assert follow(HERE, "Users.list") == Users.list
    assert leads_to(HERE, "Users.list", Users.list)
    assert not leads_to(HERE, "Crud.list", Users.list)
    assert not leads_to(HERE, "nothing.at.all", show)
    assert not leads_to("no_such_module", "show", show)


def test_other_names_are_found() -> None:
    assert locate(wrapper, None) == (HERE, "wrapper")
    assert locate(Users.list, None) == (HERE, "Users.list")
    assert locate(functools.cache(show), HERE) is None
    assert locate(type("View", (Crud,), {}).list, HERE) is None
    cached = functools.cache(show)
    module = sys.modules[HERE]
    module.cached = cached  # type: ignore[attr-defined]
    assert locate(cached, None) == (HERE, "cached")
    del module.cached  # type: ignore[attr-defined]
    # The attribute that holds a method has another name than its function.
    copied = type("Copied", (), {"renamed": Crud.__dict__["list"]})
    module.Copied = copied  # type: ignore[attr-defined]
    copied.__module__ = HERE
    assert locate(copied.renamed, None) == (HERE, "Copied.renamed")  # type: ignore[attr-defined]
    del module.Copied  # type: ignore[attr-defined]
