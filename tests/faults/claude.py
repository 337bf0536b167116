"""The table on another wire: the same faults, done by a server that speaks Anthropic's Messages API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar

from modelwrap.testing.faults.answers import TEXT
from tests.claude_wire import message
from tests.faults.columns import OwnColumn
from tests.faults.wires import Wire, on_every_client

# By this id the table knows what came of a body that was cut.
_KNOWN = {"id": "chatcmpl-1", "model": "fault-model"}


def chat(text: str | None = TEXT, finish_reason: str | None = "stop", **fields: Any) -> dict[str, Any]:
    said = [] if text is None else [text]
    return {**_KNOWN, **message(*said, **_KNOWN, usage={"input_tokens": 3, "output_tokens": 7})}


def chunk(text: str | None = None, finish_reason: str | None = None, **delta: Any) -> list[dict[str, Any]]:
    """Give the events that say what one of OpenAI's chunks does."""
    events = [event for call in delta.get("tool_calls", ()) for event in _call(call)]
    if text is not None:
        events.append(_delta({"type": "text_delta", "text": text}))
    if finish_reason is not None:
        ended = {"stop_reason": "end_turn", "stop_sequence": None}
        events += [{"type": "content_block_stop", "index": 0}]
        events += [{"type": "message_delta", "delta": ended, "usage": {"output_tokens": 7}}]
    return events


def _call(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "id" in call:
        yield _start()
        block = {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield _delta({"type": "input_json_delta", "partial_json": call["function"]["arguments"]})


def _start() -> dict[str, Any]:
    begun = message(stop="", **_KNOWN, usage={"input_tokens": 3, "output_tokens": 1})
    return {"type": "message_start", "message": {**begun, "stop_reason": None}}


def _delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def event(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"data: " + value + b"\n\n"
    values = value if isinstance(value, list) else [value]
    return b"".join(b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\n\n" for one in values)


def pieces(text: str = TEXT) -> list[bytes]:
    opening = [_start(), {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}]
    words = text.split(" ")
    said = [chunk(word if number == 0 else f" {word}") for number, word in enumerate(words)]
    return [event([*opening, *said[0]]), *map(event, said[1:])]


DONE = event({"type": "message_stop"})
STOP = event(chunk(finish_reason="stop"))
PING = event({"type": "ping"})


def events_of(text: str = TEXT) -> list[bytes]:
    return [*pieces(text), STOP, PING, DONE]


def refusal(words: str, code: str | None = None, kind: str = "error") -> dict[str, Any]:
    known = {"overloaded": "overloaded_error", "rate_limit_exceeded": "rate_limit_error"}
    return {"type": "error", "error": {"type": known.get(code or "", code or "api_error"), "message": words}}


SPOKEN = {
    "chat": chat,
    "chunk": chunk,
    "event": event,
    "pieces": pieces,
    "events_of": events_of,
    "refusal": refusal,
    "usage_chunk": lambda: [{"type": "ping"}],
    "DONE": DONE,
    "_STOP": STOP,
    "_END": [STOP, PING, DONE],
}


class ClaudeColumn(OwnColumn):
    config: ClassVar = {"model_type": "claude", "model": "claude-haiku-4-5", "generate_args": {"max_tokens": 100}}


COLUMNS = on_every_client(ClaudeColumn)

CLAUDE = Wire(
    "claude",
    COLUMNS,
    SPOKEN,
    not_here={
        "C20": "there are no choices on this wire: a row of its own, beside the table",
        "C21": "there are no choices on this wire: a row of its own, beside the table",
        "C22": "the row breaks OpenAI's JSON: a row of its own, beside the table",
        "S20": "there are no choices on this wire",
        "S25": "there are no choices on this wire",
    },
    also_short=frozenset({"C32", "C33", "C35"}),
)
