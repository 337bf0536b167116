"""Faults of streamed answers."""

from __future__ import annotations

from itertools import count
from typing import Any

from modelwrap.testing.faults.answers import (
    DONE,
    END_OF_CHUNKS,
    REQUEST_ID,
    STREAM_HEAD,
    TEXT,
    chat,
    chunk,
    event,
    events_of,
    head,
    in_chunk,
    json_head,
    opened,
    pieces,
    refusal,
    streamed,
    usage_chunk,
    whole,
)
from modelwrap.testing.faults.bodies import page
from modelwrap.testing.faults.catalogue import Act, Asked, Steps, fault

_STOP = event(chunk(finish_reason="stop"))
_END = [_STOP, event(usage_chunk()), DONE]


@fault("S01")
def odd_stream(
    asked: Asked, *, newline: str = "\n", bytewise: bool = False, comments: bool = False, space: bool = True
) -> Steps:
    """Stream well, in another form that the standard allows."""
    body = b"".join(events_of())
    if comments:
        body = b": hello\n\n" + body.replace(b"\n\n", b"\n: ping\n\n")
    if not space:
        body = body.replace(b"data: ", b"data:")
    body = body.replace(b"\n", newline.encode())
    parts = [body[at : at + 1] for at in range(len(body))] if bytewise else [body]
    yield from streamed(*parts)


@fault("S01")
def lines_of_data(asked: Asked) -> Steps:
    """Spread the JSON of each event over several `data:` lines."""
    yield from streamed(*(one.replace(b', "choices"', b',\ndata: "choices"') for one in events_of()))


@fault("S02")
def stream_with_mark(asked: Asked, *, split: bool = False) -> Steps:
    """Begin a stream with a byte order mark, which may come in two parts."""
    mark = [b"\xef", b"\xbb\xbf"] if split else [b"\xef\xbb\xbf"]
    yield STREAM_HEAD
    for one in mark:
        yield in_chunk(one)
        yield 0.02
    for one in events_of():
        yield in_chunk(one)
    yield END_OF_CHUNKS


@fault("S03")
def odd_line_breaks(asked: Asked) -> Steps:
    """Put characters into the JSON that some take for ends of lines."""
    yield from streamed(*events_of("a\u2028b\u2029c\u0085d\x7fe\x1cf\x1dg\x1eh"))


@fault("S04")
def blocks_without_data(asked: Asked) -> Steps:
    """Mix events of an id, a name, a wait or empty data into a stream."""
    noise = b"id: 7\n\n" + b"retry: 100\n\n" + b"event: ping\n\n" + b"data:\n\n"
    yield from streamed(noise, *(noise + one for one in events_of()), noise)


@fault("S05")
def cut_in_event(asked: Asked) -> Steps:
    """Close in the middle of an event, as if the stream were whole."""
    yield from streamed(*pieces(), _STOP[: len(_STOP) // 2])


@fault("S06")
def cut_between_events(asked: Asked) -> Steps:
    """End the stream after some events, without a finish reason and an end mark."""
    yield from streamed(*pieces())


@fault("S07")
def cut_chunked_stream(asked: Asked, *, every: float = 0.0) -> Steps:
    """Close between events, of which one comes every so many seconds, without the end that the body must have."""
    yield from opened()
    for one in pieces():
        yield in_chunk(one)
        yield every
    yield Act.CLOSE


@fault("S07")
def reset_stream(asked: Asked) -> Steps:
    """Reset the connection between events."""
    yield from opened(*pieces())
    yield 0.1
    yield Act.RESET


@fault("S08")
def no_end_mark(asked: Asked) -> Steps:
    """Give the finish reason and end without `[DONE]`."""
    yield from streamed(*pieces(), _STOP)


@fault("S09")
def reset_after_finish(asked: Asked) -> Steps:
    """Give the finish reason, then reset the connection."""
    yield from opened(*pieces(), _STOP)
    yield 0.1
    yield Act.RESET


@fault("S10")
def error_event(asked: Asked, *, message: str = "the model is overloaded", code: str = "overloaded") -> Steps:
    """Break off with an error in an event."""
    yield from streamed(*pieces(), event(refusal(message, code)))


@fault("S10")
def error_as_first_event(asked: Asked, *, message: str = "busy", code: str = "overloaded") -> Steps:
    """Begin the stream with an error."""
    yield from streamed(event(refusal(message, code)))


@fault("S11")
def named_error_event(asked: Asked) -> Steps:
    """Break off with an event that is named `error` and holds a flat object."""
    flat = {"type": "overloaded_error", "message": "the model is overloaded"}
    yield from streamed(*pieces(), b"event: error\n" + event(flat))


@fault("S12")
def stalled_stream(asked: Asked) -> Steps:
    """Send one event and say nothing more."""
    yield from opened(pieces()[0])
    yield Act.HANG


@fault("S13")
def comments_only(asked: Asked, *, every: float = 0.05, events: int = 0, empty: bool = False) -> Steps:
    """Send comments, or empty events, for ever, after none or some events."""
    yield from opened(*pieces()[:events])
    for _ in count():
        yield in_chunk(b"data:\n\n" if empty else b": keep-alive\n\n")
        yield every


@fault("S14")
def endless_stream(asked: Asked, *, every: float = 0.0, size: int = 100) -> Steps:
    """Stream for ever."""
    yield STREAM_HEAD
    one = in_chunk(event(chunk("x" * size)))
    for _ in count():
        yield one
        yield every


@fault("S15")
def endless_event(asked: Asked, *, size: int = 200 * 2**20) -> Steps:
    """Send one event that is very large."""
    yield STREAM_HEAD
    yield in_chunk(b'data: {"id": "')
    piece = in_chunk(b"x" * 2**20)
    for _ in range(0, size, 2**20):
        yield piece
    yield END_OF_CHUNKS


@fault("S16")
def broken_event(asked: Asked) -> Steps:
    """Put an event whose JSON is garbled into a stream."""
    yield from streamed(*pieces(), b'data: {"id": "x", "choices": [}\n\n', *_END)


@fault("S17")
def odd_event(asked: Asked, *, text: str = "123") -> Steps:
    """Put an event of any text into a stream."""
    yield from streamed(*pieces(), event(text.encode()), *_END)


@fault("S18")
def bad_utf8_event(asked: Asked) -> Steps:
    """Put an event that is no UTF-8 into a stream."""
    yield from streamed(*pieces(), event(chunk("EMOJI")).replace(b"EMOJI", b"\xff\xfe"), *_END)


@fault("S19")
def repeated_event(asked: Asked) -> Steps:
    """Send every event twice."""
    yield from streamed(*(one for text in pieces() for one in (text, text)), *_END)


@fault("S20")
def events_without_choices(asked: Asked) -> Steps:
    """Send events whose choices are empty: the verdict of a filter first, the usage last."""
    verdict = {**chunk(), "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    yield from streamed(event(verdict), *pieces(), *_END)


@fault("S21")
def json_for_stream(asked: Asked) -> Steps:
    """Answer with a whole reply where a stream was asked for."""
    yield from whole(chat())


@fault("S22")
def html_for_stream(asked: Asked) -> Steps:
    """Answer with a web page where a stream was asked for."""
    body = page("Sign in")
    yield json_head(len(body), content_type="text/html") + body


@fault("S22")
def empty_stream(asked: Asked) -> Steps:
    """Answer with a stream in which nothing is."""
    yield from streamed()


@fault("S23")
def events_after_end(asked: Asked) -> Steps:
    """Go on after `[DONE]`."""
    yield from streamed(*events_of(), *pieces(" and more"), _STOP)


@fault("S24")
def cut_tool_call(asked: Asked) -> Steps:
    """Close in the middle of a tool call's arguments."""
    calls: list[list[dict[str, Any]]] = [
        [{"index": 0, "id": "call-1", "type": "function", "function": {"name": "delete", "arguments": '{"pa'}}],
        [{"index": 0, "function": {"arguments": 'th": "/tmp'}}],
    ]
    yield from opened(*(event(chunk(tool_calls=one)) for one in calls))
    yield 0.05
    yield Act.CLOSE


@fault("S25")
def mixed_choices(asked: Asked) -> Steps:
    """Mix the pieces of several choices, one of them with a very large index."""
    order = [(0, "Rhine"), (10**9, "Elbe"), (1, "Oder"), (0, ", Main"), (10**9, ", Saale"), (1, ", Neisse")]
    ends = [event(chunk(finish_reason="stop", index=index)) for index in (1, 10**9, 0)]
    yield from streamed(*(event(chunk(text, index=index)) for index, text in order), *ends, DONE)


@fault("S25")
def too_many_choices(asked: Asked, *, how_many: int = 100_000) -> Steps:
    """Stream very many choices."""
    yield STREAM_HEAD
    for index in range(how_many):
        yield in_chunk(event(chunk("x", index=index)))
    yield in_chunk(DONE) + END_OF_CHUNKS


@fault("S26")
def long_stream(asked: Asked, *, events: int = 10_000, every: float = 0.01) -> Steps:
    """Stream well and for long, for readers that leave early."""
    yield STREAM_HEAD
    for number in range(events):
        yield in_chunk(event(chunk(f"{number} ")))
        yield every
    yield in_chunk(b"".join(_END)) + END_OF_CHUNKS


@fault("S05")
def cut_unframed_stream(asked: Asked) -> Steps:
    """Close in the middle of an event of a body whose end is the end of the connection."""
    yield head(content_type="text/event-stream", connection="close", x_request_id=REQUEST_ID)
    yield b"".join(pieces(TEXT)) + _STOP[: len(_STOP) // 2]
    yield Act.CLOSE
