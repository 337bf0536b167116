"""Claude's requests as the calls in OpenAI's format that mean the same: the codec's way back, which only tests go."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """Be a call in OpenAI's format."""

    model: str
    messages: list[dict[str, Any]]
    parameters: dict[str, Any] = field(default_factory=dict)
    stream: bool = False


def to_call(body: dict[str, Any]) -> Asked:
    said = {"system"} if body.get("system") else set()
    rest = {name: value for name, value in body.items() if name not in {"model", "messages", "stream", *said}}
    messages = [{"role": "system", "content": _content(body["system"])}] if said else []
    for message in body["messages"]:
        messages += _turn(message)
    return Asked(body.get("model", ""), messages, dict(_parameters(rest)), body.get("stream", False))


def alike(body: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Write a request as one that means the same but for what a list of differences names; and say which of them."""
    written = {name: value for name, value in body.items() if value is not None and (name != "stream" or value)}
    found = {"unset_as_null"} if None in body.values() else set()
    for name, rule in _RULES.items():
        before, written = written, rule(written)
        found |= {name} if written != before else set()
    return written, found


def _streamed_underneath(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "stream": True} if body["max_tokens"] > 21_333 else body


def _results_together(body: dict[str, Any]) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for message in body["messages"]:
        if messages and message["role"] == messages[-1]["role"] == "user" and _are_results(messages[-1]["content"]):
            said = message["content"]
            said = [{"type": "text", "text": said}] if isinstance(said, str) else said
            messages[-1] = {**message, "content": [*messages[-1]["content"], *said]}
        else:
            messages.append(message)
    return {**body, "messages": messages}


def _are_results(content: Any) -> bool:
    return isinstance(content, list) and all(block["type"] == "tool_result" for block in content)


def _type_of_input(body: dict[str, Any]) -> dict[str, Any]:
    tools = [
        {**tool, "input_schema": {"type": "object", **tool["input_schema"]}} if "input_schema" in tool else tool
        for tool in body.get("tools", ())
    ]
    return {**body, "tools": tools} if tools else body


def _blank_text(body: dict[str, Any]) -> dict[str, Any]:
    messages = [
        {**message, "content": [block for block in message["content"] if str(block.get("text", "x")).strip()]}
        if isinstance(message["content"], list)
        else message
        for message in body["messages"]
    ]
    return {**body, "messages": messages}


def _tools_of_the_conversation(body: dict[str, Any]) -> dict[str, Any]:
    blocks = [block for turn in body["messages"] if isinstance(turn["content"], list) for block in turn["content"]]
    names = dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use")
    if body.get("tools") or not names:
        return body
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in names]
    return {**body, "tools": tools, "tool_choice": {"type": "none"}}


_RULES = {
    "streamed_underneath": _streamed_underneath,
    "results_together": _results_together,
    "type_of_input": _type_of_input,
    "blank_text": _blank_text,
    "tools_of_the_conversation": _tools_of_the_conversation,
}


def _parameters(rest: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in rest.items():
        if name == "tools":
            yield name, [_tool(tool) for tool in value]
        elif name == "tool_choice":
            yield from _choice(value)
        elif name == "stop_sequences":
            yield "stop", value
        elif name == "metadata" and value.keys() == {"user_id"} and re.fullmatch(r"[\w-]+", value["user_id"] or ""):
            yield "user", value["user_id"]
        elif name == "output_config":
            yield from _output(value)
        else:
            yield name, value


def _output(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    native = "format" in config and _is_said_otherwise(config["format"]["schema"])
    if "format" in config and not native:
        shape = {"name": "answer", "schema": config["format"]["schema"]}
        yield "response_format", {"type": "json_schema", "json_schema": shape}
    if others := {name: value for name, value in config.items() if native or name != "format"}:
        yield "output_config", others


def _is_said_otherwise(schema: Any) -> bool:
    """Tell whether Anthropic's own clients would write a schema in another way, so that this one goes out as it is."""
    if isinstance(schema, list):
        return any(map(_is_said_otherwise, schema))
    if not isinstance(schema, dict):
        return False
    literal = "type" in schema and ("enum" in schema or "const" in schema)
    return literal or "default" in schema or any(map(_is_said_otherwise, schema.values()))


def _choice(choice: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    kind = choice["type"]
    named = {"type": "function", "function": {"name": choice.get("name")}}
    yield "tool_choice", named if kind == "tool" else {"any": "required"}.get(kind, kind)
    if "disable_parallel_tool_use" in choice:
        yield "parallel_tool_calls", not choice["disable_parallel_tool_use"]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "input_schema" not in tool or "type" in tool or None in tool.values() or tool.get("strict") is False:
        return tool
    names = ("name", "description", "strict")
    function = {name: tool[name] for name in names if name in tool}
    beside = {name: value for name, value in tool.items() if name not in (*names, "input_schema")}
    return {"type": "function", "function": {**function, "parameters": tool["input_schema"]}, **beside}


def _turn(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    if isinstance(content, str) or message["role"] == "system":
        return [{"role": message["role"], "content": _content(content)}]
    if message["role"] == "assistant":
        return [_assistant(content)]
    if _has_own_results(content):
        return [{"role": "user", "content": content}]
    results = [_result(block) for block in content if block["type"] == "tool_result"]
    said = [_part(block) for block in content if block["type"] != "tool_result"]
    return [*results, *([{"role": "user", "content": said}] if said else [])]


_PLAIN = {"text": {"type", "text"}, "tool_use": {"type", "id", "name", "input", "cache_control"}}


def _has_own_results(blocks: list[dict[str, Any]]) -> bool:
    """Tell whether results of tools do not come first, or are empty in a way that OpenAI's format has not."""
    kinds = [block["type"] == "tool_result" for block in blocks]
    empty = any(kind and block.get("content") == [] for kind, block in zip(kinds, blocks, strict=True))
    return empty or kinds != sorted(kinds, reverse=True)


def _assistant(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [block for block in blocks if block["type"] == "text"]
    calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
    text = "".join(block["text"] for block in texts)
    native = len(texts) + len(calls) < len(blocks) or len(texts) > 1 or (calls and texts and blocks[0] is not texts[0])
    native = native or (bool(calls) and any(block.keys() - _PLAIN[block["type"]] for block in blocks))
    message: dict[str, Any] = {"role": "assistant", "content": text if calls or native else texts}
    if calls:
        message["tool_calls"] = calls
    return {**message, "extra_content": {"anthropic": {"content": blocks}}} if native else message


def _call(block: dict[str, Any]) -> dict[str, Any]:
    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
    beside = {name: block[name] for name in ("cache_control",) if name in block}
    return {"id": block["id"], "type": "function", "function": function, **beside}


def _result(block: dict[str, Any]) -> dict[str, Any]:
    beside = {name: value for name, value in block.items() if name not in ("type", "tool_use_id", "content")}
    content = _content(block["content"]) if "content" in block else None
    return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content, **beside}


def _content(content: Any) -> Any:
    return content if isinstance(content, str) else [_part(block) for block in content]


def _part(block: dict[str, Any]) -> dict[str, Any]:
    source = block.get("source")
    if not isinstance(source, dict) or source["type"] not in ("base64", "url", "text"):
        return block
    if None in block.values() or source.get("data") == "":
        return block
    names = ("type", "source", "title")
    beside = {name: value for name, value in block.items() if name not in names}
    if block["type"] == "image":
        return {"type": "image_url", "image_url": {"url": _url(source)}, **beside}
    named = {"filename": block["title"]} if "title" in block else {}
    return {"type": "file", "file": {"file_data": _url(source), **named}, **beside}


def _url(source: dict[str, Any]) -> str:
    if source["type"] == "url":
        return str(source["url"])
    if source["type"] == "text":
        from urllib.parse import quote

        return f"data:{source['media_type']},{quote(source['data'])}"
    return f"data:{source['media_type']};base64,{source['data']}"
