"""Bodies of streams, cut anywhere: what is read must not depend on where the network cuts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelwrap.errors import CallError, InvalidResponse, ResponseTooLarge
from modelwrap.wire import sse
from modelwrap.wire.content_type import content_type_of
from modelwrap.wire.post_api import Service
from modelwrap.wire.post_api_bodies import TEXT, Sniffed, decoder_for
from tests.wire.cases import CASES

STREAMS = sorted((CASES / "post_api").glob("*/stream.txt"))
LATIN = {"content-type": "text/plain; charset=iso-8859-1"}


def read(pieces: list[bytes], headers: dict[str, str]) -> tuple[list[sse.Event], str]:
    """Give the events of a body, the texts of plain words put together, and the error that ended it."""
    decoder = decoder_for(headers, Service().knows)
    events: list[sse.Event] = []
    failed = ""
    try:
        for piece in pieces:
            events += decoder.feed(piece)
            decoder.check()
        events += decoder.finish()
        decoder.check()
    except CallError as error:
        failed = str(error)
    if all(event.event == TEXT for event in events):
        return [sse.Event(TEXT, "".join(event.data for event in events))], failed
    return events, failed


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.parent.name)
def test_where_a_body_is_cut_makes_no_difference(path: Path) -> None:
    body = path.read_bytes()
    headers = json.loads((path.parent / "case.json").read_text("utf-8")).get("headers", {})

    whole = read([body], headers)

    for size in (1, 2, 3, 7):
        assert read([body[start : start + size] for start in range(0, len(body), size)], headers) == whole
    for cut in range(1, min(len(body), 80)):
        assert read([body[:cut], body[cut:]], headers) == whole


def test_a_text_is_read_in_its_charset_however_it_is_cut() -> None:
    assert read([b"K\xf6", b"ln"], LATIN) == ([sse.Event(TEXT, "Köln")], "")


def test_letters_of_several_bytes_are_put_together() -> None:
    body = "Zürich 😀".encode()

    events, failed = read([bytes([byte]) for byte in body], {})

    assert (events, failed) == ([sse.Event(TEXT, "Zürich 😀")], "")


def test_a_byte_order_mark_is_no_part_of_what_follows() -> None:
    mark = b"\xef\xbb\xbf"

    for body in (mark + b" Bonn", mark + b'\n{"a": 1}\n{"a": 2}', b'{"a": 1}\n{"a": 2}'):
        whole = read([body], {})
        assert read([bytes([byte]) for byte in body], {}) == whole
        assert "\ufeff" not in str(whole)


def test_a_charset_that_nobody_knows_is_an_error() -> None:
    _, failed = read([b"Bonn"], {"content-type": "text/plain; charset=zlib"})

    assert "nobody knows the charset" in failed


def test_a_charset_that_wants_a_mark_and_has_none_is_an_error() -> None:
    _, failed = read([b"Bonn"], {"content-type": "text/plain; charset=utf-16"})

    assert "the text is not UTF-16: UTF-16 stream does not start with BOM" in failed


def test_half_a_letter_at_the_end_is_an_error() -> None:
    with pytest.raises(InvalidResponse, match="not UTF-8"):
        decoder = decoder_for({}, Service().knows)
        decoder.feed("Zürich".encode()[:2])
        decoder.finish()


@pytest.mark.parametrize(
    "piece", [b" ", b"\n", b'{"a": "', b"{}\n"], ids=["blanks", "lines", "one line", "then blanks"]
)
def test_what_is_held_to_find_out_has_a_limit(piece: bytes) -> None:
    decoder = Sniffed(content_type_of({}), Service().knows, largest=1000)
    decoder.feed(piece)

    with pytest.raises(ResponseTooLarge):
        for _ in range(2000):
            decoder.feed(b"\n" if piece == b"{}\n" else b" ")
