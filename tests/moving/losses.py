"""What of a conversation a request does not hold, found without a look at our codecs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.moving.rules import texts_in

_MARKS = {"cache_control": ("cache_control", "messages.cache_control"), "detail": ("image_url.detail",)}
REASONING = ("reasoning_content", "messages.reasoning_content", "extra_content")
_TEXTS = ("text", "refusal")


def losses(history: list[dict[str, Any]], body: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give what is missing, with the beginnings of names of changes that may tell of it."""
    said = list(texts_in(body))
    written = "\x00".join(said)
    calls = _calls_in(body)
    for message in history:
        texts = (text for text in _texts(message) if text.strip() and text not in written)
        yield from ((text, ("messages",)) for text in texts if not _is_held(_value(text), body))
        yield from ((url, ("messages",)) for url in _media(message) if url.partition(",")[2] not in written)
        yield from ((thought, REASONING) for thought in _thoughts(message) if thought not in written)
        if (name := message.get("name")) and name != message["role"] and name not in written:
            yield name, ("messages.name",)
        for call in message.get("tool_calls") or ():
            if (found := _called(call, calls)) is None:
                yield f"the call {call['function']}", ("tool_calls.arguments",)
            else:
                calls.remove(found)
        if message.get("is_error") and not _fails(body):
            yield "that a tool failed", ("messages.is_error",)
        yield from ((kept, ("extra_content",)) for kept in _signed(message) if kept not in written)
    for mark, told in _MARKS.items():
        if f'"{mark}": ' in json.dumps(history) and mark not in json.dumps(body):
            yield mark, told


def _is_held(value: Any, body: Any) -> bool:
    """Tell whether an object, as which a result may go out, stands somewhere in a request."""
    if not isinstance(value, dict):
        return False
    inner = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return body == value or any(_is_held(value, item) for item in inner)


def _thoughts(message: dict[str, Any]) -> list[str]:
    """Give what was thought piece by piece, for the pieces may stand apart."""
    thought = message.get("reasoning_content") or ""
    pieces = re.findall(r"thought \w+ in turn \d+", thought)
    assert bool(pieces) == bool(thought)
    return pieces


def _texts(message: dict[str, Any]) -> Iterator[str]:
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in content if isinstance(content, list) else ():
        yield from (part[name] for name in _TEXTS if name in part)
    if message.get("refusal"):
        yield message["refusal"]


def _media(message: dict[str, Any]) -> Iterator[str]:
    content = message.get("content")
    parts = [*(content if isinstance(content, list) else ()), *(message.get("images") or ())]
    for part in parts:
        if "image_url" in part:
            yield part["image_url"]["url"]
        if "file" in part:
            yield part["file"]["file_data"]


def _signed(message: dict[str, Any]) -> Iterator[str]:
    holders = [message, *(message.get("tool_calls") or ()), *(message.get("images") or ())]
    for holder in holders:
        for text in texts_in(holder.get("extra_content") or {}):
            if re.fullmatch(r"[\w+/]{24,}=*", text):
                yield text


Call = tuple[str, Any]


def _calls_in(body: Any) -> list[Call]:
    """Give the calls of tools in a request of any provider, with what their arguments say."""
    found: list[Call] = []
    if isinstance(body, list):
        return [call for item in body for call in _calls_in(item)]
    if not isinstance(body, dict):
        return found
    kind = body.get("type")
    if kind == "tool_use":
        return [(body["name"], body["input"])]
    if kind == "function_call":
        return [(body["name"], _value(body["arguments"]))]
    if "functionCall" in body:
        return [(body["functionCall"]["name"], body["functionCall"]["args"])]
    if "arguments" in body and "name" in body:
        return [(body["name"], _value(body["arguments"]))]
    return [call for item in body.values() for call in _calls_in(item)]


def _called(call: dict[str, Any], calls: list[Call]) -> Call | None:
    """Find a call; its name may be written in other letters."""
    arguments = call["function"]["arguments"]
    value = _value(arguments)
    return next((found for found in calls if found[1] == value or found[1] == {"INVALID_JSON": arguments}), None)


def _value(arguments: str) -> Any:
    try:
        return json.loads(arguments if arguments.strip() else "{}")
    except ValueError:
        return arguments


def _fails(body: Any) -> bool:
    """Tell whether some result is told to have failed."""
    if isinstance(body, list):
        return any(map(_fails, body))
    if not isinstance(body, dict):
        return False
    if body.get("is_error") or "error" in body.get("response", {}):
        return True
    return any(map(_fails, body.values()))
