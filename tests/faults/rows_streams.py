"""Rows of streamed answers."""

from __future__ import annotations

import time
from typing import Any

from modelwrap.testing.faults.answers import TEXT
from tests.faults.case import Case, Tried, row
from tests.faults.rows_bodies import MOST_MEMORY

CUT = ("StreamTruncated", "StreamFailed")


def streamed(case: Case, fault: str, **given: Any) -> Tried:
    return case.ask(fault, stream=True, **given)


def broken_off(case: Case, fault: str, *kinds: str, partial: str = TEXT, **given: Any) -> Tried:
    """Demand one request, and an error that carries what had come."""
    tried = streamed(case, fault, **given).fails(*kinds, requests=1, partial=partial)
    tried.demand("".join(tried.outcome.pieces) == partial, f"read {''.join(tried.outcome.pieces)!r:.60}")
    return tried


@row("S01", "all forms of an event stream")
def forms(case: Case) -> None:
    streamed(case, "good").succeeds(done=True)
    for newline in ("\n", "\r", "\r\n"):
        for bytewise in (False, True):
            streamed(case, "odd_stream", newline=newline, bytewise=bytewise).succeeds(done=True)
    streamed(case, "odd_stream", comments=True, bytewise=True).succeeds(done=True)
    streamed(case, "odd_stream", space=False).succeeds(done=True)
    streamed(case, "lines_of_data").succeeds(done=True)


@row("S02", "byte order mark, whole and in two")
def stream_with_mark(case: Case) -> None:
    for split in (False, True):
        streamed(case, "stream_with_mark", split=split).succeeds(done=True)


@row("S03", "U+2028, U+0085 and the like are no ends of lines")
def odd_line_breaks(case: Case) -> None:
    streamed(case, "odd_line_breaks").succeeds("a\u2028b\u2029c\u0085d\x7fe\x1cf\x1dg\x1eh")


@row("S04", "events of an id, a wait, a name; empty data")
def blocks_without_data(case: Case) -> None:
    streamed(case, "blocks_without_data").succeeds(done=True)


@row("S05", "cut in the middle of an event")
def cut_in_event(case: Case) -> None:
    for fault in ("cut_in_event", "cut_unframed_stream"):
        broken_off(case, fault, *CUT)


@row("S06", "ended between events, without finish reason and end mark")
def cut_between_events(case: Case) -> None:
    broken_off(case, "cut_between_events", *CUT)


@row("S07", "chunked body cut, connection reset")
def broken_stream(case: Case) -> None:
    for fault in ("cut_chunked_stream", "reset_stream"):
        broken_off(case, fault, *CUT).closes()
    # All has come by the time that the reader is back.
    broken_off(case, "cut_chunked_stream", *CUT, every=0.02, call={"dwell": 0.3}).closes()


@row("S08", "finish reason, no [DONE]")
def no_end_mark(case: Case) -> None:
    streamed(case, "no_end_mark").succeeds(done=False)


@row("S09", "finish reason, then reset")
def reset_after_finish(case: Case) -> None:
    streamed(case, "reset_after_finish").succeeds(done=False)


@row("S10", "an error in an event")
def error_event(case: Case) -> None:
    broken_off(case, "error_event", "StreamFailed")
    streamed(case, "error_as_first_event").fails("Overloaded", requests=3)
    streamed(case, "error_as_first_event", times=1).succeeds(requests=2)


@row("S11", "an event named error")
def named_error_event(case: Case) -> None:
    broken_off(case, "named_error_event", "StreamFailed")


@row("S12", "silence after the first piece")
def stalled_stream(case: Case) -> None:
    tried = broken_off(case, "stalled_stream", "TimedOut", partial="Rhine,", idle=0.3)
    tried.fails("TimedOut", limit="idle", closed=True)


@row("S13", "comments or empty events only")
def comments_only(case: Case) -> None:
    tried = streamed(case, "comments_only", first_token=0.3, retries=0, total=1.0)
    tried.fails("TimedOut", requests=1, limit="first_token", closed=True)
    for empty in (False, True):
        settings = {"idle": 0.3, "total": 1.0}
        tried = broken_off(case, "comments_only", "TimedOut", partial="Rhine,", events=1, empty=empty, **settings)
        tried.fails("TimedOut", limit="idle", closed=True)
    streamed(case, "comments_only", first_token=9.0, total=0.5).fails("TimedOut", limit="total", closed=True)


@row("S14", "stream without end")
def endless_stream(case: Case) -> None:
    tried = streamed(case, "endless_stream", total=0.7, every=0.001).fails(
        "TimedOut", "ResponseTooLarge", requests=1, closed=True
    )
    tried.demand(len(tried.outcome.pieces) > 1, "nothing was delivered")


@row("S15", "event of 200 MB")
def endless_event(case: Case) -> None:
    [(_, outcome)] = case.in_child({"fault": "endless_event", "stream": True})
    failure = outcome.failure
    case.demand(bool(failure and "ResponseTooLarge" in failure.kinds), failure.name if failure else "no error")
    case.demand(outcome.peak <= MOST_MEMORY, f"memory grew by {outcome.peak:.0f} MiB")
    case.demand(case.server.seen("endless_event").requests == 1, "it was asked for more than once")


@row("S16", "an event whose JSON is broken")
def broken_event(case: Case) -> None:
    broken_off(case, "broken_event", "StreamFailed", "InvalidResponse")


@row("S17", "events 123, null, [], text")
def odd_events(case: Case) -> None:
    for text in ("123", "null", "[]", '"text"'):
        broken_off(case, "odd_event", "InvalidResponse", text=text)


@row("S18", "an event that is no UTF-8")
def bad_utf8_event(case: Case) -> None:
    broken_off(case, "bad_utf8_event", "InvalidResponse")


@row("S19", "every event twice")
def repeated_event(case: Case) -> None:
    streamed(case, "repeated_event").succeeds("Rhine,Rhine, Elbe, Elbe, Oder Oder 🌊. 🌊.")


@row("S20", "events whose choices are []")
def events_without_choices(case: Case) -> None:
    call = None if case.column.ours else {"stream_options": {"include_usage": True}}
    tried = streamed(case, "events_without_choices", call=call).succeeds(done=True)
    tried.demand(tried.outcome.tokens == 10, f"usage is {tried.outcome.tokens}")


@row("S21", "JSON where a stream was asked for")
def json_for_stream(case: Case) -> None:
    tried = streamed(case, "json_for_stream")
    if tried.failure:
        tried.fails("InvalidResponse", requests=1)
    else:
        tried.succeeds()


@row("S22", "a web page, or nothing, where a stream was asked for")
def nothing_for_stream(case: Case) -> None:
    streamed(case, "html_for_stream").fails("InvalidResponse", *CUT)
    streamed(case, "empty_stream").fails("InvalidResponse", *CUT)


@row("S23", "events after [DONE]")
def events_after_end(case: Case) -> None:
    client = case.client("events_after_end")
    for _ in range(2):
        case.ask_again(client, "events_after_end", stream=True).succeeds(connections=1, done=True)


@row("S24", "cut in the arguments of a tool call")
def cut_tool_call(case: Case) -> None:
    tried = streamed(case, "cut_tool_call").fails(*CUT, requests=1)
    if tried.failure:
        tried.demand(tried.failure.calls == ['{"path": "/tmp'], f"the partial calls are {tried.failure.calls}")


@row("S25", "mixed choices, index of a milliard, 100,000 choices")
def mixed_choices(case: Case) -> None:
    tried = streamed(case, "mixed_choices").succeeds("Rhine, Main")
    wanted = {0: "Rhine, Main", 1: "Oder, Neisse", 10**9: "Elbe, Saale"}
    tried.demand(tried.outcome.choices == wanted, f"the choices are {tried.outcome.choices}")
    streamed(case, "too_many_choices", how_many=2000).fails("InvalidResponse", requests=1)


@row("S26", "the reader leaves")
def reader_leaves(case: Case) -> None:
    for way in case.column.ways_to_leave:
        client = case.client("long_stream")
        started = time.monotonic()
        client.leave(way)
        closed = case.server.all_closed("long_stream", within=1.0)
        case.demand(closed, f"{way}: the connection is still open after a second")
        case.demand(time.monotonic() - started < 2.5, f"{way}: it took long")
    case.demand(case.server.seen("long_stream").closed_by_server == 0, "the server had to close")
