"""Every recorded call of Gemini, held against a reading of it that shares no code."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.capabilities import Traits, traits_for
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import run_sync
from modelwrap.types import ChatChunk, ChatReply, EmbeddingReply, Reply
from modelwrap.wire import gemini, gemini_embedding, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, WireCall
from tests.recordings import gemini_inverse as inverse
from tests.recordings import gemini_reader as reader
from tests.recordings.folder import recorded_or_skipped
from tests.recordings.reader import Interaction

_BASE = "https://generativelanguage.googleapis.com/v1beta"
_VERTEX = "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/publishers/google"

DIFFERENCES: dict[str, str] = json.loads(
    (Path(__file__).parent / "gemini_differences.json").read_text(encoding="utf-8")
)
"""Requests that go out otherwise than they were recorded, and why."""

_CLASSES: dict[int, type[errors.CallError]] = {
    400: errors.BadRequest,
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    429: errors.RateLimited,
    500: errors.ServerFailed,
    503: errors.Overloaded,
}
_IN_WORDS = {"input token count": errors.ContextTooLong, "API key not valid": errors.AuthenticationFailed}

# Answers that are errors although HTTP says that all is well.
_FAILED = {
    "UNEXPECTED_TOOL_CALL": errors.InvalidResponse,
    "MALFORMED_FUNCTION_CALL": errors.InvalidResponse,
}


CHATS = recorded_or_skipped(partial(reader.interactions, operation="chat"))
EMBEDDINGS = recorded_or_skipped(partial(reader.interactions, operation="embedding"))


def _only(recordings: list[Any], fits: Any) -> Any:
    """Choose among the recordings; where there are none, the one that says so stays."""
    chosen = [found for found in recordings if found.values[0] is None or fits(found.values[0])]
    return pytest.mark.parametrize("recorded", chosen)


def _ok(found: Interaction) -> bool:
    return found.status == 200


def _is_whole(found: Interaction) -> bool:
    return _ok(found) and not reader.asked_for_stream(found)


def _is_stream(found: Interaction) -> bool:
    return _ok(found) and reader.asked_for_stream(found)


def _is_event_stream(found: Interaction) -> bool:
    return _is_stream(found) and isinstance(found.response["body"], str)


@_only(CHATS, _is_whole)
def test_recorded_reply_decodes_with_nothing_lost(recorded: Interaction) -> None:
    body = recorded.response["body"]
    expected = reader.summed([body])

    if (failure := _failure(expected)) is not None:
        with pytest.raises(failure) as caught:
            gemini.from_response(recorded.body, recorded.headers, _call(), Traits())
        reply = caught.value.partial
    else:
        reply = gemini.from_response(recorded.body, recorded.headers, _call(), Traits())

    assert reply is not None
    assert _seen(reply) == expected
    assert reply.raw == body


@_only(CHATS, _is_stream)
def test_recorded_stream_adds_up_to_what_was_sent(recorded: Interaction) -> None:
    pieces = reader.pieces(recorded)
    expected = reader.summed(pieces)

    chunks, error = _read(recorded.body)

    if "blockReason" in str(pieces):
        assert type(error) is errors.ContentFiltered
        assert not chunks
        return
    unfinished = any(choice["native"] is None for choice in expected["choices"].values())
    assert type(error) is errors.StreamTruncated if unfinished else error is None
    # Pieces that say nothing are not given before an error that may be tried again.
    reply = error.partial if error is not None and not chunks else _assembled(chunks)
    assert reply is not None
    assert _seen(reply) == expected
    assert reply.raw == pieces


@_only(CHATS, _ok)
def test_recorded_turn_goes_back_exactly_as_it_came(recorded: Interaction) -> None:
    streamed = reader.asked_for_stream(recorded)
    answers = reader.pieces(recorded) if streamed else [recorded.response["body"]]
    expected = reader.joined_parts(answers) if "candidates" in answers[0] else []
    if not expected or _failure(reader.summed(answers)):
        return
    traits = _traits(recorded)
    chunks, _ = _read(recorded.body, traits=traits) if streamed else ([], None)
    reply = _assembled(chunks) if streamed else gemini.from_response(recorded.body, {}, _call(), traits)
    message = reply.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "7"} for call in message.tool_calls or []]

    history = [{"role": "user", "content": "Hello"}, reply, *results, {"role": "user", "content": "Go on"}]
    call = WireCall(recorded.provider, messages_from(history), {})
    request = gemini.to_request(call, Endpoint(_base(recorded)), _traits(recorded))

    assert request.json["contents"][1] == {"role": "model", "parts": expected}


@_only(CHATS, _is_event_stream)
def test_recorded_stream_that_is_cut_anywhere_tells_so_and_keeps_what_came(recorded: Interaction) -> None:
    blocks = reader.blocks(recorded.response["body"])
    if "blockReason" in blocks[0]:
        return
    ends = next((n for n, block in enumerate(blocks) if "finishReason" in block), len(blocks) - 1)

    for kept in range(1, ends + 1):
        text = "".join(blocks[:kept])
        for cut in (text, text + blocks[kept][: len(blocks[kept]) // 2]):
            chunks, error = _read(cut.encode())

            assert type(error) is errors.StreamTruncated
            reply = _assembled(chunks)
            assert _seen(reply) == reader.summed(reader.pieces(text))
            assert all(choice.finish_reason is None for choice in reply.choices)


@_only(CHATS, _is_event_stream)
def test_recorded_stream_gives_the_same_chunks_wherever_it_is_split(recorded: Interaction) -> None:
    body = recorded.body[:30_000]
    expected, _ = _read(body, step=len(body))

    for step in (1, 2, 3, 7, 1000):
        chunks, _ = _read(body, step=step)

        assert chunks == expected


@_only(CHATS, lambda found: not _ok(found))
def test_recorded_error_becomes_its_class(recorded: Interaction) -> None:
    text = recorded.body.decode()
    by_words = (kind for words, kind in _IN_WORDS.items() if words in text)
    expected = next(by_words, _CLASSES[recorded.status])

    error = gemini.from_error(recorded.status, recorded.headers, recorded.body)

    assert type(error) is expected
    assert error.status == recorded.status
    said = recorded.response["body"]
    said = said[0] if isinstance(said, list) else said
    assert error.message == said["error"]["message"]
    if "retryDelay" in text:
        assert f'"retryDelay": "{error.retry_after:g}s"' in text


@_only(CHATS, lambda found: found.request["body"] is not None)
def test_recorded_request_can_be_asked_for_in_openais_format(recorded: Interaction) -> None:
    body = recorded.request["body"]
    if recorded.id in DIFFERENCES:
        return
    asked = inverse.call_for(body, _traits(recorded).facts.platform)
    stream = reader.asked_for_stream(recorded)
    call = WireCall(recorded.provider, messages_from(asked.messages), asked.parameters, stream=stream)

    request = gemini.to_request(call, Endpoint(_base(recorded)), _traits(recorded))

    assert inverse.plain(request.json) == inverse.plain(body)
    assert json.loads(request.content) == request.json
    assert {change.kind for change in call.changes} <= {"dropped", "ignored"}


@_only(CHATS, _ok)
def test_recorded_usage_keeps_to_one_algebra(recorded: Interaction) -> None:
    streamed = reader.asked_for_stream(recorded)
    if streamed:
        chunks, _ = _read(recorded.body)
        if not chunks:
            return
        reply = _assembled(chunks)
    else:
        try:
            reply = gemini.from_response(recorded.body, {}, _call(), Traits())
        except errors.InvalidResponse as error:
            assert error.partial is not None
            reply = error.partial

    usage = reply.meta.usage

    if usage is not None:
        assert usage.total == usage.prompt + usage.completion == reply.usage.total_tokens
        assert usage.cached <= usage.prompt
        assert usage.reasoning <= usage.completion


@_only(EMBEDDINGS, _ok)
def test_recorded_vectors_are_read_in_their_order(recorded: Interaction) -> None:
    body = recorded.response["body"]
    expected = reader.vectors(body)
    call = WireCall(recorded.provider, ["text"] * len(expected), {})

    reply = gemini_embedding.from_response(recorded.body, recorded.headers, call, Traits())

    assert isinstance(reply, EmbeddingReply)
    assert reply.embeddings == expected
    assert reply.raw == body
    assert _tokens(reply) == _counted(body)


@_only(EMBEDDINGS, lambda found: found.request["body"] is not None)
def test_recorded_texts_can_be_asked_for_in_openais_format(recorded: Interaction) -> None:
    body = recorded.request["body"]
    operation = recorded.request["url"].partition("?")[0].rpartition(":")[2]
    given, parameters = inverse.texts_for(body)
    call = WireCall(recorded.provider.removeprefix("models/"), given, parameters)

    request = gemini_embedding.to_request(call, Endpoint(_base(recorded)), _traits(recorded))

    assert request.url.rpartition(":")[2] == operation
    assert inverse.plain_texts(request.json) == inverse.plain_texts(body)


@_only(EMBEDDINGS, lambda found: not _ok(found))
def test_recorded_error_of_an_embedding_becomes_its_class(recorded: Interaction) -> None:
    error = gemini_embedding.from_error(recorded.status, recorded.headers, recorded.body)

    assert type(error) is _CLASSES[recorded.status]


def _call() -> WireCall:
    return WireCall("any", [], {})


def _base(recorded: Interaction) -> str:
    return _VERTEX if "aiplatform" in recorded.request["url"] else _BASE


def _traits(recorded: Interaction) -> Traits:
    return traits_for(recorded.provider, _base(recorded), provider="gemini")


def _failure(expected: dict[str, Any]) -> type[errors.CallError] | None:
    natives = [choice["native"] for choice in expected["choices"].values()]
    return _FAILED.get(natives[0]) if natives else None


def _read(body: bytes, step: int = 97, traits: Traits = Traits()) -> tuple[list[ChatChunk], errors.CallError | None]:
    """Read a stream that comes in awkward pieces."""
    chunks: list[ChatChunk] = []

    async def read() -> None:
        async for chunk in gemini.from_stream(_events(body, step), _call(), traits, sse.End()):
            chunks.append(chunk)

    try:
        run_sync(read())
    except errors.CallError as error:
        return chunks, error
    return chunks, None


async def _events(body: bytes, step: int) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder()
    for start in range(0, len(body), step):
        for event in decoder.feed(body[start : start + step]):
            yield event
    for event in decoder.finish():
        yield event


def _assembled(chunks: list[ChatChunk]) -> ChatReply:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    return assembly.reply()


def _seen(reply: ChatReply) -> dict[str, Any]:
    """Lay a reply out as the reader does."""
    return {
        "id": reply.id,
        "model": reply.model,
        "usage": _usage(reply),
        "choices": {choice.index: _choice(choice) for choice in reply.choices},
    }


def _choice(choice: Any) -> dict[str, Any]:
    message = choice.message
    beside = (choice.__pydantic_extra__ or {}).get("extra_content") or {}
    tokens = (choice.logprobs and choice.logprobs.content) or []
    return {
        "content": message.content or "",
        "thoughts": message.reasoning_content or "",
        "calls": [_called(call) for call in message.tool_calls or []],
        "images": [_image(image) for image in (message.__pydantic_extra__ or {}).get("images", [])],
        "native": choice.native_finish_reason,
        "logprobs": [[token.token, token.logprob] for token in tokens],
        "grounding": beside.get("google", {}).get("groundingMetadata"),
        "finish_reason": choice.finish_reason,
    }


def _called(call: Any) -> list[Any]:
    signed = (call.__pydantic_extra__ or {}).get("extra_content", {}).get("google", {})
    call_id = None if call.id.startswith("call_gemini_") else call.id
    return [call_id, call.function.name, json.loads(call.function.arguments), signed.get("thought_signature")]


def _image(image: dict[str, Any]) -> list[str]:
    kind, _, data = image["image_url"]["url"].removeprefix("data:").partition(";base64,")
    return [kind, data]


def _usage(reply: ChatReply) -> list[int] | None:
    if "usage" not in reply.model_fields_set:
        return None
    usage = reply.usage
    cached = usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    thoughts = usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens
    return [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, cached or 0, thoughts or 0]


def _tokens(reply: Reply) -> int | None:
    return reply.meta.usage.prompt if reply.meta.usage else None


def _counted(body: dict[str, Any]) -> int | None:
    if "usageMetadata" in body:
        return int(body["usageMetadata"]["promptTokenCount"])
    if "predictions" in body:
        return sum(item["embeddings"]["statistics"]["token_count"] for item in body["predictions"])
    return None
