"""`Request`, `Headers` and `Query`: parsed on first use, multi-valued, and safe on any input."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from polygil import Headers, Query, Request


def test_the_parts_are_what_was_given() -> None:
    request = Request(
        "POST",
        "/a%20b/%2F",
        "q=1&q=2",
        (("Content-Type", "text/plain"),),
        b"body",
        ("10.0.0.1", 5),
        ("10.0.0.2", 80),
        "id-1",
        (("name", "rest"), ("a b", "/")),
    )
    assert request.method == "POST"
    assert request.raw_path == "/a%20b/%2F"
    assert request.path == "/a b//"
    assert request.query_string == "q=1&q=2"
    assert request.query["q"] == "2"
    assert request.headers["content-type"] == "text/plain"
    assert request.body == b"body"
    assert request.client == ("10.0.0.1", 5)
    assert request.server == ("10.0.0.2", 80)
    assert request.request_id == "id-1"
    assert request.path_params == {"name": "a b", "rest": "/"}
    assert repr(request) == "<Request POST /a%20b/%2F?q=1&q=2>"


def test_defaults_are_those_of_a_plain_get() -> None:
    request = Request()
    assert (request.method, request.path, request.query_string, request.body) == ("GET", "/", "", b"")
    assert request.client is None
    assert request.server is None
    assert request.path_params == {}
    assert dict(request.headers) == {}
    assert dict(request.query) == {}


def test_what_is_parsed_is_kept() -> None:
    request = Request(query_string="a=1", headers=[("A", "b")])
    assert request.query is request.query
    assert request.headers is request.headers
    assert request.path_params is request.path_params


def test_path_params_may_be_a_dict() -> None:
    assert Request(path_params={"a": "1"}).path_params == {"a": "1"}


def test_it_has_no_room_for_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Request().state = 1  # type: ignore[attr-defined]


class TestQuery:
    def test_the_last_value_wins_and_all_are_there(self) -> None:
        query = Query("tag=a&tag=b+c&x=%C3%A9&empty=")
        assert isinstance(query, Mapping)
        assert query["tag"] == "b c"
        assert query.get_all("tag") == ["a", "b c"]
        assert query.get_all("none") == []
        assert query.get("none") is None
        assert dict(query) == {"tag": "b c", "x": "é", "empty": ""}
        assert query.pairs() == [("tag", "a"), ("tag", "b c"), ("x", "é"), ("empty", "")]
        assert len(query) == 3
        assert "tag" in query
        assert repr(query) == "Query([('tag', 'a'), ('tag', 'b c'), ('x', 'é'), ('empty', '')])"
        with pytest.raises(KeyError):
            query["none"]


class TestHeaders:
    def test_case_does_not_matter_and_the_first_value_wins(self) -> None:
        headers = Headers([("X-One", "1"), ("x-one", "2"), ("Accept", "*/*")])
        assert isinstance(headers, Mapping)
        assert headers["X-ONE"] == "1"
        assert headers.get_all("X-one") == ["1", "2"]
        assert headers.get_all("none") == []
        assert "ACCEPT" in headers
        assert 5 not in headers
        assert list(headers) == ["x-one", "accept"]
        assert len(headers) == 2
        assert headers.pairs() == [("x-one", "1"), ("x-one", "2"), ("accept", "*/*")]
        assert headers.get("none", "default") == "default"
        assert repr(headers) == "Headers([('x-one', '1'), ('x-one', '2'), ('accept', '*/*')])"
        with pytest.raises(KeyError):
            headers["none"]


class TestBody:
    def test_json(self) -> None:
        assert Request(body=b'{"a": [1, null]}').json() == {"a": [1, None]}
        with pytest.raises(json.JSONDecodeError):
            Request(body=b"{").json()
        with pytest.raises(ValueError, match="Expecting value"):
            Request(body=b"").json()

    @pytest.mark.parametrize(
        ("content_type", "body", "text"),
        [
            (None, "é".encode(), "é"),
            ("text/plain", b"\xff", "\ufffd"),
            ("text/plain; charset=iso-8859-1", b"\xe9", "é"),
            ('text/plain; format=flowed; Charset="ISO-8859-1"', b"\xe9", "é"),
            ("text/plain; charset=utf-16", "é".encode("utf-16"), "é"),
            ("text/plain; charset=unknown", "é".encode(), "é"),
            ("text/plain; charset=hex", b"6869", "6869"),
            ("text/plain; charset=undefined", b"hi", "hi"),
            ("text/plain; charset=idna", b"\xff", "\ufffd"),
            ("text/plain; charset=", b"hi", "hi"),
            ("text/plain; charset=a\x00b", b"hi", "hi"),
        ],
    )
    def test_text(self, content_type: str | None, body: bytes, text: str) -> None:
        headers = [("Content-Type", content_type)] if content_type is not None else []
        assert Request(headers=headers, body=body).text() == text
