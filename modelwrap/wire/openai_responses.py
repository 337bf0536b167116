"""OpenAI's Responses, spoken in Chat Completions' shapes: requests out, replies, streams and errors in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from pydantic_core import from_json

from modelwrap.capabilities import Traits
from modelwrap.errors import (
    CallError,
    ConnectionFailed,
    InvalidResponse,
    TimedOut,
    clip,
)
from modelwrap.types import JSON, Change, ChatChunk, ChatReply
from modelwrap.wire import body as bodies
from modelwrap.wire import broken_streams, failures, sse
from modelwrap.wire.functions import modern_call
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_chat import to_post
from modelwrap.wire.openai_responses_input import to_input
from modelwrap.wire.openai_responses_parameters import server_keeps_history, to_parameters
from modelwrap.wire.openai_responses_reply import UNFINISHED, failure_of, items_of, to_reply
from modelwrap.wire.openai_responses_stream import EventReader
from modelwrap.wire.urls import join, with_list, with_query

from_error = failures.failure

_PATH = "/responses"

# Requests.


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request; `BadRequest` names what cannot be sent."""
    return to_post(join(endpoint.base_url, _PATH, endpoint.query), to_body(call, traits), call, endpoint)


def to_body(call: WireCall, traits: Traits) -> dict[str, Any]:
    modern = modern_call(call)
    body: dict[str, Any] = {"model": call.model} if call.model else {}
    if items := to_input(modern, traits, server_keeps_history=server_keeps_history(modern)):
        body["input"] = items
    body.update(to_parameters(modern, traits.facts))
    if call.stream:
        body["stream"] = True
    body.update(call.extra_body)
    return body


def to_poll(reply_id: str, asked: HttpRequest) -> HttpRequest:
    """Ask how far an answer is that is being made in the background, as it was asked for itself."""
    poll = _about(reply_id, asked, "GET", "")
    # What an answer is to include is not remembered.
    included = asked.json.get("include") or ()
    return replace(poll, url=with_list(poll.url, "include[]", map(str, included)))


def to_rest(reply_id: str, asked: HttpRequest, number: int) -> HttpRequest:
    """Ask for what comes behind an event, by its number, in the stream of an answer that is made in the background."""
    rest = replace(to_poll(reply_id, asked), headers=asked.headers, stream=True)
    return replace(rest, url=with_query(rest.url, {"stream": "true", "starting_after": str(number)}))


def to_cancel(reply_id: str, asked: HttpRequest) -> HttpRequest:
    """Ask for an answer no longer to be made."""
    return _about(reply_id, asked, "POST", "/cancel")


def _about(reply_id: str, asked: HttpRequest, method: str, operation: str) -> HttpRequest:
    url = join(asked.url, f"/{quote(reply_id, safe='')}{operation}")
    headers = {**asked.headers, "accept": "application/json"}
    return replace(asked, method=method, url=url, headers=headers, json=None, content=b"", stream=False)


# Replies.


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> ChatReply:
    """Read a whole reply; its finish reason is None while it is being made in the background."""
    with failures.told_of(body, headers):
        reply = to_reply(bodies.loads(body), call, traits.facts)
    reply.meta.request_id = failures.request_id_of(headers)
    return reply


# Streams.


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End | None = None
) -> AsyncGenerator[ChatChunk, None]:
    """Read a stream to its end, and raise where it has none.

    It ends with the response as a whole, told by `end.marked`. An error before the first chunk is the refusal that it
    says; a later one is a `StreamFailed`.
    """
    reader = EventReader(call, traits.facts)
    end = end or sse.End()
    try:
        async for event in events:
            for value in _values(event):
                error = _error_in(value, event.data, reader)
                if error is not None:
                    end.reply_id = ""
                    raise error
                for chunk in reader.read(value):
                    yield chunk
                end.reply_id = reader.reply_id
            if reader.complete:
                end.marked = True
                break
    except (ConnectionFailed, TimedOut) as error:
        raise broken_streams.cut(error, began=reader.began) from error.__cause__
    if not reader.started:
        raise InvalidResponse("the stream had no answer", retryable=True)
    if not reader.complete:
        raise broken_streams.ended_early(began=reader.began)


def _error_in(value: dict[str, Any], text: str, reader: EventReader) -> CallError | None:
    kind = value.get("type")
    if kind in _ERRORS or (kind is None and failures.says_error(value)):
        said: JSON = value
    elif kind in _ENDINGS and (failure := _failure_in(value)) is not None:
        said = failure
    else:
        return None
    return broken_streams.said(said, text, began=reader.began)


# The second is OpenRouter's.
_ERRORS = ("error", "response.error")
_ENDINGS = ("response.completed", "response.done", "response.incomplete", "response.failed", "response.cancelled")


def _failure_in(event: dict[str, Any]) -> JSON:
    """Give what an event says of a response that came to nothing; None of any other."""
    response = event.get("response")
    response = response if isinstance(response, dict) else {}
    if event["type"] in ("response.failed", "response.cancelled"):
        # Perplexity's error stands in the event itself.
        error = response.get("error") or event.get("error")
        response = {**response, "error": error, "status": str(event["type"]).removeprefix("response.")}
    failure = failure_of(response)
    return None if failure is None else {"error": response.get("error") or failure.message}


def _values(event: sse.Event) -> Iterator[dict[str, Any]]:
    """Give an event's JSON; of a whole response in place of a stream, the events that would have brought it."""
    if event.bare:
        yield from _events_of(_bare_response(event.data))
        return
    try:
        value = from_json(event.data)
    except ValueError as error:
        if event.unfinished or event.data.strip() in ("", "[DONE]"):
            return
        raise broken_streams.not_json(error, event.data) from None
    if type(value) is not dict:
        raise InvalidResponse("an event of the stream is no object", body=event.data)
    if event.event == "error":
        yield {**value, "type": "error"}
    elif "type" not in value and event.event:
        yield {**value, "type": event.event}
    else:
        yield value


def _bare_response(text: str) -> dict[str, Any]:
    try:
        response = bodies.loads(text.encode())
        items_of(response)
        if (error := failure_of(response)) is not None:
            raise error
        if response.get("status") in UNFINISHED:
            raise InvalidResponse("the answer is still being made, and no stream of it came")
    except CallError as error:
        error.body = error.body or clip(text)
        raise
    return response  # type: ignore[no-any-return] # items_of raises for all that is no object


def _events_of(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": response}
    for index, item in enumerate(items_of(response)):
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": response}


def number_of(event: sse.Event) -> int | None:
    """Give the number that an event has in its stream; None where it has none."""
    try:
        value = from_json(event.data)
    except ValueError:
        return None
    number = value.get("sequence_number") if type(value) is dict else None
    return number if type(number) is int else None


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    """Learn nothing: what a refusal could teach, the capability table and the server's own words say."""
    return None
