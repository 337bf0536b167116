from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from modelwrap.errors import (
    BadRequest,
    ConfigError,
    ConnectionFailed,
    ModelwrapError,
    RateLimited,
    ServerFailed,
    StreamTruncated,
    UnsupportedParameter,
)
from modelwrap.policies.retry import Retry
from modelwrap.testing import Cut, FakeModel
from modelwrap.types import ChatChunk, ChatReply, EmbeddingReply, ImageReply, Message
from tests.colours import Colour

CALLED = {"tool_calls": [{"function": {"name": "add", "arguments": {"a": 1, "b": 2}}}]}

WHOLE = {
    "id": "r1",
    "object": "chat.completion",
    "created": 5,
    "model": "gpt",
    "vendor": {"x": 1},
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "  Two  rivers.\n",
                "reasoning_content": "Let me think. ",
                "annotations": [{"type": "url_citation"}],
            },
            "finish_reason": "length",
            "logprobs": {"content": [{"token": "Two", "logprob": -0.5, "bytes": None, "top_logprobs": []}]},
        },
        {
            "index": 1,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                    {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}},
                ],
            },
            "finish_reason": "tool_calls",
        },
    ],
    "usage": {"prompt_tokens": 7, "completion_tokens": 8, "total_tokens": 15},
}


def chunk(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}]}


def test_a_text_is_answered_whole_and_in_pieces(colour: Colour) -> None:
    model = FakeModel(["Rhine, Elbe, Oder.", "Rhine, Elbe, Oder."])

    whole = colour.call(model, "Name three rivers.")
    chunks, streamed = colour.stream(model, "Name three rivers.")

    assert whole.text == streamed.text == "Rhine, Elbe, Oder."
    assert [piece.text for piece in chunks if piece.text] == ["Rhine,", " Elbe,", " Oder."]
    assert whole.choices[0].finish_reason == streamed.choices[0].finish_reason == "stop"
    assert whole.meta.config_name == streamed.meta.config_name == "fake"
    assert whole.meta.attempts == streamed.meta.attempts == 1


def test_one_word_counts_as_one_token(colour: Colour) -> None:
    model = FakeModel("Rhine, Elbe, Oder.")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Name three rivers."}]},
    ]

    whole = colour.call(model, messages)
    _, streamed = colour.stream(model, messages)

    for reply in (whole, streamed):
        assert reply.usage.model_dump() == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        assert reply.meta.usage is not None
        assert reply.meta.usage.total == 8


@pytest.mark.parametrize("text", ["", " ", "one", " two words ", "a\n\nb", "日本語"])
def test_the_pieces_of_a_text_make_the_text(text: str) -> None:
    chunks, reply = Colour("blocking").stream(FakeModel(text))

    assert "".join(piece.text for piece in chunks) == reply.text == text


def test_answers_come_in_order_and_then_an_error_says_which_call_has_none(colour: Colour) -> None:
    model = FakeModel(["one", "two"], name="gpt")

    answers = [colour.call(model).text, colour.stream(model)[1].text]
    with pytest.raises(ConfigError, match=r"'gpt'.*no answer to call 3"):
        colour.call(model)

    assert answers == ["one", "two"]


def test_one_answer_is_given_every_time(colour: Colour) -> None:
    model = FakeModel("always this")

    assert [colour.call(model).text for _ in range(3)] == ["always this"] * 3


def test_the_default_answers_when_the_script_has_run_out(colour: Colour) -> None:
    model = FakeModel(["once"], default="then this")

    assert [colour.call(model).text for _ in range(3)] == ["once", "then this", "then this"]


def test_a_script_may_be_any_iterable() -> None:
    model = FakeModel(f"answer {number}" for number in range(2))

    assert [model("Hi").text, model("Hi").text] == ["answer 0", "answer 1"]


def test_a_message_with_tool_calls_is_completed(colour: Colour) -> None:
    model = FakeModel([CALLED, CALLED])

    whole = colour.call(model)
    _, streamed = colour.stream(model)

    for number, reply in enumerate((whole, streamed), start=1):
        message = reply.choices[0].message
        assert message.content is None
        assert message.tool_calls is not None
        assert message.tool_calls[0].model_dump() == {
            "id": f"call_{number}_0",
            "type": "function",
            "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
        }
        assert reply.choices[0].finish_reason == "tool_calls"


def test_a_whole_reply_is_given_as_it_is(colour: Colour) -> None:
    model = FakeModel([WHOLE, ChatReply.model_validate(WHOLE)])

    replies = [colour.call(model), colour.call(model)]

    assert [reply.model_dump() for reply in replies] == [WHOLE, WHOLE]
    assert replies[0].raw == WHOLE


def test_a_whole_reply_streams_to_the_same_reply(colour: Colour) -> None:
    chunks, reply = colour.stream(FakeModel(WHOLE))

    assert reply.model_dump(exclude_none=True) == ChatReply.model_validate(WHOLE).model_dump(exclude_none=True)
    assert len(chunks) > 10
    assert chunks[0].raw["object"] == "chat.completion.chunk"


def test_a_call_of_another_kind_streams_to_the_same_reply(colour: Colour) -> None:
    custom = {"id": "c", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    message = {"role": "assistant", "content": None, "tool_calls": [custom]}

    _, reply = colour.stream(FakeModel([message]))

    calls = reply.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].custom is not None
    assert (calls[0].custom.name, calls[0].custom.input) == ("shell", "ls")


def test_pieces_stream_as_they_are_written_and_answer_whole(colour: Colour) -> None:
    pieces = ["Hel", chunk("lo"), ChatChunk.model_validate(chunk("!")), CALLED]
    model = FakeModel([pieces, tuple(pieces)])

    chunks, streamed = colour.stream(model)
    whole = colour.call(model)

    assert [piece.text for piece in chunks[:3]] == ["Hel", "lo", "!"]
    for reply in (streamed, whole):
        assert reply.text == "Hello!"
        assert reply.choices[0].finish_reason == "tool_calls"
        assert reply.choices[0].message.tool_calls is not None
        assert reply.choices[0].message.tool_calls[0].function.arguments == '{"a": 1, "b": 2}'
        assert reply.usage.completion_tokens == 5


def test_pieces_that_say_how_they_end_are_left_alone(colour: Colour) -> None:
    pieces = [chunk("Hi"), {**chunk("", "length"), "usage": {"prompt_tokens": 1}}]

    chunks, reply = colour.stream(FakeModel([pieces]))

    assert len(chunks) == 2
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.prompt_tokens == 1


def test_no_pieces_are_an_empty_answer(colour: Colour) -> None:
    _, reply = colour.stream(FakeModel([[]]))

    assert reply.text == ""
    assert reply.choices[0].finish_reason == "stop"


def test_a_cut_stream_carries_what_had_come(colour: Colour) -> None:
    model = FakeModel([Cut("Hel", "lo")])

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(model)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hello"
    assert caught.value.history[0].outcome == "StreamTruncated"


def test_a_cut_answer_is_a_cut_connection(colour: Colour) -> None:
    with pytest.raises(ConnectionFailed):
        colour.call(FakeModel(Cut("Hel", "lo")))


@pytest.mark.parametrize("error", [RateLimited("slow down", retry_after=2.0), RateLimited, KeyError("mine")])
def test_an_exception_is_raised(colour: Colour, error: Any) -> None:
    model = FakeModel([error, [error]])
    kind = error if isinstance(error, type) else type(error)

    with pytest.raises(kind):
        colour.call(model)
    with pytest.raises(kind):
        colour.stream(model)


def test_an_error_is_told_what_the_call_knows_and_never_shared_between_calls() -> None:
    error = RateLimited("slow down", retry_after=2.0)
    model = FakeModel(error, name="gpt")

    raised = []
    for _ in range(2):
        with pytest.raises(RateLimited) as caught:
            model("Hi")
        raised.append(caught.value)

    assert raised[0] is not raised[1]
    assert [str(one) for one in raised] == ["gpt (fake:gpt): slow down [retry after 2 s]"] * 2
    assert error.model is None


def test_an_exception_among_the_pieces_breaks_the_stream_there(colour: Colour) -> None:
    model = FakeModel([["Hel", ServerFailed("oops")]])

    with pytest.raises(ServerFailed, match="oops") as caught:
        colour.stream(model)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


def test_a_function_answers_by_what_was_asked(colour: Colour) -> None:
    def answer(messages: list[dict[str, Any]], parameters: dict[str, Any]) -> Any:
        return [f"{messages[-1]['content']} at {parameters['temperature']}"]

    model = FakeModel(answer)

    whole = colour.call(model, "Hi", temperature=0.5)
    _, streamed = colour.stream(model, [{"role": "user", "content": "Ho"}], temperature=1)

    assert (whole.text, streamed.text) == ("Hi at 0.5", "Ho at 1")


def test_a_function_may_raise(colour: Colour) -> None:
    def refuse(messages: Any, parameters: Any) -> Any:
        raise RateLimited("not now")

    with pytest.raises(RateLimited, match="not now"):
        colour.call(FakeModel(refuse))


def test_calls_are_remembered_as_they_were(colour: Colour) -> None:
    model = FakeModel("yes")
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    options = {"temperature": 0.5, "extra_headers": {"x-a": "b"}, "extra_body": {"top_k": 1}}

    colour.call(model, messages, **options)
    messages[0]["content"].append("later")  # type: ignore[attr-defined]
    messages.append({"role": "assistant", "content": "yes"})
    colour.stream(model, "Ho")

    assert model.calls[0].messages == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert model.calls[0].parameters == {"temperature": 0.5}
    assert model.calls[0].extra_headers == {"x-a": "b"}
    assert model.calls[0].extra_body == {"top_k": 1}
    assert [call.stream for call in model.calls] == [False, True]
    assert model.calls[1].messages == "Ho"


def test_messages_are_read_as_every_model_reads_them(colour: Colour, tmp_path: Path) -> None:
    model = FakeModel("yes")

    with pytest.raises(BadRequest, match="role"):
        colour.call(model, [{"content": "Hi"}])
    with pytest.raises(ModelwrapError, match="missing.png"):
        colour.call(model, [{"role": "user", "content": [tmp_path / "missing.png"]}])


def test_a_cut_shows_its_pieces() -> None:
    assert repr(Cut("Hel", "lo")) == "Cut('Hel', 'lo')"


@pytest.mark.parametrize(
    "answer, words",
    [
        (7, "int is no answer"),
        ({"text": "Hi"}, "'text'"),
        ({}, "nothing"),
        ({"content": 7}, "answer to call 1 is no reply: choices.0.message.content: Input should be a valid string$"),
        ([7], "int is no piece"),
        ({"tool_calls": "add"}, "tool_calls is a list of dicts, not 'add'"),
        ([{"tool_calls": ["add"]}], "tool_calls is a list of dicts"),
        ({"tool_calls": [{"name": "add", "arguments": {}}]}, "stand in its `function`"),
        ({"tool_calls": [{"function": {"name": "add", "arguments": {"a": object()}}}]}, "arguments .*serializable"),
        ({"choices": None}, "choices is a list of dicts, not None"),
        ({"choices": ["Hi"]}, r"choices is a list of dicts, not \['Hi'\]"),
        ({"choices": [{"message": "Hi"}]}, "the message of a choice is a dict, not 'Hi'"),
        (FakeModel("Hi"), "FakeModel is no answer"),
        (Cut, "type is no answer"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(answer: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        FakeModel([answer]).stream("Hi").reply  # noqa: B018 - reading the reply reads the stream


@pytest.mark.parametrize("script", [7, b"Hi", None])
def test_what_is_no_script_is_refused_where_the_fake_is_made(script: Any) -> None:
    with pytest.raises(ConfigError, match=f"model 'gpt': {type(script).__name__} is no answer"):
        FakeModel(script, name="gpt")


def test_vectors_of_texts_are_given(colour: Colour) -> None:
    model = FakeModel([{"data": [{"embedding": [0.25, 0.5]}, {"embedding": [1, 0]}]}])

    reply = colour.call(model, ["Rhine", "Elbe"])

    assert isinstance(reply, EmbeddingReply)
    assert reply.embeddings == [[0.25, 0.5], [1.0, 0.0]]
    assert [item.index for item in reply.data] == [0, 1]
    assert reply.meta.config_name == "fake"
    assert model.calls[0].messages == ["Rhine", "Elbe"]


def test_a_function_makes_vectors_of_texts() -> None:
    def vectors(messages: list[Message], parameters: dict[str, Any]) -> dict[str, Any]:
        return {"data": [{"embedding": [len(message["content"])]} for message in messages]}

    model: Any = FakeModel(vectors)

    assert model(["Rhine", "Elbe"]).embeddings == [[5.0], [4.0]]
    assert model("Oder").embeddings == [[4.0]]


def test_an_image_is_given_whole_only(colour: Colour) -> None:
    given = ImageReply.model_validate({"data": [{"url": "https://images.test/rhine.png"}]})
    model = FakeModel(default=given)

    reply = colour.call(model, "a river")

    assert isinstance(reply, ImageReply)
    assert reply.model_dump() == given.model_dump()
    assert reply is not given
    assert colour.call(FakeModel({"data": [{"url": "https://images.test/elbe.png"}]}), "a river").image_urls == [
        "https://images.test/elbe.png"
    ]
    with pytest.raises(UnsupportedParameter, match="in one piece"):
        colour.stream(model, "a river")


def test_a_list_of_texts_is_no_conversation(colour: Colour) -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\]"):
        colour.call(FakeModel("Hi"), ["Rhine", "Elbe"])
    with pytest.raises(BadRequest, match=r"messages\[0\]"):
        colour.stream(FakeModel("Hi"), ["Rhine", "Elbe"])


def test_a_model_is_no_script() -> None:
    with pytest.raises(ConfigError, match=r"use_fake\(name, model\) installs one as it is"):
        FakeModel(FakeModel("Hi"))


@pytest.mark.parametrize("function", [lambda: "Hi", lambda messages: "Hi", lambda one, two, three: "Hi"])
def test_a_function_that_takes_something_else_is_refused_in_words(function: Any) -> None:
    with pytest.raises(ConfigError, match="a function that answers takes the messages and the parameters"):
        FakeModel(function)("Hi")


def test_a_mistake_inside_a_function_is_shown_as_it_is() -> None:
    def answer(messages: Any, parameters: Any) -> str:
        raise TypeError("a river is no number")

    with pytest.raises(TypeError, match="a river is no number"):
        FakeModel(answer)("Hi")


def test_an_async_function_is_refused_in_words() -> None:
    async def answer(messages: Any, parameters: Any) -> str:
        return "Hi"

    with pytest.raises(ConfigError, match="async def"):
        FakeModel(answer)("Hi")


def test_a_pydantic_class_is_parsed_from_the_answer(colour: Colour) -> None:
    class River(BaseModel):
        name: str

    model = FakeModel('{"name": "Rhine"}')

    whole = colour.call(model, "Hi", response_format=River)
    _, streamed = colour.stream(model, "Hi", response_format=River)

    assert whole.parsed == streamed.parsed == River(name="Rhine")
    assert model.calls[0].parameters == {"response_format": River}


def test_explain_shows_what_was_asked() -> None:
    explanation = FakeModel("yes", name="gpt").explain("Hi", temperature=1)

    assert explanation.url == "fake:gpt"
    assert explanation.body == {"messages": [{"role": "user", "content": "Hi"}], "temperature": 1}


def test_every_thread_gets_an_answer_of_its_own() -> None:
    model = FakeModel([str(number) for number in range(64)])
    barrier = threading.Barrier(8)

    def ask(_: int) -> str:
        if model.calls == []:
            barrier.wait(timeout=1)
        return model("Hi").text

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(64)))

    assert sorted(answers, key=int) == [str(number) for number in range(64)]
    assert len(model.calls) == 64


def test_tasks_take_turns_between_the_pieces() -> None:
    order: list[str] = []

    async def read(model: FakeModel) -> None:
        async for piece in model.astream("Hi"):
            if piece.text:
                order.append(piece.text)

    async def both() -> None:
        await asyncio.gather(read(FakeModel("a b c")), read(FakeModel("1 2 3")))

    asyncio.run(both())

    assert order == ["a", "1", " b", " 2", " c", " 3"]


def test_a_stream_that_its_reader_left_says_so(colour: Colour) -> None:
    model = FakeModel("one two three")

    stream = model.stream("Hi")
    next(stream)
    stream.close()
    with pytest.raises(StreamTruncated) as caught:
        stream.reply  # noqa: B018 - reading it is the call

    assert caught.value.history[0].outcome == "abandoned"


def test_policies_stand_around_a_fake_as_around_any_model(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelwrap.policies.retry.delay", lambda error, attempt: 0.0)
    fake = FakeModel([RateLimited("slow down"), [ServerFailed("oops")], "there"])

    _, reply = colour.stream(Retry(fake))

    assert reply.text == "there"
    assert [attempt.outcome for attempt in reply.meta.history] == ["RateLimited", "ServerFailed", "ok"]
