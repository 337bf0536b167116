"""What Responses answers, in Chat Completions' shape: its items as one message, its counts as a usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.errors import CallError, InvalidResponse
from modelwrap.types import JSON, ChatReply
from modelwrap.wire import failures
from modelwrap.wire.http import WireCall
from modelwrap.wire.openai_responses_content import (
    Item,
    is_call,
    is_text,
    kind_of,
    parts_of,
    refusals_of,
    spoken,
    texts_of,
    thoughts_of,
)
from modelwrap.wire.openai_responses_native import kept, says_everything
from modelwrap.wire.openai_strict import function_name
from modelwrap.wire.repair import validated
from modelwrap.wire.turns import given_names
from modelwrap.wire.usage import token_usage

UNFINISHED = ("queued", "in_progress")
"""The states of an answer that is being made in the background."""

_WITHOUT_END = (*UNFINISHED, "failed", "cancelled")
_WITHOUT_OUTPUT = (*_WITHOUT_END, "incomplete")

BETWEEN_THOUGHTS = "\n\n"

_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_BESIDE = ("service_tier", "metadata", "moderation", "content_filters", "conversation")
_RENAMED = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "input_tokens_details": "prompt_tokens_details",
    "output_tokens_details": "completion_tokens_details",
}


def to_reply(response: dict[str, Any], call: WireCall, facts: Facts) -> ChatReply:
    """Make a reply of a response; the error that it is where it failed."""
    items = items_of(response)
    reply = _reply(response, items, call, facts)
    error = failure_of(response)
    if error is not None:
        error.partial = reply if items else None
        raise error
    return reply


def _reply(response: dict[str, Any], items: list[Item], call: WireCall, facts: Facts) -> ChatReply:
    told = ending(response, calls=any(map(is_call, items)))
    choice: dict[str, Any] = {"index": 0, "message": _message(response, items, call, facts), **told}
    if tokens := [token for part in spoken(items, final=wants_json(call)) for token in logprobs_of(part)]:
        choice["logprobs"] = {"content": tokens}
    data = {**identity(response, "chat.completion"), "choices": [choice], **counted(response), **beside(response)}
    reply = validated(ChatReply, data, call.changes)
    reply._raw = response
    reply.meta.finish_reason = told.get("native_finish_reason")
    if "usage" in reply.model_fields_set:
        reply.meta.usage = token_usage(reply.usage)
    return reply


def items_of(response: JSON) -> list[Item]:
    """Give the items that a response came to, or raise what the JSON is instead."""
    if not isinstance(response, dict):
        raise InvalidResponse("the answer is no object")
    output = response.get("output")
    if output is None:
        if failures.says_error(response) and response.get("status") != "failed":
            raise failures.refused(failures.read(response), 200)
        if response.get("status") not in _WITHOUT_OUTPUT:
            raise InvalidResponse("output: the answer has no list of items")
        return []
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        raise InvalidResponse("output: the answer has no list of items")
    return output


def failure_of(response: Mapping[str, Any]) -> CallError | None:
    """Give the error of a response that came to nothing."""
    if response.get("status") == "cancelled":
        return InvalidResponse("the response was cancelled before it was finished", code="cancelled")
    if response.get("status") != "failed" and not response.get("error"):
        return None
    refusal = failures.read({"error": response.get("error") or "the response failed, and nobody said why"})
    return failures.refused(refusal, 200)


def identity(response: Mapping[str, Any], kind: str) -> dict[str, Any]:
    name, created, model = response.get("id"), response.get("created_at"), response.get("model")
    return {
        "id": name if isinstance(name, str) else "",
        "object": kind,
        "created": int(created) if isinstance(created, (int, float)) and abs(created) < float("inf") else 0,
        "model": model if isinstance(model, str) else "",
    }


def ending(response: Mapping[str, Any], *, calls: bool) -> dict[str, Any]:
    """Say why it ended: in Chat Completions' word, and in Responses' own."""
    status, details = response.get("status"), response.get("incomplete_details")
    if status in _WITHOUT_END:
        return {"finish_reason": None, "native_finish_reason": status}
    if status == "incomplete":
        reason = details.get("reason") if isinstance(details, Mapping) else None
        reason = reason if isinstance(reason, str) else "incomplete"
        return {"finish_reason": _INCOMPLETE.get(reason, reason), "native_finish_reason": reason}
    return {"finish_reason": "tool_calls" if calls else "stop", "native_finish_reason": str(status or "completed")}


def beside(response: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a response says beside its answer."""
    return {name: response[name] for name in _BESIDE if response.get(name)}


def counted(response: Mapping[str, Any]) -> dict[str, Any]:
    usage = response.get("usage")
    if not isinstance(usage, Mapping):
        return {}
    return {"usage": {_RENAMED.get(name, name): value for name, value in usage.items() if value is not None}}


def _message(response: Mapping[str, Any], items: list[Item], call: WireCall, facts: Facts) -> dict[str, Any]:
    text = "".join(texts_of(items, final=wants_json(call)))
    refusal = "".join(refusals_of(items))
    names = given_names(call, function_name)
    calls = [to_call(item, names) for item in items if is_call(item)]
    written: dict[str, Any] = {"role": "assistant", "content": text or (None if calls or refusal else "")}
    if refusal:
        written["refusal"] = refusal
    if thought := _thought(response, items):
        written["reasoning_content"] = thought
    if calls:
        written["tool_calls"] = calls
    if images := [image for item in items for image in images_of(item)]:
        written["images"] = images
    if cited := _annotations(items, final=wants_json(call)):
        written["annotations"] = cited
    return written if says_everything(items) else {**written, **kept(items, facts)}


def wants_json(call: WireCall) -> bool:
    """Tell whether the text of the answer is to be JSON, into which no word on the way to it belongs."""
    text = call.parameters.get("text")
    asked = (text.get("format") if isinstance(text, Mapping) else None) or call.parameters.get("response_format")
    return isinstance(asked, Mapping) and asked.get("type") != "text"


def _thought(response: Mapping[str, Any], items: list[Item]) -> str:
    thoughts = [thought for item in items if kind_of(item) == "reasoning" for thought in thoughts_of(item)]
    # mistral.rs has it beside the items.
    alone = response.get("reasoning")
    return BETWEEN_THOUGHTS.join(thoughts) or (alone if isinstance(alone, str) and alone.strip() else "")


def to_call(item: Item, names: Mapping[str, str]) -> dict[str, Any]:
    """Write a call of a tool; its id is the one by which its result must name it, its name the caller's."""
    call_id, name = item.get("call_id") or item.get("id") or "", item.get("name") or ""
    name = names.get(str(name), name)
    if kind_of(item) == "custom_tool_call":
        return {"id": call_id, "type": "custom", "custom": {"name": name, "input": item.get("input") or ""}}
    function = {"name": name, "arguments": item.get("arguments") or ""}
    return {"id": call_id, "type": "function", "function": function}


def _annotations(items: list[Item], *, final: bool) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    start = 0
    for part in spoken(items, final=final):
        found += [to_annotation(one, start) for one in parts_of(part, "annotations")]
        start += len(part["text"]) if is_text(part) else 0
    return found


def to_annotation(annotation: Mapping[str, Any], start: int) -> dict[str, Any]:
    """Write an annotation; `start` is where in the whole text its part begins."""
    kind = str(annotation.get("type") or "annotation")
    inner = {name: value for name, value in annotation.items() if name != "type"}
    for name in ("start_index", "end_index"):
        if start and isinstance(inner.get(name), int):
            inner[name] += start
    return {"type": kind, kind: inner}


def images_of(item: Item) -> list[dict[str, Any]]:
    """Give the image that a tool of the server's made, as the part that other providers' models give theirs in."""
    made = item.get("result") if kind_of(item) == "image_generation_call" else None
    if not isinstance(made, str) or not made:
        return []
    written = item.get("output_format")
    kind = {"svg": "svg+xml"}.get(str(written), written if isinstance(written, str) else "png")
    return [{"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{made}"}}]


def logprobs_of(part: Mapping[str, Any]) -> list[Any]:
    tokens = part.get("logprobs")
    return tokens if isinstance(tokens, list) else []
