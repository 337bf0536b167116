from __future__ import annotations

import copy
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from modelwrap import errors
from modelwrap.capabilities import Traits
from modelwrap.runtime.base import run_sync
from modelwrap.secrets import Secret
from modelwrap.types import Change, ChatChunk, ChatReply, TokenUsage
from modelwrap.wire import openai_chat, sse
from modelwrap.wire.assembly import Assembly
from modelwrap.wire.http import Connection, Endpoint, HttpRequest, WireCall

ENDPOINT = Endpoint("https://example.com/v1/")
HELLO = [{"role": "user", "content": "Hello"}]


def wire_call(messages: list[Any] | None = None, *, stream: bool = False, **parameters: Any) -> WireCall:
    return WireCall("m", HELLO if messages is None else messages, parameters, stream=stream)


# Requests.


def request_of(call: WireCall, traits: Traits | None = None, endpoint: Endpoint = ENDPOINT) -> HttpRequest:
    return openai_chat.to_request(call, endpoint, traits or Traits())


def test_request_carries_messages_and_parameters_as_they_are() -> None:
    call = wire_call(temperature=0.5, vendor={"deep": [1]}, stop=None)
    before = copy.deepcopy(call)

    request = request_of(call)

    assert request.method == "POST"
    assert request.url == "https://example.com/v1/chat/completions"
    assert request.json == {
        "model": "m",
        "messages": HELLO,
        "temperature": 0.5,
        "vendor": {"deep": [1]},
        "stop": None,
    }
    assert json.loads(request.content) == request.json
    assert not request.stream
    assert call == before


def test_request_is_compact_utf8() -> None:
    request = request_of(wire_call([{"role": "user", "content": "é😀"}]))

    assert '"content":"é😀"'.encode() in request.content


def test_endpoint_says_where_and_with_what() -> None:
    key = Secret("Bearer sk-something")
    connection = Connection(verify="/ca.pem")
    endpoint = Endpoint("https://example.com/v1?a=1", {"Authorization": key, "X-One": "1"}, {"b": "2"}, connection)
    call = wire_call()
    call.extra_headers = {"x-one": "2", "Accept": "text/plain"}

    request = request_of(call, endpoint=endpoint)

    assert request.url == "https://example.com/v1/chat/completions?a=1&b=2"
    assert request.headers == {
        "content-type": "application/json",
        "accept": "text/plain",
        "authorization": key,
        "x-one": "2",
    }
    assert request.connection is connection


def test_extra_body_wins_and_a_nameless_model_is_left_out() -> None:
    call = wire_call(temperature=1)
    call.model = ""
    call.extra_body = {"temperature": 2, "more": True}

    assert request_of(call).json == {"messages": HELLO, "temperature": 2, "more": True}


@pytest.mark.parametrize(
    "parameters, traits, options",
    [
        ({}, Traits(), {"include_usage": True}),
        ({}, Traits(stream_usage=False), None),
        ({"stream_options": None}, Traits(), None),
        ({"stream_options": {"include_usage": False}}, Traits(), {"include_usage": False}),
        ({"stream_options": {"chunk_size": 5}}, Traits(stream_usage=False), {"chunk_size": 5}),
    ],
)
def test_usage_is_asked_for_on_streams(parameters: dict[str, Any], traits: Traits, options: Any) -> None:
    request = request_of(wire_call(stream=True, **parameters), traits)

    assert request.stream
    assert request.json["stream"] is True
    assert request.json.get("stream_options") == options
    assert "stream_options" in request.json or options is None
    assert request.headers["accept"] == "text/event-stream"


@pytest.mark.parametrize(
    "token_limit, given, sent, renamed",
    [
        ("as_written", {"max_tokens": 5}, {"max_tokens": 5}, None),
        ("max_tokens", {"max_tokens": 5}, {"max_tokens": 5}, None),
        ("max_tokens", {"max_completion_tokens": 5}, {"max_tokens": 5}, "max_completion_tokens"),
        ("max_completion_tokens", {"max_tokens": 5}, {"max_completion_tokens": 5}, "max_tokens"),
        ("max_completion_tokens", {"max_tokens": None}, {"max_tokens": None}, None),
        ("max_completion_tokens", {"n": 2}, {"n": 2}, None),
        (
            "max_tokens",
            {"max_tokens": 5, "max_completion_tokens": 6},
            {"max_tokens": 5, "max_completion_tokens": 6},
            None,
        ),
    ],
)
def test_token_limit_goes_out_under_the_name_that_is_wanted(
    token_limit: str, given: dict[str, Any], sent: dict[str, Any], renamed: str | None
) -> None:
    call = wire_call(**given)

    body = request_of(call, Traits(token_limit=token_limit)).json

    assert body == {"model": "m", "messages": HELLO, **sent}
    assert call.parameters == given
    assert [(change.kind, change.what) for change in call.changes] == ([("renamed", renamed)] if renamed else [])


def test_reasoning_goes_back_only_where_it_is_wanted() -> None:
    answer = {"role": "assistant", "content": "Yes", "reasoning_content": "so", "reasoning_details": [{"text": "so"}]}
    asked = {"role": "user", "content": "Why?", "reasoning": "kept: it is the user's own key"}
    call = wire_call([asked, answer])
    before = copy.deepcopy(call.input)

    assert request_of(call).json["messages"] == before
    assert not call.changes
    sent = request_of(call, Traits(replay_reasoning=False)).json["messages"]

    assert sent == [asked, {"role": "assistant", "content": "Yes"}]
    assert call.input == before
    assert [(change.kind, change.what) for change in call.changes] == [
        ("dropped", "messages.reasoning_content"),
        ("dropped", "messages.reasoning_details"),
    ]


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value, words",
    [
        ({"a": [1, "\ud800"]}, r"x\.a\[1\] cannot be sent as JSON: it holds half of a surrogate"),
        ([math.nan], r"x\[0\] cannot be sent as JSON: nan is no number"),
        (-math.inf, r"x cannot be sent as JSON: -inf is no number"),
        ({"a": {1, 2}}, r"x\.a cannot be sent as JSON: JSON has no form for set"),
        ({"a": b"bytes"}, r"x\.a cannot be sent as JSON: JSON has no form for bytes"),
        ({(1, 2): 3}, r"x cannot be sent as JSON: \(1, 2\) is no name"),
        (CIRCLE, r"x\[0\] cannot be sent as JSON: it contains itself"),
        (DEEP, r"cannot be sent as JSON: it is nested too deeply"),
        ({"\ud800": 1}, r"x cannot be sent as JSON: '\\ud800' is no name"),
    ],
)
def test_what_json_cannot_hold_is_named_before_anything_is_sent(value: Any, words: str) -> None:
    with pytest.raises(errors.BadRequest, match=words) as caught:
        request_of(wire_call(x=value))

    assert not caught.value.sent


# Replies.


def reply_of(body: Any, call: WireCall | None = None, traits: Traits | None = None, **headers: str) -> ChatReply:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return openai_chat.from_response(sent, headers, call or wire_call(), traits or Traits())


def answer(message: Any = None, **known: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
    return {"id": "c1", "object": "chat.completion", "created": 7, "model": "m", "choices": [choice], **known}


def test_reply_is_what_was_sent() -> None:
    body = answer(usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, vendor={"x": 1})
    call = wire_call()

    reply = reply_of(body, call, **{"x-request-id": "r1"})

    assert reply.model_dump() == body
    assert reply.raw == body
    assert reply.text == "Hi"
    assert reply.meta.request_id == "r1"
    assert reply.meta.finish_reason == "stop"
    assert reply.meta.usage is not None
    assert reply.meta.usage.total == 5
    assert not call.changes


def test_finish_reason_of_the_provider_behind_a_gateway_is_kept() -> None:
    body = answer()
    body["choices"][0]["native_finish_reason"] = "end_turn"

    reply = reply_of(body)

    assert reply.choices[0].finish_reason == "stop"
    assert reply.meta.finish_reason == "end_turn"


def test_numbers_that_only_python_knows_are_taken() -> None:
    body = answer(score=1).copy()

    reply = reply_of(json.dumps(body).replace('"score": 1', '"score": NaN').encode())

    assert reply.text == "Hi"


@pytest.mark.parametrize(
    "message, content, reasoning",
    [
        ({"content": "<think>so</think>\n\nYes"}, "\n\nYes", "so"),
        ({"content": "\n<think>\nso", "reasoning_content": "first "}, "\n", "first \nso"),
        ({"content": "Yes <think>"}, "Yes <think>", None),
        ({"content": "Yes", "reasoning": "so"}, "Yes", "so"),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "so"}, "!"]},
                    {"type": "text", "text": "Yes"},
                    {"type": "reference", "reference_ids": [1]},
                    ".",
                ]
            },
            "Yes.",
            "so!",
        ),
        ({"content": [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "Yes"}]}, "Yes", "so"),
        ({"content": [{"type": "thinking", "thinking": None}, {"type": "text", "text": "Yes"}]}, "Yes", ""),
        ({"content": [{"type": "text", "text": "Yes"}]}, "Yes", None),
        ({"content": "Yes", "reasoning_content": "", "reasoning": "so"}, "Yes", "so"),
        ({"content": "Yes", "reasoning_text": "so", "reasoning_opaque": "xyz"}, "Yes", "so"),
        (
            {
                "content": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so", "signature": "xyz"}]},
                    {"type": "text", "text": "Yes"},
                ]
            },
            "Yes",
            "so",
        ),
    ],
)
def test_reasoning_is_found_wherever_it_stands(message: dict[str, Any], content: str, reasoning: str | None) -> None:
    call = wire_call()
    body = answer({"role": "assistant", **message})

    reply = reply_of(body, call)

    assert reply.choices[0].message.content == content
    assert reply.choices[0].message.reasoning_content == reasoning
    assert reply.raw == body
    moved = content != message["content"]
    told = {(change.kind, change.what.split(".")[-1]) for change in call.changes}
    assert told - {("dropped", "content")} == ({("converted", "content")} if moved else set())
    assert (("dropped", "content") in told) == ("reference" in str(message))


ALONE = {"type": "reference", "reference_ids": [1]}
DROPPED = Change("dropped", "content", "a message has no place for a part of type 'reference'")


@pytest.mark.parametrize("part", [[ALONE], ALONE], ids=["in a list", "bare"])
def test_a_part_that_is_no_text_does_not_become_text(part: Any) -> None:
    call = wire_call()

    reply = reply_of(answer({"role": "assistant", "content": part}), call)
    read = Read(piece("Yes"), piece(part), piece(".", finish="stop"))

    assert reply.text == ""
    assert read.texts == ["Yes", "", "."]
    assert call.changes.count(DROPPED) == read.call.changes.count(DROPPED) == 1


def test_a_part_inside_a_thought_that_is_no_text_is_told_of() -> None:
    call = wire_call()
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "so"}, ALONE]}

    reply = reply_of(answer({"content": [thought, {"type": "text", "text": "Yes"}]}), call)

    assert (reply.choices[0].message.reasoning_content, reply.text) == ("so", "Yes")
    assert DROPPED in call.changes


@pytest.mark.parametrize("place", ["https://host/a.png", {"url": "https://host/a.png"}])
def test_an_image_among_the_parts_stands_where_images_stand(place: Any) -> None:
    body = answer({"content": [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": place}]})

    reply = reply_of(body)

    assert (reply.text, reply.image_urls) == ("Look.", ["https://host/a.png"])
    assert reply.raw == body


@pytest.mark.parametrize("odd", [5, 1.5, True, [1], {"a": 1}])
def test_what_stands_oddly_beside_a_thought_does_not_cost_it(odd: Any) -> None:
    parts = [{"type": "thinking", "thinking": "so"}, {"type": "image_url", "image_url": "https://host/a.png"}]

    whole = reply_of(answer({"content": parts, "reasoning_content": odd, "images": odd if type(odd) is int else []}))
    read = Read(piece(delta={"content": "<think>so</think>Yes", "reasoning_content": odd}), STOP)

    assert whole.choices[0].message.reasoning_content == "so"
    assert whole.image_urls == ["https://host/a.png"]
    assert read.error is None
    assert (read.reply.choices[0].message.reasoning_content, read.reply.text) == ("so", "Yes")


def test_think_tags_stay_where_they_are_no_tags() -> None:
    reply = reply_of(answer({"content": "<think>so</think>Yes"}), traits=Traits(think_tags=False))

    assert reply.text == "<think>so</think>Yes"


def _choices(**choice: Any) -> dict[str, Any]:
    return answer(choices=[{"index": 0, "finish_reason": "stop", **choice}])


@pytest.mark.parametrize(
    "body, path, expected",
    [
        (answer(created="2025-01-01T00:00:00Z"), "created", 0),
        (answer(created=7.5), "created", 7),
        (answer(created=None), "created", 0),
        (answer(id=12), "id", "12"),
        (answer(id=None), "id", ""),
        (answer(usage=None), "usage.prompt_tokens", 0),
        (answer(usage="none"), "usage.prompt_tokens", 0),
        (answer(usage={"prompt_tokens": 3.7, "completion_tokens": None}), "usage.prompt_tokens", 3),
        (answer({"content": "Hi", "refusal": False}), "choices.0.message.refusal", None),
        (answer({"content": "Hi", "tool_calls": {}}), "choices.0.message.tool_calls", None),
        (answer({"content": "Hi", "tool_calls": [None]}), "choices.0.message.tool_calls", []),
        (answer({"content": "Hi", "function_call": ""}), "choices.0.message.function_call", None),
        (answer({"content": "Hi", "annotations": {"type": "a"}}), "choices.0.message.annotations", [{"type": "a"}]),
        (
            answer({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": "é"}}}]}),
            "choices.0.message.tool_calls.0.function.arguments",
            '{"x": "é"}',
        ),
        (
            answer({"tool_calls": [{"id": None, "type": None, "function": {"name": "f", "arguments": None}}]}),
            "choices.0.message.tool_calls.0.function.arguments",
            "",
        ),
        (answer({"tool_calls": {"id": 1, "function": {"name": "f"}}}), "choices.0.message.tool_calls.0.id", "1"),
        (_choices(message={"content": "Hi"}, index=None), "choices.0.index", 0),
        (_choices(delta={"content": "Hi"}), "choices.0.message.content", "Hi"),
        (_choices(text="Hi"), "choices.0.message.content", "Hi"),
        (_choices(message={"content": "Hi"}, logprobs=-0.5), "choices.0.logprobs.content.0.logprob", -0.5),
        (
            _choices(message={"content": "Hi"}, logprobs={"content": [{"token": "Hi", "logprob": None}]}),
            "choices.0.logprobs.content.0.logprob",
            -9999.0,
        ),
        (answer(choices=[None, {"message": {"content": "Hi"}}]), "choices.0.message.content", "Hi"),
        (answer(choices=[{"message": {"content": "a"}}, {"message": {"content": "b"}}]), "choices.1.index", 1),
    ],
)
def test_what_sloppy_servers_mean_is_read(body: dict[str, Any], path: str, expected: Any) -> None:
    before = copy.deepcopy(body)

    reply = reply_of(body)

    found: Any = reply
    for step in path.split("."):
        found = found[int(step)] if step.isdigit() else getattr(found, step)
    assert found == expected
    assert reply.raw == before


def test_repairs_are_told_once_and_nulls_are_not() -> None:
    call = wire_call()
    calls = [{"id": None, "function": {"name": "f", "arguments": {"x": number}}} for number in range(2)]

    reply_of(answer({"tool_calls": calls}, created="soon"), call)

    assert call.changes == [
        Change("dropped", "created", "'soon' is no value of this field"),
        Change("repaired", "choices.message.tool_calls.function.arguments", "it was sent as dict"),
    ]


@pytest.mark.parametrize(
    "content, text",
    [
        ({"city": "Kraków"}, '{"city": "Kraków"}'),
        ([{"city": "Oslo"}, {"city": "Rome"}], '[{"city": "Oslo"}, {"city": "Rome"}]'),
        ([5], "[5]"),
        (5, "5"),
        (True, "true"),
        ({"type": "cat", "age": 3}, '{"type": "cat", "age": 3}'),
        ({"type": "text", "text": "Yes"}, "Yes"),
        (["Y", "es"], "Yes"),
    ],
)
def test_an_answer_in_json_that_the_server_parsed_is_text_again(content: Any, text: str) -> None:
    reply = reply_of(answer({"content": content}), wire_call())

    assert reply.text == text


def test_arguments_that_are_an_empty_object_stay_one() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": {}}}

    reply = reply_of(answer({"tool_calls": [call]}), wire_call())

    assert reply.choices[0].message.tool_calls[0].function.arguments == "{}"


@pytest.mark.parametrize(
    "change",
    [
        {"created": "soon"},
        {"model": {"name": "m"}},
        {"service_tier": ["x"]},
        {"object": True},
        {"usage": 5},
        {"usage": {"prompt_tokens": "many"}},
        {"usage": {"prompt_tokens_details": [1]}},
        {"metadata": [1]},
    ],
)
def test_a_wrong_value_beside_the_answer_does_not_cost_the_answer(change: dict[str, Any]) -> None:
    reply = reply_of(answer({"content": "Yes"}, **change), wire_call())

    assert reply.text == "Yes"


@pytest.mark.parametrize(
    "change",
    [
        {"logprobs": "none"},
        {"logprobs": {"content": "none"}},
        {"logprobs": {"content": [{"token": "Yes", "logprob": "low", "bytes": "WWVz"}]}},
        {"finish_reason": {"type": "stop"}},
        {"finish_reason": 1},
    ],
)
def test_a_wrong_value_beside_the_message_does_not_cost_the_message(change: dict[str, Any]) -> None:
    body = answer({"content": "Yes", "annotations": "none"})
    body["choices"][0].update(change)

    reply = reply_of(body, wire_call())

    assert reply.text == "Yes"


def test_every_count_that_openai_defines_is_a_typed_field() -> None:
    details = {"cached_tokens": 1, "cache_write_tokens": 2, "audio_tokens": 3, "image_tokens": 4, "text_tokens": 5}
    usage = {"prompt_tokens": 15, "completion_tokens": 1, "total_tokens": 16, "prompt_tokens_details": details}

    reply = reply_of(answer({"content": "Yes"}, usage=usage, metadata={"run": "7"}), wire_call())

    assert not reply.usage.prompt_tokens_details.__pydantic_extra__
    assert reply.usage.prompt_tokens_details.model_dump() == details
    assert reply.metadata == {"run": "7"}
    assert reply.meta.usage.cache_write == 2


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "empty"),
        (b"<html></html>", "web page"),
        (b"null", "no object but null"),
        (b"[]", "no object but a list"),
        (b'"text"', "no object but a text"),
        (b"12", "no object but a number"),
        (b"true", "no object but a truth value"),
        (b"{}", "choices: the answer has none"),
        (b'{"choices": null}', "choices: the answer has none"),
        (b'{"choices": []}', "choices: the answer has none"),
        (b'{"choices": [null]}', "choices: the answer has none"),
        (b'{"choices": "x"}', "choices: a list is expected, got a text"),
        (b'{"choices": ["x"]}', "choices.0: "),
        (b'{"choices": [{}]}', "choices.0.message: the choice has none"),
        (b'{"choices": [{"message": "x"}]}', "choices.0.message: an object is expected"),
        (b'{"choices": [{"message": {"audio": 5}}]}', "choices.0.message.audio: .*got int"),
        (b'{"choices": [{"message": {"function_call": [5]}}]}', "choices.0.message.function_call: "),
        (b'{"choices": [{"message": {"content": "x"}, "index": "y"}]}', "choices.0.index: "),
        (b'{"choices": [{"message": {"content": "x"}, "index": Infinity}]}', "choices.0.index: "),
        (b'{"choices": [{"message": {"content": "x"}, "index": "inf"}]}', "choices.0.index: "),
        (b'{"choices": [{"message": {"content": "x", "tool_calls": "y"}}]}', "choices.0.message.tool_calls: "),
        (b'{"choices": [' + b"{}," * 128 + b"{}]}", "more than 128"),
        (b'{"model": "m", "message": {"content": "Hi"}, "done": true}', "choices: the answer has none"),
    ],
)
def test_what_is_no_reply_is_an_invalid_response(body: bytes, words: str) -> None:
    with pytest.raises(errors.InvalidResponse, match=words) as caught:
        reply_of(body, **{"x-request-id": "r1"})

    assert caught.value.request_id == "r1"
    assert caught.value.body == body.decode()


@pytest.mark.parametrize(
    "body, kind",
    [
        ({"error": {"message": "slow", "code": 429}}, errors.RateLimited),
        ({"error": {"message": "filtered", "code": "content_filter", "status": 400}}, errors.ContentFiltered),
        ({"error": {"message": "busy", "type": "overloaded_error"}, "choices": []}, errors.Overloaded),
        ({"object": "error", "message": "no", "code": 40303}, errors.ServerFailed),
        ({"base_resp": {"status_code": 1004, "status_msg": "no"}, "choices": None}, errors.ServerFailed),
        ({"choices": [{"error": {"message": "busy", "code": 503}, "message": {"content": ""}}]}, errors.Overloaded),
        (
            {"choices": [], "prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": True}}}]},
            errors.ContentFiltered,
        ),
        ({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}, errors.ContentFiltered),
    ],
)
def test_refusal_that_came_as_a_success_is_raised(body: dict[str, Any], kind: type[errors.CallError]) -> None:
    with pytest.raises(errors.CallError) as caught:
        reply_of(body)

    assert type(caught.value) is kind
    assert caught.value.body


def test_error_beside_an_answer_does_not_hide_the_answer() -> None:
    body = {**answer(), "error": None}
    body["choices"][0]["error"] = {"message": "late"}

    assert reply_of(body).text == "Hi"


def test_errors_are_read() -> None:
    error = openai_chat.from_error(401, {"x-request-id": "r1"}, b'{"error": {"message": "no"}}')

    assert type(error) is errors.AuthenticationFailed
    assert error.request_id == "r1"


# Streams.


class Read:
    """Read a stream to its end or its error."""

    def __init__(self, *events: Any, traits: Traits | None = None) -> None:
        self.call = wire_call(stream=True)
        self.end = sse.End()
        self.chunks: list[ChatChunk] = []
        self.error: errors.CallError | None = None
        try:
            run_sync(self._read(_given(events), traits or Traits()))
        except errors.CallError as error:
            self.error = error

    async def _read(self, events: AsyncIterator[sse.Event], traits: Traits) -> None:
        async for chunk in openai_chat.from_stream(events, self.call, traits, self.end):
            self.chunks.append(chunk)

    @property
    def texts(self) -> list[str]:
        return [chunk.text for chunk in self.chunks]

    @property
    def reply(self) -> ChatReply:
        assembly = Assembly()
        for chunk in self.chunks:
            assembly.add(chunk)
        return assembly.reply()


async def _given(events: tuple[Any, ...]) -> AsyncIterator[sse.Event]:
    for event in events:
        if isinstance(event, Exception):
            raise event
        yield (
            event
            if isinstance(event, sse.Event)
            else sse.Event(None, event if isinstance(event, str) else json.dumps(event))
        )


def piece(content: Any = None, **known: Any) -> dict[str, Any]:
    delta = known.pop("delta", {} if content is None else {"content": content})
    choice = {"index": known.pop("index", 0), "delta": delta, "finish_reason": known.pop("finish", None)}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice], **known}


STOP = piece(finish="stop")
DONE = "[DONE]"


def test_stream_is_read_to_its_end_mark() -> None:
    read = Read(piece("Hel"), piece("lo"), STOP, {"id": "c1", "choices": [], "usage": {"total_tokens": 5}}, DONE)

    assert read.error is None
    assert read.end.marked
    assert read.texts == ["Hel", "lo", "", ""]
    assert read.chunks[0].raw == piece("Hel")
    assert read.reply.usage.total_tokens == 5
    assert not read.call.changes


def test_what_groq_counted_without_being_asked_is_known() -> None:
    counted = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "total_time": 0.1}

    read = Read(piece("Hello"), piece(finish="stop", x_groq={"id": "r", "usage": counted}), DONE)

    assert read.reply.meta.usage == TokenUsage(prompt=3, completion=2)
    assert "usage" not in read.reply.model_fields_set


@pytest.mark.parametrize("counted", [None, [], "5", {"prompt_tokens": []}])
def test_what_groq_did_not_count_is_not_known(counted: Any) -> None:
    read = Read(piece("Hello"), piece(finish="stop", x_groq={"usage": counted}), DONE)

    assert read.reply.meta.usage is None


def test_nothing_is_read_after_the_end_mark() -> None:
    read = Read(piece("Hi"), STOP, DONE, RuntimeError("read on"))

    assert read.texts == ["Hi", ""]


def test_end_mark_without_a_finish_reason_is_an_end() -> None:
    read = Read(piece("Hi"), DONE)

    assert read.error is None
    assert read.reply.choices[0].finish_reason is None


@pytest.mark.parametrize("ending", [(), (errors.ConnectionFailed("reset"),), (errors.TimedOut("idle", limit="idle"),)])
def test_finish_reason_without_an_end_mark_is_an_end_that_is_told(ending: tuple[Any, ...]) -> None:
    read = Read(piece("Hi"), STOP, *ending)

    assert read.error is None
    assert not read.end.marked


def test_stream_without_an_end_is_truncated() -> None:
    read = Read(piece("a"), piece("b", index=1), STOP)

    assert type(read.error) is errors.StreamTruncated
    assert not read.error.retryable
    assert read.texts == ["a", "", ""]


def test_empty_stream_may_be_asked_for_again() -> None:
    read = Read()

    assert type(read.error) is errors.StreamTruncated
    assert read.error.retryable


def test_connection_that_breaks_within_an_answer_truncates_it() -> None:
    reset = errors.ConnectionFailed("reset")
    read = Read(piece("Hel"), reset)

    assert type(read.error) is errors.StreamTruncated
    assert read.error.__cause__ is reset


def test_connection_that_breaks_before_the_first_chunk_may_be_tried_again() -> None:
    read = Read(errors.ConnectionFailed("reset"))

    assert type(read.error) is errors.StreamTruncated
    assert read.error.retryable


def test_time_out_before_the_first_chunk_keeps_its_class() -> None:
    slow = errors.TimedOut("slow", limit="first_token")

    assert Read(slow).error is slow


@pytest.mark.parametrize("mark", ["[DONE] ", "  [DONE]", '"[DONE]"'])
def test_end_mark_may_be_dressed(mark: str) -> None:
    read = Read(piece("Hi"), sse.Event(None, mark), RuntimeError("read on"))

    assert read.error is None
    assert read.end.marked


def test_error_event_that_is_cut_is_a_cut_stream() -> None:
    read = Read(piece("Hi"), sse.Event("error", '{"error": {"mess', unfinished=True))

    assert type(read.error) is errors.StreamTruncated


def test_error_in_a_choice_of_a_stream_is_an_error() -> None:
    broken = {"choices": [{"index": 0, "delta": {"content": ""}, "error": {"code": 502, "message": "upstream"}}]}

    first, later = Read(broken), Read(piece("Hi"), broken)

    assert type(first.error) is errors.ServerFailed
    assert type(later.error) is errors.StreamFailed
    assert later.error.message == "upstream"


def test_groqs_reason_for_stopping_early_is_an_error() -> None:
    stopped = {**piece(""), "x_groq": {"id": "req_1", "error": "over capacity"}}

    assert type(Read(stopped).error) is errors.Overloaded
    assert type(Read(piece("Hi"), stopped).error) is errors.StreamFailed
    assert Read({**piece("Hi"), "x_groq": {"id": "req_1"}}, DONE).error is None


def test_the_last_words_beside_an_error_are_kept() -> None:
    last = {**piece(" there"), "error": {"code": 502, "message": "upstream"}}

    read = Read(piece("Hi"), last)

    assert type(read.error) is errors.StreamFailed
    assert read.texts == ["Hi", " there"]


def test_error_in_a_list_is_an_error() -> None:
    body = '[{"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}]'

    for event in (sse.Event(None, body), sse.Event(None, body, bare=True)):
        assert type(Read(event).error) is errors.RateLimited


def test_lines_of_json_are_read_to_the_one_that_was_cut() -> None:
    lines = [json.dumps(piece("Hel")), json.dumps(piece("lo")), json.dumps(piece("!"))[:30]]

    read = Read(sse.Event(None, "\r\n".join(lines), bare=True))

    assert type(read.error) is errors.StreamTruncated
    assert read.texts == ["Hel", "lo"]


def test_error_beside_choices_that_say_nothing_is_an_error() -> None:
    refused = {**answer({"content": ""}), "error": {"message": "slow down", "code": 429}}

    with pytest.raises(errors.RateLimited):
        reply_of(refused, wire_call())

    assert reply_of({**answer({"content": "Hi"}), "error": {"message": "late"}}, wire_call()).text == "Hi"


@pytest.mark.parametrize("places", [({}, {}), ({"index": "0"}, {"index": "1"}), ({"index": 0.0}, {"index": 1.0})])
def test_choices_of_a_stream_are_told_apart_however_they_are_numbered(places: tuple[Any, Any]) -> None:
    first, second = places

    read = Read(
        {"choices": [{**first, "delta": {"content": "<think>a"}}, {**second, "delta": {"content": "B"}}]},
        {"choices": [{**first, "delta": {"content": "</think>c"}}, {**second, "delta": {"content": "d"}}]},
        DONE,
    )

    assert [choice.message.content for choice in read.reply.choices] == ["c", "Bd"]


def test_what_cannot_be_repaired_is_what_the_error_names() -> None:
    with pytest.raises(errors.InvalidResponse, match=r"choices\.0\.message\.audio: .*got int"):
        reply_of(answer({"content": "Hi", "audio": 5}, id=[1], created="soon"), wire_call())


@pytest.mark.parametrize(
    "choice",
    [
        {"index": {}, "message": {"content": "x"}},
        {"index": [0], "message": {"content": "x"}},
        {"delta": "", "logprobs": -0.5},
    ],
)
def test_hostile_pieces_end_in_a_chunk_or_a_known_error(choice: dict[str, Any]) -> None:
    read = Read({"choices": [choice]}, DONE)

    assert read.error is None or isinstance(read.error, errors.InvalidResponse)


def test_events_that_one_line_feed_ends_are_told_apart() -> None:
    read = Read(sse.Event(None, "\n".join([json.dumps(piece("Hi")), json.dumps(STOP), "[DONE]"]), unfinished=True))

    assert read.error is None
    assert read.texts == ["Hi", ""]


def test_error_in_a_line_of_json_keeps_the_lines_before() -> None:
    lines = [json.dumps(piece("Hel")), '{"error": {"message": "out of memory"}}']

    read = Read(sse.Event(None, "\n".join(lines), bare=True))

    assert type(read.error) is errors.StreamFailed
    assert read.texts == ["Hel"]


def test_lines_of_json_may_end_with_the_end_mark() -> None:
    lines = [json.dumps(piece("Hi")), json.dumps(STOP), "[DONE]"]

    assert Read(sse.Event(None, "\n".join(lines), bare=True)).texts == ["Hi", ""]


def test_stall_within_an_answer_is_a_timeout() -> None:
    stalled = errors.TimedOut("idle", limit="idle")

    assert Read(piece("Hel"), stalled).error is stalled


@pytest.mark.parametrize(
    "event, kind",
    [
        ({"error": {"message": "busy", "type": "overloaded_error"}}, errors.Overloaded),
        ({"error": {"message": "slow", "code": 429}, "choices": [{"delta": {}}]}, errors.RateLimited),
        (
            sse.Event("error", '{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}'),
            errors.Overloaded,
        ),
        (sse.Event("error", '{"message": "no", "code": "invalid_api_key"}'), errors.AuthenticationFailed),
        (sse.Event("error", "out of memory"), errors.ServerFailed),
        (sse.Event("error", '"out of memory"'), errors.ServerFailed),
        ({"object": "error", "message": "no", "code": 40303}, errors.ServerFailed),
        ({"detail": "no"}, errors.ServerFailed),
        (sse.Event(None, '{"error": {"message": "slow", "code": 429}}', bare=True), errors.RateLimited),
    ],
)
def test_error_is_a_refusal_at_first_and_a_failure_later(event: Any, kind: type[errors.CallError]) -> None:
    first, later = Read(event), Read(piece("Hel"), event)

    assert type(first.error) is kind
    assert first.error.body
    assert not first.chunks
    if not (isinstance(event, sse.Event) and event.bare):
        assert type(later.error) is errors.StreamFailed
        assert later.error.message
        assert later.texts == ["Hel"]


def test_failure_within_an_answer_keeps_the_providers_words() -> None:
    read = Read(piece("Hel"), {"error": {"message": "tool failed", "code": "tool_use_failed", "status_code": 400}})

    assert read.error is not None
    assert (read.error.message, read.error.code, read.error.status) == ("tool failed", "tool_use_failed", 400)


def test_failure_without_words_says_so() -> None:
    read = Read(piece("Hel"), sse.Event("error", "{}"))

    assert read.error is not None
    assert "without saying why" in read.error.message


def test_event_that_is_no_json_is_never_skipped() -> None:
    read = Read(piece("Hel"), '{"choices": [', piece("lo"), STOP, DONE)

    assert type(read.error) is errors.StreamFailed
    assert read.texts == ["Hel"]


@pytest.mark.parametrize("event", ["123", "null", "[]", '"text"'])
def test_event_that_is_no_object_is_an_invalid_response(event: str) -> None:
    assert type(Read(piece("Hel"), event).error) is errors.InvalidResponse


@pytest.mark.parametrize("event", ["", " ", {"type": "ping"}, sse.Event("ping", "{}")])
def test_keep_alives_are_no_pieces(event: Any) -> None:
    read = Read(event, piece("Hi"), event, STOP, DONE)

    assert read.error is None
    assert read.texts == ["Hi", ""]


def test_unfinished_last_event_counts_where_it_is_whole() -> None:
    whole = Read(piece("Hi"), sse.Event(None, json.dumps(STOP), unfinished=True))
    cut = Read(piece("Hi"), sse.Event(None, json.dumps(STOP)[:-5], unfinished=True))

    assert whole.error is None
    assert type(cut.error) is errors.StreamTruncated


def bare(*values: Any) -> sse.Event:
    return sse.Event(
        None, "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values), bare=True
    )


def test_whole_reply_in_place_of_a_stream_is_one_piece() -> None:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "ab"]
    body = answer({"role": "assistant", "content": "<think>so</think>Hi", "tool_calls": calls})
    del body["choices"][0]["finish_reason"]

    read = Read(bare(body))

    assert read.error is None
    message = read.reply.choices[0].message
    assert (message.content, message.reasoning_content) == ("Hi", "so")
    assert [call.id for call in message.tool_calls or []] == ["a", "b"]
    assert read.chunks[0].raw == body


def test_lines_of_json_in_place_of_events_are_pieces() -> None:
    read = Read(bare(piece("Hel"), "", piece("lo\u2028"), STOP))
    cut = Read(bare(piece("Hel"), piece("lo")))
    one = Read(bare(piece("Hel")))

    assert read.error is None
    assert read.reply.text == "Hello\u2028"
    assert type(cut.error) is type(one.error) is errors.StreamTruncated


@pytest.mark.parametrize(
    "body",
    ["<html></html>", "no such page", '{"choices": [', '{"done": true}\n{"done": true}', "[]", "12", '{"id": 1}'],
)
def test_other_bodies_in_place_of_a_stream_are_invalid_responses(body: str) -> None:
    read = Read(bare(body))

    assert type(read.error) is errors.InvalidResponse
    assert not read.chunks


def test_stream_without_choices_is_an_invalid_response() -> None:
    assert type(Read(DONE).error) is errors.InvalidResponse
    assert type(Read({"id": "c1", "choices": None}, DONE).error) is errors.InvalidResponse


def test_too_many_choices_are_refused() -> None:
    read = Read(*(piece("x", index=index) for index in range(129)))

    assert type(read.error) is errors.InvalidResponse
    assert len(read.chunks) == 128


def test_sloppy_pieces_are_repaired_and_told_once() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": None, "total_tokens": None}
    listed = {
        "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, {"type": "text", "text": "a"}]
    }
    read = Read(
        piece("Hi", usage=usage),
        piece(delta=listed),
        piece(delta=listed),
        piece(None, choices=[{"index": 0, "delta": None, "finish_reason": None}, None]),
        piece(delta={"content": "x"}, created="now"),
        STOP,
        DONE,
    )

    assert read.error is None
    assert read.reply.text == "Hiaax"
    assert read.reply.choices[0].message.reasoning_content == "soso"
    assert [change.kind for change in read.call.changes] == ["converted", "dropped"]


def test_pieces_in_the_shape_of_a_reply_or_a_completion_are_read() -> None:
    whole = Read({"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}, DONE)
    repeated = Read(
        piece("Hi"), {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}, DONE
    )
    completion = Read({"choices": [{"text": "H"}]}, {"choices": [{"text": "i", "finish_reason": "stop"}]}, DONE)

    assert whole.reply.text == repeated.reply.text == completion.reply.text == "Hi"
    assert repeated.reply.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    "contents, said, thought",
    [
        (["<th", "ink>s", "o</thi", "nk>Y", "es"], ["", "", "", "Y", "es", ""], "so"),
        (["\n", "<think>", "so", "</think>", "\n\nYes"], ["", "\n", "", "", "\n\nYes", ""], "so"),
        (["Yes", "<think>"], ["Yes", "<think>", ""], None),
        (["<", "b>"], ["", "<b>", ""], None),
        (["<think>so"], ["", ""], "so"),
        (["<think>so</th"], ["", ""], "so</th"),
        (["<thi"], ["", "<thi"], None),
    ],
)
def test_think_tags_are_told_from_the_answer_as_they_come(
    contents: list[str], said: list[str], thought: str | None
) -> None:
    read = Read(piece(delta={"role": "assistant", "content": ""}), *map(piece, contents), STOP, DONE)

    assert read.texts == ["", *said]
    message = read.reply.choices[0].message
    assert message.reasoning_content == thought
    assert bool(read.call.changes) == (thought is not None)


@pytest.mark.parametrize("ending", [(), (errors.TimedOut("idle", limit="idle"),), (DONE,)])
def test_text_that_was_held_back_comes_before_the_end(ending: tuple[Any, ...]) -> None:
    held = Read(piece("<thi"), piece("<think>so</th", index=1), *ending)

    assert held.reply.text == "<thi"
    assert held.reply.choices[1].message.reasoning_content == "so</th"
    assert held.chunks[-1].id == "c1"
    assert (held.error is None) == (ending == (DONE,))


def test_think_tags_stay_where_they_are_no_tags_in_streams() -> None:
    read = Read(piece("<think>so"), STOP, DONE, traits=Traits(think_tags=False))

    assert read.reply.text == "<think>so"


def call(name: str = "", arguments: Any = None, **known: Any) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name} if name else {}
    if arguments is not None:
        function["arguments"] = arguments
    return {**known, "function": function}


@pytest.mark.parametrize(
    "deltas, expected",
    [
        # As it should be.
        (
            [[call("f", "{", index=0, id="a")], [call("", "}", index=0)], [call("g", "{}", index=1, id="b")]],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        # No index: each new id with a name begins a call.
        (
            [[call("f", "{", id="a")], [call("", "}")], [call("f", "{}", id="b")], [call("", " ", id="a")]],
            [("a", "f", "{} "), ("b", "f", "{}")],
        ),
        # Index 0 for all.
        (
            [[call("f", "{}", index=0, id="a")], [call("g", "{}", index=0, id="b")]],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        (
            [[call("f", "{", index=0, id="a")], [call("g", "{", index=0, id="b")], [call("", "}", index=0)]],
            [("a", "f", "{"), ("b", "g", "{}")],
        ),
        # Several in one piece, with no index and no id.
        ([[call("f", "{}"), call("f", "{}")]], [("", "f", "{}"), ("", "f", "{}")]),
        ([[call("f", "{}", index=0, id=""), call("f", "{}", index=0, id="")]], [("", "f", "{}"), ("", "f", "{}")]),
        # One after the other, with no index and no id.
        (
            [[call("f", '{"x": 1}', index=None)], [call("f", "{}", index=None)]],
            [("", "f", '{"x": 1}'), ("", "f", "{}")],
        ),
        ([[call("f", "")], [call("g", "")]], [("", "f", ""), ("", "g", "")]),
        ([[call("f", {"x": 1})], [call("f", {"x": 2})]], [("", "f", '{"x": 1}'), ("", "f", '{"x": 2}')]),
        # The name and the id repeated with every piece.
        (
            [[call("f", "{", index=0, id="a")], [call("f", "}", index=0, id="a")], [call("f", "", index=0)]],
            [("a", "f", "{}")],
        ),
        ([[call("f", "{", index=0)], [call("f", "}", index=0)]], [("", "f", "{}")]),
        # An id of its own for each piece, but a name for the first only.
        (
            [[call("f", "", index=0, id="a")], [call("", "{", index=0, id="b")], [call("", "}", index=0, id="c")]],
            [("a", "f", "{}")],
        ),
        # The name in pieces.
        ([[call("get_", index=0, id="a")], [call("it", index=0)], [call("", "{}", index=0)]], [("a", "get_it", "{}")]),
        # Indexes with gaps, out of order.
        (
            [[call("g", "{}", index=10**9, id="b")], [call("f", "{}", index=3, id="a")]],
            [("a", "f", "{}"), ("b", "g", "{}")],
        ),
        # An object in place of a list; a null among the calls.
        ([call("f", "{}", index=0, id="a")], [("a", "f", "{}")]),
        ([[None, call("f", "{}", index=0, id="a")]], [("a", "f", "{}")]),
    ],
)
def test_tool_calls_are_told_apart(deltas: list[Any], expected: list[tuple[str, str, str]]) -> None:
    read = Read(*(piece(delta={"tool_calls": delta}) for delta in deltas), piece(finish="tool_calls"), DONE)

    calls = read.reply.choices[0].message.tool_calls or []
    assert read.error is None
    assert [(made.id, made.function.name, made.function.arguments) for made in calls] == expected


def test_tool_calls_of_several_choices_are_kept_apart() -> None:
    read = Read(
        piece(delta={"tool_calls": [call("f", "{}", id="a")]}),
        piece(delta={"tool_calls": [call("g", "{}", id="b")]}, index=1),
        DONE,
    )

    assert [choice.message.tool_calls[0].id for choice in read.reply.choices if choice.message.tool_calls] == ["a", "b"]
    assert [change.what for change in read.call.changes] == ["tool_calls.index"]


def test_tool_calls_that_are_none_are_invalid() -> None:
    assert type(Read(piece(delta={"tool_calls": "f()"}), STOP, DONE).error) is errors.InvalidResponse
    assert type(Read(piece(delta="x"), STOP, DONE).error) is errors.InvalidResponse
    assert type(Read({"choices": "x"}, DONE).error) is errors.InvalidResponse


# What refusals teach.


RENAMED = "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead."


def refusal(message: str, kind: type[errors.CallError] = errors.BadRequest) -> errors.CallError:
    return kind(message, status=400, body=json.dumps({"error": {"message": message}}))


@pytest.mark.parametrize(
    "message, request_json, traits, learned",
    [
        (
            RENAMED,
            {"max_tokens": 5},
            Traits(),
            Traits(token_limit="max_completion_tokens"),
        ),
        (
            RENAMED,
            {"max_tokens": 5},
            Traits(token_limit="max_tokens"),
            Traits(token_limit="max_completion_tokens"),
        ),
        (
            "max_completion_tokens is not permitted",
            {"max_completion_tokens": 5},
            Traits(),
            Traits(token_limit="max_tokens"),
        ),
        (
            "body.max_completion_tokens: Extra inputs are not permitted",
            {"max_completion_tokens": 5},
            Traits(token_limit="max_completion_tokens"),
            Traits(token_limit="max_tokens"),
        ),
        (
            "Unrecognized request argument supplied: stream_options",
            {"stream_options": {}},
            Traits(),
            Traits(stream_usage=False),
        ),
        (
            "body.stream_options: Extra inputs are not permitted",
            {"stream_options": {}, "max_tokens": 5},
            Traits(),
            Traits(stream_usage=False),
        ),
        (
            "Unrecognized request argument supplied: stream_options",
            {"stream_options": {}},
            Traits(stream_usage=False),
            None,
        ),
        ("Unsupported parameter: 'max_tokens'", {"n": 1}, Traits(), None),
        ("Unsupported parameter: 'max_tokens'", {"max_tokens": 1}, Traits(token_limit="max_completion_tokens"), None),
        ("max_tokens is too large: 50000, which is not supported", {"max_tokens": 50000}, Traits(), None),
        ("max_tokens must be at least 1", {"max_tokens": 0}, Traits(), None),
        ("Unsupported parameter: 'seed'", {"max_tokens": 5, "seed": 1}, Traits(), None),
    ],
)
def test_refusal_teaches_the_endpoints_ways(
    message: str, request_json: dict[str, Any], traits: Traits, learned: Traits | None
) -> None:
    lesson = openai_chat.lesson(refusal(message), request_json, traits)

    assert (lesson and lesson[0]) == learned
    assert lesson is None or lesson[1].kind == "learned"


def test_other_errors_teach_nothing() -> None:
    message = "Unsupported parameter: 'max_tokens'"

    assert openai_chat.lesson(refusal(message, errors.ServerFailed), {"max_tokens": 5}, Traits()) is None
    assert openai_chat.lesson(refusal(message), None, Traits()) is None


def test_what_was_learned_is_not_refused_again() -> None:
    wanted = Traits(token_limit="max_completion_tokens", stream_usage=False)

    body = request_of(wire_call(stream=True, max_tokens=5), wanted).json

    assert body == {"model": "m", "messages": HELLO, "max_completion_tokens": 5, "stream": True}
