"""Read recorded traffic of Anthropic's by hand: the second opinion on the codec, with which it shares no code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.recordings.reader import Interaction

_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")


def interactions(folder: Path) -> Iterator[Interaction]:
    """Give every call of the Messages API, wherever it is served."""
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        if item["provider"] != "anthropic" or item["operation"] != "chat":
            continue
        for number, recorded in enumerate(item["interactions"]):
            if re.search(r"/messages(\?|$)|:(streamRawPredict|rawPredict)$", recorded["request"]["url"]):
                yield Interaction(item["id"], number, item["provider"], recorded["request"], recorded["response"])


def events(body: str) -> list[dict[str, Any]]:
    """Give what stands behind `data:`, without pings and end marks."""
    found = re.findall(r"^data: ?(.*?)\r?$", body, re.MULTILINE)
    values = [json.loads(data) for data in found if data.strip() and data.strip() != "[DONE]"]
    return [value for value in values if value.get("type") != "ping"]


def refusal(body: Any) -> dict[str, Any] | None:
    """Give what an answer says of its failure, be it whole or an event of a stream; None for one that did not fail."""
    if isinstance(body, str):
        values = events(body) if re.match(r"\s*(event|data):", body) else []
        return next((value["error"] for value in values if value.get("type") == "error"), None)
    value = body[0] if isinstance(body, list) else body
    found = value.get("error") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else None


def blocks(body: str) -> list[str]:
    """Cut a stream after each of its events."""
    return re.findall(r".*?(?:\r?\n){2,}|.+\Z", body, re.DOTALL)


def streamed(body: str) -> dict[str, Any]:
    """Add up the events of a stream to the message that it brought, as far as it came."""
    message: dict[str, Any] = dict.fromkeys(("id", "model", "stop_reason"), "")
    content: dict[int, dict[str, Any]] = {}
    inputs: dict[int, str] = {}
    for event in events(body):
        kind, index = event.get("type"), event.get("index", 0)
        if kind == "message_start":
            message = dict(event["message"])
        elif kind == "content_block_start":
            content[index] = dict(event["content_block"])
        elif kind == "content_block_delta":
            _add(content[index], event["delta"], inputs, index)
        elif kind == "message_delta":
            message.update({name: value for name, value in event["delta"].items() if value is not None})
            counts = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
            message["usage"] = {**(message.get("usage") or {}), **counts}
    for index, text in inputs.items():
        try:
            content[index]["input"] = json.loads(text or "{}")
        except ValueError:
            content[index]["input"] = text
    return {**message, "content": [content[index] for index in sorted(content)]}


def _add(block: dict[str, Any], delta: dict[str, Any], inputs: dict[int, str], index: int) -> None:
    if delta["type"] == "text_delta":
        block["text"] += delta["text"]
    elif delta["type"] == "thinking_delta":
        block["thinking"] += delta["thinking"]
    elif delta["type"] == "signature_delta":
        block["signature"] += delta["signature"]
    elif delta["type"] == "citations_delta":
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    elif delta["type"] == "input_json_delta":
        inputs[index] = inputs.get(index, "") + delta["partial_json"]
    else:
        block.update({name: value for name, value in delta.items() if name != "type"})


def plain(block: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says nothing: no citations, and a tool that Claude called itself."""
    caller = block.get("caller")
    silent = {"citations"} if not block.get("citations") else set()
    silent |= {"caller"} if caller is None or caller["type"] == "direct" else set()
    return {name: value for name, value in block.items() if name not in silent}


def seen(message: dict[str, Any]) -> dict[str, Any]:
    """Lay a message out in the words in which a reply is held against it."""
    content = message["content"]
    texts = [block["text"] for block in content if block["type"] == "text"]
    counted = message.get("usage") or {}
    usage = {name: counted.get(name) or 0 for name in _COUNTS}
    thinking = (counted.get("output_tokens_details") or {}).get("thinking_tokens")
    return {
        "id": message["id"],
        "model": message["model"],
        "text": "".join(texts),
        "thoughts": "".join(block["thinking"] for block in content if block["type"] == "thinking"),
        "calls": [[block["id"], block["name"], block["input"]] for block in content if block["type"] == "tool_use"],
        "content": [plain(block) for block in content if block.get("text") != ""],
        "stop_reason": message["stop_reason"],
        "stop_sequence": message.get("stop_sequence"),
        "prompt": sum(usage[name] for name in _COUNTS[:3]),
        "completion": usage["output_tokens"],
        "cached": usage["cache_read_input_tokens"],
        "cache_write": usage["cache_creation_input_tokens"],
        "reasoning": thinking or 0,
        "container": message.get("container"),
        "context_management": message.get("context_management"),
    }
