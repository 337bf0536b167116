"""Read recorded traffic of OpenAI's Responses by hand: the second opinion that the codec is held against."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.recordings.reader import Interaction


def interactions(folder: Path) -> Iterator[Interaction]:
    """Give every interaction with Responses, whoever offers them."""
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        if item["operation"] != "responses":
            continue
        for number, recorded in enumerate(item["interactions"]):
            if recorded["request"]["url"].partition("?")[0].endswith("/responses"):
                yield Interaction(item["id"], number, item["provider"], recorded["request"], recorded["response"])


def blocks(body: str) -> list[str]:
    """Cut an event stream after each blank line."""
    return [block for block in re.split(r"(?<=\n\n)|(?<=\r\n\r\n)", body) if block]


def events(body: str) -> list[dict[str, Any]]:
    found = re.findall(r"^data: ?(.*?)\r?$", body, re.MULTILINE)
    return [json.loads(data) for data in found if data != "[DONE]"]


def seen(response: dict[str, Any]) -> dict[str, Any]:
    """Lay a response out as a reply of Chat Completions says it."""
    told: dict[str, Any] = {
        "text": "",
        "refusal": "",
        "reasoning": [],
        "calls": [],
        "citations": [],
        "kept": False,
    }
    for item in response.get("output") or ():
        _take(told, item)
    alone = response.get("reasoning")
    if isinstance(alone, str) and alone.strip():
        told["reasoning"].append(alone)
    details = response.get("incomplete_details") or {}
    reason = {"max_output_tokens": "length"}.get(details.get("reason"), details.get("reason"))
    return {
        **told,
        "reasoning": "\n\n".join(told["reasoning"]),
        "id": response["id"],
        "created": int(response["created_at"]),
        "model": response["model"],
        "finish_reason": reason or ("tool_calls" if told["calls"] else "stop"),
        "native_finish_reason": details.get("reason") or response["status"],
        "usage": _usage(response.get("usage")),
    }


def _take(told: dict[str, Any], item: dict[str, Any]) -> None:
    kind = item["type"]
    if kind == "message":
        for part in item["content"]:
            for found in part.get("annotations") or ():
                told["citations"].append([found["type"], found.get("url")])
            told["text"] += part.get("text") or ""
            told["refusal"] += part.get("refusal") or ""
        plain = len(item["content"]) == 1 and "text" in item["content"][0] and not told["citations"]
        told["kept"] |= not plain or item.get("phase") is not None or bool(told["calls"])
    elif kind == "reasoning":
        thoughts = [part["text"] for part in item.get("content") or item.get("summary") or ()]
        told["reasoning"] += [thought for thought in thoughts if thought]
        told["kept"] |= bool(item.get("encrypted_content") or item.get("content"))
    elif kind == "function_call":
        told["calls"].append([item["call_id"], item["name"], item["arguments"]])
    else:
        told["kept"] = True


def streamed(body: str) -> dict[str, Any]:
    """Sum a stream piece by piece; what its end repeats as a whole is not looked at, but for how and at what cost."""
    response: dict[str, Any] = {"output": []}
    items: dict[int, dict[str, Any]] = {}
    for event in events(body):
        kind = event["type"]
        if kind == "response.output_item.added":
            items[event["output_index"]] = json.loads(json.dumps(event["item"]))
        elif kind == "response.output_text.delta":
            part = items[event["output_index"]].setdefault("content", [])
            if not part:
                part.append({"type": "output_text", "text": "", "annotations": []})
            part[0]["text"] += event["delta"]
        elif kind == "response.output_text.annotation.added":
            items[event["output_index"]]["content"][0]["annotations"].append(event["annotation"])
        elif kind == "response.function_call_arguments.delta":
            items[event["output_index"]]["arguments"] += event["delta"]
        elif kind == "response.output_item.done" and event["item"]["type"] not in ("message", "function_call"):
            items[event["output_index"]] = event["item"]
        elif "response" in event:
            response = {**event["response"], "output": []}
    return {**response, "output": [items[place] for place in sorted(items)]}


def _usage(usage: dict[str, Any] | None) -> list[Any] | None:
    if usage is None:
        return None
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens")
    written = (usage.get("input_tokens_details") or {}).get("cache_write_tokens")
    reasoning = (usage.get("output_tokens_details") or {}).get("reasoning_tokens")
    return [usage["input_tokens"], usage["output_tokens"], usage["total_tokens"], cached, written, reasoning]
