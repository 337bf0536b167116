"""Read recorded Gemini traffic by hand: the second opinion, which shares no code with the codec."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.recordings.reader import Interaction

_REASONS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(("SAFETY", "RECITATION", "MODEL_ARMOR", "OTHER", "PROHIBITED_CONTENT"), "content_filter"),
}
_NUMBERS = {1: "STOP", 2: "MAX_TOKENS", 3: "SAFETY", 4: "RECITATION", 5: "OTHER"}


def interactions(folder: Path, operation: str) -> Iterator[Interaction]:
    """Give every interaction of Gemini of one kind."""
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        if item["provider"] == "gemini" and item["operation"] == operation:
            for number, recorded in enumerate(item["interactions"]):
                yield Interaction(item["id"], number, item["model"], recorded["request"], recorded["response"])


def asked_for_stream(found: Interaction) -> bool:
    return ":streamGenerateContent" in found.request["url"]


def pieces(found: Interaction | str) -> list[dict[str, Any]]:
    """Give the JSON of each piece of a stream, which may have come as one list."""
    body = found if isinstance(found, str) else found.response["body"]
    if isinstance(body, list):
        return body
    return [json.loads(data) for data in re.findall(r"^data: ?(.*?)\r?$", body, re.MULTILINE)]


def blocks(body: str) -> list[str]:
    """Cut an event stream after each blank line."""
    return [block for block in re.split(r"(?<=\n\n)|(?<=\r\n\r\n)", body) if block.strip()]


def summed(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum the pieces of an answer; a whole one is a single piece."""
    total: dict[str, Any] = {"id": "", "model": "", "usage": None, "choices": {}}
    for answer in answers:
        total["id"] = total["id"] or answer.get("responseId", "")
        total["model"] = total["model"] or answer.get("modelVersion", "")
        if "usageMetadata" in answer:
            total["usage"] = _usage(answer["usageMetadata"])
        for place, candidate in enumerate(answer.get("candidates") or []):
            index = candidate.get("index", place)
            choice = total["choices"].setdefault(index, _nothing())
            _take(choice, candidate)
    for choice in total["choices"].values():
        native = choice["native"]
        choice["finish_reason"] = _REASONS.get(native) if native != "STOP" or not choice["calls"] else "tool_calls"
    return total


def _nothing() -> dict[str, Any]:
    return {"content": "", "thoughts": "", "calls": [], "images": [], "native": None, "logprobs": [], "grounding": None}


def _take(choice: dict[str, Any], candidate: dict[str, Any]) -> None:
    reason = candidate.get("finishReason")
    choice["native"] = _NUMBERS.get(reason, reason) if reason else choice["native"]
    choice["grounding"] = candidate.get("groundingMetadata", choice["grounding"])
    for token in (candidate.get("logprobsResult") or {}).get("chosenCandidates") or []:
        choice["logprobs"].append([token["token"], token["logProbability"]])
    for part in (candidate.get("content") or {}).get("parts") or []:
        if "functionCall" in part:
            call = part["functionCall"]
            choice["calls"].append([call.get("id"), call["name"], call["args"], part.get("thoughtSignature")])
        elif "inlineData" in part:
            choice["images"].append([part["inlineData"]["mimeType"], part["inlineData"]["data"]])
        elif "text" in part:
            choice["thoughts" if part.get("thought") else "content"] += part["text"]


def _usage(metadata: dict[str, Any]) -> list[int]:
    def count(name: str) -> int:
        return int(metadata.get(name, 0))

    prompt = count("promptTokenCount") + count("toolUsePromptTokenCount")
    thoughts = count("thoughtsTokenCount")
    return [
        prompt,
        count("candidatesTokenCount") + thoughts,
        count("totalTokenCount"),
        count("cachedContentTokenCount"),
        thoughts,
    ]


def joined_parts(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give the first candidate's parts as they are to go back: what was streamed of one text is one part."""
    joined: list[dict[str, Any]] = []
    for answer in answers:
        for part in (answer["candidates"][0].get("content") or {}).get("parts") or []:
            before = joined[-1] if joined else {}
            plain = set(part) <= {"text", "thought"}
            if plain and not part["text"]:
                continue
            if plain and set(before) == set(part):
                joined[-1] = {**before, "text": before["text"] + part["text"]}
            else:
                joined.append(part)
    return joined


def vectors(body: dict[str, Any]) -> list[list[float]]:
    """Give the vectors of an answer of any of the three operations."""
    if "predictions" in body:
        return [prediction["embeddings"]["values"] for prediction in body["predictions"]]
    return [item["values"] for item in body.get("embeddings") or [body["embedding"]]]
