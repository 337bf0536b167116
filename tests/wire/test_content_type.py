from __future__ import annotations

import pytest

from modelwrap.errors import InvalidResponse
from modelwrap.wire.content_type import content_type_of


@pytest.mark.parametrize(
    "header, body, text",
    [
        ("text/plain", "Köln".encode(), "Köln"),
        ("text/plain; charset=utf-8", b"\xef\xbb\xbfBonn", "Bonn"),
        ('TEXT/PLAIN; format=flowed; Charset="ISO-8859-1"', b"K\xf6ln", "Köln"),
        ("text/plain;charset=gbk", "波恩".encode("gbk"), "波恩"),
        ("", b"Bonn", "Bonn"),
    ],
)
def test_a_text_is_read_in_its_charset(header: str, body: bytes, text: str) -> None:
    assert content_type_of({"content-type": header} if header else {}).text(body) == text


@pytest.mark.parametrize(
    "header, words",
    [
        ("text/plain", "the text is not UTF-8: invalid start byte at byte 0"),
        ("text/plain; charset=klingon", "nobody knows the charset 'klingon' of the answer"),
        ("text/plain; charset=zlib", "nobody knows the charset 'zlib' of the answer"),
    ],
)
def test_a_text_that_cannot_be_read_says_why(header: str, words: str) -> None:
    with pytest.raises(InvalidResponse) as caught:
        content_type_of({"content-type": header}).text(b"\xff")

    assert caught.value.message == words


@pytest.mark.parametrize(
    "header, plain, unsaid",
    [
        ("text/plain", True, False),
        ("text/markdown; charset=utf-8", True, False),
        ("text/html; charset=utf-8", False, True),
        ("text/event-stream", False, False),
        ("application/octet-stream", False, True),
        ("application/json", False, False),
        ("", False, True),
    ],
)
def test_what_may_be_text_is_known_by_its_name(header: str, plain: bool, unsaid: bool) -> None:
    found = content_type_of({"content-type": header})

    assert (found.is_plain, found.is_unsaid) == (plain, unsaid)
