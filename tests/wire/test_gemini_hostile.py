"""Whatever comes from Gemini or from a caller, the codec ends in a result or in an error of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modelwrap.capabilities import Traits, traits_for
from modelwrap.errors import CallError, StreamTruncated
from modelwrap.models.messages import messages_from
from modelwrap.runtime.base import run_sync
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire import gemini, gemini_embedding, gemini_list, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.gemini_replies import usage
from modelwrap.wire.http import Endpoint, WireCall
from modelwrap.wire.usage import token_usage

ENDPOINT = Endpoint("https://generativelanguage.googleapis.com/v1beta")
TRAITS = traits_for("gemini-3.8-flash", ENDPOINT.base_url, provider="gemini")
VERTEX = traits_for("gemini-3.8-flash", "https://aiplatform.googleapis.com", provider="gemini")
COUNTS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)
FIELDS = (
    *("candidates", "content", "parts", "role", "text", "thought", "thoughtSignature", "functionCall", "name", "args"),
    *("id", "partialArgs", "jsonPath", "stringValue", "willContinue", "inlineData", "mimeType", "data", "index"),
    *("finishReason", "finishMessage", "groundingMetadata", "groundingChunks", "groundingSupports", "segment", "web"),
    *("groundingChunkIndices", "startIndex", "endIndex", "uri", "title", "logprobsResult", "chosenCandidates", "token"),
    *("topCandidates", "logProbability", "usageMetadata", *COUNTS, "promptTokensDetails", "modality", "tokenCount"),
    *("promptFeedback", "blockReason", "error", "code", "message", "status", "continuationToken", "serviceTier"),
    *("modelVersion", "responseId", "createTime", "cachedContentTokenCount"),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "x", "STOP", "$.a", "a,b", "é", "=="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)
PARTS = [
    {"text": "Hm.", "thought": True},
    {"text": "Züge."},
    {"text": "", "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "f", "args": {"a": [1]}, "id": "x"}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "g", "willContinue": True}},
    {"functionCall": {"partialArgs": [{"jsonPath": "$.a[0].b", "stringValue": "x"}]}},
    {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
    {"inlineData": {"mimeType": "audio/L16", "data": "AQI="}},
    {"executableCode": {"code": "1"}},
]
UNGROUNDED = {"groundingChunks": [{"web": {"uri": "x"}}], "groundingSupports": [{"groundingChunkIndices": 5}]}
CANDIDATE = {
    "content": {"role": "model", "parts": PARTS},
    "index": 0,
    "finishReason": "STOP",
    "finishMessage": "x",
    "groundingMetadata": {
        "groundingChunks": [{"web": {"uri": "x", "title": "y"}}],
        "groundingSupports": [{"segment": {"startIndex": 1, "endIndex": 4, "text": "x"}, "groundingChunkIndices": [0]}],
    },
    "logprobsResult": {
        "chosenCandidates": [{"token": "x", "logProbability": -1.0}],
        "topCandidates": [{"candidates": [{"token": "x", "logProbability": -1.0}]}],
    },
}
USAGE = {
    **dict.fromkeys(COUNTS, 3),
    "cachedContentTokenCount": 1,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 3}],
    "serviceTier": "x",
}
REPLY = {
    "candidates": [CANDIDATE],
    "usageMetadata": USAGE,
    "modelVersion": "m",
    "responseId": "r",
    "createTime": "2026-11-20T09:00:00Z",
    "promptFeedback": {"safetyRatings": []},
}


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """Put anything anywhere into something good, up to three times."""
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


def send_back(reply: ChatReply, traits: Traits) -> None:
    """Give a reply back, with a result for each of its calls."""
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "7"}
        for call in reply.choices[0].message.tool_calls or []
        if call.id
    ]
    try:
        messages = messages_from(
            [{"role": "user", "content": "Hi"}, reply, *results, {"role": "user", "content": "Bye"}]
        )
        request = gemini.to_request(WireCall("m", messages, {}), ENDPOINT, traits)
    except CallError as error:
        assert str(error)
    else:
        assert json.loads(request.content)["contents"]


@given(damaged(REPLY) | values, st.sampled_from([TRAITS, VERTEX]))
@settings(max_examples=400, deadline=None)
@example({"candidates": [{**CANDIDATE, "groundingMetadata": UNGROUNDED}]}, TRAITS)
@example({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "partialArgs": 5}}]}}]}, TRAITS)
@example({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "id": ["x"]}}]}}]}, TRAITS)
@example({"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": None}}]}}]}, TRAITS)
def test_damaged_reply_is_read_or_refused_and_goes_back(body: Any, traits: Traits) -> None:
    try:
        reply = gemini.from_response(json.dumps(body).encode(), {}, WireCall("m", [], {}), traits)
    except CallError as error:
        assert str(error)
    else:
        assert reply.choices
        assert isinstance(reply.text, str)
        assert reply.model_dump_json()
        send_back(reply, traits)


@given(st.lists(damaged(REPLY) | values, max_size=4))
@settings(max_examples=300, deadline=None)
def test_damaged_stream_is_read_or_refused_and_goes_back(pieces: list[Any]) -> None:
    body = "".join(f"data: {json.dumps(piece)}\r\n\r\n" for piece in pieces)

    chunks, _ = read(body.encode())

    reply = assembled(chunks)
    assert reply.model_dump_json()
    if reply.choices:
        send_back(reply, TRAITS)


MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {
        "role": "user",
        "name": "Ann",
        "content": [{"type": "text", "text": "Look"}, {"fileData": {"fileUri": "gs://a/b"}}],
    },
    {
        "role": "assistant",
        "content": "I look.",
        "reasoning_content": "Hm.",
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}],
        "tool_calls": [
            {
                "id": "x",
                "type": "function",
                "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "c2ln"}},
            }
        ],
        "extra_content": {"google": {"thought_signature": "c2ln", "platform": "vertex", "parts": PARTS}},
    },
    {"role": "tool", "tool_call_id": "x", "content": [{"type": "text", "text": "7"}]},
    {"role": "system", "content": "Be kind."},
]


@given(damaged(MESSAGES), st.sampled_from([TRAITS, VERTEX, Traits()]))
@settings(max_examples=400, deadline=None)
def test_damaged_messages_are_sent_or_refused(messages: Any, traits: Traits) -> None:
    try:
        request = gemini.to_request(WireCall("m", messages_from(messages), {}), ENDPOINT, traits)
    except CallError as error:
        assert str(error)
        assert not error.sent
    else:
        contents = json.loads(request.content)["contents"]
        assert contents[0]["role"] == "user"
        assert all(content["parts"] for content in contents)


PARAMETERS = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "$defs": {}}}},
    "stop": ["x"],
    "reasoning_effort": "low",
    "thinking_config": {"thinking_budget": 1},
    "modalities": ["text"],
    "audio": {"voice": "x"},
    "service_tier": "flex",
    "stream_options": {"include_usage": True},
    "generation_config": {"topK": 1},
    "tool_config": {"retrievalConfig": {}},
}


@given(damaged(PARAMETERS), st.sampled_from([TRAITS, VERTEX, Traits()]))
@settings(max_examples=400, deadline=None)
def test_damaged_parameters_are_sent_or_refused(parameters: Any, traits: Traits) -> None:
    call = WireCall("m", [{"role": "user", "content": "Hi"}], parameters)

    try:
        request = gemini.to_request(call, ENDPOINT, traits)
    except CallError as error:
        assert str(error)
    else:
        assert json.loads(request.content)["contents"]


@given(damaged({"embeddings": [{"values": [1.0, 2.0]}, {"values": [3.0, 4.0]}], "usageMetadata": USAGE}) | values)
@settings(max_examples=200, deadline=None)
def test_damaged_vectors_are_read_or_refused(body: Any) -> None:
    call = WireCall("m", ["a", "b"], {})

    try:
        reply = gemini_embedding.from_response(json.dumps(body).encode(), {}, call, Traits())
    except CallError as error:
        assert str(error)
    else:
        assert len(reply.embeddings) == 2


ERROR = {
    "error": {
        "code": 429,
        "message": "x",
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"violations": [{"quotaId": "RequestsPerDay"}]}, {"retryDelay": "3s"}],
    }
}


@given(damaged([ERROR]) | damaged(ERROR) | values, st.sampled_from([400, 403, 429, 500]))
@settings(max_examples=200, deadline=None)
@example({"error": {"details": [{"violations": 5}]}}, 429)
def test_damaged_refusal_is_an_error_of_its_status(body: Any, status: int) -> None:
    error = gemini.from_error(status, {}, json.dumps(body).encode())

    assert error.status == status
    assert str(error)


@given(st.dictionaries(st.sampled_from([*COUNTS, "cachedContentTokenCount"]), st.integers(-5, 100)))
@example({})
def test_usage_keeps_to_one_algebra(metadata: dict[str, int]) -> None:
    body = {**REPLY, "usageMetadata": metadata}

    whole = gemini.from_response(json.dumps(body).encode(), {}, WireCall("m", [], {}), Traits())
    chunks, _ = read(f"data: {json.dumps(body)}\n\n".encode())
    counted = whole.meta.usage

    assert counted is not None
    assert counted.total == counted.prompt + counted.completion
    assert counted.cached <= counted.prompt
    assert counted.reasoning <= counted.completion
    assert assembled(chunks).meta.usage == counted
    assert usage(metadata) is not None
    assert token_usage(whole.usage) == counted


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"data: \xff\n\n", b"[", b"[{]", b"data: [1\n\n", b"null", b"7"])
def test_garbage_is_refused(garbage: bytes) -> None:
    with pytest.raises(CallError):
        gemini.from_response(garbage, {}, WireCall("m", [], {}), Traits())

    chunks, error = read(garbage)

    assert not chunks
    assert error is not None


# A stream in every way in which it can be split, and cut at every event.

PIECES = [
    {
        "candidates": [{"content": {"parts": [part]}, "index": 0}],
        "usageMetadata": {**USAGE, "candidatesTokenCount": number},
    }
    for number, part in enumerate(PARTS)
]
LAST: dict[str, Any] = {
    "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": USAGE,
}
BLOCKS = [f"data: {json.dumps(piece, ensure_ascii=False)}\r\n\r\n".encode() for piece in (*PIECES, LAST)]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 50])
def test_a_stream_is_the_same_wherever_it_is_split(step: int) -> None:
    body = b"".join(BLOCKS)

    chunks, error = read(body, step)

    assert error is None
    assert chunks == read(body, len(body))[0]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 50])
def test_a_list_is_the_same_wherever_it_is_split(step: int) -> None:
    body = json.dumps([{**LAST, "responseId": '}\\"{'}, *PIECES, LAST], indent=1).encode()
    whole = [json.dumps(piece) for piece in json.loads(body)]
    decoder = gemini_list.Decoder()

    events = [event for start in range(0, len(body), step) for event in decoder.feed(body[start : start + step])]

    assert [json.dumps(json.loads(event.data)) for event in events] == whole
    assert decoder.finish() == []


@pytest.mark.parametrize("kept", range(1, len(BLOCKS)))
def test_a_stream_that_is_cut_keeps_what_came_and_invents_no_reason(kept: int) -> None:
    for rest in (b"", BLOCKS[kept][: len(BLOCKS[kept]) // 2]):
        chunks, error = read(b"".join(BLOCKS[:kept]) + rest)

        assert type(error) is StreamTruncated
        reply = assembled(chunks)
        assert reply.choices[0].finish_reason is None
        assert reply.raw == PIECES[:kept]
        whole = {"candidates": [{"content": {"parts": PARTS[:kept]}, "finishReason": "STOP"}], "usageMetadata": USAGE}
        expected = gemini.from_response(json.dumps(whole).encode(), {}, WireCall("m", [], {}), Traits())
        message, wanted = reply.choices[0].message.model_dump(), expected.choices[0].message.model_dump()
        assert {**wanted, "content": wanted["content"]} == {**message, "content": message["content"]}


def read(body: bytes, step: int = 97) -> tuple[list[ChatChunk], CallError | None]:
    chunks: list[ChatChunk] = []

    async def read_all() -> None:
        async for chunk in gemini.from_stream(events(body, step), WireCall("m", [], {}), TRAITS, sse.End()):
            chunks.append(chunk)

    try:
        run_sync(read_all())
    except CallError as error:
        assert str(error)
        return chunks, error
    return chunks, None


async def events(body: bytes, step: int) -> AsyncIterator[sse.Event]:
    decoder = sse.Decoder()
    for start in range(0, len(body), step):
        for event in decoder.feed(body[start : start + step]):
            yield event
    for event in decoder.finish():
        yield event


def assembled(chunks: list[ChatChunk]) -> ChatReply:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    return assembly.reply()
