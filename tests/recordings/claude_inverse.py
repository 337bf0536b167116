"""Claude's requests as the calls in OpenAI's format that mean the same: the codec's way back, which only tests go."""

from __future__ import annotations

import json
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
    rest = {name: value for name, value in body.items() if name not in ("model", "messages", "system", "stream")}
    messages = [{"role": "system", "content": _content(body["system"])}] if "system" in body else []
    for message in body["messages"]:
        messages += _turn(message)
    return Asked(body.get("model", ""), messages, dict(_parameters(rest)), body.get("stream", False))


def alike(body: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Write a request as one that means the same but for what a list of differences names; and say which of them."""
    written = {name: value for name, value in body.items() if name != "stream" or value}
    found = set()
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


_RULES = {
    "streamed_underneath": _streamed_underneath,
    "results_together": _results_together,
    "type_of_input": _type_of_input,
    "blank_text": _blank_text,
}


def _parameters(rest: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in rest.items():
        if name == "tools":
            yield name, [_tool(tool) for tool in value]
        elif name == "tool_choice":
            yield from _choice(value)
        elif name == "stop_sequences":
            yield "stop", value
        elif name == "metadata":
            yield "user", value["user_id"]
        elif name == "output_config":
            yield from _output(value)
        else:
            yield name, value


def _output(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    if "format" in config:
        shape = {"name": "answer", "schema": config["format"]["schema"]}
        yield "response_format", {"type": "json_schema", "json_schema": shape}
    if others := {name: value for name, value in config.items() if name != "format"}:
        yield "output_config", others


def _choice(choice: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    kind = choice["type"]
    named = {"type": "function", "function": {"name": choice.get("name")}}
    yield "tool_choice", named if kind == "tool" else {"any": "required"}.get(kind, kind)
    if "disable_parallel_tool_use" in choice:
        yield "parallel_tool_calls", not choice["disable_parallel_tool_use"]


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if "input_schema" not in tool:
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
    results = [_result(block) for block in content if block["type"] == "tool_result"]
    said = [_part(block) for block in content if block["type"] != "tool_result"]
    return [*results, *([{"role": "user", "content": said}] if said else [])]


def _assistant(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [block for block in blocks if block["type"] == "text"]
    calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
    text = "".join(block["text"] for block in texts)
    native = len(texts) + len(calls) < len(blocks) or len(texts) > 1 or (calls and texts and blocks[0] is not texts[0])
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
