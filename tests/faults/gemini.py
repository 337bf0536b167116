"""The same table on Gemini's wire: the same faults, in answers as Gemini gives them, and a column that reads them."""

from __future__ import annotations

from typing import Any, ClassVar

from modelwrap.testing.faults import answers
from modelwrap.testing.faults.answers import TEXT, event
from modelwrap.testing.faults.catalogue import Asked, Steps
from tests.faults.columns import OwnColumn
from tests.faults.wires import Wire, on_every_client

# The id by which the table knows what came of a body that was cut.
_KNOWN = {"responseId": "chatcmpl-1", "modelVersion": "fault-model"}
_USAGE = {"promptTokenCount": 3, "candidatesTokenCount": 7, "totalTokenCount": 10}
_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}


def candidate(text: str | None, finish_reason: str | None, index: int = 0) -> dict[str, Any]:
    made: dict[str, Any] = {"index": index}
    if text is not None:
        made["content"] = {"role": "model", "parts": [{"text": text}]}
    if finish_reason is not None:
        made["finishReason"] = _REASONS.get(finish_reason, finish_reason)
    return made


def chat(text: str | None = TEXT, finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {**_KNOWN, "candidates": [candidate(text, finish_reason)], "usageMetadata": _USAGE}


def chunk(text: str | None = None, finish_reason: str | None = None, *, index: int = 0, **delta: Any) -> dict[str, Any]:
    return {**_KNOWN, "candidates": [candidate(text, finish_reason, index)]}


def usage_chunk() -> dict[str, Any]:
    return {**_KNOWN, "usageMetadata": _USAGE}


def pieces(text: str = TEXT) -> list[bytes]:
    words = text.split(" ")
    return [event(chunk(word if number == 0 else f" {word}")) for number, word in enumerate(words)]


def events_of(text: str = TEXT) -> list[bytes]:
    return [*pieces(text), event(chunk(finish_reason="stop")), event(usage_chunk())]


def good(asked: Asked, *, text: str = TEXT) -> Steps:
    """Answer as the operation does that stands in the path."""
    if ":streamGenerateContent" in asked.path:
        yield from answers.streamed(*events_of(text))
    else:
        yield from answers.whole(chat(text))


_STOP = event(chunk(finish_reason="stop"))

SPOKEN = {
    "chat": chat,
    "chunk": chunk,
    "usage_chunk": usage_chunk,
    "pieces": pieces,
    "events_of": events_of,
    "good": good,
    # This wire has no end mark, and an empty piece would end the body.
    "DONE": b": end\n\n",
    "_STOP": _STOP,
    "_END": [_STOP, event(usage_chunk())],
}


class GeminiColumn(OwnColumn):
    config: ClassVar = {"model_type": "gemini", "model": "m"}


COLUMNS = on_every_client(GeminiColumn)

GEMINI = Wire(
    "gemini",
    COLUMNS,
    SPOKEN,
    not_here={
        "C20": "there are no choices on this wire: a row of its own, beside the table",
        "C21": "there are no choices on this wire: a row of its own, beside the table",
        "C22": "the row breaks OpenAI's JSON: a row of its own, beside the table",
        "S08": "this wire has no end mark that could be missing",
        "S09": "this wire has no end mark that could be missing",
        "S23": "this wire has no end mark behind which anything could come",
        "S24": "the row cuts OpenAI's pieces of arguments; calls come whole here, and tests/cases has those of Vertex",
    },
)
