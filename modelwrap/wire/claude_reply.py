"""What Claude answers, in OpenAI's shape: its message as a reply, its counts as a usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON, Change, ChatReply
from modelwrap.wire import failures
from modelwrap.wire.claude_content import Block, text_of
from modelwrap.wire.claude_native import PROVIDER, carried, says_everything
from modelwrap.wire.claude_tools import letters
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import tell, validated
from modelwrap.wire.turns import arguments_text, given_names
from modelwrap.wire.usage import token_usage

PAUSED = "pause_turn"

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
_BESIDE = ("container", "context_management", "input_transformations", "diagnostics")
"""What Claude says beside its answer that stands beside OpenAI's choices under the same name."""
_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def to_reply(message: dict[str, Any], call: WireCall) -> ChatReply:
    """Make a reply of a message; `InvalidResponse` says why it is none."""
    blocks = blocks_of(message)
    usage = message.get("usage")
    reply = validated(
        ChatReply,
        {
            **identity(message, "chat.completion"),
            "choices": [
                {"index": 0, "message": _message(message, blocks, given_names(call, letters)), **ending(message)},
            ],
            **({"usage": to_usage(usage)} if isinstance(usage, Mapping) else {}),
            **beside(message),
        },
        call.changes,
    )
    tell_of_left_out(message, call.changes)
    reply._raw = message
    reply.meta.finish_reason = ending(message).get("native_finish_reason")
    if isinstance(usage, Mapping):
        reply.meta.usage = token_usage(reply.usage)
    return reply


def tell_of_left_out(message: Mapping[str, Any], changes: list[Change]) -> None:
    """Tell of thinking that the server did not show to the model."""
    found = message.get("input_transformations")
    for item in found if isinstance(found, list) else ():
        if isinstance(item, Mapping) and item.get("type") == "thinking_dropped":
            detail = f"thinking that the server left out: {item.get('reason')}"
            tell(changes, Change("dropped", f"extra_content.{PROVIDER}", detail))


def blocks_of(message: JSON) -> list[Block]:
    """Give the blocks of a message, or raise what the JSON is instead."""
    if not isinstance(message, dict):
        raise InvalidResponse("the answer is no object")
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is None and failures.says_error(message):
        raise failures.refused(failures.read(message), 200)
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise InvalidResponse("content: the answer has no list of blocks")
    return content


def identity(message: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": message.get("id") or "", "object": kind, "model": message.get("model") or ""}


def ending(message: Mapping[str, Any]) -> dict[str, Any]:
    """Say why it ended: in OpenAI's word, in Claude's own, and at which of the stop sequences."""
    reason = message.get("stop_reason")
    reason = reason if isinstance(reason, str) else None
    told = {"finish_reason": _FINISH_REASONS.get(reason, reason) if reason else None}
    if reason is not None:
        told["native_finish_reason"] = reason
    if message.get("stop_sequence") is not None:
        told["stop_sequence"] = message["stop_sequence"]
    return told


def beside(message: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a reply says beside its answer."""
    usage = message.get("usage")
    tier = usage.get("service_tier") if isinstance(usage, Mapping) else None
    return {
        **({"service_tier": tier} if tier is not None else {}),
        **{name: message[name] for name in _BESIDE if message.get(name) is not None},
    }


def to_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Count as OpenAI does: what was read from a cache or written to one belongs to the prompt."""
    fresh, read, written, completion = (_count(usage.get(name)) for name in _COUNTS)
    details = usage.get("output_tokens_details")
    thinking = details.get("thinking_tokens") if isinstance(details, Mapping) else None
    others = {
        name: value
        for name, value in usage.items()
        if name not in (*_COUNTS, "output_tokens_details", "service_tier") and value is not None
    }
    prompt = fresh + read + written
    return {
        **others,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        **({"completion_tokens_details": {"reasoning_tokens": thinking}} if thinking is not None else {}),
    }


def summed(one: JSON, other: JSON) -> JSON:
    """Add up the usage of two answers, count by count; of what cannot be added the later is taken."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return {name: summed(one.get(name), other.get(name)) for name in {**one, **other}}
    if _is_count(one) and _is_count(other):
        return one + other
    return one if other is None else other


def continued(first: Mapping[str, Any], rest: dict[str, Any]) -> dict[str, Any]:
    """Make one message of a paused one and its continuation."""
    kept = {"container": first["container"]} if first.get("container") and not rest.get("container") else {}
    return {
        **rest,
        **kept,
        "id": first.get("id"),
        "content": [*blocks_of(dict(first)), *blocks_of(rest)],
        "usage": summed(first.get("usage"), rest.get("usage")),
    }


def stop_details(message: Mapping[str, Any]) -> JSON:
    """Give what Claude says of a refusal, which may be no more than that it was one; None where there was none."""
    details = message.get("stop_details")
    return {"type": "refusal"} if details is None and message.get("stop_reason") == "refusal" else details


def refusal(message: Mapping[str, Any]) -> dict[str, Any]:
    """Tell of a refusal in OpenAI's field for it; nothing where there was none."""
    if message.get("stop_reason") != "refusal":
        return {}
    details = message.get("stop_details")
    details = details if isinstance(details, Mapping) else {}
    words = details.get("explanation")
    about = f" ({details['category']})" if details.get("category") else ""
    return {"refusal": words if isinstance(words, str) and words else f"Claude refused to go on{about}"}


def citations_of(block: Block, start: int) -> list[dict[str, Any]]:
    """Give the web pages that a text cites as OpenAI's annotations; `start` is where in the answer it begins."""
    citations = block.get("citations")
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "url": citation.get("url"),
                "title": citation.get("title"),
                "start_index": start,
                "end_index": start + len(str(block.get("text") or "")),
            },
        }
        for citation in (citations if isinstance(citations, list) else ())
        if isinstance(citation, Mapping) and citation.get("type") == "web_search_result_location"
    ]


def _message(message: dict[str, Any], blocks: list[Block], names: Mapping[str, str]) -> dict[str, Any]:
    text = text_of(blocks)
    thoughts = [str(block.get("thinking") or "") for block in blocks if block.get("type") == "thinking"]
    calls = [_tool_call(block, names) for block in blocks if block.get("type") == "tool_use"]
    told = refusal(message)
    written: dict[str, Any] = {"role": "assistant", "content": text or (None if calls or told else ""), **told}
    if any(thoughts):
        written["reasoning_content"] = "".join(thoughts)
    if calls:
        written["tool_calls"] = calls
    if cited := _all_annotations(blocks):
        written["annotations"] = cited
    own = {} if says_everything(blocks) else carried(blocks, str(message.get("model") or ""))
    if (details := stop_details(message)) is not None:
        own["stop_details"] = details
    if own:
        written["extra_content"] = {PROVIDER: own}
    return written


def _all_annotations(blocks: list[Block]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        if block.get("type") == "text" and block.get("citations"):
            found += citations_of(block, len(text_of(blocks[:number])))
    return found


def _tool_call(block: Block, names: Mapping[str, str]) -> dict[str, Any]:
    name = str(block.get("name") or "")
    return {
        "id": block.get("id") or "",
        "type": "function",
        "function": {"name": names.get(name, name), "arguments": arguments_text(block.get("input") or {})},
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _count(value: Any) -> int:
    return int(value) if _is_count(value) and 0 < value < float("inf") else 0
