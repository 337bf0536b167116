"""Messages and events of Claude's, as tests need them."""

from __future__ import annotations

import json
from typing import Any

from tests.loopback import Answer, json_answer


def message(*content: Any, stop: str = "end_turn", **fields: Any) -> dict[str, Any]:
    """Give a whole message; a string stands for its block of text."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": block} if isinstance(block, str) else block for block in content],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 4},
        **fields,
    }


def events_of(whole: dict[str, Any], *, pieces: int = 3) -> list[dict[str, Any]]:
    """Give the events that bring a message, its texts in pieces of so many letters."""
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for index, block in enumerate(whole["content"]):
        opened, deltas = _in_pieces(block, pieces)
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    delta = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details") if name in whole}
    events.append({"type": "message_delta", "delta": delta, "usage": whole["usage"]})
    return [*events, {"type": "message_stop"}]


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(framed(event) for event in events)


def framed(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def message_answer(*content: Any, **fields: Any) -> Answer:
    return json_answer(message(*content, **fields), request_id="req_1")


def stream_answer(*content: Any, **fields: Any) -> Answer:
    return events_answer(events_of(message(*content, **fields)))


def events_answer(events: list[dict[str, Any]], *, cut: bool = False) -> Answer:
    pieces: list[bytes | float] = [framed(event) for event in events]
    return Answer(200, {"content-type": "text/event-stream", "request-id": "req_1"}, pieces, cut=cut)


def refusal(status: int, kind: str, words: str) -> Answer:
    return json_answer({"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}, status)


def overloaded_event() -> dict[str, Any]:
    return {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def _in_pieces(block: dict[str, Any], size: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in _cut(block["text"], size)]
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _cut(block["thinking"], size)]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*deltas, signed]
    if "input" in block:
        text = json.dumps(block["input"], ensure_ascii=False)
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *_cut(text, size)]]
        return {**block, "input": {}}, deltas
    return block, []


def _cut(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]
