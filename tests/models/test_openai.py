"""A model on OpenAI's wire, from the front door to the socket and back."""

from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any

import pydantic
import pytest

import modelwrap
from modelwrap.errors import (
    AuthenticationFailed,
    BadRequest,
    ConfigError,
    InvalidResponse,
    MissingSecret,
    Overloaded,
    StreamFailed,
    StreamTruncated,
    TimedOut,
)
from tests.colours import Colour
from tests.loopback import (
    Answer,
    Loopback,
    chat_answer,
    chat_body,
    chunk,
    error_answer,
    event,
    json_answer,
    stream_answer,
)


def model_at(server: Loopback, **config: Any) -> modelwrap.Model:
    client_args = {"base_url": server.base_url, **config.pop("client_args", {})}
    config = {"config_name": "gpt", "model_type": "openai", "model": "test-model", **config}
    return modelwrap.load({**config, "client_args": client_args})["gpt"]


def test_a_stream_that_nobody_asked_for_is_an_answer(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer("The ", "Rhine."))
    model = model_at(server)

    reply = colour.call(model, "Name a river.")

    assert reply.text == "The Rhine."
    assert reply.choices[0].finish_reason == "stop"
    assert [change.what for change in reply.meta.changes] == ["stream"]
    assert reply.meta.done


def test_a_stream_that_nobody_asked_for_and_that_is_cut_is_tried_again(colour: Colour, server: Loopback) -> None:
    server.script(Answer(pieces=[event(chunk("The "))]), chat_answer("The Rhine."))
    model = model_at(server, client_args={"max_retries": 1})

    reply = colour.call(model, "Name a river.")

    assert reply.text == "The Rhine."
    assert [attempt.outcome for attempt in reply.meta.history] == ["StreamTruncated", "ok"]


def test_an_error_in_a_stream_that_nobody_asked_for_holds_what_came(colour: Colour, server: Loopback) -> None:
    server.script(Answer(pieces=[event(chunk("The ")), event({"error": {"message": "no more"}})]))
    model = model_at(server)

    with pytest.raises(StreamFailed) as caught:
        colour.call(model, "Name a river.")

    assert caught.value.message == "no more"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "The "


def test_answers_in_openais_shape(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer("The Rhine."))
    model = model_at(server, api_key="sk-canary-1", generate_args={"temperature": 0})

    reply = colour.call(model, "Name a river.", seed=7)

    assert reply.text == reply.choices[0].message.content == "The Rhine."
    assert reply.usage.total_tokens == 5
    assert reply.raw == chat_body("The Rhine.")
    assert reply.model_dump() == chat_body("The Rhine.")
    assert (reply.image_urls, reply.embeddings) == (None, None)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer sk-canary-1"
    assert asked.body == {
        "model": "test-model",
        "messages": [{"role": "user", "content": "Name a river."}],
        "temperature": 0,
        "seed": 7,
    }


def test_tells_beside_the_reply_what_only_the_call_knows(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())

    meta = colour.call(model_at(server)).meta

    assert (meta.config_name, meta.request_id, meta.finish_reason) == ("gpt", "req-1", "stop")
    assert meta.endpoint == f"http://127.0.0.1:{server.port}"
    assert (meta.attempts, meta.history[0].outcome, meta.history[0].status) == (1, "ok", 200)
    assert meta.usage is not None
    assert (meta.usage.prompt, meta.usage.completion, meta.usage.total) == (3, 2, 5)
    assert 0 < meta.seconds < 5
    assert meta.changes == ()


def test_arguments_of_a_call_win_over_the_config(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())
    model = model_at(server, generate_args={"temperature": 0, "top_p": 0.5})

    colour.call(model, "Hi", temperature=1)

    assert server.asked[0].body["temperature"] == 1
    assert server.asked[0].body["top_p"] == 0.5


def test_extras_of_a_call_go_where_openais_sdk_puts_them(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())
    model = model_at(server, client_args={"default_headers": {"X-Team": "a"}, "default_query": {"v": "1"}})

    extras = {"extra_headers": {"X-Run": "7"}, "extra_body": {"guided_choice": ["a"]}, "extra_query": {"run": 7}}
    colour.call(model, "Hi", **extras)

    (asked,) = server.asked
    assert (asked.headers["x-team"], asked.headers["x-run"]) == ("a", "7")
    assert asked.body["guided_choice"] == ["a"]
    assert asked.path == "/v1/chat/completions?v=1&run=7"


@pytest.mark.parametrize("query", [5, {"run": None}, {"api_key": "sk-canary-1"}])
def test_a_query_that_no_url_should_hold_is_refused(server: Loopback, query: Any) -> None:
    with pytest.raises(ConfigError, match="extra_query") as caught:
        model_at(server)("Hi", extra_query=query)

    assert "sk-canary-1" not in str(caught.value)
    assert server.asked == []


def test_messages_may_be_named_as_in_openais_sdk(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())
    model = model_at(server)

    if colour.name == "blocking":
        model(messages=[{"role": "user", "content": "Hi"}])
    else:
        asyncio.run(model.acall(messages=[{"role": "user", "content": "Hi"}]))

    assert server.asked[0].body["messages"] == [{"role": "user", "content": "Hi"}]


def test_organization_and_project_are_headers(server: Loopback) -> None:
    server.script(chat_answer())

    model_at(server, organization="org-1", client_args={"project": "proj-1"})("Hi")

    assert server.asked[0].headers["openai-organization"] == "org-1"
    assert server.asked[0].headers["openai-project"] == "proj-1"


def test_streams_pieces_and_then_the_whole(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer("Hel", "lo"))

    chunks, reply = colour.stream(model_at(server))

    assert [chunk.text for chunk in chunks if chunk.text] == ["Hel", "lo"]
    assert reply.text == "Hello"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == 5
    assert reply.meta.request_id == "req-1"
    assert reply.meta.seconds_to_first_token is not None
    assert server.asked[0].body["stream"] is True
    assert server.asked[0].body["stream_options"] == {"include_usage": True}


def test_stream_true_gives_what_stream_gives(server: Loopback) -> None:
    server.script(stream_answer("Hel", "lo"))

    stream = model_at(server)("Hi", stream=True)

    assert "".join(chunk.text for chunk in stream) == "Hello"


def test_a_config_may_stream_by_default(server: Loopback) -> None:
    server.script(stream_answer("Hel", "lo"), chat_answer("whole"))
    model = model_at(server, stream=True)

    streamed = model("Hi")
    pieces = [chunk.text for chunk in streamed]
    whole = model("Hi", stream=False)

    assert "".join(pieces) == "Hello"
    assert whole.text == "whole"


def test_the_awaited_call_streams_as_the_plain_one_does(server: Loopback) -> None:
    server.script(stream_answer("Hel", "lo"), stream_answer("by ", "default"), chat_answer("whole"))

    async def read() -> list[str]:
        asked = [chunk.text async for chunk in await model_at(server).acall("Hi", stream=True)]
        by_default = [chunk.text async for chunk in await model_at(server, stream=True).acall("Hi")]
        whole = await model_at(server, stream=True).acall("Hi", stream=False)
        return ["".join(asked), "".join(by_default), whole.text]

    assert asyncio.run(read()) == ["Hello", "by default", "whole"]


def test_explain_shows_the_call_that_the_config_makes(server: Loopback) -> None:
    model = model_at(server, stream=True)

    assert model.explain("Hi").body["stream"] is True
    assert "stream" not in model.explain("Hi", stream=False).body


def test_a_cut_stream_is_an_error_that_holds_what_came(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer("Hel", "lo", cut=True))

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(model_at(server))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hello"
    assert caught.value.partial.choices[0].finish_reason is None
    assert (caught.value.model, caught.value.request_id, caught.value.attempts) == ("gpt", "req-1", 1)


def test_what_came_of_a_cut_stream_does_not_say_that_it_is_done(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer("The ", cut=True))

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(model_at(server))

    assert caught.value.partial is not None
    assert not caught.value.partial.meta.done


def test_a_stream_that_begins_with_a_refusal_is_tried_again(colour: Colour, server: Loopback) -> None:
    busy = event({"error": {"message": "overloaded", "code": 503}})
    server.script(Answer(200, {"content-type": "text/event-stream"}, [busy]), stream_answer("Hello"))

    _, reply = colour.stream(model_at(server))

    assert reply.text == "Hello"
    assert [attempt.outcome for attempt in reply.meta.history] == ["Overloaded", "ok"]


def test_a_stream_that_breaks_later_is_not_tried_again(colour: Colour, server: Loopback) -> None:
    busy = event({"error": {"message": "overloaded", "code": 503}})
    pieces = [event(chunk("Hel")), busy]
    server.script(Answer(200, {"content-type": "text/event-stream"}, pieces), stream_answer("never"))

    with pytest.raises(modelwrap.StreamFailed, match="overloaded") as caught:
        colour.stream(model_at(server))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "limit, pieces",
    [
        ("first_token", [0.15, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", 0.2]),
        (
            "idle",
            [
                b"HTTP/1.1 200 OK\r\n\r\n",
                event(chunk("Hel")),
                0.15,
                b": still here\n\n",
                0.2,
                event(chunk("lo", "stop")),
            ],
        ),
    ],
)
def test_nothing_but_an_event_ends_the_wait_for_one(
    colour: Colour, server: Loopback, limit: str, pieces: list[bytes | float]
) -> None:
    server.script(Answer(raw=True, pieces=pieces))

    with pytest.raises(TimedOut) as caught:
        colour.stream(model_at(server), "Hi", timeout={limit: 0.25}, max_retries=0)

    assert caught.value.limit == limit
    assert caught.value.history[0].seconds < 0.32


@pytest.mark.parametrize("filler", [b": still here\n\n", b"data:\n\n", b"event: ping\ndata\n\n", b"id: 7\n\n"])
def test_a_stream_that_stalls_is_told_from_a_slow_one(colour: Colour, server: Loopback, filler: bytes) -> None:
    pieces: list[bytes | float] = [event(chunk("Hel")), *[0.03, filler] * 20]
    server.script(Answer(200, {"content-type": "text/event-stream"}, pieces))

    with pytest.raises(TimedOut) as caught:
        colour.stream(model_at(server), "Hi", timeout={"idle": 0.2})

    assert caught.value.limit == "idle"
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


def test_attempts_stand_on_the_reply_and_on_the_error(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(503, retry_after="0"), chat_answer("late"))
    reply = colour.call(model_at(server))
    server.script(error_answer(503, "still down", retry_after="0"))

    with pytest.raises(Overloaded, match="still down") as caught:
        colour.call(model_at(server), "Hi", max_retries=1)

    assert [attempt.outcome for attempt in reply.meta.history] == ["Overloaded", "ok"]
    assert caught.value.attempts == 2
    assert caught.value.status == 503
    assert "2 attempts" in str(caught.value)


def test_the_total_limit_spans_all_attempts(colour: Colour, server: Loopback) -> None:
    server.script(Answer(503, {}, [0.1, b"busy"]))

    with pytest.raises(modelwrap.CallError) as caught:
        colour.call(model_at(server), "Hi", timeout=0.25, max_retries=50)

    assert sum(attempt.seconds + attempt.delay for attempt in caught.value.history) < 0.5


@pytest.mark.parametrize("whole", [True, False])
def test_a_refusal_teaches_the_name_of_the_token_limit_once(colour: Colour, server: Loopback, whole: bool) -> None:
    refusal = error_answer(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    server.script(refusal, chat_answer() if whole else stream_answer("Hello"))
    model = model_at(server)

    def call() -> Any:
        return colour.call(model, max_tokens=5) if whole else colour.stream(model, max_tokens=5)[1]

    first, second = call(), call()

    assert [asked.body.get("max_completion_tokens") for asked in server.asked] == [None, 5, 5]
    assert first.meta.attempts == 2
    assert [change.kind for change in first.meta.changes] == ["learned", "renamed"]
    assert second.meta.attempts == 1
    assert [change.kind for change in second.meta.changes] == ["renamed"]


def test_a_refusal_teaches_that_streams_have_no_usage(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(400, "Unrecognized request argument supplied: stream_options"), stream_answer("Hello"))
    model = model_at(server)

    _, first = colour.stream(model)
    colour.stream(model)

    assert ["stream_options" in asked.body for asked in server.asked] == [True, False, False]
    assert first.meta.attempts == 2
    assert first.meta.changes[0].kind == "learned"


def test_a_refusal_that_teaches_nothing_is_raised(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(400, "max_tokens must be at least 1"))

    with pytest.raises(BadRequest, match="at least 1"):
        colour.call(model_at(server), max_tokens=0)

    assert len(server.asked) == 1


class City(pydantic.BaseModel):
    name: str
    rivers: list[str]


def test_a_class_as_response_format_gives_an_object(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer('{"name": "Bonn", "rivers": ["Rhine"]}'))

    reply = colour.call(model_at(server), response_format=City)

    assert reply.parsed == City(name="Bonn", rivers=["Rhine"])
    sent = server.asked[0].body["response_format"]
    assert (sent["type"], sent["json_schema"]["strict"]) == ("json_schema", True)


def test_a_streamed_answer_is_parsed_too(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer('{"name": "Bonn", ', '"rivers": []}'))

    _, reply = colour.stream(model_at(server), response_format=City)

    assert reply.parsed == City(name="Bonn", rivers=[])


def test_what_is_no_such_object_is_an_error_only_where_it_is_asked_for(server: Loopback) -> None:
    server.script(chat_answer('{"name": '))

    reply = model_at(server)("Hi", response_format=City)

    assert reply.text == '{"name": '
    with pytest.raises(InvalidResponse, match="no City") as caught:
        _ = reply.parsed
    assert caught.value.partial is reply


def test_a_refusing_model_gives_no_object(server: Loopback) -> None:
    server.script(chat_answer(None, refusal="I can't."))

    reply = model_at(server)("Hi", response_format=City)

    assert reply.parsed is None
    assert reply.choices[0].message.refusal == "I can't."


def test_a_reply_goes_back_as_a_message(colour: Colour, server: Loopback) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    server.script(chat_answer(None, tool_calls=[call]), chat_answer("Sunny."))
    model = model_at(server)
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]

    reply = colour.call(model, messages)
    messages += [reply.choices[0].message, {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}]
    colour.call(model, messages)

    assert server.asked[1].body["messages"] == [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]


def test_explain_shows_what_would_be_sent_and_no_secret(server: Loopback) -> None:
    server.script(chat_answer())
    model = model_at(server, api_key="sk-canary-1")

    shown = model.explain("Hi", max_tokens=3)
    model("Hi", max_tokens=3)

    assert shown.body == server.asked[0].body
    assert shown.url == f"{server.base_url}/chat/completions"
    assert shown.headers["authorization"] == "***"
    assert "sk-canary-1" not in str(shown) + repr(shown)
    assert len(server.asked) == 1


def test_errors_survive_pickling(server: Loopback) -> None:
    server.script(error_answer(429, "slow down", retry_after="300"))

    with pytest.raises(modelwrap.RateLimited) as caught:
        model_at(server)("Hi")
    copy = pickle.loads(pickle.dumps(caught.value))

    assert str(copy) == str(caught.value)
    assert (copy.retry_after, copy.history, copy.status) == (300.0, caught.value.history, 429)


def test_a_placeholder_for_a_key_is_named_when_it_is_refused(server: Loopback) -> None:
    server.script(error_answer(401, "bad key"))
    with pytest.warns(modelwrap.ModelwrapWarning, match="placeholder"):
        model = model_at(server, api_key="{YOUR_API_TOKEN}")

    with pytest.raises(AuthenticationFailed, match="api_key holds a placeholder"):
        model("Hi")


def test_a_key_from_the_environment_goes_to_its_own_host_only(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-1")
    server.script(chat_answer())

    model_at(server)("Hi")
    own = modelwrap.load({"config_name": "own", "model_type": "openai"})["own"].explain("Hi")

    assert "authorization" not in server.asked[0].headers
    assert own.url == "https://api.openai.com/v1/chat/completions"
    assert own.headers["authorization"] == "***"


def test_says_which_variable_holds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    with pytest.raises(MissingSecret, match="OPENAI_API_KEY is not set"):
        modelwrap.load({"config_name": "own", "model_type": "openai"})


def test_a_key_does_not_go_over_plain_http_to_strangers() -> None:
    config = {"config_name": "x", "model_type": "openai", "api_key": "sk-canary-1"}

    with pytest.raises(ConfigError, match="allow_http"):
        modelwrap.load({**config, "client_args": {"base_url": "http://llm.example.com/v1"}})


def test_writes_one_line_an_attempt_for_those_who_listen(server: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    server.script(error_answer(503, retry_after="0"), chat_answer())

    with caplog.at_level(logging.DEBUG, logger="modelwrap"):
        model_at(server)("Hi")

    lines = [record.getMessage() for record in caplog.records if record.name == "modelwrap"]
    assert [line.split(" in ")[0] for line in lines] == [
        f"gpt: attempt 1 at http://127.0.0.1:{server.port}: Overloaded",
        f"gpt: attempt 2 at http://127.0.0.1:{server.port}: ok",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"timeout": 0}, {"timeout": {"conect": 1}}, {"timeout": "1"}, {"max_retries": -1}, {"max_retries": 1.5}),
        *({"api_key": "k"}, {"base_url": "x"}, {"default_headers": {}}, {"organization": "o"}),
    ],
)
def test_a_wrong_option_of_a_call_is_named(server: Loopback, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        model_at(server)("Hi", **wrong)

    assert server.asked == []


def test_reasoning_goes_back_by_rule(server: Loopback) -> None:
    server.script(chat_answer("4", reasoning_content="2+2"))
    model = model_at(server)

    thought = model("2+2?").choices[0].message
    model([thought])
    never = model_at(server, replay_reasoning="never")
    reply = never([thought])

    assert server.asked[1].body["messages"][0]["reasoning_content"] == "2+2"
    assert "reasoning_content" not in server.asked[2].body["messages"][0]
    assert [change.kind for change in reply.meta.changes] == ["dropped"]


def test_closing_leaves_a_model_that_can_be_called_again(colour: Colour, server: Loopback) -> None:
    server.script(chat_answer())
    model = model_at(server)

    colour.call(model)
    model.close()
    colour.run(model.aclose()) if colour.name == "concurrent" else None
    reply = colour.call(model)

    assert reply.text == "Hello"


def test_a_server_that_is_no_llm_gives_a_clean_error(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({"hello": "world"}))

    with pytest.raises(InvalidResponse, match="choices"):
        colour.call(model_at(server))


def test_a_model_that_a_call_leaves_open_is_the_configs() -> None:
    model = modelwrap.load({"config_name": "gpt", "model_type": "openai", "model": "gpt-5.5", "api_key": "k" * 20})[
        "gpt"
    ]

    assert model.explain("Hi", model=None, max_retries=None).body["model"] == "gpt-5.5"
    assert model.explain("Hi", model="gpt-4.1").body["model"] == "gpt-4.1"
    with pytest.raises(ConfigError, match="model: must be the name of a model, not int"):
        model.explain("Hi", model=3)
