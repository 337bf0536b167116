"""Requests of Responses as the calls of Chat Completions that mean the same: the way back, which only tests go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.recordings.claude_inverse import Asked

_BY_MODEL = ("reasoning", "function_call", "web_search_call", "file_search_call", "code_interpreter_call")
_PLAIN_CALL = {"type", "call_id", "name", "arguments"}


def to_call(body: dict[str, Any]) -> Asked:
    rest = {name: value for name, value in body.items() if name not in ("model", "input", "stream")}
    # What the request does not say is left to the server.
    parameters = {"store": None, "include": None, **dict(_parameters(rest))}
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return Asked(body["model"], list(_messages(items)), parameters, body.get("stream", False))


def alike(body: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Write a request as one that means the same but for what a list of differences names; and say which of them."""
    written = {name: value for name, value in body.items() if name != "stream" or value}
    found = set()
    for name, rule in _RULES.items():
        before, written = written, rule(written)
        found |= {name} if written != before else set()
    return written, found


def _text_as_item(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "input": [{"role": "user", "content": body["input"]}]} if isinstance(body["input"], str) else body


def _messages_untyped(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "input": [_untyped(item) for item in body["input"]]}


def _untyped(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type") == "message" and "id" not in item and item["role"] != "assistant":
        return {name: value for name, value in item.items() if name != "type"}
    return item


def _results_without_status(body: dict[str, Any]) -> dict[str, Any]:
    items = [
        {name: value for name, value in item.items() if name != "status"}
        if item.get("type") == "function_call_output"
        else item
        for item in body["input"]
    ]
    return {**body, "input": items}


def _detail_said(body: dict[str, Any]) -> dict[str, Any]:
    items = [
        {**item, "content": [_with_detail(part) for part in item["content"]]}
        if isinstance(item.get("content"), list)
        else item
        for item in body["input"]
    ]
    return {**body, "input": items}


def _with_detail(part: dict[str, Any]) -> dict[str, Any]:
    return {"detail": "auto", **part} if part["type"] == "input_image" else part


def _strictness_said(body: dict[str, Any]) -> dict[str, Any]:
    tools = [{"strict": False, **tool} if tool["type"] == "function" else tool for tool in body.get("tools", ())]
    return {**body, "tools": tools} if tools else body


_RULES = {
    "text_as_item": _text_as_item,
    "messages_untyped": _messages_untyped,
    "results_without_status": _results_without_status,
    "detail_said": _detail_said,
    "strictness_said": _strictness_said,
}


def _parameters(rest: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in rest.items():
        if name == "tools":
            yield name, [_tool(tool) for tool in value]
        elif name == "tool_choice" and isinstance(value, dict) and "name" in value:
            yield name, {"type": value["type"], value["type"]: {"name": value["name"]}}
        elif name == "max_output_tokens":
            yield "max_completion_tokens", value
        elif name == "reasoning" and value.keys() == {"effort"}:
            yield "reasoning_effort", value["effort"]
        elif name == "text":
            yield from _text(value)
        else:
            yield name, value


def _text(text: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in text.items():
        if name == "format" and value["type"] == "json_schema":
            inner = {key: value[key] for key in value if key != "type"}
            yield "response_format", {"type": "json_schema", "json_schema": inner}
        else:
            yield {"format": "response_format"}.get(name, name), value


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    if tool["type"] not in ("function", "custom"):
        return tool
    return {"type": tool["type"], tool["type"]: {name: value for name, value in tool.items() if name != "type"}}


def _messages(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    turn: list[dict[str, Any]] = []
    for item in items:
        if turn and not (_is_by_model(item) and (_is_kept([*turn, item]) or item.get("role") is None)):
            yield _answer(turn)
            turn = []
        if _is_by_model(item):
            turn.append(item)
        elif item.get("type") == "function_call_output":
            yield {"role": "tool", "tool_call_id": item["call_id"], "content": _content(item["output"])}
        else:
            yield {"role": item["role"], "content": _content(item["content"])}
    if turn:
        yield _answer(turn)


def _is_by_model(item: dict[str, Any]) -> bool:
    return item.get("role") == "assistant" or item.get("type") in _BY_MODEL


def _is_kept(turn: list[dict[str, Any]]) -> bool:
    """Tell whether a turn goes back as the items that it was."""
    plain = all(item.keys() == _PLAIN_CALL or item.keys() == {"role", "content"} for item in turn)
    return not plain


def _answer(turn: list[dict[str, Any]]) -> dict[str, Any]:
    said = [item["content"] for item in turn if item.get("role") == "assistant"]
    calls = [
        {"id": item["call_id"], "type": "function", "function": {"name": item["name"], "arguments": item["arguments"]}}
        for item in turn
        if item.get("type") == "function_call"
    ]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(map(_text_of, said)) or None}
    if calls:
        message["tool_calls"] = calls
    if _is_kept(turn):
        message["extra_content"] = {"openai": {"output": turn}}
    return message


def _text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _content(content: Any) -> Any:
    return content if isinstance(content, str) else [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] in ("input_text", "output_text"):
        return {**part, "type": "text"}
    if part["type"] == "input_image":
        beside = {"detail": part["detail"]} if "detail" in part else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **beside}}
    return {"type": "file", "file": {name: value for name, value in part.items() if name != "type"}}
