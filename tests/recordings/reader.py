"""Read recorded chat traffic by hand: the second opinion that the codec is held against. It shares no code with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Interaction:
    """Be one request and its response out of a recorded conversation."""

    item: str
    number: int
    provider: str
    request: dict[str, Any]
    response: dict[str, Any]

    @property
    def id(self) -> str:
        return f"{self.item}-{self.number}"

    @property
    def status(self) -> int:
        return int(self.response["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.response["headers"].items()}

    @property
    def body(self) -> bytes:
        body = self.response["body"]
        return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()

    @property
    def streamed(self) -> bool:
        body = self.response["body"]
        is_stream = "event-stream" in self.headers.get("content-type", "")
        return self.status == 200 and isinstance(body, str) and (is_stream or body.startswith("data:"))


def interactions(folder: Path) -> Iterator[Interaction]:
    """Give every chat interaction of OpenAI and of what is compatible with it."""
    for path in sorted(folder.glob("**/*.json")):
        item = json.loads(path.read_text(encoding="utf-8"))
        if item["operation"] != "chat" or not re.match(r"(azure_)?openai$|openai_compatible:", item["provider"]):
            continue
        for number, recorded in enumerate(item["interactions"]):
            if not re.search(r"/(models|files)(/|$|\?)", recorded["request"]["url"]):
                yield Interaction(item["id"], number, item["provider"], recorded["request"], recorded["response"])


@dataclass
class Answer:
    """Hold what one choice comes to."""

    role: str | None = None
    content: str = ""
    reasoning: str = ""
    refusal: str = ""
    finish_reason: str | None = None
    tool_calls: dict[Any, list[Any]] = field(default_factory=dict)
    function_call: list[str] = field(default_factory=lambda: ["", ""])
    audio: list[Any] = field(default_factory=lambda: [None, "", ""])
    annotations: list[Any] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)

    def take(self, message: dict[str, Any]) -> None:
        self.role = self.role or message.get("role")
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if part["type"] == "thinking":
                    self.reasoning += "".join(piece["text"] for piece in part["thinking"])
                else:
                    self.content += part["text"]
        else:
            self.content += content or ""
        self.reasoning += _reasoning(message)
        self.refusal += message.get("refusal") or ""
        self.annotations += message.get("annotations") or []
        if message.get("function_call"):
            self.function_call[0] += message["function_call"].get("name") or ""
            self.function_call[1] += message["function_call"].get("arguments") or ""
        if message.get("audio"):
            self.audio[0] = self.audio[0] or message["audio"].get("id")
            self.audio[1] += message["audio"].get("data") or ""
            self.audio[2] += message["audio"].get("transcript") or ""
        for call in message.get("tool_calls") or []:
            self._take_call(call)

    def _take_call(self, call: dict[str, Any]) -> None:
        key = call.get("index")
        if key is None:
            # Without an index every call came whole.
            key = f"whole {len(self.tool_calls)}"
        known = self.tool_calls.setdefault(key, ["", "", ""])
        function = call.get("function") or {}
        known[0] = known[0] or call.get("id") or ""
        known[1] = known[1] or function.get("name") or ""
        known[2] += function.get("arguments") or ""

    def settled(self) -> dict[str, Any]:
        found = re.match(r"(\s*)<think>(.*?)(?:</think>(.*))?\Z", self.content, re.DOTALL)
        content, reasoning = self.content, self.reasoning
        if found:
            content, reasoning = found[1] + (found[3] or ""), reasoning + found[2]
        return {
            "role": self.role or "assistant",
            "content": content,
            "reasoning": reasoning,
            "refusal": self.refusal,
            "finish_reason": self.finish_reason,
            "tool_calls": list(self.tool_calls.values()),
            "function_call": self.function_call,
            "audio": self.audio,
            "annotations": self.annotations,
            "logprobs": self.logprobs,
        }


def _reasoning(message: dict[str, Any]) -> str:
    for name in ("reasoning_content", "reasoning"):
        if isinstance(message.get(name), str):
            return str(message[name])
    details = message.get("reasoning_details") or []
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details)


def whole(body: dict[str, Any]) -> dict[str, Any]:
    """Read a whole reply."""
    choices = {}
    for choice in body["choices"]:
        answer = Answer(finish_reason=choice["finish_reason"])
        answer.take({**choice["message"], "tool_calls": _without_index(choice["message"])})
        answer.logprobs = _logprobs(choice)
        choices[choice["index"]] = answer.settled()
    return {
        "id": body.get("id") or "",
        "model": body.get("model") or "",
        "created": int(body.get("created") or 0),
        "usage": _usage(body.get("usage")),
        "choices": choices,
    }


def _without_index(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**call, "index": None} for call in message.get("tool_calls") or []]


def blocks(body: str) -> list[str]:
    """Cut an event stream after each blank line."""
    return [block for block in re.split(r"(?<=\n\n)|(?<=\r\n\r\n)", body) if block]


def events(body: str) -> list[str]:
    """Give what follows `data:` (and llama.cpp's `error:`) in every event."""
    return re.findall(r"^(?:data|error): ?(.*?)\r?$", body, re.MULTILINE)


def streamed(body: str) -> tuple[dict[str, Any], bool]:
    """Sum a stream, and say whether it broke off with an error."""
    total: dict[str, Any] = {"id": "", "model": "", "created": 0, "usage": None}
    answers: dict[int, Answer] = {}
    failed = False
    for data in events(body):
        if data == "[DONE]":
            break
        piece = json.loads(data)
        if piece.get("error"):
            failed = True
            break
        for name in ("id", "model", "created"):
            total[name] = total[name] or piece.get(name)
        if piece.get("usage"):
            total["usage"] = _usage(piece["usage"])
        for choice in piece.get("choices") or []:
            answer = answers.setdefault(choice["index"], Answer())
            answer.take(choice.get("delta") or {})
            answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
            answer.logprobs += _logprobs(choice)
    total["choices"] = {index: answer.settled() for index, answer in sorted(answers.items())}
    return total, failed


def _usage(usage: dict[str, Any] | None) -> list[Any] | None:
    if usage is None:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    counts = [usage.get(name) or 0 for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    return [*counts, cached, reasoning]


def _logprobs(choice: dict[str, Any]) -> list[Any]:
    tokens = (choice.get("logprobs") or {}).get("content") or []
    return [[*_logprob(token), [_logprob(top) for top in token.get("top_logprobs") or []]] for token in tokens]


def _logprob(token: dict[str, Any]) -> list[Any]:
    return [token["token"], float(token["logprob"]), token.get("bytes")]
