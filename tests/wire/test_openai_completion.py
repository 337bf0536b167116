"""Base models behind the chat call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelwrap.capabilities import Traits
from modelwrap.errors import BadRequest, InvalidResponse, RateLimited, StreamTruncated, UnsupportedParameter
from modelwrap.types import ChatChunk, ChatReply
from modelwrap.wire import openai_completion, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Endpoint, HttpRequest, WireCall

LOGPROBS = {
    "tokens": ["The", " Rhine", "bytes:\\xe2\\x80"],
    "token_logprobs": [None, -0.5, -1.5],
    "top_logprobs": [None, {" Rhine": -0.5, " Elbe": -2.0}, {}],
    "text_offset": [0, 3, 9],
}
READ_LOGPROBS = [
    {"token": "The", "bytes": [84, 104, 101]},
    {
        "token": " Rhine",
        "bytes": [32, 82, 104, 105, 110, 101],
        "logprob": -0.5,
        "top_logprobs": [
            {"token": " Rhine", "bytes": [32, 82, 104, 105, 110, 101], "logprob": -0.5},
            {"token": " Elbe", "bytes": [32, 69, 108, 98, 101], "logprob": -2.0},
        ],
    },
    {"token": "bytes:\\xe2\\x80", "bytes": [226, 128], "logprob": -1.5, "top_logprobs": []},
]


def call(given: Any = "The", *, stream: bool = False, **parameters: Any) -> WireCall:
    return WireCall(model="a-base-model", input=given, parameters=parameters, stream=stream)


def sent(wire: WireCall, traits: Traits = Traits()) -> HttpRequest:
    return openai_completion.to_request(wire, Endpoint("http://localhost:8000/v1", query={"v": "1"}), traits)


def body(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1760000000,
        "model": "a-base-model",
        "choices": list(choices),
        **more,
    }


def choice(text: str, *, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": None, "finish_reason": None, **more}


def read(value: Any, wire: WireCall | None = None) -> ChatReply:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return openai_completion.from_response(data, {"x-request-id": "req_1"}, wire or call(), Traits())


def read_stream(text: str, chunks: list[ChatChunk]) -> None:
    async def events() -> AsyncIterator[sse.Event]:
        decoder = sse.Decoder()
        for event in (*decoder.feed(text.encode()), *decoder.finish()):
            yield event

    async def read_all() -> None:
        async for chunk in openai_completion.from_stream(events(), call(stream=True), Traits(), sse.End()):
            chunks.append(chunk)

    asyncio.run(read_all())


def stream_of(*bodies: Any, done: bool = True) -> str:
    return "".join(f"data: {json.dumps(item)}\n\n" for item in bodies) + ("data: [DONE]\n\n" if done else "")


def test_a_string_is_the_prompt_as_it_is() -> None:
    wire = call("Once upon a time", max_tokens=20, temperature=0, echo=True, best_of=3, suffix=" END", n=2, logprobs=5)

    request = sent(wire)

    assert request.url == "http://localhost:8000/v1/completions?v=1"
    assert request.method == "POST"
    assert json.loads(request.content) == request.json
    assert request.json == {
        "model": "a-base-model",
        "prompt": "Once upon a time",
        "max_tokens": 20,
        "temperature": 0,
        "echo": True,
        "best_of": 3,
        "suffix": " END",
        "n": 2,
        "logprobs": 5,
    }
    assert not wire.changes


@pytest.mark.parametrize("prompt", [[1, 2, 3], ["One", "Two"], [[1, 2], [3]]])
def test_tokens_and_several_prompts_go_through(prompt: Any) -> None:
    assert sent(call(prompt)).json["prompt"] == prompt


def test_one_user_message_is_its_text() -> None:
    parts = [{"type": "text", "text": "Once "}, {"type": "text", "text": "upon"}]
    plain, listed = call([{"role": "user", "content": "Once"}]), call([{"role": "user", "content": parts}])

    assert sent(plain).json["prompt"] == "Once"
    assert sent(listed).json["prompt"] == "Once upon"
    assert not plain.changes
    assert not listed.changes


def test_several_messages_become_a_transcript_and_that_is_reported() -> None:
    wire = call(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Bye"},
        ]
    )

    assert sent(wire).json["prompt"] == "System: Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nUser: Bye\n\nAssistant:"
    assert [(change.kind, change.what) for change in wire.changes] == [("emulated", "messages")]


def test_an_answer_that_was_begun_is_continued() -> None:
    wire = call([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}])

    assert sent(wire).json["prompt"] == "User: Hi\n\nAssistant: Hel"


@pytest.mark.parametrize(
    "message, words",
    [
        ({"role": "tool", "content": "7"}, r"messages\[0\]: a tool message"),
        ({"role": "assistant", "content": None, "tool_calls": [{}]}, r"messages\[0\]\.tool_calls"),
        ({"role": "assistant", "content": None, "function_call": {"name": "f"}}, r"messages\[0\]\.function_call"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
            r"messages\[0\]\.content\[0\]: image_url",
        ),
        ({"role": "user", "content": {"odd": True}}, r"messages\[0\]\.content\[0\]: None"),
        ({"role": "user", "content": [7]}, r"messages\[0\]\.content\[0\]: int"),
    ],
)
def test_what_is_not_text_is_refused_by_name(message: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        sent(call([message]))

    assert not caught.value.sent


@pytest.mark.parametrize("name", ["tools", "tool_choice", "response_format", "reasoning_effort", "functions", "audio"])
def test_what_only_chat_models_have_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedParameter, match=f"{name}: base models have none") as caught:
        sent(call(**{name: "x"}))

    assert not caught.value.sent
    assert sent(call(**{name: None})).json[name] is None


def test_the_token_limit_has_one_name_here() -> None:
    wire = call(max_completion_tokens=20)

    request = sent(wire, Traits(token_limit="max_completion_tokens"))

    assert request.json["max_tokens"] == 20
    assert "max_completion_tokens" not in request.json
    assert [(change.kind, change.what) for change in wire.changes] == [("renamed", "max_completion_tokens")]
    assert sent(call(max_tokens=5), Traits(token_limit="max_completion_tokens")).json["max_tokens"] == 5


@pytest.mark.parametrize(
    "given, number",
    [
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 3}, 3),
        ({"top_logprobs": 3}, 3),
        ({"logprobs": False}, None),
        ({"logprobs": False, "top_logprobs": 3}, None),
        ({"logprobs": 2}, 2),
    ],
)
def test_chats_logprobs_become_the_number_of_this_wire(given: dict[str, Any], number: int | None) -> None:
    wire = call(**given)

    request = sent(wire)

    assert request.json.get("logprobs") == number
    assert "top_logprobs" not in request.json
    assert bool(wire.changes) == (given != {"logprobs": 2})


def test_a_stream_asks_for_its_usage_unless_told_otherwise() -> None:
    assert sent(call(stream=True)).json["stream_options"] == {"include_usage": True}
    assert sent(call(stream=True)).json["stream"] is True
    assert sent(call(stream=True, stream_options={"a": 1})).json["stream_options"] == {"a": 1}
    assert "stream_options" not in sent(call(stream=True, stream_options=None)).json
    assert "stream_options" not in sent(call(stream=True), Traits(stream_usage=False)).json
    assert "stream_options" not in sent(call()).json


def test_extra_body_is_laid_over_the_body_and_nothing_given_is_changed() -> None:
    wire = call("The", logprobs=True, max_completion_tokens=2)
    wire.extra_body = {"prompt": "Other", "ignore_eos": True}

    request = sent(wire)

    assert request.json["prompt"] == "Other"
    assert request.json["ignore_eos"] is True
    assert wire.parameters == {"logprobs": True, "max_completion_tokens": 2}


def test_a_reply_has_the_shape_of_chat() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    data = body(choice(" Rhine", finish_reason="length", stop_reason=None), usage=usage)

    reply = read(data)

    assert reply.text == " Rhine"
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason == "length"
    assert reply.choices[0].logprobs is None
    assert reply.usage.total_tokens == 3
    assert reply.meta.request_id == "req_1"
    assert reply.meta.finish_reason == "length"
    assert reply.raw == data


def test_several_texts_keep_their_index_and_tags_are_text() -> None:
    wire = call()

    reply = read(body(choice("<think>a</think>"), choice("b", index=1)), wire)

    assert [one.message.content for one in reply.choices] == ["<think>a</think>", "b"]
    assert [one.index for one in reply.choices] == [0, 1]
    assert not wire.changes


def test_logprobs_take_chats_shape_and_the_first_token_has_none() -> None:
    reply = read(body(choice("The Rhine", logprobs=LOGPROBS)))

    assert reply.model_dump()["choices"][0]["logprobs"] == {"content": READ_LOGPROBS}
    assert reply.choices[0].logprobs is not None
    assert sum(token.logprob for token in reply.choices[0].logprobs.content or ()) == -2.0


@pytest.mark.parametrize("logprobs", [{"content": [{"token": "a", "logprob": -1.0}]}, None])
def test_logprobs_in_chats_shape_are_left_alone(logprobs: Any) -> None:
    reply = read(body(choice("a", logprobs=logprobs)))

    assert reply.model_dump()["choices"][0]["logprobs"] == logprobs


def test_logprobs_without_other_tokens_are_read() -> None:
    reply = read(body(choice("a", logprobs={"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": None})))

    assert reply.model_dump()["choices"][0]["logprobs"] == {"content": [{"token": "a", "bytes": [97], "logprob": -1.0}]}


def test_logprobs_that_were_not_sent_are_not_made_up() -> None:
    assert "logprobs" not in read(body({"text": "a", "index": 0})).model_dump()["choices"][0]


def test_a_server_that_answers_as_chat_is_understood() -> None:
    assert read(body({"index": 0, "message": {"role": "assistant", "content": "Hi"}})).text == "Hi"


@pytest.mark.parametrize("data", [b"[1]", b"{}", b"<html>", b'{"choices": 1}', b'{"choices": [1]}', b""])
def test_what_is_no_reply_is_an_invalid_response(data: bytes) -> None:
    with pytest.raises(InvalidResponse):
        read(data)


def test_errors_are_those_of_chat() -> None:
    with pytest.raises(RateLimited, match="Slow down"):
        read({"error": {"message": "Slow down", "code": 429}})

    error = openai_completion.from_error(429, {"retry-after": "3"}, b'{"error": {"message": "Slow down"}}')
    assert isinstance(error, RateLimited)
    assert error.retry_after == 3


def test_a_stream_adds_up_to_the_reply() -> None:
    first = body(choice("The", logprobs={name: value[:1] for name, value in LOGPROBS.items()}))
    second = body(choice(" Rhine", logprobs={name: value[1:] for name, value in LOGPROBS.items()}))
    last = body(choice("", finish_reason="stop"))
    usage = body(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    chunks: list[ChatChunk] = []

    read_stream(stream_of(first, second, last, usage), chunks)

    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk)
    reply = assembly.reply()
    assert [chunk.text for chunk in chunks] == ["The", " Rhine", "", ""]
    assert [chunk.raw for chunk in chunks] == [first, second, last, usage]
    assert reply.text == "The Rhine"
    assert reply.object == "chat.completion"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == 3
    assert reply.model_dump()["choices"][0]["logprobs"]["content"] == READ_LOGPROBS


def test_a_stream_in_one_piece_is_read() -> None:
    chunks: list[ChatChunk] = []

    read_stream(json.dumps(body(choice("The Rhine", finish_reason="stop"))), chunks)

    assert "".join(chunk.text for chunk in chunks) == "The Rhine"


def test_a_cut_stream_is_truncated() -> None:
    chunks: list[ChatChunk] = []

    with pytest.raises(StreamTruncated):
        read_stream(stream_of(body(choice("The")), done=False), chunks)

    assert [chunk.text for chunk in chunks] == ["The"]
