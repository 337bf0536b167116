"""Every recorded call of OpenAI's Responses, whoever offers them, held against a reading that shares no code."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.capabilities import Traits, traits_for
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import run_sync
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire import openai_responses, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, WireCall
from tests.recordings import responses_inverse, responses_reader
from tests.recordings.folder import recorded_or_skipped
from tests.recordings.reader import Interaction

_DIFFERENCES = json.loads((Path(__file__).parent / "responses_differences.json").read_text(encoding="utf-8"))

_CLASS_OF_WORDS = (
    (r"incorrect api key", errors.AuthenticationFailed),
    (r"model_not_found|does not exist", errors.NotFound),
    (r"context length|context_length_exceeded|too many tokens", errors.ContextTooLong),
    (r"unsupported (parameter|value)|unsupported_(parameter|value)|unknown_parameter", errors.UnsupportedParameter),
    (r"content_filter|flagged|invalid_prompt", errors.ContentFiltered),
    (r"insufficient_quota", errors.QuotaExhausted),
)
_CLASS_OF_STATUS: dict[int, type[errors.CallError]] = {
    400: errors.BadRequest,
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    404: errors.NotFound,
    422: errors.BadRequest,
    429: errors.RateLimited,
    500: errors.ServerFailed,
    503: errors.Overloaded,
}


RECORDED = recorded_or_skipped(responses_reader.interactions)


def _only(*, ok: bool | None = None, streamed: bool | None = None) -> Any:
    """Choose among the recordings; where there are none, the one that says so stays."""

    def fits(found: Interaction | None) -> bool:
        if found is None:
            return True
        return ok in (None, found.status == 200) and streamed in (None, found.streamed)

    return pytest.mark.parametrize("recorded", [one for one in RECORDED if fits(one.values[0])])


@_only(ok=True, streamed=False)
def test_recorded_reply_decodes_with_nothing_lost(recorded: Interaction) -> None:
    body = recorded.response["body"]

    reply = openai_responses.from_response(recorded.body, recorded.headers, _call(), _traits(recorded))

    assert _seen(reply) == responses_reader.seen(body)
    assert reply.raw == body
    assert _kept(reply) in (None, body["output"])


@_only(ok=True, streamed=True)
def test_recorded_stream_adds_up_to_what_was_sent(recorded: Interaction) -> None:
    body = recorded.response["body"]

    chunks, error, end = _read(recorded)

    assert error is None
    assert end.marked
    reply = _assembled(chunks)
    assert _seen(reply) == responses_reader.seen(responses_reader.streamed(body))
    assert reply.raw == responses_reader.events(body)


@_only(ok=True, streamed=True)
def test_recorded_stream_says_what_the_whole_response_says(recorded: Interaction) -> None:
    events = responses_reader.events(recorded.response["body"])
    whole = next(event["response"] for event in reversed(events) if "response" in event)

    chunks, _, _ = _read(recorded)

    assert _seen(_assembled(chunks)) == responses_reader.seen(whole)
    assert _kept(_assembled(chunks)) in (None, whole["output"])
    reply = openai_responses.from_response(json.dumps(whole).encode(), {}, _call(), _traits(recorded))
    assert _assembled(chunks).choices == reply.choices
    assert _assembled(chunks).meta.usage == reply.meta.usage


@_only(ok=True, streamed=True)
def test_recorded_stream_that_is_cut_tells_so_and_keeps_what_came(recorded: Interaction) -> None:
    blocks = responses_reader.blocks(recorded.response["body"])
    last = next(number for number, block in enumerate(blocks) if '"response.completed"' in block)

    first = next(number for number, block in enumerate(blocks) if "data:" in block)

    for kept in range(first + 1, last):
        text = "".join(blocks[:kept])
        chunks, error, end = _read(recorded, text.encode())

        assert type(error) is errors.StreamTruncated
        assert not end.marked
        if chunks:
            came = responses_reader.seen(responses_reader.streamed(text))
            assert _what_came(_seen(_assembled(chunks))) == _what_came(came)
            assert _assembled(chunks).choices[0].finish_reason is None


@_only(ok=True, streamed=True)
def test_recorded_stream_that_is_cut_within_an_event_tells_so(recorded: Interaction) -> None:
    blocks = responses_reader.blocks(recorded.response["body"])
    half = len(blocks) // 2
    text = "".join(blocks[:half]) + blocks[half][: len(blocks[half]) // 2]

    _, error, _ = _read(recorded, text.encode())

    assert type(error) is errors.StreamTruncated


@_only(ok=True, streamed=True)
def test_recorded_stream_reads_the_same_however_it_is_cut_into_pieces(recorded: Interaction) -> None:
    expected = [chunk.model_dump() for chunk in _read(recorded)[0]]

    for size in (1, 7, 97):
        assert [chunk.model_dump() for chunk in _read(recorded, size=size)[0]] == expected


@_only(ok=True)
def test_recorded_usage_adds_up(recorded: Interaction) -> None:
    if recorded.streamed:
        reply = _assembled(_read(recorded)[0])
    else:
        reply = openai_responses.from_response(recorded.body, recorded.headers, _call(), _traits(recorded))

    usage = reply.meta.usage
    assert usage is not None
    assert usage.prompt + usage.completion == usage.total == reply.usage.total_tokens
    assert 0 <= usage.cached + usage.cache_write <= usage.prompt
    assert 0 <= usage.reasoning <= usage.completion


@_only(ok=False)
def test_recorded_error_becomes_its_class(recorded: Interaction) -> None:
    text = recorded.body.decode()
    by_words = (kind for words, kind in _CLASS_OF_WORDS if re.search(words, text, re.IGNORECASE))
    expected = next(by_words, _CLASS_OF_STATUS[recorded.status])

    error = openai_responses.from_error(recorded.status, recorded.headers, recorded.body)

    assert type(error) is expected
    assert error.status == recorded.status
    assert error.message.split(":")[0][:40] in json.loads(json.dumps(text)).replace('\\"', '"')


@_only()
def test_recorded_request_goes_out_as_it_was(recorded: Interaction) -> None:
    body = recorded.request["body"]
    if body is None:
        return
    expected, differences = responses_inverse.alike(body)
    asked = responses_inverse.to_call(body)
    call = WireCall(asked.model, messages_from(asked.messages), asked.parameters, stream=asked.stream)

    try:
        request = openai_responses.to_request(call, Endpoint("https://example.com/v1"), _traits(recorded))
    except errors.BadRequest:
        assert recorded.status == 400
        differences = {"refused_by_the_server"}
    else:
        if recorded.status == 400 and request.json != expected:
            differences |= {"refused_by_the_server"}
        else:
            assert request.json == expected
            assert json.loads(request.content) == expected

    assert differences <= _DIFFERENCES.keys()


@_only(ok=True)
def test_what_a_recorded_reply_left_goes_back_as_it_came(recorded: Interaction) -> None:
    body = recorded.response["body"]
    output = responses_reader.streamed(body)["output"] if recorded.streamed else body["output"]
    reply = (
        _assembled(_read(recorded)[0])
        if recorded.streamed
        else openai_responses.from_response(recorded.body, recorded.headers, _call(), _traits(recorded))
    )
    results = [
        {"role": "tool", "tool_call_id": item["call_id"], "content": "Ok."}
        for item in output
        if item["type"] == "function_call"
    ]
    if not output:
        return

    messages = messages_from(
        [{"role": "user", "content": "Hi"}, reply, *results, {"role": "user", "content": "Go on."}]
    )
    call = WireCall("any", messages, {})
    sent = openai_responses.to_request(call, Endpoint("https://example.com/v1"), _traits(recorded)).json["input"]

    answered = sent[1 : len(sent) - 1 - len(results)]
    readable = all(
        item.get("encrypted_content") or item.get("content") for item in output if item["type"] == "reasoning"
    )
    if readable and (kept := _kept(reply)) is not None:
        assert answered == kept
    else:
        assert [_spoken(item) for item in answered] == [_spoken(item) for item in output if item["type"] != "reasoning"]
    assert readable or _kept(reply) is None or "extra_content.openai" in {change.what for change in call.changes}


def _spoken(item: dict[str, Any]) -> Any:
    if item.get("type") == "function_call":
        return item["call_id"], item["name"], item["arguments"]
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _call() -> WireCall:
    return WireCall("any", [], {})


def _traits(recorded: Interaction) -> Traits:
    model = (recorded.request["body"] or {}).get("model", "")
    # What the table says of this is meant for Chat Completions.
    return replace(traits_for(model, recorded.request["url"]), replay_reasoning=True)


def _read(
    recorded: Interaction, body: bytes | None = None, size: int = 61
) -> tuple[list[ChatChunk], errors.CallError | None, sse.End]:
    """Read a stream that comes in awkward pieces."""
    chunks: list[ChatChunk] = []
    end = sse.End()
    given = recorded.body if body is None else body

    async def read() -> None:
        async for chunk in openai_responses.from_stream(_events(given, size), _call(), _traits(recorded), end):
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


def _kept(reply: ChatReply) -> Any:
    extra = (reply.choices[0].message.model_extra or {}).get("extra_content")
    return None if extra is None else extra["openai"]["output"]


def _what_came(seen: dict[str, Any]) -> dict[str, Any]:
    return {name: seen[name] for name in ("id", "model", "text", "refusal", "reasoning", "calls", "citations")}


def _seen(reply: ChatReply) -> dict[str, Any]:
    """Lay a reply out as the reader does."""
    choice = reply.choices[0]
    message = choice.message
    cited = [[found["type"], found[found["type"]].get("url")] for found in message.annotations or ()]
    return {
        "text": message.content or "",
        "refusal": message.refusal or "",
        "reasoning": message.reasoning_content or "",
        "calls": [[call.id, call.function.name, call.function.arguments] for call in message.tool_calls or ()],
        "citations": cited,
        "kept": _kept(reply) is not None,
        "id": reply.id,
        "created": reply.created,
        "model": reply.model,
        "finish_reason": choice.finish_reason,
        "native_finish_reason": reply.meta.finish_reason,
        "usage": _usage(reply) if "usage" in reply.model_fields_set else None,
    }


def _usage(reply: ChatReply) -> list[Any]:
    usage = reply.usage
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    return [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        prompt and prompt.cached_tokens,
        prompt and prompt.cache_write_tokens,
        completion and completion.reasoning_tokens,
    ]
