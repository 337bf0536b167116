from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwrap.errors import InvalidResponse, ResponseTooLarge
from modelwrap.wire.sse import Decoder, Event

BOM = b"\xef\xbb\xbf"


def decoded(*pieces: bytes) -> list[Event]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.finish()


def data_of(*pieces: bytes) -> list[str]:
    return [event.data for event in decoded(*pieces)]


pieces = st.sampled_from(
    [
        *(b"data:", b"data: ", b"event: x", b"error: {}", b"id", b"retry: 1", b":", b"text", b" ", b"\0", b"[DONE]"),
        *(b"\r", b"\n", b"\r\n", b"\n\n", b"{", b"}", b"<html>", BOM, BOM[:1], "é😀\u2028".encode()),
    ]
)


any_cutting = given(st.lists(pieces, max_size=30), st.lists(st.integers(0, 200), max_size=6))


@any_cutting
def test_pieces_and_the_whole_are_read_alike(parts: list[bytes], cuts: list[int]) -> None:
    _check_alike(parts, cuts)


@pytest.mark.prove
@settings(max_examples=10_000, deadline=None)
@any_cutting
def test_ten_thousand_streams_in_pieces_are_read_like_the_whole(parts: list[bytes], cuts: list[int]) -> None:
    _check_alike(parts, cuts)


def _check_alike(parts: list[bytes], cuts: list[int]) -> None:
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


@pytest.mark.parametrize(
    "body", [b'{\n  "error": {\n    "code": 503\n  }\n}', b'[{\n  "error": {\n    "code": 503\n  }\n}]']
)
@pytest.mark.parametrize("behind", [b"", b"\n", b"\n\n", b"\ndata: 2\n\n"])
def test_bare_json_over_several_lines_is_one_event(body: bytes, behind: bytes) -> None:
    first, spread, *others = data_of(b"data: 1\n\n" + body + behind)

    assert (first, spread) == ("1", body.decode())
    assert others == (["2"] if b"2" in behind else [])


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
    with pytest.raises(
        InvalidResponse, match="^an event of the stream is not UTF-8: invalid start byte at byte 7$"
    ) as caught:
        decoded(b'data: {"a": "\xff"}\n\n')

    assert caught.value.body == '{"a": "\ufffd"}'


@pytest.mark.parametrize("bad", [b"data: \xff\n\n", b"data: " + b"x" * 2000], ids=["bytes", "length"])
def test_what_is_whole_is_given_before_what_is_wrong(bad: bytes) -> None:
    decoder = Decoder(largest_event=1000)

    events = decoder.feed(b"data: a\n\ndata: b\n\n" + bad)

    assert [event.data for event in events] == ["a", "b"]
    for told in (decoder.check, lambda: decoder.feed(b""), decoder.finish):
        with pytest.raises(InvalidResponse):
            told()


def test_half_a_character_in_a_finished_event_is_an_error() -> None:
    with pytest.raises(InvalidResponse, match="unexpected end of data"):
        decoded("data: é".encode()[:-1] + b"\n\n")


def test_of_what_is_no_event_stream_the_beginning_is_given() -> None:
    (event,) = decoded(b"no field\n" * 10_000)

    assert 2000 < len(event.data) < 2100


@pytest.mark.parametrize(
    "line", [b"data: " + b"x" * 20, b"data", b"data:", b"error: {}", b"error", b"data:" + b"x" * 60], ids=bytes.decode
)
def test_event_of_many_lines_beyond_the_limit_is_an_error(line: bytes) -> None:
    decoder = Decoder(largest_event=100)

    with pytest.raises(ResponseTooLarge, match="one event of the stream is larger than 100 bytes"):
        for _ in range(120):
            decoder.feed(line + b"\n")


@pytest.mark.parametrize("start", [b"data: ", b"event: ", b": ", b"{", b'{"', b"<html>", b"nothing known"])
@pytest.mark.parametrize("piece", [1, 10, 1000])
def test_line_beyond_the_limit_is_an_error(start: bytes, piece: int) -> None:
    decoder = Decoder(largest_event=100)

    with pytest.raises(ResponseTooLarge):
        for data in [start, *[b"x" * piece] * 101]:
            decoder.feed(data)


def test_events_up_to_the_limit_are_read_one_after_the_other() -> None:
    decoder = Decoder(largest_event=100)
    largest = b"data:" + b"x" * 49 + b"\ndata:" + b"y" * 50 + b"\n\n"

    events = [event for _ in range(5) for event in decoder.feed(largest)]

    assert [len(event.data) for event in events] == [100] * 5


@pytest.mark.parametrize("start", [b"d", b"data", b"even", b"i", b"data: 1\n\nda"])
def test_field_that_is_cut_within_its_name_says_nothing(start: bytes) -> None:
    decoder = Decoder()

    events = decoder.feed(start) + decoder.finish()

    assert [event.data for event in events] == ["1"] * start.count(b"1")
