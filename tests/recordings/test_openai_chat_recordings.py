"""Every recorded chat of OpenAI and of compatible servers, held against a reading of it that shares no code."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.capabilities import Traits, traits_for
from modelwrap.runtime.base import run_sync
from modelwrap.types import ChatChunk, ChatReply, Usage
from modelwrap.wire import openai_chat, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, WireCall
from tests.recordings import reader
from tests.recordings.folder import recorded_or_skipped
from tests.recordings.reader import Interaction

# Parameters that no model of ours would be given by name; nothing needs to be here.
_VENDOR_KEYS: frozenset[str] = frozenset()

# What a client gets that asked the wrong place.
_NOT_THIS_WIRE = {
    r"/api/chat$": "Ollama's own format",
    r"/bin/chat/completions$": "a web server that is no model",
}

# What words say more than the status does.
_CLASSES: tuple[tuple[str, type[errors.CallError]], ...] = (
    (r"context length|prompt too long|maximum prompt length|context_length_exceeded", errors.ContextTooLong),
    (r"incorrect api key", errors.AuthenticationFailed),
    (r"unsupported (parameter|value)(?!: 'messages)|logprobs are not enabled", errors.UnsupportedParameter),
)
_CLASS_OF_STATUS: dict[int, type[errors.CallError]] = {
    400: errors.BadRequest,
    401: errors.AuthenticationFailed,
    402: errors.QuotaExhausted,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    408: errors.TimedOut,
    413: errors.BadRequest,
    422: errors.BadRequest,
    429: errors.RateLimited,
    500: errors.ServerFailed,
    501: errors.ServerFailed,
    502: errors.ServerFailed,
    503: errors.Overloaded,
    504: errors.ServerFailed,
}


RECORDED = recorded_or_skipped(reader.interactions)


def _only(*, streamed: bool | None = None, ok: bool | None = None, foreign: bool = False) -> Any:
    """Choose among the recordings; where there are none, the one that says so stays."""

    def fits(found: Interaction | None) -> bool:
        if found is None:
            return True
        is_foreign = any(re.search(path, found.request["url"]) for path in _NOT_THIS_WIRE)
        is_ok = found.status == 200
        return (
            is_foreign == foreign and (ok is None or is_ok == ok) and (streamed is None or found.streamed == streamed)
        )

    chosen = [parameter for parameter in RECORDED if fits(parameter.values[0])]
    return pytest.mark.parametrize("recorded", chosen)


@_only(ok=True, streamed=False)
def test_recorded_reply_decodes_with_nothing_lost(recorded: Interaction) -> None:
    body = recorded.response["body"]
    if "error" in body and "choices" not in body:
        # Azure answers 200 where a prompt was filtered on its way through a service of Azure's own.
        with pytest.raises(errors.ContentFiltered):
            openai_chat.from_response(recorded.body, recorded.headers, _call(), Traits())
        return

    reply = openai_chat.from_response(recorded.body, recorded.headers, _call(), Traits())

    assert _seen(reply) == reader.whole(body)
    assert reply.raw == body


@_only(ok=True, streamed=True)
def test_recorded_stream_adds_up_to_what_was_sent(recorded: Interaction) -> None:
    expected, fails = reader.streamed(recorded.response["body"])

    chunks, error = _read(recorded.body)

    assert _seen(_assembled(chunks)) == expected
    assert isinstance(error, errors.StreamFailed) if fails else error is None
    assert [chunk.raw for chunk in chunks] == _pieces(recorded.response["body"])


@_only(ok=True, streamed=True)
def test_recorded_stream_that_is_cut_tells_so_and_keeps_what_came(recorded: Interaction) -> None:
    blocks = reader.blocks(recorded.response["body"])
    ends = _first_end(blocks)

    for kept in sorted({1, 2, ends // 3, ends // 2, ends - 1} & set(range(1, ends))):
        text = "".join(blocks[:kept])
        chunks, error = _read(text.encode())

        assert type(error) is errors.StreamTruncated
        assert _without_end(_seen(_assembled(chunks))) == _without_end(reader.streamed(text)[0])


@_only(ok=True, streamed=True)
def test_recorded_stream_that_is_cut_within_an_event_tells_so(recorded: Interaction) -> None:
    blocks = reader.blocks(recorded.response["body"])
    kept = _first_end(blocks) // 2
    half = blocks[kept][: len(blocks[kept]) // 2]

    chunks, error = _read(("".join(blocks[:kept]) + half).encode())

    assert type(error) is errors.StreamTruncated
    if chunks:
        expected = reader.streamed("".join(blocks[:kept]))[0]
        assert _without_end(_seen(_assembled(chunks))) == _without_end(expected)


@_only(ok=False)
def test_recorded_error_becomes_its_class(recorded: Interaction) -> None:
    text = recorded.body.decode()
    by_words = (kind for words, kind in _CLASSES if re.search(words, text, re.IGNORECASE))
    expected = next(by_words, _CLASS_OF_STATUS[recorded.status])

    error = openai_chat.from_error(recorded.status, recorded.headers, recorded.body)

    assert type(error) is expected
    assert error.status == recorded.status
    assert error.message
    assert error.message.split(":")[0][:40] in json.loads(json.dumps(text)).replace('\\"', '"')


@_only()
def test_recorded_request_goes_out_as_it_was(recorded: Interaction) -> None:
    body = recorded.request["body"]
    if body is None:
        return
    parameters = {name: value for name, value in body.items() if name not in ("model", "messages", "stream")}
    extra_body = {name: parameters.pop(name) for name in _VENDOR_KEYS & parameters.keys()}
    call = WireCall(
        body.get("model", ""), body["messages"], parameters, stream=body.get("stream", False), extra_body=extra_body
    )
    traits = Traits(stream_usage="stream_options" in body)

    request = openai_chat.to_request(call, Endpoint("https://example.com/v1"), traits)

    # Where the path names the deployment, a client may send no name at all.
    unsaid = {"stream"} if body.get("model", "") is not None else {"stream", "model"}
    expected = {name: value for name, value in body.items() if name not in unsaid or value}
    assert json.loads(request.content) == expected
    assert request.json == expected
    assert not call.changes


@_only(ok=True)
def test_nothing_that_a_recorded_server_took_is_refused_by_the_table(recorded: Interaction) -> None:
    body = recorded.request["body"]
    if body is None:
        return
    parameters = {name: value for name, value in body.items() if name not in ("model", "messages", "stream")}
    call = WireCall(body.get("model") or "", [], parameters, unsupported="drop")
    traits = traits_for(call.model, recorded.request["url"])

    openai_chat.to_request(call, Endpoint("https://example.com/v1"), traits)

    dropped = [change for change in call.changes if change.kind == "dropped"]
    assert all("without effect" in change.detail for change in dropped), dropped


@_only(ok=True, foreign=True)
def test_recording_of_another_wire_gives_a_clean_error(recorded: Interaction) -> None:
    with pytest.raises(errors.InvalidResponse):
        openai_chat.from_response(recorded.body, recorded.headers, _call(), Traits())

    _, error = _read(recorded.body)
    assert isinstance(error, errors.InvalidResponse)


def _call() -> WireCall:
    return WireCall("any", [], {})


def _read(body: bytes) -> tuple[list[ChatChunk], errors.CallError | None]:
    """Read a stream that comes in awkward pieces."""
    chunks: list[ChatChunk] = []

    async def read() -> None:
        async for chunk in openai_chat.from_stream(_events(body), _call(), Traits(), sse.End()):
            chunks.append(chunk)

    try:
        run_sync(read())
    except errors.CallError as error:
        return chunks, error
    return chunks, None


async def _events(body: bytes) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder()
    for start in range(0, len(body), 97):
        for event in decoder.feed(body[start : start + 97]):
            yield event
    for event in decoder.finish():
        yield event


def _assembled(chunks: list[ChatChunk]) -> ChatReply:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    return assembly.reply()


def _pieces(body: str) -> list[Any]:
    pieces = [json.loads(data) for data in reader.events(body) if data != "[DONE]"]
    return [piece for piece in pieces if not piece.get("error")]


def _first_end(blocks: list[str]) -> int:
    """Count the blocks before the stream could pass for whole, or says that it failed."""
    for number, block in enumerate(blocks):
        if any(data == "[DONE]" or _is_end(json.loads(data)) for data in reader.events(block)):
            return number
    raise AssertionError("the recording has no end")


def _is_end(piece: dict[str, Any]) -> bool:
    return bool(piece.get("error")) or any(choice.get("finish_reason") for choice in piece["choices"])


def _without_end(seen: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in seen.items() if name != "usage"}


def _seen(reply: ChatReply) -> dict[str, Any]:
    """Lay a reply out as the reader does."""
    return {
        "id": reply.id,
        "model": reply.model,
        "created": reply.created,
        "usage": _usage(reply.usage) if "usage" in reply.model_fields_set else None,
        "choices": {choice.index: _choice(choice) for choice in reply.choices},
    }


def _choice(choice: Any) -> dict[str, Any]:
    message = choice.message
    call, audio = message.function_call, message.audio
    tokens = (choice.logprobs and choice.logprobs.content) or []
    return {
        "role": message.role,
        "content": message.content or "",
        "reasoning": message.reasoning_content or "",
        "refusal": message.refusal or "",
        "finish_reason": choice.finish_reason,
        "tool_calls": [[call.id, call.function.name, call.function.arguments] for call in message.tool_calls or []],
        "function_call": [call.name, call.arguments] if call else ["", ""],
        "audio": [audio.id, audio.data or "", audio.transcript or ""] if audio else [None, "", ""],
        "annotations": message.annotations or [],
        "logprobs": [[*_logprob(token), [_logprob(top) for top in token.top_logprobs or []]] for token in tokens],
    }


def _logprob(token: Any) -> list[Any]:
    return [token.token, token.logprob, token.bytes]


def _usage(usage: Usage) -> list[Any]:
    cached = usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    reasoning = usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens
    return [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, cached, reasoning]
