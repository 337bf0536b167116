"""OpenAI's image generation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from pydantic import ValidationError

from modelwrap.capabilities import Traits
from modelwrap.errors import BadRequest, CallError, InvalidResponse, UnsupportedParameter
from modelwrap.types import JSON, Change, ChatChunk, ImageReply
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, sse
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_chat import to_bytes, to_headers
from modelwrap.wire.urls import join


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    if call.stream:
        raise UnsupportedParameter("stream: images come in one piece", sent=False)
    if not isinstance(call.input, str):
        raise BadRequest(f"an image is made from a string, not from {type(call.input).__name__}", sent=False)
    parameters = {name: value for name, value in call.parameters.items() if value is not None}
    body = {"model": call.model, "prompt": call.input, **parameters, **call.extra_body}
    return HttpRequest(
        "POST",
        join(endpoint.base_url, "/images/generations", endpoint.query),
        to_headers(call, endpoint),
        json=body,
        content=to_bytes(body),
        connection=endpoint.connection,
    )


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> ImageReply:
    raw = bodies.loads(body)
    if not isinstance(raw, dict) or "data" not in raw:
        if isinstance(raw, dict) and failures.says_error(raw):
            raise failures.refused(failures.read(raw), 200)
        raise InvalidResponse("the answer holds no images", body=bodies.text_of(body))
    try:
        reply = ImageReply.model_validate(raw)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise InvalidResponse(f"the answer is no list of images: {where}", body=bodies.text_of(body)) from None
    reply._raw = raw
    return reply


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End
) -> AsyncGenerator[ChatChunk, None]:
    raise InvalidResponse("images come in one piece")
    yield  # makes this the generator that a codec gives


def from_error(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    return failures.failure(status, headers, body)


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    return None
