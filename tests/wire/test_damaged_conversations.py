"""Conversations in which one value after another is not what it should be: sent, or refused in the library's words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import BadRequest

_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
_SIGNED = {"google": {"thought_signature": "c2ln"}}
_OWN = {
    "google": {"thought_signature": "c2ln", "parts": [{"text": "c"}, {"functionCall": {"name": "f", "args": {}}}]},
    "anthropic": {"content": [{"type": "thinking", "thinking": "r", "signature": "s"}, {"type": "text", "text": "c"}]},
}
_CALLS = [
    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra_content": _SIGNED},
    {"id": "a", "type": "function", "function": {"name": "g", "arguments": '{"b": 1}'}},
]

CONVERSATION: list[Any] = [
    {"role": "system", "content": "s"},
    {"role": "user", "name": "bob", "content": [{"type": "text", "text": "hi"}, _IMAGE]},
    {
        "role": "assistant",
        "content": "c",
        "reasoning_content": "r",
        "audio": {"id": "a", "data": "AA==", "transcript": "t"},
        "images": [_IMAGE],
        "tool_calls": _CALLS,
        "extra_content": _OWN,
    },
    {"role": "tool", "tool_call_id": "a", "content": "1"},
    {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x"}]},
    {"role": "user", "content": "go"},
]

ODD: list[Any] = [None, 0, -1, 1.5, True, "", "x", [], ["x"], [1], {}, {"a": 1}, {"type": "text"}, [{}], b"x", "\ud800"]

MODELS = [
    ("gemini", "gemini-3.1-pro-preview"),
    ("gemini", "gemini-2.5-flash"),
    ("claude", "claude-sonnet-4-5"),
    ("openai", "gpt-5"),
    ("openai", "qwen3-8b"),
]


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield (*place, key)
        yield from places(held, (*place, key))


def damaged(value: Any, place: tuple[Any, ...], odd: Any) -> Any:
    if not place:
        return odd
    copy = value.copy()
    copy[place[0]] = damaged(value[place[0]], place[1:], odd)
    return copy


def label(place: tuple[Any, ...]) -> str:
    return ".".join(map(str, place))


@pytest.mark.parametrize("wire, name", MODELS)
def test_one_odd_value_is_sent_or_refused_by_name(wire: str, name: str) -> None:
    config = {"config_name": "m", "model_type": wire, "model_name": name, "api_key": "k"}
    with modelwrap.load(config) as models:
        for place in places(CONVERSATION):
            for odd in ODD:
                messages = damaged(CONVERSATION, place, odd)
                try:
                    models["m"].explain(messages)
                except BadRequest:
                    pass
                except Exception as error:
                    raise AssertionError(f"{label(place)} = {odd!r}") from error
