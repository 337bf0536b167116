"""Answers of OpenAI's Responses as they stand on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.loopback import Answer, event, json_answer


def response(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "test-model",
        "output": list(output),
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": {
            "input_tokens": 3,
            "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
            "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 5,
        },
        **fields,
    }


def said(text: str, number: int = 1, **fields: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": f"msg_{number}",
        "role": "assistant",
        "status": "completed",
        "content": [part],
        **fields,
    }


def thought(*summaries: str, number: int = 1, encrypted: str = "ZW5j") -> dict[str, Any]:
    parts = [{"type": "summary_text", "text": text} for text in summaries]
    return {"type": "reasoning", "id": f"rs_{number}", "summary": parts, "encrypted_content": encrypted}


def called(number: int = 1, name: str = "weather", arguments: str = '{"city":"Rome"}') -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": arguments,
        "status": "completed",
    }


def events_of(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the events that bring a response."""
    events = [{"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}]
    for index, item in enumerate(whole["output"]):
        begun = {**item, "status": "in_progress"}
        begun |= {name: empty for name, empty in _EMPTY.items() if name in item}
        events.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        for piece in _pieces(item):
            events.append({"output_index": index, "item_id": item["id"], **piece})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": f"response.{whole['status']}", "response": whole})
    return [{**one, "sequence_number": number} for number, one in enumerate(events)]


_EMPTY: dict[str, Any] = {"content": [], "summary": [], "arguments": "", "input": "", "encrypted_content": None}


def _pieces(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if item["type"] == "message":
        for index, part in enumerate(item["content"]):
            yield from _pieces_of_part(index, part)
    elif item["type"] == "reasoning":
        for index, part in enumerate(item["summary"]):
            place = {"summary_index": index}
            empty = {**part, "text": ""}
            yield {"type": "response.reasoning_summary_part.added", **place, "part": empty}
            for text in _halves(part["text"]):
                yield {"type": "response.reasoning_summary_text.delta", **place, "delta": text}
            yield {"type": "response.reasoning_summary_text.done", **place, "text": part["text"]}
            yield {"type": "response.reasoning_summary_part.done", **place, "part": part}
    elif item["type"] == "function_call":
        for text in _halves(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", "delta": text}
        yield {
            "type": "response.function_call_arguments.done",
            "arguments": item["arguments"],
            "name": item["name"],
        }
    elif item["type"] == "custom_tool_call":
        for text in _halves(item["input"]):
            yield {"type": "response.custom_tool_call_input.delta", "delta": text}
        yield {"type": "response.custom_tool_call_input.done", "input": item["input"]}


def _pieces_of_part(index: int, part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    field, kind = ("refusal", "refusal") if part["type"] == "refusal" else ("text", "output_text")
    place = {"content_index": index}
    empty = {**part, field: "", **({"annotations": []} if "annotations" in part else {})}
    yield {"type": "response.content_part.added", **place, "part": empty}
    for number, text in enumerate(_halves(part[field])):
        beside = {"logprobs": part["logprobs"][number : number + 1]} if part.get("logprobs") else {}
        beside = beside or ({"logprobs": []} if field == "text" else {})
        yield {"type": f"response.{kind}.delta", **place, "delta": text, **beside}
    for number, annotation in enumerate(part.get("annotations") or ()):
        kind_of_event = "response.output_text.annotation.added"
        yield {"type": kind_of_event, **place, "annotation_index": number, "annotation": annotation}
    beside = {"logprobs": part.get("logprobs") or []} if field == "text" else {}
    yield {"type": f"response.{kind}.done", **place, field: part[field], **beside}
    yield {"type": "response.content_part.done", **place, "part": part}


def _halves(text: str) -> list[str]:
    half = len(text) // 2
    return [piece for piece in (text[:half], text[half:]) if piece]


def response_answer(*output: dict[str, Any], **fields: Any) -> Answer:
    return json_answer(response(*output, **fields), x_request_id="req-1")


def events_answer(events: list[dict[str, Any]], *, cut: bool = False) -> Answer:
    pieces: list[bytes | float] = [b"event: " + one["type"].encode() + b"\n" + event(one) for one in events]
    return Answer(200, {"content-type": "text/event-stream", "x-request-id": "req-1"}, pieces, cut=cut)


CITED = {"type": "url_citation", "url": "https://example.com", "title": "x", "start_index": 0, "end_index": 3}
TOKEN = {"token": "So", "logprob": -0.5, "bytes": [83], "top_logprobs": []}


def part(text: str, **beside: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **beside}


SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
CUSTOM = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_9", "name": "sql", "input": "select 1"}
CUT = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
ANSWERS: dict[str, dict[str, Any]] = {
    "text": response(said("The Rhine.")),
    "unicode": response(said("Zürich 🏔")),
    "nothing": response(),
    "several texts": response(said("", content=[part("The "), part("Rhine.")])),
    "several messages": response(said("I look. ", phase="commentary"), said("The Rhine.", 2, phase="final_answer")),
    "thoughts": response(thought("Hm.", "So."), said("The Rhine.")),
    "calls": response(called(1), called(2, arguments="{}")),
    "text and call": response(said("I look."), called(1)),
    "thoughts between calls": response(thought("One."), called(1), thought("Two.", number=2), called(2)),
    "custom call": response(CUSTOM),
    "refusal": response(said("", content=[{"type": "refusal", "refusal": "I will not."}])),
    "citations": response(SEARCH, said("", content=[part("See there.", annotations=[CITED])])),
    "logprobs": response(said("", content=[part("So", logprobs=[TOKEN])])),
    "limit": response(said("The", status="incomplete"), **CUT),
    "filtered": response(status="incomplete", incomplete_details={"reason": "content_filter"}),
}
