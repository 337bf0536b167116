from __future__ import annotations

import math

import pytest

from modelwrap.errors import InvalidResponse
from modelwrap.wire.body import loads, text_of


@pytest.mark.parametrize(
    "data, value",
    [
        (b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        (b"\xef\xbb\xbf{}", {}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        ('"é\\u0000\\ud83d\\ude00"'.encode(), "é\0😀"),
        (b" null\n", None),
    ],
)
def test_json_is_read(data: bytes, value: object) -> None:
    assert loads(data) == value


def test_numbers_that_only_python_knows_are_taken() -> None:
    nan, plus, minus, huge = loads(b"[NaN, Infinity, -Infinity, 1e400]")

    assert math.isnan(nan)
    assert (plus, minus, huge) == (math.inf, -math.inf, math.inf)


@pytest.mark.parametrize(
    "data, words, retryable",
    [
        (b"", "empty", True),
        (b" \n", "empty", True),
        (b'{"a": 1', "EOF", True),
        (b'{"a": 1} x', "trailing", True),
        (b'"\xff"', "unicode", True),
        (b'"\\ud800"', "hex escape", True),
        (b"<html><title>Log in</title>", "web page", False),
        (b"[" * 100_000, "recursion", False),
        (b"1" * 100_000, "out of range", False),
    ],
)
def test_what_is_no_json_is_an_invalid_response(data: bytes, words: str, retryable: bool) -> None:
    with pytest.raises(InvalidResponse, match=words) as caught:
        loads(data)

    assert caught.value.retryable is retryable
    assert len(caught.value.body or "") < 3000


@pytest.mark.parametrize(
    "data, most", [(b'{"a": 1', None), (b'{"a": 1} x', 1), (b"", None)], ids=["cut", "garbled", "empty"]
)
def test_a_garbled_body_is_asked_for_once_more_only(data: bytes, most: int | None) -> None:
    with pytest.raises(InvalidResponse) as caught:
        loads(data)

    assert caught.value.most_retries == most


def test_any_body_can_be_shown() -> None:
    assert text_of(b"\xef\xbb\xbfab\xff") == "ab\ufffd"
