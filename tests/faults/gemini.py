"""The same table on Gemini's wire: the same faults, in answers as Gemini gives them, and a column that reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from modelwrap.testing.faults import answers, bodies, connections, refusals, streams
from modelwrap.testing.faults.answers import TEXT, event
from modelwrap.testing.faults.catalogue import Asked, Steps
from tests.faults.columns import OwnColumn, Settings

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


@contextmanager
def speaking_gemini() -> Iterator[None]:
    """Let the server's faults be made of Gemini's answers."""
    with ExitStack() as stack:
        for module in (answers, bodies, connections, refusals, streams):
            for name, spoken in SPOKEN.items():
                if name in vars(module):
                    stack.enter_context(patch.object(module, name, spoken))
        yield


class GeminiColumn(OwnColumn):
    def model(self, settings: Settings) -> Any:
        import modelwrap

        timeout = {name: getattr(settings, name) for name in ("total", "connect", "first_token", "idle")}
        arguments = {"base_url": settings.url, "timeout": timeout, "max_retries": settings.retries, "http": self.http}
        config = {"config_name": "judged", "model_type": "gemini", "model": "m", "api_key": settings.key}
        return modelwrap.load({**config, "client_args": {**arguments, **settings.extra}})["judged"]


COLUMNS = [
    GeminiColumn("httpx2", blocking=True),
    GeminiColumn("httpx2", blocking=False),
    GeminiColumn("aiohttp", blocking=False),
]
