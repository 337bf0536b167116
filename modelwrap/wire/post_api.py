"""Any service that takes a POST of JSON: text and images are looked for where such services put them."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any

from modelwrap.capabilities import Traits
from modelwrap.errors import CallError, InvalidResponse, UnsupportedParameter
from modelwrap.secrets import Secret, reveal
from modelwrap.types import JSON, AssistantMessage, Change, ChatChunk, ChatReply, Choice, Image, ImageReply, Reply
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, sse
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_chat import to_bytes, to_headers

# AgentScope's servers, OpenAI's two shapes, Hugging Face's and ModelScope's inference APIs, colleagues' scripts.
_TEXT_PATHS: tuple[tuple[str | int, ...], ...] = (
    ("data", "response", "choices", 0, "message", "content"),
    ("choices", 0, "message", "content"),
    ("choices", 0, "text"),
    (0, "generated_text"),
    ("generated_text",),
    ("data", "response"),
    ("Data", "text"),
    ("response",),
    ("text",),
    ("result",),
    ("output",),
)
_IMAGE_PATHS: tuple[tuple[str | int, ...], ...] = (("data", "response", "data"), ("data",))


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Make the body of the parameters, and over them what is asked: an object under the config's `messages_key`."""
    if call.stream:
        raise UnsupportedParameter("stream: a post_api service answers in one piece", sent=False)
    given = {**call.parameters, **call.extra_body, **call.input}
    body = {name: reveal(value) for name, value in given.items()}
    return HttpRequest(
        "POST",
        endpoint.base_url,
        to_headers(call, endpoint),
        json=body,
        content=to_bytes(body),
        connection=endpoint.connection,
        in_body=tuple(value for value in given.values() if isinstance(value, Secret)),
    )


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> Reply:
    raw = bodies.loads(body)
    text = text_in(raw)
    if isinstance(raw, dict) and failures.says_error(raw) and text is None:
        raise failures.refused(failures.read(raw), 200)
    images = _images_in(raw) if text is None else None
    reply = images or ChatReply(choices=[] if text is None else [Choice(message=AssistantMessage(content=text))])
    reply._raw = raw
    return reply


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End
) -> AsyncGenerator[ChatChunk, None]:
    raise InvalidResponse("a post_api service answers in one piece")
    yield  # makes this the generator that a codec gives


def from_error(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    error = failures.failure(status, headers, body)
    if error.retry_after is None:
        error.retry_after = _estimated_time(body)
    return error


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    return None


def text_in(value: JSON) -> str | None:
    """Find the text of an answer; None where it stands in none of the usual places."""
    if isinstance(value, str):
        return value
    found = (_at(value, path) for path in _TEXT_PATHS)
    return next((text for text in found if isinstance(text, str)), None)


def _images_in(value: JSON) -> ImageReply | None:
    """Find the URLs of images where AgentScope's services and OpenAI's put them."""
    for path in _IMAGE_PATHS:
        found = _at(value, path)
        if isinstance(found, list) and found and all(isinstance(_at(item, ("url",)), str) for item in found):
            return ImageReply(data=[Image(url=item["url"]) for item in found])
    return None


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and len(value) > key else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _estimated_time(body: bytes) -> float | None:
    """Read how long Hugging Face's API expects a model to load."""
    try:
        seconds = float(_at(bodies.loads(body), ("estimated_time",)))
    except (InvalidResponse, TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < math.inf else None
