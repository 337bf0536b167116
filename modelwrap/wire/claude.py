"""Anthropic's Messages API, spoken in OpenAI's shapes: requests out, replies, streams and errors in."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json

from modelwrap.capabilities import Traits
from modelwrap.errors import (
    BadRequest,
    CallError,
    ConnectionFailed,
    InvalidResponse,
    StreamTruncated,
    TimedOut,
    clip,
)
from modelwrap.types import JSON, Change, ChatChunk, ChatReply
from modelwrap.wire import body as bodies
from modelwrap.wire import broken_streams, failures, sse
from modelwrap.wire.claude_content import as_blocks
from modelwrap.wire.claude_messages import to_conversation
from modelwrap.wire.claude_parameters import to_format, to_parameters
from modelwrap.wire.claude_reply import blocks_of, continued, to_reply
from modelwrap.wire.claude_stream import EventReader
from modelwrap.wire.claude_thinking import BINDING_BETA, LEAVES_OUT, STALE, drop_stale, may_drop, settle_thinking
from modelwrap.wire.claude_tools import tools_of
from modelwrap.wire.functions import modern_call
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.media_parts import wrong
from modelwrap.wire.openai_chat import to_post
from modelwrap.wire.repair import tell
from modelwrap.wire.structured import check_answer
from modelwrap.wire.urls import join

# Later versions take no temperature of any model: docs/decisions/claude-api-version.md.
API_VERSION = "2023-06-01"

LONGEST_UNSTREAMED = 21_333
"""For how many tokens an answer may be asked in one piece: a longer one may take more than ten minutes."""

from_error = failures.failure

# Requests.


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request; `BadRequest` names what cannot be sent.

    An answer too long to be waited for in one piece is asked for as a stream, which `from_response` reads, too.
    """
    request = to_post(join(endpoint.base_url, "/messages", endpoint.query), to_body(call, traits), call, endpoint)
    headers = request.headers = {"anthropic-version": API_VERSION, **request.headers}
    if traits.drops_stale_thinking:
        betas = str(headers.get("anthropic-beta", "")).split(",")
        headers["anthropic-beta"] = ",".join(dict.fromkeys(filter(None, [*betas, BINDING_BETA])))
    return request


def to_body(call: WireCall, traits: Traits) -> dict[str, Any]:
    modern = modern_call(call)
    body: dict[str, Any] = {"model": call.model} if call.model else {}
    body.update(to_parameters(modern, traits.facts))
    own_system = body.pop("system", None)
    system, body["messages"] = to_conversation(modern, traits.facts)
    if not body.get("tools") and (called := tools_of(body["messages"])):
        body.update(tools=called, tool_choice={"type": "none"})
        tell(
            call.changes, Change("emulated", "tools", "those of the conversation, by their names and not to be called")
        )
    shape, words = to_format(modern, traits.facts)
    if shape is not None:
        given = body.get("output_config", {})
        if not isinstance(given, dict):
            raise wrong("output_config", "must be an object")
        body["output_config"] = {"format": shape, **given}
    systems = [one for one in (own_system, system, words or None) if one is not None]
    if systems:
        body["system"] = systems[0] if len(systems) == 1 else [block for one in systems for block in as_blocks(one)]
    if "thinking" not in call.extra_body:
        settle_thinking(body, traits.facts, call.changes)
    if traits.drops_stale_thinking:
        drop_stale(body, call.changes)
    if call.resumes is not None:
        _resume(body, call.resumes)
    if call.stream or _takes_long(body["max_tokens"]):
        body["stream"] = True
    body.update(call.extra_body)
    return body


def _resume(body: dict[str, Any], message: Mapping[str, Any]) -> None:
    """Give a paused message back, and the container in which its tools ran."""
    body["messages"] = [*body["messages"], {"role": "assistant", "content": blocks_of(dict(message))}]
    container = message.get("container")
    if isinstance(container, Mapping) and "container" not in body:
        body["container"] = container.get("id")


def _takes_long(max_tokens: Any) -> bool:
    return isinstance(max_tokens, int) and max_tokens > LONGEST_UNSTREAMED


# Replies.


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> ChatReply:
    """Read a whole reply, also where it came as a stream of events."""
    with failures.told_of(body, headers):
        message = _message(body, call)
        if call.resumes is not None:
            message = continued(call.resumes, message)
        reply = to_reply(message, call)
        check_answer(reply, call.parameters.get("response_format"))
    reply.meta.request_id = failures.request_id_of(headers)
    return reply


def _message(body: bytes, call: WireCall) -> dict[str, Any]:
    if body.lstrip().startswith(_BEGIN_OF_STREAM):
        return _assembled(body, call)
    message = bodies.loads(body)
    blocks_of(message)
    return message  # type: ignore[no-any-return] # blocks_of raises for all that is no object


_BEGIN_OF_STREAM = (b"event:", b"data:", b":")


def _assembled(body: bytes, call: WireCall) -> dict[str, Any]:
    """Put a message together; nobody has seen a part of one that breaks off, so it may be asked for again."""
    reader = EventReader(replace(call, resumes=None))
    decoder = sse.Decoder()
    for event in (*decoder.feed(body), *decoder.finish()):
        for value in _values(event):
            if value.get("type") == "error":
                raise failures.refused(failures.read(value), 200)
            reader.read(value)
    message = reader.message
    if not reader.complete:
        raise StreamTruncated("the stream ended before its answer did", partial=_partial(message, call), retryable=True)
    return message


def _partial(message: dict[str, Any], call: WireCall) -> ChatReply | None:
    return to_reply(message, call) if message["content"] else None


# Streams.


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End | None = None
) -> AsyncGenerator[ChatChunk, None]:
    """Read a stream to its end, and raise where it has none.

    It ends with `message_stop`, told by `end.marked`, or where it was said why the answer stops. An error before the
    first chunk is the refusal that it says; a later one is a `StreamFailed`. Where Claude paused its turn, `end.paused`
    is the message to be gone on with, and nothing was said of an end.
    """
    reader = EventReader(call)
    end = end or sse.End()
    failed: CallError | None = None
    try:
        async for event in events:
            for value in _values(event):
                if value.get("type") == "error":
                    raise broken_streams.said(value, event.data, began=reader.began)
                for chunk in reader.read(value):
                    yield chunk
                if value.get("type") == "message_stop":
                    end.marked = True
            if end.marked:
                break
    except CallError as error:
        failed = error
    # What was held back comes out before any error: the partial reply is to hold everything.
    for chunk in reader.rest():
        yield chunk
    if failed is not None and not (reader.complete and isinstance(failed, (ConnectionFailed, TimedOut))):
        raise broken_streams.cut(failed, began=reader.began)
    if not reader.started:
        raise InvalidResponse("the stream had no answer", retryable=True)
    if not reader.complete:
        raise broken_streams.ended_early(began=reader.began)
    end.paused = reader.paused
    if end.paused is None:
        _check_text(reader.message, call)


def _check_text(message: dict[str, Any], call: WireCall) -> None:
    asked = call.parameters.get("response_format")
    if asked is None:
        return
    try:
        check_answer(to_reply(message, call), asked)
    except InvalidResponse as error:
        # The reader of the stream knows more of the reply than this.
        error.partial = None
        raise


def _values(event: sse.Event) -> Sequence[dict[str, Any]]:
    """Give an event's JSON; of a whole message in place of a stream, the events that would have brought it."""
    if event.bare:
        return list(_events_of(_bare_message(event.data)))
    try:
        value = from_json(event.data)
    except ValueError as error:
        if event.unfinished or event.data.strip() in ("", "[DONE]"):
            return ()
        raise broken_streams.not_json(error, event.data) from None
    if type(value) is not dict:
        raise InvalidResponse("an event of the stream is no object", body=event.data)
    if event.event == "error":
        value["type"] = "error"
    elif "type" not in value:
        value["type"] = "error" if failures.says_error(value) else event.event
    return (value,)


def _bare_message(text: str) -> dict[str, Any]:
    try:
        message = bodies.loads(text.encode())
        blocks_of(message)
    except CallError as error:
        error.body = error.body or clip(text)
        raise
    return message  # type: ignore[no-any-return] # blocks_of raises for all that is no object


def _events_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "message_start", "message": {**message, "content": []}}
    for index, block in enumerate(blocks_of(message)):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": message.get("stop_reason") or "end_turn"}}
    yield {"type": "message_stop"}


# What refusals teach.

_MOST = re.compile(r"max_tokens\D{1,20}\d+ > (\d+)")


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    """Tell what a refusal teaches about the endpoint.

    That is the most tokens that a model gives, where no table knew, or that it holds thinking to what stood before it.
    """
    if not isinstance(error, BadRequest):
        return None
    if STALE in error.message:
        return (replace(traits, drops_stale_thinking=True), LEAVES_OUT) if may_drop(request) else None
    if traits.drops_stale_thinking and any(word in error.message for word in ("block_binding", BINDING_BETA)):
        change = Change("learned", "thinking.block_binding", "this endpoint does not take it")
        return replace(traits, drops_stale_thinking=False), change
    found = _MOST.search(error.message)
    if found is None or traits.facts.get("max_output") is not None:
        return None
    facts = replace(traits.facts, values={**traits.facts.values, "max_output": int(found[1])})
    change = Change("learned", "max_tokens", f"this model gives {found[1]} at most")
    return replace(traits, facts=facts), change
