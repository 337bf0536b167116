"""The same table on OpenAI's Responses: the same faults, in answers as they are given there, and a column for them."""

from __future__ import annotations

from typing import Any, ClassVar

from modelwrap.testing.faults import answers
from modelwrap.testing.faults.answers import TEXT, event
from modelwrap.testing.faults.catalogue import Asked, Steps
from tests.faults.columns import OwnColumn
from tests.faults.wires import Wire, on_every_client

# The id by which the table knows what came of a body that was cut.
_KNOWN = {"id": "chatcmpl-1", "object": "response", "created_at": 1_700_000_000, "model": "fault-model"}
_USAGE = {"input_tokens": 3, "output_tokens": 7, "total_tokens": 10}
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(text: str | None, finish_reason: str | None) -> dict[str, Any]:
    said = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [said]}
    reason = _REASONS.get(finish_reason or "")
    return {
        **_KNOWN,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [] if text is None else [message],
        "usage": _USAGE,
    }


def chat(text: str | None = TEXT, finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return response(text, finish_reason)


def chunk(text: str | None = None, finish_reason: str | None = None, *, index: int = 0, **delta: Any) -> dict[str, Any]:
    if finish_reason is not None:
        whole = response(None, finish_reason)
        return {"type": f"response.{whole['status']}", "response": whole}
    place = {"output_index": index, "content_index": 0, "item_id": "msg_1"}
    if "tool_calls" in delta:
        (call,) = delta["tool_calls"]
        function = call["function"]
        if "id" not in call:
            return {"type": "response.function_call_arguments.delta", **place, "delta": function["arguments"]}
        item = {"type": "function_call", "id": "fc_1", "call_id": call["id"], **function}
        return {"type": "response.output_item.added", **place, "item": item}
    return {"type": "response.output_text.delta", **place, "delta": text or ""}


def usage_chunk() -> dict[str, Any]:
    return {"type": "keepalive"}


def pieces(text: str = TEXT) -> list[bytes]:
    words = text.split(" ")
    created = event({"type": "response.created", "response": {**_KNOWN, "status": "in_progress", "output": []}})
    said = [event(chunk(word if number == 0 else f" {word}")) for number, word in enumerate(words)]
    return [created + said[0], *said[1:]]


def events_of(text: str = TEXT) -> list[bytes]:
    return [*pieces(text), event(chunk(finish_reason="stop"))]


def good(asked: Asked, *, text: str = TEXT) -> Steps:
    """Answer as the operation does that is asked for."""
    body = asked.json if asked.body else {}
    if isinstance(body, dict) and body.get("stream"):
        yield from answers.streamed(*events_of(text))
    else:
        yield from answers.whole(chat(text))


_STOP = event(chunk(finish_reason="stop"))

SPOKEN = {
    "chat": chat,
    "chunk": chunk,
    "usage_chunk": usage_chunk,
    "pieces": pieces,
    "events_of": events_of,
    "good": good,
    "_STOP": _STOP,
    "_END": [_STOP],
}


class ResponsesColumn(OwnColumn):
    config: ClassVar = {**OwnColumn.config, "api": "responses"}


COLUMNS = on_every_client(ResponsesColumn)

RESPONSES = Wire(
    "responses",
    COLUMNS,
    SPOKEN,
    not_here={
        "C20": "there are no choices on this wire: a row of its own, beside the table",
        "C21": "there are no choices on this wire: a row of its own, beside the table",
        "C22": "the row breaks the JSON of Chat Completions: a row of its own, beside the table",
        "C53": "the row asks a server that repeats messages of Chat Completions",
        "C54": "the row asks a server that repeats messages of Chat Completions",
        "C55": "the row asks a server that repeats messages of Chat Completions",
        "S08": "the end of this wire is its end mark",
        "S09": "the end of this wire is its end mark",
        "S25": "there are no choices on this wire; that items have an end is shown beside its codec",
    },
)
