"""Gemini's generateContent and streamGenerateContent: requests out, replies, streams and errors in."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
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
)
from modelwrap.types import JSON, Change, ChatChunk, ChatReply
from modelwrap.wire import body as bodies
from modelwrap.wire import broken_streams, failures, gemini_list, sse
from modelwrap.wire import gemini_replies as replies
from modelwrap.wire.gemini_candidates import CandidateReader, candidates_of, continued, index_of, token_of
from modelwrap.wire.gemini_messages import said_by_user, to_conversation
from modelwrap.wire.gemini_parameters import camel, to_parameters
from modelwrap.wire.gemini_stream import StreamReader
from modelwrap.wire.gemini_tools import function_name
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall
from modelwrap.wire.openai_chat import to_post
from modelwrap.wire.repair import tell, validated
from modelwrap.wire.structured import check_answer
from modelwrap.wire.turns import given_names
from modelwrap.wire.urls import join
from modelwrap.wire.usage import token_usage

# Requests.


def to_request(call: WireCall, endpoint: Endpoint, traits: Traits) -> HttpRequest:
    """Write the request; `BadRequest` names what Gemini cannot be told."""
    action, query = ("streamGenerateContent", {"alt": "sse"}) if call.stream else ("generateContent", {})
    url = operation_url(call, action, endpoint, {**query, **endpoint.query})
    return to_post(url, to_body(call, traits), call, endpoint)


def to_body(call: WireCall, traits: Traits) -> dict[str, Any]:
    system, contents = to_conversation(call, traits.facts)
    body: dict[str, Any] = {"contents": contents}
    body.update(to_parameters(call, traits.facts))
    if instruction := _instruction(body.pop("systemInstruction", None), system):
        if traits.system_apart:
            body["systemInstruction"] = instruction
        else:
            tell(call.changes, _NO_SYSTEM)
            contents[0] = {**contents[0], "parts": [said_by_user(_parts_of(instruction)), *contents[0]["parts"]]}
    if call.resumes is not None:
        body["continuationToken"] = token_of(call.resumes)
    for given, value in call.extra_body.items():
        name = camel(given) if camel(given) in body else given
        both = isinstance(value, dict) and isinstance(body.get(name), dict)
        body[name] = {**body[name], **value} if both else value
    return body


def _instruction(own: Any, system: dict[str, Any] | None) -> dict[str, Any] | None:
    """Put the system messages behind an instruction that was given in Gemini's own form, or as a mere text."""
    if not own:
        return system
    content = own if isinstance(own, dict) else {"parts": [{"text": own}] if isinstance(own, str) else own}
    return content if system is None else {**content, "parts": [*_parts_of(content), *system["parts"]]}


def _parts_of(content: dict[str, Any]) -> list[Any]:
    parts = content.get("parts")
    return parts if isinstance(parts, list) else [parts] if parts else []


def model_path(model: str) -> str:
    """Give the path of a model, which may be named with the collection that holds it.

    >>> model_path("gemini-3.8-flash"), model_path("google/gemini-3.8-flash"), model_path("tunedModels/mine")
    ('models/gemini-3.8-flash', 'models/gemini-3.8-flash', 'tunedModels/mine')
    """
    own = re.sub(r"^(publishers/google/models|google)/", "", model)
    return quote(own if "/" in own else f"models/{own}", safe="/:@-._~")


def operation_url(call: WireCall, action: str, endpoint: Endpoint, query: Mapping[str, str]) -> str:
    """Give the URL of what a model is to do; on Vertex others than Google publish models, and projects have their own.

    >>> vertex = Endpoint("https://aiplatform.googleapis.com/v1/projects/p/locations/us/publishers/google")
    >>> operation_url(WireCall("meta/llama-4", [], {}), "generateContent", vertex, {})
    'https://aiplatform.googleapis.com/v1/projects/p/locations/us/publishers/meta/models/llama-4:generateContent'
    """
    base, path = endpoint.base_url, model_path(call.model)
    if base.endswith(_PUBLISHER) and not path.startswith("models/"):
        base = base.removesuffix(_PUBLISHER)
        if path.startswith("projects/"):
            base = base.partition("/projects/")[0]
        elif not path.startswith("publishers/"):
            path = "publishers/" + path.replace("/", "/models/", 1)
    return join(base, f"/{path}:{action}", query)


_PUBLISHER = "/publishers/google"

# Replies.


def from_response(body: bytes, headers: Mapping[str, str], call: WireCall, traits: Traits) -> ChatReply:
    """Read a whole reply; a prompt that was blocked and an answer that went wrong are raised as what they are."""
    with failures.told_of(body, headers):
        data = _answer(_error_alone(bodies.loads(body)))
        whole = data if call.resumes is None else continued(call.resumes, data)
        return _reply(whole, headers, call, traits.facts.platform)


def _reply(data: dict[str, Any], headers: Mapping[str, str], call: WireCall, platform: str) -> ChatReply:
    names, identity = given_names(call, function_name), replies.identity(data)
    candidates = candidates_of(data)
    if not candidates:
        raise replies.blocked(data) or InvalidResponse("candidates: the answer has none", retryable=True)
    readers = [CandidateReader(index_of(item, position), names, platform) for position, item in enumerate(candidates)]
    choices = [_choice(*both, identity.get("id", "")) for both in zip(readers, candidates, strict=True)]
    whole: dict[str, Any] = {"object": "chat.completion", **identity, "choices": choices}
    whole.update(replies.cost(data.get("usageMetadata")))
    reply = validated(ChatReply, whole, call.changes)
    reply._raw = data
    reply.meta.request_id = failures.request_id_of(headers)
    reply.meta.finish_reason = readers[0].native
    if "usage" in whole:
        reply.meta.usage = token_usage(reply.usage)
    _check(call, reply, [reader.failure for reader in readers])
    return reply


def _choice(reader: CandidateReader, candidate: dict[str, Any], seed: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, **reader.read(candidate, seed)}
    beside = reader.close(message, seed)
    for called in message.get("tool_calls", ()):
        del called["index"]
    choice = {"index": reader.index, "message": message, **beside}
    if (found := replies.logprobs(candidate)) is not None:
        choice["logprobs"] = found
    return choice


def _check(call: WireCall, reply: ChatReply, found: list[CallError | None]) -> None:
    """Raise what went wrong within a reply, with the reply."""
    failure = found[0] if all(found) else None
    if failure is not None:
        failure.partial = reply
        raise failure
    check_answer(reply, call.parameters.get("response_format"))


def _answer(data: JSON) -> dict[str, Any]:
    """Give the JSON of an answer, or raise the error that it is."""
    if type(data) is not dict:
        raise InvalidResponse(f"the answer is no object but {type(data).__name__}")
    if not data.get("candidates") and not data.get("promptFeedback") and failures.says_error(data):
        raise failures.refused(failures.read(data), 200)
    return data


def _error_alone(data: JSON) -> JSON:
    """Take an error out of the list of one in which it comes where a stream was asked for."""
    return data[0] if type(data) is list and len(data) == 1 else data


def from_error(status: int, headers: Mapping[str, str], body: bytes) -> CallError:
    return failures.failure(status, headers, body)


def lesson(error: CallError, request: JSON, traits: Traits) -> tuple[Traits, Change] | None:
    """Tell what a refusal teaches about the endpoint: that a model takes no system instruction, as some of Google's."""
    refused = "Developer instruction is not enabled" in error.message and isinstance(request, dict)
    if not refused or "systemInstruction" not in request:
        return None
    return replace(traits, system_apart=False), Change("learned", "systemInstruction", "this model takes none")


_NO_SYSTEM = Change("emulated", "messages", "the system's text goes out as <system> text of the user")


# Streams.


async def from_stream(
    events: AsyncIterator[sse.Event], call: WireCall, traits: Traits, end: sse.End | None = None
) -> AsyncGenerator[ChatChunk, None]:
    """Read a stream to its end, which is the end of its body once every candidate said why it stopped.

    The reasons, the usage and what Gemini keeps of its own come with the last chunk. An error before the first chunk,
    for which pieces that say nothing are held back, is the refusal that it says; a later one is a `StreamFailed`.
    """
    reader = StreamReader(call, traits.facts.platform)
    end = end or sse.End()
    failed: CallError | None = None
    try:
        async for event in events:
            for piece in gemini_list.objects_in(event) if event.bare else (event,):
                for value in _values(piece, reader):
                    for chunk in reader.read(value):
                        yield chunk
    except CallError as error:
        failed = error
    wrong = _what_went_wrong(reader, failed)
    if failed is None:
        end.paused = reader.paused
    if wrong is not None and not reader.began:
        wrong.partial = reader.unsaid()
    else:
        # What was held back comes out before any error: the partial reply is to hold everything.
        for chunk in reader.held():
            yield chunk
        end.unsaid = reader.closing() if end.paused is not None else None
        if end.unsaid is None:
            yield reader.closing()
    if wrong is not None:
        raise wrong
    end.marked = True
    if end.paused is None and call.parameters.get("response_format") is not None:
        _check_whole(call, reader)


def _what_went_wrong(reader: StreamReader, failed: CallError | None) -> CallError | None:
    """Say why an answer is none: what broke its stream, that no end came, or that it ended in a failure."""
    if failed is not None and not (reader.complete and isinstance(failed, (ConnectionFailed, TimedOut))):
        return broken_streams.cut(failed, began=reader.began)
    return reader.failure if reader.complete else broken_streams.ended_early(began=reader.began)


def _check_whole(call: WireCall, reader: StreamReader) -> None:
    try:
        check_answer(reader.whole(), call.parameters.get("response_format"))
    except InvalidResponse as error:
        # The reader of the stream knows more of the reply than this.
        error.partial = None
        raise


def _values(event: sse.Event, reader: StreamReader) -> list[dict[str, Any]]:
    """Give the pieces of the answer in an event, or in a body that came in place of events; raise an error."""
    try:
        value = from_json(event.data) if not event.bare else bodies.loads(event.data.encode())
    except InvalidResponse:
        raise
    except ValueError as error:
        if event.unfinished or event.data.strip() in ("", "[DONE]"):
            return []
        raise broken_streams.not_json(error, event.data) from None
    pieces = value if type(value) is list and value else [value]
    for piece in pieces:
        if type(piece) is not dict:
            raise InvalidResponse(f"an event of the stream is no object but {type(piece).__name__}", body=event.data)
        error_said = _error_in(piece, event, reader)
        if error_said is not None:
            raise error_said
    return pieces


def _error_in(piece: dict[str, Any], event: sse.Event, reader: StreamReader) -> CallError | None:
    if piece.get("candidates"):
        return None
    if (stopped := replies.blocked(piece)) is not None:
        return stopped
    if "error" not in piece and event.event != "error":
        return None
    return broken_streams.said(piece, event.data, began=reader.began)
