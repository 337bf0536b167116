"""Every recorded call of Anthropic's Messages API, held against a reading of it that shares no code with the codec."""

from __future__ import annotations

import json
import os
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
from tests.recordings.reader import Interaction

_VARIABLE = "MODELWRAP_RECORDINGS"
_DIFFERENCES = json.loads((Path(__file__).parent / "claude_differences.json").read_text(encoding="utf-8"))

_CLASS_OF_TYPE: dict[str, type[errors.CallError]] = {
    "invalid_request_error": errors.BadRequest,
    "authentication_error": errors.AuthenticationFailed,
    "permission_error": errors.PermissionDenied,
    "not_found_error": errors.NotFound,
    "request_too_large": errors.BadRequest,
    "rate_limit_error": errors.RateLimited,
    "api_error": errors.ServerFailed,
    "overloaded_error": errors.Overloaded,
}
_CLASS_OF_WORDS = {
    "prompt is too long": errors.ContextTooLong,
    "credit balance is too low": errors.QuotaExhausted,
    "Extra inputs are not permitted": errors.UnsupportedParameter,
}


def _recorded() -> list[Any]:
    folder = os.environ.get(_VARIABLE)
    if folder is None:
        reason = f"set {_VARIABLE} to a folder of recorded traffic to run this"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"{_VARIABLE}: {folder} is no folder")
    return [pytest.param(found, id=found.id) for found in claude_reader.interactions(Path(folder))]


RECORDED = _recorded()


def _only(*, ok: bool | None = None, streamed: bool | None = None) -> Any:
    """Choose among the recordings; where there are none, the one that says so stays."""

    def fits(found: Interaction | None) -> bool:
        if found is None:
            return True
        is_streamed = found.status == 200 and isinstance(found.response["body"], str)
        return ok in (None, found.status == 200) and streamed in (None, is_streamed)

    return pytest.mark.parametrize("recorded", [one for one in RECORDED if fits(one.values[0])])


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

        assert type(error) is errors.StreamTruncated
        assert not end.marked
        came = claude_reader.seen(claude_reader.streamed(text))
        if came["content"]:
            assert _what_came(_seen(_assembled(chunks))) == _what_came(came)


@_only(ok=True, streamed=True)
def test_recorded_stream_that_is_cut_within_an_event_tells_so(recorded: Interaction) -> None:
    blocks = claude_reader.blocks(recorded.response["body"])
    last = next(number for number, block in enumerate(blocks) if '"message_delta"' in block)
    text = "".join(blocks[: last // 2]) + blocks[last // 2][: len(blocks[last // 2]) // 2]

    _, error, _ = _read(text.encode())

    assert type(error) is errors.StreamTruncated


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


@_only(ok=False)
def test_recorded_error_becomes_its_class(recorded: Interaction) -> None:
    said = recorded.response["body"]["error"]
    by_words = (kind for words, kind in _CLASS_OF_WORDS.items() if words in said["message"])
    expected = next(by_words, _CLASS_OF_TYPE[said["type"]])

    error = claude.from_error(recorded.status, recorded.headers, recorded.body)

    assert type(error) is expected
    assert (error.status, error.code) == (recorded.status, said["type"])
    assert said["message"].startswith(error.message.removesuffix("…"))


@_only()
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
    assert refused or not call.changes


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
    unpaired = _unpaired(came) if not calls else set()
    blank = [block for block in came if block["type"] == "text" and not block["text"].strip()]
    expected = [block for block in came if block.get("id") not in unpaired and block not in blank]
    assert [claude_reader.plain(block) for block in content] == expected
    assert bool(call.changes) == bool(unpaired or blank or not came)


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
