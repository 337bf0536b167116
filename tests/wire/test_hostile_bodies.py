"""Whatever bytes come, the chat codec ends in a reply or in an error of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwrap.capabilities import Traits
from modelwrap.errors import CallError
from modelwrap.runtime.base import run_sync
from modelwrap.wire import failures, openai_chat, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import WireCall
from modelwrap.wire.post_api import Service

FIELDS = (
    *(
        "id",
        "created",
        "model",
        "choices",
        "usage",
        "index",
        "message",
        "delta",
        "finish_reason",
        "logprobs",
        "content",
    ),
    *("role", "refusal", "reasoning", "reasoning_content", "reasoning_details", "tool_calls", "function_call", "audio"),
    *("annotations", "function", "custom", "name", "arguments", "input", "type", "text", "thinking", "error", "code"),
    *("token", "logprob", "bytes", "top_logprobs", "prompt_tokens", "prompt_tokens_details", "cached_tokens", "detail"),
    *("status", "loc", "msg", "errors", "metadata", "raw", "base_resp", "status_code", "filtered", "summary", "data"),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "<think>", "{}", "0", "error"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)

TOKEN = {"token": "x", "logprob": -1.0, "bytes": [1], "top_logprobs": [{"token": "x", "logprob": -1.0}]}
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
MESSAGE = {
    "role": "assistant",
    "content": [{"type": "text", "text": "x"}],
    "tool_calls": [CALL, {"custom": {"name": "g", "input": "x"}}],
    "reasoning_details": [{"index": 0, "type": "t", "text": "x"}],
    "function_call": {"name": "f", "arguments": "{}"},
    "audio": {"id": "a", "data": "x", "transcript": "x", "expires_at": 1},
    "annotations": [{"type": "x"}],
}
CHOICE = {"index": 0, "finish_reason": "stop", "logprobs": {"content": [TOKEN]}}
USAGE = {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens": 1}
REPLY = {"id": "c", "created": 1, "model": "m", "choices": [{**CHOICE, "message": MESSAGE}], "usage": USAGE}
CHUNK = {"id": "c", "created": 1, "model": "m", "choices": [{**CHOICE, "delta": MESSAGE}], "usage": USAGE}


@st.composite
def damaged(draw: st.DrawFn, whole: dict[str, Any]) -> Any:
    """Put anything anywhere into a good answer, up to three times."""
    value: Any = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = value
        while True:
            keys = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(holder[key], (dict, list)) and draw(st.integers(0, 3)):
                holder = holder[key]
                continue
            if draw(st.booleans()):
                holder[key] = draw(values)
            else:
                del holder[key]
            break
    return value


@given(damaged(REPLY) | values)
@settings(max_examples=400, deadline=None)
def test_damaged_reply_is_read_or_refused(body: Any) -> None:
    sent = json.dumps(body).encode()

    try:
        reply = openai_chat.from_response(sent, {}, WireCall("m", [], {}), Traits())
    except CallError as error:
        assert str(error)
    else:
        assert reply.choices
        assert isinstance(reply.text, str)
        assert reply.model_dump_json()


@given(st.lists(damaged(CHUNK) | values, max_size=4), st.booleans())
@settings(max_examples=400, deadline=None)
def test_damaged_stream_is_read_or_refused(pieces: list[Any], marked: bool) -> None:
    body = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n" * marked

    assembly = _assembled(body.encode())

    assert assembly.reply().model_dump_json()


@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode))
def test_garbage_is_refused(body: bytes) -> None:
    assert not _assembled(body)


@given(values, st.integers(300, 599))
def test_any_refusal_becomes_an_error(body: Any, status: int) -> None:
    error = failures.failure(status, {}, json.dumps(body).encode())

    assert error.message
    assert str(error)


def _assembled(body: bytes) -> Assembly:
    assembly = Assembly()

    async def read() -> None:
        async for chunk in openai_chat.from_stream(_events(body), WireCall("m", [], {}), Traits(), sse.End()):
            assembly.add(chunk)

    try:
        run_sync(read())
    except CallError as error:
        assert str(error)
    return assembly


async def _events(body: bytes) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder()
    for event in decoder.feed(body) + decoder.finish():
        yield event


@pytest.mark.parametrize(
    "seconds, wait",
    [
        ("20.5", 20.5),
        ("9" * 400, None),
        ("1e400", None),
        ("NaN", None),
        ("-1", None),
        ("0", None),
        ('"soon"', None),
        ("[]", None),
    ],
)
def test_the_time_that_a_loading_model_takes_is_read_or_not(seconds: str, wait: float | None) -> None:
    error = Service().from_error(503, {}, b'{"error": "loading", "estimated_time": %s}' % seconds.encode())

    assert error.retry_after == wait
