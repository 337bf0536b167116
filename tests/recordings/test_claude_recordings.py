"""Every recorded call of Anthropic's Messages API, held against a reading of it that shares no code with the codec."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.capabilities import Traits, traits_for
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import run_sync
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire import claude, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, WireCall
from tests.recordings import claude_inverse, claude_reader
from tests.recordings.folder import recorded_or_skipped
from tests.recordings.reader import Interaction

_DIFFERENCES = json.loads((Path(__file__).parent / "claude_differences.json").read_text(encoding="utf-8"))

_CLASS_OF_TYPE: dict[str, type[errors.CallError]] = {
    "invalid_request_error": errors.BadRequest,
    "authentication_error": errors.AuthenticationFailed,
    "permission_error": errors.PermissionDenied,
    "not_found_error": errors.NotFound,
    "request_too_large": errors.BadRequest,
    "rate_limit_error": errors.RateLimited,
    "api_error": errors.ServerFailed,
    "timeout_error": errors.ServerFailed,
    "overloaded_error": errors.Overloaded,
    "billing_error": errors.QuotaExhausted,
}
_CLASS_OF_WORDS = {
    "prompt is too long": errors.ContextTooLong,
    "exceed context limit": errors.ContextTooLong,
    "credit balance is too low": errors.QuotaExhausted,
    "specified API usage limits": errors.QuotaExhausted,
    "content filtering policy": errors.ContentFiltered,
    "Extra inputs are not permitted": errors.UnsupportedParameter,
    "on this model": errors.UnsupportedParameter,
    "deprecated for this model": errors.UnsupportedParameter,
}
_CLASS_OF_STATUS: dict[int, type[errors.CallError]] = {
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    429: errors.RateLimited,
}
"""Where a cloud that serves Claude says it in a way of its own."""


RECORDED = recorded_or_skipped(claude_reader.interactions)


def _only(*, ok: bool | None = None, streamed: bool | None = None, asked: bool | None = None) -> Any:
    """Choose among the recordings."""
    return pytest.mark.parametrize("recorded", _chosen(ok=ok, streamed=streamed, asked=asked))


def _chosen(*, ok: bool | None = None, streamed: bool | None = None, asked: bool | None = None) -> list[Any]:
    def fits(found: Interaction) -> bool:
        is_streamed = found.status == 200 and isinstance(found.response["body"], str)
        is_ok = found.status == 200 and claude_reader.refusal(found.response["body"]) is None
        is_asked = isinstance(found.request["body"], dict)
        return ok in (None, is_ok) and streamed in (None, is_streamed) and asked in (None, is_asked)

    return [one for one in RECORDED if one.values[0] is None or fits(one.values[0])]


@_only(ok=True, streamed=False)
def test_recorded_reply_decodes_with_nothing_lost(recorded: Interaction) -> None:
    reply = claude.from_response(recorded.body, recorded.headers, _call(), Traits())

    assert _seen(reply) == claude_reader.seen(recorded.response["body"])
    assert reply.raw == recorded.response["body"]


@_only(ok=True, streamed=True)
def test_recorded_stream_adds_up_to_what_was_sent(recorded: Interaction) -> None:
    body = recorded.response["body"]
    expected = claude_reader.seen(claude_reader.streamed(body))

    chunks, error, end = _read(recorded.body)

    assert error is None
    if end.paused is not None:
        assert claude_reader.seen(end.paused) == expected
    else:
        assert _seen(_assembled(chunks)) == expected
        assert _assembled(chunks).raw == claude_reader.events(body)


@_only(ok=True, streamed=True)
def test_recorded_stream_reads_as_a_whole_reply_too(recorded: Interaction) -> None:
    expected = claude_reader.seen(claude_reader.streamed(recorded.response["body"]))

    reply = claude.from_response(recorded.body, recorded.headers, _call(), Traits())

    assert _seen(reply) == expected


@_only(ok=True, streamed=True)
def test_recorded_stream_that_is_cut_tells_so_and_keeps_what_came(recorded: Interaction) -> None:
    blocks = claude_reader.blocks(recorded.response["body"])
    last = next(number for number, block in enumerate(blocks) if '"message_delta"' in block)

    for kept in range(1, last):
        text = "".join(blocks[:kept])
        chunks, error, end = _read(text.encode())

        assert type(error) is _cut(text)
        assert not end.marked
        came = claude_reader.seen(claude_reader.streamed(text))
        if came["content"]:
            assert _what_came(_seen(_assembled(chunks))) == _what_came(came)


@_only(ok=True, streamed=True)
def test_recorded_stream_that_is_cut_within_an_event_tells_so(recorded: Interaction) -> None:
    blocks = claude_reader.blocks(recorded.response["body"])
    last = next(number for number, block in enumerate(blocks) if '"message_delta"' in block)
    came = "".join(blocks[: last // 2])

    _, error, _ = _read((came + blocks[last // 2][: len(blocks[last // 2]) // 2]).encode())

    assert type(error) is _cut(came)


def _cut(came: str) -> type[errors.CallError]:
    """Give the error of a stream that broke off, which nobody takes for one where nothing of an answer came."""
    return errors.StreamTruncated if "message_start" in came else errors.InvalidResponse


@_only(ok=True, streamed=True)
def test_recorded_stream_reads_the_same_however_it_is_cut_into_pieces(recorded: Interaction) -> None:
    expected = [chunk.model_dump() for chunk in _read(recorded.body)[0]]

    for size in (1, 7, 97):
        assert [chunk.model_dump() for chunk in _read(recorded.body, size)[0]] == expected


@_only(ok=True)
def test_recorded_usage_adds_up(recorded: Interaction) -> None:
    reply = claude.from_response(recorded.body, recorded.headers, _call(), Traits())

    usage = reply.meta.usage
    assert usage is not None
    assert usage.prompt + usage.completion == usage.total == reply.usage.total_tokens
    assert 0 <= usage.cached + usage.cache_write <= usage.prompt
    assert 0 <= usage.reasoning <= usage.completion
    if isinstance(recorded.response["body"], str):
        chunks, _, end = _read(recorded.body)
        assert end.paused is not None or _assembled(chunks).meta.usage == usage


@_only(ok=False, streamed=False)
def test_recorded_error_becomes_its_class(recorded: Interaction) -> None:
    said = claude_reader.refusal(recorded.response["body"])

    if recorded.status == 200:
        with pytest.raises(errors.CallError) as caught:
            claude.from_response(recorded.body, recorded.headers, _call(), Traits())
        error = caught.value
    else:
        error = claude.from_error(recorded.status, recorded.headers, recorded.body)

    assert type(error) is _expected(said or {}, recorded.status)
    assert error.status == recorded.status
    if said is not None:
        assert error.code == said.get("type", said.get("status"))
        assert said["message"].startswith(error.message.removesuffix("…"))


def test_recorded_errors_within_streams_come_after_what_was_said() -> None:
    # Recordings of this kind are rare, and a folder without any is no failure.
    for found in _chosen(ok=False, streamed=True):
        if found.values[0] is not None:
            assert_error_comes_after_what_was_said(found.values[0])


def assert_error_comes_after_what_was_said(recorded: Interaction) -> None:
    said = claude_reader.refusal(recorded.response["body"]) or {}
    came = claude_reader.seen(claude_reader.streamed(recorded.response["body"]))

    chunks, error, end = _read(recorded.body)

    assert type(error) is (errors.StreamFailed if chunks else _expected(said, recorded.status))
    assert said["message"].startswith(error.message.removesuffix("…"))
    assert not end.marked
    if came["content"]:
        assert _what_came(_seen(_assembled(chunks))) == _what_came(came)


def _expected(said: dict[str, Any], status: int) -> type[errors.CallError]:
    by_words = (kind for words, kind in _CLASS_OF_WORDS.items() if words in said.get("message", ""))
    by_status = _CLASS_OF_STATUS.get(status, errors.BadRequest if 400 <= status < 500 else errors.ServerFailed)
    return next(by_words, _CLASS_OF_TYPE.get(said.get("type", ""), by_status))


@_only(asked=True)
def test_recorded_request_is_what_a_call_in_openais_format_sends(recorded: Interaction) -> None:
    refused = 400 <= recorded.status < 500
    body, alike = claude_inverse.alike(recorded.request["body"])
    try:
        asked = claude_inverse.to_call(body)
        call = WireCall(asked.model, messages_from(asked.messages), asked.parameters, stream=asked.stream)
        traits = traits_for(asked.model, "https://api.anthropic.com/v1", provider="anthropic")
        sent = claude.to_request(call, Endpoint("https://api.anthropic.com/v1"), traits).json
    except (errors.BadRequest, TypeError):
        assert refused
        return

    assert alike <= _DIFFERENCES.keys()
    assert refused or _differing(sent, body) == []
    assert refused or all(change.kind == "renamed" for change in call.changes)


@_only(ok=True)
def test_recorded_reply_goes_back_as_it_came(recorded: Interaction) -> None:
    reply = claude.from_response(recorded.body, recorded.headers, _call(), Traits())
    calls = reply.choices[0].message.tool_calls or []
    results = [{"role": "tool", "tool_call_id": call.id, "content": "x"} for call in calls]
    messages = messages_from([{"role": "user", "content": "x"}, reply, *results, {"role": "user", "content": "y"}])
    tools = [{"name": "some_tool", "input_schema": {"type": "object"}}]
    call = WireCall("claude-haiku-4-5", messages, {"max_tokens": 5, "tools": tools})

    sent = claude.to_body(call, Traits())["messages"]

    came = claude_reader.seen(reply.raw)["content"]
    content = sent[1]["content"] if sent[1]["role"] == "assistant" else []
    content = [{"type": "text", "text": content}] if isinstance(content, str) else content
    expected = _taken_back(came, calls=bool(calls))
    assert [claude_reader.plain(block) for block in content] == expected
    assert bool(call.changes) == (expected != came or not came)


def _taken_back(blocks: list[dict[str, Any]], *, calls: bool) -> list[dict[str, Any]]:
    """Give the blocks that Claude takes back from a finished turn, or from one that waits for results."""
    unpaired = _unpaired(blocks) if not calls else set()
    taken = [
        block
        for block in blocks
        if block.get("id") not in unpaired
        and not (block["type"] == "text" and not block["text"].strip())
        and not (block["type"] == "thinking" and not block.get("signature"))
    ]
    while not calls and taken and taken[-1]["type"] in ("thinking", "redacted_thinking"):
        taken.pop()
    return taken


def _unpaired(blocks: list[dict[str, Any]]) -> set[str]:
    answered = {block.get("tool_use_id") for block in blocks}
    return {block["id"] for block in blocks if block["type"].endswith("tool_use") and block["id"] not in answered}


def _differing(sent: dict[str, Any], recorded: dict[str, Any]) -> list[str]:
    return [name for name in {**sent, **recorded} if sent.get(name) != recorded.get(name)]


def _call() -> WireCall:
    return WireCall("a-model", [], {})


def _read(body: bytes, size: int = 97) -> tuple[list[ChatChunk], errors.CallError | None, sse.End]:
    chunks: list[ChatChunk] = []
    end = sse.End()

    async def read() -> None:
        async for chunk in claude.from_stream(_events(body, size), _call(), Traits(), end):
            chunks.append(chunk)

    try:
        run_sync(read())
    except errors.CallError as error:
        return chunks, error, end
    return chunks, None, end


async def _events(body: bytes, size: int) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder()
    for start in range(0, len(body), size):
        for event in decoder.feed(body[start : start + size]):
            yield event
    for event in decoder.finish():
        yield event


def _assembled(chunks: list[ChatChunk]) -> ChatReply:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    return assembly.reply()


def _seen(reply: ChatReply) -> dict[str, Any]:
    """Lay a reply out as the reader does; its blocks are those that it carries, else what its fields stand for."""
    (choice,) = reply.choices
    message, extra = choice.message, choice.__pydantic_extra__ or {}
    calls = [[call.id, call.function.name, _arguments(call.function.arguments)] for call in message.tool_calls or []]
    own = (message.__pydantic_extra__ or {}).get("extra_content", {}).get("anthropic", {}).get("content")
    text = [{"type": "text", "text": message.content}] if message.content else []
    used = [{"type": "tool_use", "id": call[0], "name": call[1], "input": call[2]} for call in calls]
    usage = reply.meta.usage
    counts = {name: getattr(usage, name) if usage else 0 for name in _SEEN_COUNTS}
    return {
        "id": reply.id,
        "model": reply.model,
        "text": message.content or "",
        "thoughts": message.reasoning_content or "",
        "calls": calls,
        "content": [claude_reader.plain(block) for block in own or [*text, *used] if block.get("text") != ""],
        "stop_reason": extra.get("native_finish_reason"),
        "stop_sequence": extra.get("stop_sequence"),
        **counts,
        "container": (reply.__pydantic_extra__ or {}).get("container"),
        "context_management": (reply.__pydantic_extra__ or {}).get("context_management"),
    }


_SEEN_COUNTS = ("prompt", "completion", "cached", "cache_write", "reasoning")


def _arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def _what_came(seen: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a cut stream may not know: its end, and the inner form of an input that broke off."""
    kept = {name: seen[name] for name in ("id", "model", "text", "thoughts", "calls")}
    blocks = [{name: value for name, value in block.items() if name != "input"} for block in seen["content"]]
    return {**kept, "content": blocks}
