"""What Gemini's API sends, for tests that answer in its place."""

from __future__ import annotations

import json
from typing import Any

from tests.loopback import Answer, json_answer


def answer(*parts: Any, reason: str | None = "STOP", tokens: int = 2, **candidate: Any) -> dict[str, Any]:
    """Give the JSON of an answer, or of a piece of one."""
    content = {"role": "model", "parts": [{"text": part} if isinstance(part, str) else part for part in parts]}
    given: dict[str, Any] = {"content": content, "index": 0, **candidate}
    if reason is not None:
        given["finishReason"] = reason
    usage = {"promptTokenCount": 5, "candidatesTokenCount": tokens, "totalTokenCount": 5 + tokens}
    return {"candidates": [given], "usageMetadata": usage, "modelVersion": "gemini-3.8-flash", "responseId": "r1"}


def pieces_of(*texts: str, reason: str = "STOP") -> list[dict[str, Any]]:
    """Give the pieces of a streamed text; the last one ends it."""
    *first, last = texts
    return [*(answer(text, reason=None, tokens=1) for text in first), answer(last, reason=reason)]


def whole_answer(*parts: Any, **fields: Any) -> Answer:
    return json_answer(answer(*parts, **fields))


def stream_answer(pieces: list[dict[str, Any]], *, cut: bool = False) -> Answer:
    sent: list[bytes | float] = [f"data: {json.dumps(piece)}\r\n\r\n".encode() for piece in pieces]
    return Answer(200, {"content-type": "text/event-stream"}, sent, cut=cut)


def refusal(status: int, message: str, word: str, *details: Any) -> Answer:
    return json_answer(
        {"error": {"code": status, "message": message, "status": word, "details": list(details)}}, status
    )
