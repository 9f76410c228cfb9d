"""`Response` and `HTTPException`: stored as said, and refused where the programmer can still see the line."""

from __future__ import annotations

from http import HTTPStatus

import polygil
import pytest
from polygil import HTTPException, Response
from polygil._response import PHRASES


def test_defaults() -> None:
    response = Response()
    assert response.content is None
    assert response.status_code == 200
    assert response.headers == []
    assert response.media_type is None
    assert repr(response) == "<Response 200>"


def test_headers_may_be_a_mapping_or_pairs() -> None:
    assert Response(headers={"a": "1"}).headers == [("a", "1")]
    assert Response(headers=[("set-cookie", "a"), ("set-cookie", "b")]).headers == [
        ("set-cookie", "a"),
        ("set-cookie", "b"),
    ]
    assert Response(headers=polygil.Headers([("A", "1")])).headers == [("a", "1")]
    assert Response(headers=iter([("a", "1")])).headers == [("a", "1")]


def test_its_headers_are_its_own() -> None:
    given = [("a", "1")]
    Response(headers=given).headers.append(("b", "2"))
    assert given == [("a", "1")]


@pytest.mark.parametrize("headers", [5, ["ab "], {"a": 1}, {1: "a"}, [("a", b"1")], [("a",)], "a: 1"])
def test_headers_that_are_none(headers: object) -> None:
    with pytest.raises(TypeError):
        Response(headers=headers)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [100, 101, 199, 600, 0, -1])
def test_a_status_that_is_no_final_answer(status: int) -> None:
    with pytest.raises(ValueError, match="status_code must be between 200 and 599"):
        Response(status_code=status)
    with pytest.raises(ValueError, match="status_code must be between 200 and 599"):
        HTTPException(status)


@pytest.mark.parametrize("status", ["200", 200.0, None, True])
def test_a_status_that_is_no_int(status: object) -> None:
    with pytest.raises(TypeError, match="status_code must be an int"):
        Response(status_code=status)  # type: ignore[arg-type]


def test_a_status_of_the_standard_library() -> None:
    status = Response(status_code=HTTPStatus.CREATED).status_code
    assert status == 201
    assert type(status) is int


def test_a_media_type_that_is_none() -> None:
    with pytest.raises(TypeError, match="media_type must be a str, not bytes"):
        Response(media_type=b"text/plain")  # type: ignore[arg-type]


def test_an_exception_says_its_status_and_detail() -> None:
    error = HTTPException(404, {"id": 7}, {"x-a": "1"})
    assert (error.status_code, error.detail, error.headers) == (404, {"id": 7}, [("x-a", "1")])
    assert str(error) == "404: {'id': 7}"
    assert repr(error) == "HTTPException(status_code=404, detail={'id': 7})"


def test_the_phrases_are_those_of_the_standard_library() -> None:
    # Releases of CPython differ in a few words ("Unprocessable Entity" became "Content"): ours are those of 3.13.
    renamed = {413, 414, 416, 418, 422}
    for status in HTTPStatus:
        if status >= 200 and status not in renamed:
            assert PHRASES[status] == status.phrase
    assert set(PHRASES) == {int(status) for status in HTTPStatus if status >= 200}


def test_a_missing_detail_is_the_phrase() -> None:
    assert HTTPException(404).detail == "Not Found"
    assert HTTPException(422).detail == "Unprocessable Content"
    assert HTTPException(599).detail == "Unknown Status"
    assert HTTPException(404, "").detail == ""
