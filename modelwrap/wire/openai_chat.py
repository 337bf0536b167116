"""OpenAI's chat completions, and whatever else speaks them: requests out, replies, streams and errors in."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from pydantic_core import from_json

from modelwrap.capabilities import Traits
from modelwrap.errors import (
    BadRequest,
    CallError,
    ConnectionFailed,
    ContentFiltered,
    InvalidResponse,
    TimedOut,
    clip,
)
from modelwrap.secrets import Secret
from modelwrap.types import JSON, Change, ChatChunk, ChatReply, Choice
from modelwrap.wire import body as bodies
from modelwrap.wire import broken_streams, failures, sse
from modelwrap.wire.assembly import MOST_CHOICES
from modelwrap.wire.chat_chunks import THOUGHT, ChunkReader, by_position
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_parameters import TOKEN_LIMITS, to_parameters
from modelwrap.wire.openai_strict import function_name, strict_messages, strict_parameters, with_given_names
from modelwrap.wire.repair import tell, validated
from modelwrap.wire.think import ThinkSplitter
from modelwrap.wire.turns import REASONING, given_names, without_native
from modelwrap.wire.urls import join
from modelwrap.wire.usage import token_usage

# Requests.


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request; `BadRequest` names what cannot be sent as JSON.

    A parameter goes out as it was given, None as null; only `stream_options=None` stands for itself: ask for no
    usage on a stream.
    """
    return to_post(join(endpoint.base_url, "/chat/completions", endpoint.query), to_body(call, traits), call, endpoint)


def to_body(call: WireCall, traits: Traits) -> dict[str, Any]:
    body: dict[str, Any] = {"model": call.model} if call.model else {}
    body["messages"] = _to_messages(call, traits)
    parameters = to_parameters(call, traits)
    body.update(strict_parameters(parameters, call.changes) if traits.strict else parameters)
    if call.stream:
        body["stream"] = True
        if traits.stream_usage and "stream_options" not in call.parameters:
            body["stream_options"] = {"include_usage": True}
    body.update(call.extra_body)
    return body


def to_post(url: str, body: JSON, call: WireCall, endpoint: Endpoint) -> HttpRequest:
    """Write a request that posts JSON."""
    return HttpRequest(
        method="POST",
        url=url,
        headers=to_headers(call, endpoint),
        json=body,
        content=to_bytes(body),
        connection=endpoint.connection,
        stream=call.stream,
    )


def to_headers(call: WireCall, endpoint: Endpoint) -> dict[str, str | Secret]:
    """Merge headers by their names in lower case; the call's win over the endpoint's."""
    headers: dict[str, str | Secret] = {
        "content-type": "application/json",
        "accept": "text/event-stream" if call.stream else "application/json",
    }
    for given in (endpoint.headers, call.extra_headers):
        headers.update((name.lower(), value) for name, value in given.items())
    return headers


_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_bytes(body: JSON) -> bytes:
    """Write JSON as compact UTF-8; `BadRequest` says which value cannot be."""
    try:
        return _compact.encode(body).encode()
    except (TypeError, ValueError, RecursionError) as error:
        place, reason = next(_unsendable(body), ("the request", str(error)))
        raise BadRequest(f"{place} cannot be sent as JSON: {reason}", sent=False) from None


def _to_messages(call: WireCall, traits: Traits) -> list[Any]:
    given = strict_messages(call.input, call.changes) if traits.strict else call.input
    messages = [_by_id(without_native(message, call.changes, keeps=traits.own_parts)) for message in given]
    if traits.replay_reasoning and not traits.reasoning_field:
        return messages
    changes: dict[Change, None] = {}
    messages = [_with_reasoning_as_wanted(message, traits, changes) for message in messages]
    call.changes += changes
    return messages


def _by_id(message: dict[str, Any]) -> dict[str, Any]:
    """Name what the model said aloud by the id under which the server keeps it."""
    audio = message.get("audio")
    if not isinstance(audio, Mapping) or not audio.get("id") or len(audio) == 1:
        return message
    return {**message, "audio": {"id": audio["id"]}}


def _with_reasoning_as_wanted(message: dict[str, Any], traits: Traits, changes: dict[Change, None]) -> dict[str, Any]:
    """Take reasoning off an assistant message, or put its text under the one name that the endpoint knows."""
    found = [field for field in REASONING if field in message]
    if not found or message.get("role") != "assistant":
        return message
    wanted = traits.reasoning_field if traits.replay_reasoning else ""
    sent = next((name for name in (wanted, *found) if wanted and isinstance(message.get(name), str)), "")
    for name in sorted(found):
        if name != sent:
            changes[Change("dropped", f"messages.{name}", "this endpoint does not want reasoning sent back")] = None
        elif name != wanted:
            changes[Change("renamed", f"messages.{name}", f"sent as {wanted}")] = None
    kept = {name: value for name, value in message.items() if name not in found}
    return {**kept, wanted: message[sent]} if sent else kept


def _unsendable(value: Any, place: str = "", above: tuple[int, ...] = ()) -> Iterator[tuple[str, str]]:
    """Walk to what JSON has no form for."""
    if id(value) in above:
        yield place, "it contains itself"
    elif len(above) > 200:
        yield place, "it is nested too deeply"
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, type(None))) or (isinstance(key, str) and not _is_utf8(key)):
                yield place, f"{key!r} is no name of a field"
            yield from _unsendable(item, f"{place}.{key}".lstrip("."), (*above, id(value)))
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _unsendable(item, f"{place}[{number}]", (*above, id(value)))
    elif isinstance(value, str):
        if not _is_utf8(value):
            yield place, "it holds half of a surrogate pair, which UTF-8 cannot carry"
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            yield place, f"{value} is no number of JSON"
    elif not isinstance(value, (int, type(None))):
        yield place, f"JSON has no form for {type(value).__name__}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# Replies.

Shape: TypeAlias = Callable[[JSON], JSON]


def _as_it_is(data: JSON) -> JSON:
    return data


def from_response(
    body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits, shape: Shape = _as_it_is
) -> ChatReply:
    """Read a whole reply; an error that came with status 200 is raised as what it says.

    `shape` makes what a sister of this wire sends into what this one would have sent.
    """
    with failures.told_of(body, headers):
        data = bodies.loads(body)
        reply = _reply(shape(data), call, traits)
    if traits.strict and (names := given_names(call, function_name)):
        with_given_names(reply, names)
    reply._raw = data
    meta = reply.meta
    meta.request_id = failures.request_id_of(headers)
    meta.finish_reason = _finish_reason(reply.choices[0])
    if "usage" in reply.model_fields_set:
        meta.usage = token_usage(reply.usage)
    return reply


def from_error(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    return failures.failure(status, headers, body)


def _reply(data: JSON, call: WireCall, traits: Traits) -> ChatReply:
    data = _error_alone(data)
    choices = _choices_of(data)
    read = [
        _message_choice(choice, position, traits, call.changes) if type(choice) is dict else choice
        for position, choice in enumerate(choices)
    ]
    if len(read) > 1:
        read = by_position(_put_together(read, call), call.changes)
    if len(read) != len(choices) or any(one is not other for one, other in zip(read, choices, strict=True)):
        data = {**data, "choices": read}
    reply = validated(ChatReply, data, call.changes)
    if not reply.choices:
        raise InvalidResponse("choices: the answer has none")
    for choice in choices:
        if (broken := failures.breaking_off(choice)) is not None:
            said = data if failures.error_beside(data) else broken
            error = failures.refused(failures.read(said), 200)
            error.partial = reply
            raise error
    return reply


def _error_alone(data: JSON) -> JSON:
    """Take an error out of the list of one in which Gemini puts it."""
    if type(data) is list and len(data) == 1 and type(data[0]) is dict and failures.says_error(data[0]):
        return data[0]
    return data


def _choices_of(data: JSON) -> list[Any]:
    """Give the choices of a reply, or raise what the JSON is instead."""
    if type(data) is not dict:
        raise InvalidResponse(f"the answer is no object but {bodies.kind_of(data)}")
    choices = data.get("choices")
    if not choices:
        if failures.says_error(data):
            raise failures.refused(failures.read(data), 200)
        if _says_filtered(data):
            raise ContentFiltered(_FILTERED, code="content_filter")
        raise InvalidResponse("choices: the answer has none")
    if type(choices) is not list:
        raise InvalidResponse(f"choices: a list is expected, got {bodies.kind_of(choices)}")
    if len(choices) > MOST_CHOICES:
        raise InvalidResponse(f"choices: more than {MOST_CHOICES}")
    if failures.error_beside(data) and all(map(_is_silent, choices)):
        raise failures.refused(failures.read(data), 200)
    return choices


def _is_silent(choice: Any) -> bool:
    """Tell whether a choice, whole or a piece, holds nothing of an answer."""
    message = choice.get("message") or choice.get("delta") if type(choice) is dict else None
    return type(message) is not dict or not any(value and name != "role" for name, value in message.items())


def _message_choice(choice: dict[str, Any], position: int, traits: Traits, changes: list[Change]) -> dict[str, Any]:
    message = choice.get("message")
    if message is None:
        message = _misplaced_message(choice)
        if message is None:
            raise InvalidResponse(f"choices.{position}.message: the choice has none")
        choice = {**choice, "message": message}
        tell(changes, Change("repaired", "choices.message", "it stood under another name"))
    if type(message) is not dict:
        raise InvalidResponse(f"choices.{position}.message: an object is expected, got {bodies.kind_of(message)}")
    if failures.says_what_failed(choice.get("error")) and _is_silent(choice):
        raise failures.refused(failures.read(choice), 200)
    content = message.get("content")
    if not traits.think_tags or type(content) is not str:
        return choice
    split = _split_message(message, content, traits.think_tag, changes)
    return choice if split is message else {**choice, "message": split}


def _put_together(choices: list[Any], call: WireCall) -> list[Any]:
    """Make one choice of those into which GitHub Copilot splits a message, its text in one and its calls in another."""
    asked = call.extra_body.get("n", call.parameters.get("n"))
    if asked not in (None, 1) or any(type(choice) is not dict or choice.get("index", 0) != 0 for choice in choices):
        return choices
    if not any(choice["message"].get("tool_calls") for choice in choices):
        return choices
    message: dict[str, Any] = {}
    for choice in choices:
        for name, value in choice["message"].items():
            if message.get(name) and value and name != "role":
                return choices
            message[name] = value or message.get(name)
    tell(call.changes, Change("repaired", "choices", "one message that came in several choices was put together"))
    return [{**choices[0], **choices[-1], "index": 0, "message": message}]


def _misplaced_message(choice: dict[str, Any]) -> dict[str, Any] | None:
    """Find the message of a server that answers in the shape of a chunk or of a completion."""
    delta, text = choice.get("delta"), choice.get("text")
    if type(delta) is dict:
        return delta
    return {"role": "assistant", "content": text} if type(text) is str else None


def _split_message(message: dict[str, Any], content: str, tag: str, changes: list[Change]) -> dict[str, Any]:
    splitter = ThinkSplitter(tag)
    reasoning, said = splitter.feed(content)
    if not splitter.thought:
        return message
    held_reasoning, held = splitter.finish()
    before, thought = message.get("reasoning_content"), reasoning + held_reasoning
    tell(changes, THOUGHT)
    if type(before) is str:
        # MiniMax says the same beside the tags.
        thought = before if before.strip() == thought.strip() else before + thought
    return {**message, "content": said + held, "reasoning_content": thought}


def _finish_reason(choice: Choice) -> str | None:
    """Give the word of the provider behind a gateway, else the gateway's."""
    native = (choice.__pydantic_extra__ or {}).get("native_finish_reason")
    return str(native) if native else choice.finish_reason


def _says_filtered(value: JSON) -> bool:
    if isinstance(value, list):
        return any(map(_says_filtered, value))
    if not isinstance(value, dict):
        return False
    if value.get("filtered") is True or value.get("blockReason") or value.get("block_reason"):
        return True
    return any(map(_says_filtered, value.values()))


# Streams.

# Some servers send it with spaces around it, or as a text of JSON.
_END_MARK = "[DONE]"

_FILTERED = "the provider filtered the prompt and gave no answer"


async def from_stream(
    events: AsyncIterator[sse.Event],
    call: WireCall,
    traits: Traits,
    end: sse.End | None = None,
    shape: Shape = _as_it_is,
) -> AsyncGenerator[ChatChunk, None]:
    """Read a stream to its end, and raise where it has none.

    It ends with `[DONE]`, told by `end.marked`, or where every choice has its finish reason. An error before the
    first chunk is the refusal that it says; a later one is a `StreamFailed`.
    """
    reader = ChunkReader(traits, call.changes, given_names(call, function_name) if traits.strict else {})
    end = end or sse.End()
    whole = filtered = False
    failed: CallError | None = None
    try:
        async for event in events:
            if _END_MARK in event.data[:8]:
                end.marked = True
                break
            values = _bare_values(event.data) if event.bare else _event_values(event, reader)
            for value in values:
                error = _error_in(value, event, reader)
                if error is None or (reader.began and _says_something(value)):
                    yield reader.read(shape(value), value)
                if error is not None:
                    raise error
                filtered = filtered or (not value.get("choices") and _says_filtered(value))
            whole = event.bare and len(values) == 1 and not _is_chunk(values[0])
    except CallError as error:
        failed = error
    # What was held back comes out before any error: the partial reply is to hold everything.
    rest = reader.rest()
    if rest is not None:
        yield rest
    if failed is not None and not (reader.complete and isinstance(failed, (ConnectionFailed, TimedOut))):
        raise broken_streams.cut(failed, began=reader.began)
    if not (end.marked or whole or reader.complete):
        raise broken_streams.ended_early(began=reader.began)
    if not reader.answered and filtered:
        raise ContentFiltered(_FILTERED, code="content_filter")
    if not reader.answered:
        raise InvalidResponse("choices: the stream had none", retryable=not reader.began)


def _is_chunk(value: dict[str, Any]) -> bool:
    return any(type(choice) is dict and "delta" in choice for choice in value["choices"])


def _event_values(event: sse.Event, reader: ChunkReader) -> tuple[dict[str, Any], ...]:
    """Give an event's JSON where it is a piece of the reply or an error; raise what else it says.

    An event has several lines of it where a server ends its events with one line feed instead of two.
    """
    try:
        value = _error_alone(from_json(event.data))
    except ValueError as error:
        if lines := _lines(event.data):
            return lines
        if event.unfinished and (event.event != "error" or event.data.lstrip().startswith("{")):
            return ()
        if event.event == "error":
            raise _stream_error(event.data, event.data, reader) from None
        if event.data.strip():
            raise broken_streams.not_json(error, event.data) from None
        return ()
    if type(value) is not dict:
        if event.event == "error":
            raise _stream_error(value, event.data, reader)
        raise InvalidResponse(f"an event of the stream is no object but {bodies.kind_of(value)}", body=event.data)
    if "choices" in value or not value.keys().isdisjoint(_MARKS_OF_A_CHUNK):
        return (value,)
    return (value,) if event.event == "error" or failures.says_error(value) else ()


# A piece without choices may still carry the usage; a server's ping carries none of these.
_MARKS_OF_A_CHUNK = frozenset({"id", "object", "usage", "model"})


def _error_in(value: dict[str, Any], event: sse.Event, reader: ChunkReader) -> CallError | None:
    """Find the error that a piece says, as a whole or in one of its choices."""
    choices = value.get("choices")
    told = event.event == "error" or failures.error_beside(value)
    if told or (not choices and failures.says_error(value)):
        return _stream_error(value, event.data, reader)
    if type(choices) is list:
        for choice in choices:
            if type(choice) is not dict:
                continue
            if failures.says_what_failed(choice.get("error")):
                return _stream_error(choice, event.data, reader)
            if (broken := failures.breaking_off(choice)) is not None:
                return _stream_error(broken, event.data, reader)
    # Groq says there why it stopped early.
    stopped = value.get("x_groq")
    if type(stopped) is dict and failures.says_what_failed(stopped.get("error")):
        return _stream_error(stopped, event.data, reader)
    return None


def _says_something(value: dict[str, Any]) -> bool:
    """Tell whether a piece that says an error brings a last bit of the answer, too."""
    choices = value.get("choices")
    return type(choices) is list and not all(map(_is_silent, choices))


def _stream_error(value: JSON, text: str, reader: ChunkReader) -> CallError:
    # Azure says what its filters found in a prompt before it says that it refuses.
    return broken_streams.said(value, text, began=reader.answered)


def _bare_values(text: str) -> tuple[dict[str, Any], ...]:
    """Read a body that came in place of an event stream: a whole reply, or a chunk a line."""
    try:
        values = _lines(text) or (_error_alone(bodies.loads(text.encode())),)
        if not any(type(value) is dict and "choices" in value for value in values) or len(values) == 1:
            _choices_of(values[0])
    except CallError as error:
        error.body = error.body or clip(text)
        raise
    return values


def _lines(text: str) -> tuple[dict[str, Any], ...]:
    """Read a body of one JSON object a line; none where it is something else. The last may have been cut."""
    lines = [line for line in map(str.strip, text.split("\n")) if line and _END_MARK not in line[:8]]
    if len(lines) < 2 or not all(line.startswith("{") for line in lines):
        return ()
    values = []
    for line in lines:
        try:
            values.append(from_json(line))
        except ValueError:
            if line is not lines[-1] or not values:
                return ()
    return tuple(values)


# What refusals teach.

_REFUSES = re.compile(
    r"not (supported|permitted|allowed|recognized|accepted)|unsupported|unrecognized|unknown|unexpected|extra|instead"
    r"|does not support|no longer|deprecated|invalid (argument|parameter|field)",
    re.IGNORECASE,
)
_ABOUT_THE_VALUE = re.compile(
    r"too (large|small|high|low|many)|must be|at (most|least)|greater than|less than|exceed|maximum context",
    re.IGNORECASE,
)


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    """Tell what a refusal teaches about the endpoint: another name for the token limit, or no usage on streams."""
    words = f"{error.message} {error.body or ''}"
    if not isinstance(error, BadRequest) or not isinstance(request, dict) or not _REFUSES.search(words):
        return None
    if "stream_options" in request and "stream_options" in words and traits.stream_usage:
        change = Change("learned", "stream_options", "this endpoint does not take it: no usage on streams")
        return replace(traits, stream_usage=False), change
    if _ABOUT_THE_VALUE.search(error.message):
        return None
    for refused, wanted in (TOKEN_LIMITS, TOKEN_LIMITS[::-1]):
        if refused in request and traits.token_limit != wanted and re.search(rf"\b{refused}\b", words):
            return replace(traits, token_limit=wanted), Change("learned", refused, f"this endpoint takes {wanted}")
    return None
