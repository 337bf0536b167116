"""What each provider wants of a conversation beyond its types, written down without a look at our codecs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from tests.judge import own_types

# Google's own word for calls that no model of Gemini's made.
NOT_GEMINIS = "skip_thought_signature_validator"

_MAGIC = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "application/pdf": b"%PDF"}


def texts_in(value: Any) -> Iterator[str]:
    """Give every text of a request, keys apart."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, str):
        yield value


def unsigned_by_others(body: Any, party: str) -> None:
    """Nothing goes out that only another provider can read, nor the field in which it is kept."""
    assert "extra_content" not in json.dumps(body)
    for text in texts_in(body):
        signed = _signed_by(text)
        assert signed in ("", party), f"{signed}'s goes to {party}"
        assert not re.search(rf"thought (?!{party})\w+ in turn", text), text


def _signed_by(text: str) -> str:
    try:
        plain = base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""
    found = re.match(r"(\w+) signed turn", plain)
    return found[1] if found else ""


def media_is_what_it_says(kind: str, data: str) -> None:
    assert base64.b64decode(data, validate=True).startswith(_MAGIC[kind]), kind


def data_url_is_what_it_says(url: str) -> None:
    if found := re.fullmatch(r"data:([\w/+.-]+);base64,(.*)", url):
        media_is_what_it_says(*found.groups())


# Claude.


def claude(body: dict[str, Any], *, inline_system: bool) -> None:
    own_types.looked_through(own_types.claude().validate_python(body))
    messages = body["messages"]
    assert messages[0]["role"] == "user"
    assert messages[-1]["role"] != "assistant", "nobody asked Claude to go on with an answer"
    ids: list[str] = []
    defined = {tool["name"] for tool in body.get("tools", ())}
    for place, message in enumerate(messages):
        blocks = message["content"]
        assert blocks, "a turn without content"
        blocks = [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks
        for block in blocks:
            _claude_block(block)
        if message["role"] == "system":
            assert inline_system
            assert messages[place - 1]["role"] == "user"
            assert place + 1 == len(messages) or messages[place + 1]["role"] == "assistant"
        used = [block for block in blocks if block["type"] == "tool_use"]
        for block in used:
            assert message["role"] == "assistant"
            assert re.fullmatch(r"[a-zA-Z0-9_-]+", block["id"]), block["id"]
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", block["name"]), block["name"]
            assert block["name"] in defined
        ids += [block["id"] for block in used]
        if used:
            _claude_results(messages[place + 1], [block["id"] for block in used])
        elif place and message["role"] == "user":
            before = messages[place - 1]["content"]
            calls = isinstance(before, list) and any(block["type"] == "tool_use" for block in before)
            assert calls or all(block["type"] != "tool_result" for block in blocks)
        if message["role"] == "assistant" and not used and place + 1 < len(messages):
            assert blocks[-1]["type"] not in ("thinking", "redacted_thinking")
    assert len(ids) == len(set(ids)), "ids of calls are unique in the whole request"
    if not inline_system:
        _claude_thinks_or_not(messages, thinks="thinking" in body)
    for name in defined:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", name)


def _claude_thinks_or_not(messages: list[dict[str, Any]], *, thinks: bool) -> None:
    """While tools are called, a turn of an older model's begins with thinking or has none."""
    turn: list[dict[str, Any]] = []
    for message in messages:
        blocks = message["content"]
        if message["role"] == "assistant":
            turn += [{"type": "text"}] if isinstance(blocks, str) else blocks
        elif isinstance(blocks, str) or blocks[0]["type"] != "tool_result":
            turn = []
    kinds = [block["type"].removeprefix("redacted_") for block in turn]
    if thinks:
        assert kinds[:1] in ([], ["thinking"])
    else:
        assert "thinking" not in kinds


def _claude_block(block: dict[str, Any]) -> None:
    if block["type"] == "text":
        assert block["text"].strip(), "text without a word"
    elif block["type"] == "thinking":
        assert block["signature"]
    elif block["type"] in ("image", "document") and block["source"]["type"] == "base64":
        media_is_what_it_says(block["source"]["media_type"], block["source"]["data"])
    elif block["type"] == "tool_result" and isinstance(block.get("content"), list):
        for inner in block["content"]:
            _claude_block(inner)
    if block["type"] == "tool_result" and block.get("is_error"):
        content = block["content"]
        assert content
        assert isinstance(content, str) or all(inner["type"] == "text" for inner in content)


def _claude_results(turn: dict[str, Any], calls: list[str]) -> None:
    """All results of a turn stand together, first in the next one, each call's once."""
    assert turn["role"] == "user"
    assert isinstance(turn["content"], list), "the results of calls must come"
    kinds = [block["type"] for block in turn["content"]]
    assert kinds[: len(calls)] == ["tool_result"] * len(calls)
    assert "tool_result" not in kinds[len(calls) :]
    assert sorted(block["tool_use_id"] for block in turn["content"][: len(calls)]) == sorted(calls)


# Gemini.


def gemini(body: dict[str, Any], *, newer: bool) -> None:
    own_types.gemini().model_validate(_with_signatures_as_bytes(body))
    contents = body["contents"]
    assert contents[0]["role"] == "user"
    for place, content in enumerate(contents):
        parts = content["parts"]
        assert parts, "a turn without parts"
        assert content["role"] in ("user", "model")
        for part in parts:
            assert part.get("text") != "" or "thoughtSignature" in part
            if "inlineData" in part:
                media_is_what_it_says(part["inlineData"]["mimeType"], part["inlineData"]["data"])
        calls = [part for part in parts if "functionCall" in part]
        if content["role"] == "model" and place:
            assert contents[place - 1]["role"] == "user", "two turns of the model in a row"
        if not calls:
            before = contents[place - 1]["parts"] if place else []
            answers = any("functionCall" in part for part in before)
            assert answers or all("functionResponse" not in part for part in parts)
            continue
        if newer:
            assert calls[0].get("thoughtSignature"), "the first call of a turn is signed"
        for call in calls:
            assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", call["functionCall"]["name"])
            assert isinstance(call["functionCall"]["args"], dict)
            assert newer or "id" not in call["functionCall"]
            assert not call["functionCall"].get("id", "").startswith("call_gemini_"), "an id that Gemini never gave"
        results = contents[place + 1]["parts"]
        assert contents[place + 1]["role"] == "user"
        assert [(part["functionResponse"]["name"], part["functionResponse"].get("id")) for part in results] == [
            (call["functionCall"]["name"], call["functionCall"].get("id")) for call in calls
        ]
        for part in results:
            assert isinstance(part["functionResponse"]["response"], dict)
            assert newer or "parts" not in part["functionResponse"]
    for tool in body.get("tools", ()):
        for function in tool.get("functionDeclarations", ()):
            assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}", function["name"])


def _with_signatures_as_bytes(value: Any) -> Any:
    """Their type reads base64, which Google's own word for no signature is not."""
    if isinstance(value, dict):
        return {
            key: "c2tpcA==" if key == "thoughtSignature" and item == NOT_GEMINIS else _with_signatures_as_bytes(item)
            for key, item in value.items()
        }
    return [_with_signatures_as_bytes(item) for item in value] if isinstance(value, list) else value


# OpenAI.


def chat(body: dict[str, Any]) -> None:
    own_types.looked_through(own_types.chat(stream=bool(body.get("stream"))).validate_python(_as_typed(body)))
    waiting: list[str] = []
    ids: list[str] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            assert message["content"] is not None
            continue
        assert not waiting, "a call without its result"
        if name := message.get("name"):
            assert re.fullmatch(r"[^\s<|\\/>]{1,64}", name), name
        assert message.get("content") != [], "content without a part"
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            data_url_is_what_it_says((part.get("image_url") or {}).get("url", ""))
        if message["role"] != "assistant":
            assert message["content"] is not None
            continue
        calls = message.get("tool_calls") or []
        assert calls or message["content"] is not None or message.get("refusal")
        for call in calls:
            assert 1 <= len(call["id"]) <= 40, call["id"]
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", call["function"]["name"]), call
            assert isinstance(call["function"]["arguments"], str)
        waiting = [call["id"] for call in calls]
        ids += waiting
    assert not waiting
    assert len(ids) == len(set(ids))
    for tool in body.get("tools", ()):
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["function"]["name"])


def _as_typed(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out what OpenAI is known to take and its types do not name: citations."""
    messages = [
        {name: value for name, value in message.items() if name != "annotations"} for message in body["messages"]
    ]
    return {**body, "messages": messages}


def responses(body: dict[str, Any]) -> None:
    own_types.looked_through(own_types.responses(stream=bool(body.get("stream"))).validate_python(body))
    waiting: list[str] = []
    ids: list[str] = []
    items = body["input"]
    for place, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            assert 1 <= len(item["call_id"]) <= 64, item["call_id"]
            assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", item["name"]), item["name"]
            assert item["arguments"]
            waiting.append(item["call_id"])
            ids.append(item["call_id"])
        elif kind == "function_call_output":
            waiting.remove(item["call_id"])
        elif kind == "reasoning":
            assert item["encrypted_content"]
            following = items[place + 1]
            assert following.get("role") == "assistant" or following["type"] in ("function_call", "web_search_call")
        elif kind == "message":
            assert not waiting or item["role"] == "assistant", "a call without its result"
            for part in item["content"] if isinstance(item["content"], list) else ():
                data_url_is_what_it_says(part.get("image_url", ""))
    assert not waiting
    assert len(ids) == len(set(ids))
    for tool in body.get("tools", ()):
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool["name"])
