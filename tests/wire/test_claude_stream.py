"""Whatever Claude may answer: whole, in pieces, cut anywhere, and given back to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelwrap.capabilities import Traits
from modelwrap.errors import CallError, StreamTruncated
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import run_sync
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire import claude, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import WireCall
from tests.claude_wire import events_of, framed, message
from tests.claude_wire import sse as as_events

THOUGHT = {"type": "thinking", "thinking": "Hm, é.", "signature": "c2ln"}
HIDDEN = {"type": "redacted_thinking", "data": "eHh4"}
SEARCHED = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": [{"type": "web_search_result"}]}


def use(call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "weather", "input": arguments}


RICH = message(
    THOUGHT,
    "I löok 🌊.",
    use("t_1", city="Röm", n=[1, 2.5, None]),
    HIDDEN,
    SEARCHED,
    FOUND,
    use("t_2"),
    stop="tool_use",
)

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
inputs = st.dictionaries(
    words, st.none() | st.booleans() | st.integers() | words | st.lists(words, max_size=2), max_size=3
)
blocks = st.one_of(
    st.builds(lambda said: {"type": "text", "text": said}, words),
    st.builds(lambda said: {"type": "thinking", "thinking": said, "signature": "c2ln"}, words | st.just("")),
    st.just(HIDDEN),
    st.builds(lambda given: {"type": "tool_use", "id": "", "name": "weather", "input": given}, inputs),
    st.builds(lambda given: {"type": "server_tool_use", "id": "", "name": "web_search", "input": given}, inputs),
)
counts = st.integers(0, 10_000)
usages = st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts},
    optional={
        "cache_read_input_tokens": counts | st.none(),
        "cache_creation_input_tokens": counts | st.none(),
        "service_tier": st.just("standard"),
        "server_tool_use": st.fixed_dictionaries({"web_search_requests": counts}),
    },
)


@st.composite
def messages(draw: st.DrawFn) -> dict[str, Any]:
    content = []
    for number, block in enumerate(draw(st.lists(blocks, max_size=5))):
        content.append({**block, "id": f"t_{number}"} if "id" in block else block)
        if block["type"] == "server_tool_use":
            content.append({**FOUND, "tool_use_id": f"t_{number}"})
    stop = draw(st.sampled_from(["end_turn", "tool_use", "max_tokens", "stop_sequence", "refusal"]))
    return message(*content, stop=stop, usage=draw(usages))


def call() -> WireCall:
    return WireCall("claude-haiku-4-5", [], {})


def whole(body: dict[str, Any]) -> ChatReply:
    return claude.from_response(json.dumps(body).encode(), {}, call(), Traits())


def read(*parts: bytes) -> tuple[list[ChatChunk], CallError | None, sse.End]:
    chunks: list[ChatChunk] = []
    end = sse.End()

    async def events() -> AsyncIterator[sse.Event]:
        decoder = sse.Decoder()
        for part in parts:
            for event in decoder.feed(part):
                yield event
        for event in decoder.finish():
            yield event

    async def read_all() -> None:
        async for chunk in claude.from_stream(events(), call(), Traits(), end):
            chunks.append(chunk)

    try:
        run_sync(read_all())
    except CallError as error:
        return chunks, error, end
    return chunks, None, end


def assembled(chunks: list[ChatChunk]) -> ChatReply:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    return assembly.reply()


@settings(max_examples=40, deadline=None)
@given(body=messages(), pieces=st.integers(1, 9))
def test_a_stream_says_what_a_whole_reply_says(body: dict[str, Any], pieces: int) -> None:
    expected = whole(body)

    chunks, error, end = read(as_events(events_of(body, pieces=pieces)))

    reply = assembled(chunks)
    assert error is None
    assert end.marked
    assert reply.model_dump() == expected.model_dump()
    assert reply.meta.usage == expected.meta.usage
    assert reply.meta.finish_reason == expected.meta.finish_reason
    assert reply.raw == events_of(body, pieces=pieces)


@settings(max_examples=40, deadline=None)
@given(body=messages())
def test_a_stream_of_a_whole_reply_is_that_reply(body: dict[str, Any]) -> None:
    reply = claude.from_response(as_events(events_of(body)), {}, call(), Traits())

    assert reply.raw["content"] == body["content"]
    assert reply.model_dump() == whole(body).model_dump()


@settings(max_examples=40, deadline=None)
@given(body=messages())
def test_tokens_add_up(body: dict[str, Any]) -> None:
    usage = whole(body).meta.usage

    assert usage is not None
    assert usage.prompt + usage.completion == usage.total
    assert usage.cached + usage.cache_write <= usage.prompt
    assert usage.reasoning <= usage.completion


@settings(max_examples=40, deadline=None)
@given(body=messages())
def test_what_came_goes_back_as_it_came(body: dict[str, Any]) -> None:
    results = [
        {"role": "tool", "tool_call_id": block["id"], "content": "x"}
        for block in body["content"]
        if block["type"] == "tool_use"
    ]
    given = messages_from([{"role": "user", "content": "x"}, whole(body), *results, {"role": "user", "content": "y"}])
    asked = WireCall("claude-haiku-4-5", given, {"max_tokens": 5})

    sent = claude.to_body(asked, Traits())["messages"]

    expected = [block for block in body["content"] if block["type"] != "text" or block["text"].strip()]
    while not results and expected and expected[-1]["type"] in ("thinking", "redacted_thinking"):
        expected.pop()
    content = sent[1]["content"] if sent[1]["role"] == "assistant" else []
    assert ([{"type": "text", "text": content}] if isinstance(content, str) else content) == expected


@pytest.mark.parametrize("kept", range(len(events_of(RICH)) - 2))
def test_a_stream_cut_after_any_event_tells_so_and_keeps_what_came(kept: int) -> None:
    events = events_of(RICH)[:kept]

    chunks, error, end = read(as_events(events))

    came = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    thought = "".join(event["delta"].get("thinking", "") for event in events if event["type"] == "content_block_delta")
    calls = [
        event["content_block"]["id"] for event in events if event.get("content_block", {}).get("type") == "tool_use"
    ]
    reply = assembled(chunks)
    assert error is not None
    assert isinstance(error, StreamTruncated) or kept == 0
    assert not end.marked
    assert reply.text == came
    if reply.choices:
        said = reply.choices[0].message
        assert (said.reasoning_content or "") == thought
        assert [call.id for call in said.tool_calls or []] == calls
        assert reply.choices[0].finish_reason is None
        own = said.model_dump()["extra_content"]["anthropic"]["content"]
        begun = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
        assert [block["type"] for block in own] == begun


def test_a_stream_cut_at_every_byte_is_never_whole_before_its_end() -> None:
    body = as_events(events_of(RICH))
    end_told = body.index(b'"message_delta"') + body[body.index(b'"message_delta"') :].index(b"\n")

    for kept in range(0, end_told, 3):
        _, error, _ = read(body[:kept])

        assert error is not None, kept


def test_a_stream_in_pieces_of_any_size_gives_the_same_chunks() -> None:
    body = as_events(events_of(message({**THOUGHT, "thinking": "é"}, "🌊", use("t_1", n=1), stop="tool_use"), pieces=9))
    expected = [chunk.model_dump() for chunk in read(body)[0]]

    for split in range(1, len(body)):
        chunks, error, _ = read(body[:split], body[split:])

        assert error is None
        assert [chunk.model_dump() for chunk in chunks] == expected
    assert [chunk.model_dump() for chunk in read(*(bytes([byte]) for byte in body))[0]] == expected


def test_all_chunks_have_one_id_and_only_the_first_names_the_role() -> None:
    chunks, _, _ = read(as_events(events_of(RICH)))

    assert {(chunk.id, chunk.model, chunk.object) for chunk in chunks} == {
        ("msg_1", "claude-haiku-4-5", "chat.completion.chunk")
    }
    assert [choice.delta.role for chunk in chunks for choice in chunk.choices][:2] == ["assistant", None]
    assert sum(choice.delta.role is not None for chunk in chunks for choice in chunk.choices) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert [[call.index for call in choice.delta.tool_calls or []] for chunk in chunks for choice in chunk.choices][
        -1
    ] == []
    indexes = [call.index for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert sorted(set(indexes)) == [0, 1]


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["text", "tool_use", "thinking"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "content",
                    "index",
                    "delta",
                    "content_block",
                    "message",
                    "usage",
                    "input",
                    "id",
                    "name",
                    "stop_reason",
                    "thinking",
                    "citations",
                    "error",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
KINDS = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "error",
]


@settings(max_examples=80, deadline=None)
@given(
    events=st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.dictionaries(
                st.sampled_from(["index", "delta", "content_block", "message", "usage", "error"]), HOSTILE, max_size=4
            ),
        ),
        max_size=6,
    )
)
@example(
    events=[
        ("content_block_start", {"content_block": {"type": "text", "citations": 1}}),
        ("content_block_delta", {"delta": {"type": "citations_delta", "citation": {}}}),
    ]
)
def test_odd_events_end_in_chunks_or_in_a_known_error(events: list[tuple[str, dict[str, Any]]]) -> None:
    body = b"".join(framed({"type": kind, **fields}) for kind, fields in events)

    _, error, _ = read(body)

    assert error is None or isinstance(error, CallError)


@settings(max_examples=80, deadline=None)
@given(body=HOSTILE)
def test_odd_replies_end_in_a_reply_or_in_a_known_error(body: Any) -> None:
    content = json.dumps({"content": body, "usage": body, "stop_reason": body, "id": body, "container": body}).encode()
    for odd in (json.dumps(body).encode(), content):
        try:
            reply = claude.from_response(odd, {}, call(), Traits())
        except CallError:
            continue
        assert reply.choices


@settings(max_examples=80, deadline=None)
@given(content=st.lists(HOSTILE, max_size=4), is_last=st.booleans())
@example(content=[{"type": "text", "text": 1}], is_last=True)
def test_what_an_odd_server_left_on_a_message_goes_back_or_is_refused(content: list[Any], is_last: bool) -> None:
    said = "".join(str(block["text"]) for block in content if isinstance(block, dict) and block.get("text")) or "x"
    message = {"role": "assistant", "content": said, "extra_content": {"anthropic": {"content": content}}}
    behind = [] if is_last else [{"role": "user", "content": "y"}]
    asked = WireCall("m", [{"role": "user", "content": "x"}, message, *behind], {})

    try:
        body = claude.to_body(asked, Traits())
    except CallError:
        return
    assert body["messages"][0]["content"] == "x"
    assert is_last or body["messages"][-1]["content"] == "y"
