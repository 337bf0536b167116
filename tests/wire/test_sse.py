from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwrap.errors import InvalidResponse, ResponseTooLarge
from modelwrap.wire.sse import Decoder, Event

BOM = b"\xef\xbb\xbf"


def decoded(*pieces: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()


def data_of(*pieces: bytes) -> list[str]:
    return [event.data for event in decoded(*pieces)]


# The vectors of web-platform-tests, eventsource/format-*, with the events that a browser gives.
VECTORS = {
    "field-bogus": (b"data:1\nbogus\ndata:2\nbogus:3\n\n", ["1\n2"]),
    "field-data": (b"data:\n\ndata\ndata\n\ndata:test\n\n", ["", "\n", "test"]),
    "field-event-empty": (b"event: \ndata:data\n\n", ["data"]),
    "field-id": (b"id: 1\ndata:a\n\n", ["a"]),
    "field-id-null": (b"id: 1\0\ndata:a\n\n", ["a"]),
    "field-parsing": (
        (
            b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\n"
            b"da-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n"
        ),
        ["\0\n 2\n1\n3\n\n4"],
    ),
    "field-retry-bogus": (b"retry:3000\nretry:1000x\ndata:x\n\n", ["x"]),
    "field-retry-empty": (b"retry\ndata:test\n\n", ["test"]),
    "field-unknown": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\ndata:test\n\n",
        ["test\n\ntest"],
    ),
    "leading-space": (b"data:\ttest\rdata: \ndata:test\n\n", ["\ttest\n\ntest"]),
    "newlines": (b"data:test\r\ndata\ndata:test\r\n\r\n", ["test\n\ntest"]),
    "null-character": (b"data:\0\n\n\n\n", ["\0"]),
    "utf-8": ("data:ok…\n\n".encode(), ["ok…"]),
    "bom": (BOM + b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n", ["1", "3"]),
    "bom-twice": (BOM + BOM + b"data:1\n\ndata:2\n\ndata:3\n\n", ["2", "3"]),
    "comments": (
        b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 2048 + b"\rdata:3\n:data:fail\r:" + b"x" * 2048 + b"\ndata:4\n\n",
        ["1\n2\n3\n4"],
    ),
    "mime": ("data: \u2028\u0085\x1c\x1d\x1e|\n\n".encode(), ["\u2028\u0085\x1c\x1d\x1e|"]),
    "blocks-without-data": (b"id: 1\n\nretry: 5\n\nevent: ping\n\n: comment\n\ndata:1\n\n", ["1"]),
}


@pytest.mark.parametrize("name", VECTORS)
def test_stream_is_read_as_a_browser_reads_it(name: str) -> None:
    stream, expected = VECTORS[name]

    assert data_of(stream) == expected


@pytest.mark.parametrize("name", VECTORS)
def test_where_a_stream_is_cut_makes_no_difference(name: str) -> None:
    stream, expected = VECTORS[name]
    short = stream[:160]
    whole = decoded(short)

    assert data_of(*(bytes([byte]) for byte in stream)) == expected
    for first in range(len(short) + 1):
        assert decoded(short[:first], short[first:]) == whole
    for first in range(0, len(short), 3):
        for second in range(first, len(short), 7):
            assert decoded(short[:first], short[first:second], short[second:]) == whole


pieces = st.sampled_from(
    [
        *(b"data:", b"data: ", b"event: x", b"error: {}", b"id", b"retry: 1", b":", b"text", b" ", b"\0", b"[DONE]"),
        *(b"\r", b"\n", b"\r\n", b"\n\n", b"{", b"}", b"<html>", BOM, BOM[:1], "é😀\u2028".encode()),
    ]
)


@given(st.lists(pieces, max_size=30), st.lists(st.integers(0, 200), max_size=6))
def test_pieces_and_the_whole_are_read_alike(parts: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(parts)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    cut = [stream[start:end] for start, end in pairwise(places)]

    assert _outcome(cut) == _outcome([stream])


def _outcome(cut: list[bytes]) -> list[Event] | str:
    try:
        return decoded(*cut)
    except InvalidResponse as error:
        return str(error)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), max_size=8), st.data())
def test_what_was_written_is_what_is_read(texts: list[str], data: st.DataObject) -> None:
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    stream = "".join(f"data: {text}{(end := data.draw(ends))}{end}" for text in texts).encode()

    assert data_of(stream) == texts


def test_events_have_names() -> None:
    assert decoded(b"event: error\ndata: {}\n\nevent: a\n\ndata: 1\n\n") == [Event("error", "{}"), Event(None, "1")]


def test_error_field_is_an_event_named_error() -> None:
    assert decoded(b'data: 1\n\nerror: {"message": "no"}\n\n')[1] == Event("error", '{"message": "no"}')


def test_bare_object_between_events_is_data() -> None:
    assert data_of(b'data: 1\n\n{"error": "no"}\n') == ["1", '{"error": "no"}']


def test_last_event_without_its_blank_line_is_given_as_unfinished() -> None:
    assert decoded(b'data: 1\n\ndata: {"a"') == [Event(None, "1"), Event(None, '{"a"', unfinished=True)]
    assert decoded(b"data: 1\n") == [Event(None, "1", unfinished=True)]


@pytest.mark.parametrize(
    "body", [b'{\n "choices": []\n}', b"[1]", b"<html>\n\n</html>", b'"text"', b" \n{}", b"method=POST path=/\n", b"no"]
)
def test_body_that_is_no_event_stream_is_given_whole(body: bytes) -> None:
    for cut in (list(body), [body]):
        pieces = [bytes([piece]) if isinstance(piece, int) else piece for piece in cut]
        (event,) = decoded(*pieces)

        assert event.bare
        assert event.data.strip() == body.decode().strip()


@pytest.mark.parametrize("body", [b"", b"\n\n", b": only a comment\n\n", BOM, BOM[:2]])
def test_empty_stream_has_no_events(body: bytes) -> None:
    assert [event for event in _lenient(body) if not event.bare] == []


def _lenient(body: bytes) -> list[Event]:
    try:
        return decoded(body)
    except InvalidResponse:
        return []


def test_bytes_that_are_no_utf8_are_an_error() -> None:
    with pytest.raises(InvalidResponse, match="UTF-8"):
        decoded(b'data: {"a": "\xff"}\n\n')


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 101, b"data: " + b"x" * 60 + b"\n" + b"data: " + b"x" * 60 + b"\n", b"{" + b"x" * 101]
)
def test_event_beyond_the_limit_is_an_error(stream: bytes) -> None:
    decoder = Decoder(largest_event=100)

    with pytest.raises(ResponseTooLarge):
        for start in range(0, len(stream), 10):
            decoder.feed(stream[start : start + 10])


def test_reading_takes_linear_time() -> None:
    def seconds(size: int) -> float:
        decoder = Decoder()
        pieces = [b"x" * 50] * (size // 50)
        started = time.process_time()
        decoder.feed(b"data: ")
        for piece in pieces:
            decoder.feed(piece)
        decoder.feed(b"\n\n")
        return time.process_time() - started

    small, large = (min(seconds(size) for _ in range(3)) for size in (500_000, 2_000_000))

    assert large < small * 12


@pytest.mark.parametrize("start", [b"d", b"data", b"even", b"i", b"data: 1\n\nda"])
def test_field_that_is_cut_within_its_name_says_nothing(start: bytes) -> None:
    decoder = Decoder()

    events = decoder.feed(start) + decoder.finish()

    assert [event.data for event in events] == ["1"] * start.count(b"1")
