"""Each case of web-platform-tests' `eventsource/format-*`, and what else servers send, at every place to cut it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import pytest

from modelwrap.wire.sse import Decoder, Event

BOM = b"\xef\xbb\xbf"
LONG = b"x" * 512


def message(data: str) -> Event:
    """Give an event without a name."""
    return Event(None, data)


# What a browser gives. Its reconnecting (`id`, `retry`) is no concern of an answer that is read once.
VECTORS: dict[str, tuple[bytes, list[Event]]] = {
    "bom": (BOM + b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n", [message("1"), message("3")]),
    "bom-2": (BOM + BOM + b"data:1\n\ndata:2\n\ndata:3\n\n", [message("2"), message("3")]),
    "comments": (
        b"data:1\r:\0\n:\r\ndata:2\n:" + LONG + b"\rdata:3\n:data:fail\r:" + LONG + b"\ndata:4\n\n",
        [message("1\n2\n3\n4")],
    ),
    "data-before-final-empty-line": (
        b"retry:1000\ndata:test1\n\nid:test\ndata:test2",
        [message("test1"), Event(None, "test2", unfinished=True)],
    ),
    "event-data": (
        b"data:msg\ndata:msg\n\n:\nfalsefield:msg\n\nfalsefield:msg\nData:data\n\ndata\n\ndata:end\n\n",
        [message("msg\nmsg"), message(""), message("end")],
    ),
    "field-data": (b"data:\n\ndata\ndata\n\ndata:test\n\n", [message(""), message("\n"), message("test")]),
    "field-event": (b"event:test\ndata:x\n\ndata:x\n\n", [Event("test", "x"), message("x")]),
    "field-event-empty": (b"event: \ndata:data\n\n", [message("data")]),
    "field-id": (b"id: \xe2\x80\xa6\ndata:hello\n\n", [message("hello")]),
    "field-id-2": (b"id: 1\ndata:a\n\ndata:b\n\nid: \xe2\x80\xa6\ndata:c\n\n", [message(text) for text in "abc"]),
    "field-id-3": (b"id: 1\nid\ndata:hello\n\n", [message("hello")]),
    "field-id-null": (b"id: \0\0\ndata:hello\n\nid: 1\0\ndata:a\n\n", [message("hello"), message("a")]),
    "field-parsing": (
        (
            b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\n"
            b"da-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n"
        ),
        [message("\0\n 2\n1\n3\n\n4")],
    ),
    "field-retry": (b"retry:03000\ndata:x\n\n", [message("x")]),
    "field-retry-bogus": (b"retry:3000\nretry:1000x\ndata:x\n\n", [message("x")]),
    "field-retry-empty": (b"retry\ndata:test\n\n", [message("test")]),
    "field-unknown": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:a comment\ndata:test\n\n",
        [message("test\n\ntest")],
    ),
    "leading-space": (b"data:\ttest\rdata: \ndata:test\n\n", [message("\ttest\n\ntest")]),
    "newlines": (b"data:test\r\ndata\ndata:test\r\n\r\n", [message("test\n\ntest")]),
    "null-character": (b"data:\0\n\n\n\n", [message("\0")]),
    "utf-8": ("data:ok…\n\n".encode(), [message("ok…")]),
}

# What the browsers' cases leave out, and what providers of models send.
MORE = {
    "trailing-space": (b"data:test \ndata: test\t\n\n", [message("test \ntest\t")]),
    "only one space is dropped": (
        b"data:  a\n\ndata: \n\ndata:\xc2\xa0b\n\n",
        [message(" a"), message(""), message("\xa0b")],
    ),
    "line ends of other scripts": (
        "data: \u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e|\n\n".encode(),
        [message("\u2028\u2029\u0085\x0b\x0c\x1c\x1d\x1e|")],
    ),
    "carriage returns only": (b"data:1\r\rdata:2\r\r", [message("1"), message("2")]),
    "carriage returns with line feeds": (b"data:1\r\n\r\ndata:2\r\n\r\n", [message("1"), message("2")]),
    "blank lines before the first event": (b"\r\n\n\rdata:1\n\n", [message("1")]),
    "a blank before the first field": (b"\n data:1\ndata:2\n\n", [message("2")]),
    "blanks on a line before the first field": (b" \t\r\ndata:1\n\n", [message("1")]),
    "blocks without data": (b"id: 1\n\nretry: 5\n\nevent: ping\n\n: comment\n\ndata:1\n\n", [message("1")]),
    "colons in data": (b"data:a:b: c\n\ndata::\n\n", [message("a:b: c"), message(":")]),
    "characters of four bytes": ("data: 😀é\n\ndata: 𝄞\n\n".encode(), [message("😀é"), message("𝄞")]),
    "keep-alive comments": (b": ping\n\n: ping\n\ndata:1\n\n: ping\n\n", [message("1")]),
    "named error": (b'event: error\ndata: {"a": 1}\n\n', [Event("error", '{"a": 1}')]),
    "error field": (b'data:1\n\nerror: {"a": 1}\n\n', [message("1"), Event("error", '{"a": 1}')]),
    "an object without its field": (
        b'data:1\n\n{"error": 2}\ndata:3\n\n',
        [message("1"), message('{"error": 2}'), message("3")],
    ),
    "last event cut": (b'data:1\n\ndata: {"a', [message("1"), Event(None, '{"a', unfinished=True)]),
    "an object at the end without its field": (b'data:1\n\n{"error": 2}', [message("1"), message('{"error": 2}')]),
    "cut within a character": ("data:1\n\ndata:é".encode()[:-1], [message("1"), Event(None, "", unfinished=True)]),
    "cut within a name": ("data:1\nevent:é".encode()[:-1], [Event(None, "1", unfinished=True)]),
    "blank lines with blanks before the first event": (b"\n \n\r \r\rdata:1\n\n", [message("1")]),
    "nothing": (b"", []),
    "a mark alone": (BOM, []),
    "only numbers and waits": (b"id: 1\n\nretry: 5\n\n", []),
    "lines of no event stream": (b"method=POST\npath=/\n", [Event(None, "method=POST\npath=/", bare=True)]),
    "blanks before no event stream": (b"   no\n", [Event(None, " no", bare=True)]),
    "no event stream, cut within a character": ("né".encode()[:-1], [Event(None, "n", bare=True)]),
    "a body, cut within a character": ('{"é'.encode()[:-1], [Event(None, '{"', bare=True)]),
    "only comments": (b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n", []),
}

CASES = VECTORS | MORE


def read(*pieces: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()


def cut(stream: bytes, cuts: int) -> Iterator[list[bytes]]:
    """Give the pieces of a stream for each way to cut it in so many places; the pieces may be empty."""
    for places in combinations(range(len(stream) + cuts), cuts):
        ends = [place - number for number, place in enumerate(places)]
        yield [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_stream_is_read_as_a_browser_reads_it(name: str) -> None:
    stream, expected = CASES[name]

    events = read(stream)

    assert events == expected


@pytest.mark.parametrize("name", CASES)
def test_where_a_stream_is_cut_makes_no_difference(name: str) -> None:
    stream, expected = CASES[name]
    short = stream.replace(LONG, b"xxx")

    wrong = [pieces for cuts in (1, 2) for pieces in cut(short, cuts) if read(*pieces) != expected]
    wrong += [pieces for pieces in cut(stream, 1) if read(*pieces) != expected]
    byte_by_byte = read(*(bytes([byte]) for byte in stream))

    assert wrong == []
    assert byte_by_byte == expected


@pytest.mark.prove
def test_where_a_stream_with_long_comments_is_cut_twice_makes_no_difference() -> None:
    stream, expected = VECTORS["comments"]

    wrong = [tuple(map(len, pieces)) for pieces in cut(stream, 2) if read(*pieces) != expected]

    assert wrong == []
