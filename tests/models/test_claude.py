"""A model on Anthropic's wire, from the front door to the socket and back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

import modelwrap
from modelwrap.errors import (
    BadRequest,
    ConfigError,
    ContentFiltered,
    InvalidResponse,
    MissingSecret,
    Overloaded,
    StreamFailed,
    StreamTruncated,
    TimedOut,
    UnsupportedParameter,
)
from tests.claude_wire import (
    events_answer,
    events_of,
    message,
    message_answer,
    overloaded_event,
    refusal,
    stream_answer,
)
from tests.colours import Colour
from tests.loopback import Loopback

SEARCH = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "rivers"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
THINKS = {"type": "enabled", "budget_tokens": 1024}
THOUGHT = {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}
LOOK = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}


def model_at(server: Loopback | None = None, **config: Any) -> modelwrap.Model:
    client_args = {"base_url": f"http://127.0.0.1:{server.port}"} if server else {}
    client_args |= config.pop("client_args", {})
    config = {"config_name": "c", "model_type": "claude", "model": "claude-haiku-4-5", **config}
    return modelwrap.load({**config, "client_args": client_args})[config["config_name"]]


def test_answers_in_openais_shape(colour: Colour, server: Loopback) -> None:
    server.script(message_answer("The Rhine."))
    model = model_at(server, api_key="sk-ant-canary-1", generate_args={"max_tokens": 100})

    reply = colour.call(model, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A river?"}])

    assert reply.text == "The Rhine."
    assert reply.raw == message("The Rhine.")
    assert (reply.meta.finish_reason, reply.choices[0].finish_reason) == ("end_turn", "stop")
    assert (reply.meta.request_id, reply.meta.changes) == ("req_1", ())
    (asked,) = server.asked
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == "sk-ant-canary-1"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in asked.headers
    assert asked.body == {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "A river?"}],
    }


def test_a_stream_adds_up_to_the_whole_reply(colour: Colour, server: Loopback) -> None:
    whole = message(THOUGHT, "The Rhine.", LOOK, stop="tool_use")
    server.script(events_answer(events_of(whole)), message_answer(THOUGHT, "The Rhine.", LOOK, stop="tool_use"))
    model = model_at(server, generate_args={"max_tokens": 100})

    chunks, streamed = colour.stream(model)
    answered = colour.call(model)

    assert "".join(chunk.text for chunk in chunks) == "The Rhine."
    assert streamed.model_dump() == answered.model_dump()
    assert streamed.raw == events_of(whole)
    assert streamed.meta.done
    assert server.asked[0].body["stream"] is True


def test_what_came_goes_back_as_it_came(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer(THOUGHT, "I look.", LOOK, stop="tool_use"), message_answer("Sun."))
    model = model_at(server, generate_args={"max_tokens": 2000, "thinking": THINKS})

    _, first = colour.stream(model, "Weather?")
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "Sun."}
    tools = [{"type": "function", "function": {"name": "weather"}}]
    reply = colour.call(model, [{"role": "user", "content": "Weather?"}, first, result], tools=tools)

    assert server.asked[1].body["messages"][1]["content"] == [THOUGHT, {"type": "text", "text": "I look."}, LOOK]
    assert reply.meta.changes == ()


def test_a_long_answer_is_streamed_underneath(colour: Colour, server: Loopback) -> None:
    whole = message(THOUGHT, "The Rhine.")
    server.script(events_answer(events_of(whole)))

    reply = colour.call(model_at(server))

    assert server.asked[0].body["stream"] is True
    assert server.asked[0].body["max_tokens"] == 64000
    assert reply.raw == whole
    assert reply.text == "The Rhine."
    assert [str(change) for change in reply.meta.changes] == [
        "max_tokens: defaulted, 64000, the most that this model gives"
    ]


def test_a_long_answer_that_breaks_off_is_asked_for_again(colour: Colour, server: Loopback) -> None:
    events = events_of(message("The Rhine."))
    server.script(
        events_answer(events[:4], cut=True), events_answer([*events[:4], overloaded_event()]), stream_answer("So.")
    )

    reply = colour.call(model_at(server))

    assert reply.text == "So."
    assert [attempt.outcome for attempt in reply.meta.history] == ["ConnectionFailed", "Overloaded", "ok"]


def test_a_limit_that_a_refusal_tells_is_kept(colour: Colour, server: Loopback) -> None:
    words = "max_tokens: 32000 > 4096, which is the maximum allowed number of output tokens for claude-3-haiku"
    server.script(refusal(400, "invalid_request_error", words), message_answer("So."))
    model = model_at(server, model="claude-novella-9")

    reply = colour.call(model)
    colour.call(model, "Hi", max_tokens=10_000)

    assert [asked.body["max_tokens"] for asked in server.asked] == [32_000, 4096, 4096]
    assert [change.kind for change in reply.meta.changes] == ["learned", "defaulted"]


def test_what_another_server_of_the_wire_thought_goes_back_to_it_alone(colour: Colour, server: Loopback) -> None:
    thought = {"type": "thinking", "thinking": "Rome.", "signature": "91cfbb94-554b"}
    unsigned = {"type": "thinking", "thinking": "So sunny."}
    server.script(
        events_answer(events_of(message(thought, LOOK, stop="tool_use", model="deepseek-v4-pro"))),
        message_answer(unsigned, "Sun.", model="deepseek-v4-pro"),
        message_answer("It stays so.", model="claude-opus-5-5"),
    )
    limit = {"max_tokens": 100}
    theirs = model_at(server, model="deepseek-v4-pro", generate_args=limit)
    claude = model_at(server, config_name="own", model="claude-opus-5-5", generate_args=limit)
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]

    messages += [colour.stream(theirs, messages)[1], {"role": "tool", "tool_call_id": "toolu_1", "content": "Sun."}]
    messages += [colour.call(theirs, messages), {"role": "user", "content": "And tomorrow?"}]
    again = theirs.explain(messages).body
    reply = colour.call(claude, messages)

    assert server.asked[1].body["messages"][1]["content"] == [thought, LOOK]
    assert again["messages"][3]["content"] == [unsigned, {"type": "text", "text": "Sun."}]
    assert [turn["content"] for turn in server.asked[2].body["messages"][1::2]] == [
        [LOOK],
        [again["messages"][3]["content"][1]],
    ]
    assert ("dropped", "extra_content.anthropic") in {(change.kind, change.what) for change in reply.meta.changes}


STALE = (
    "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. "
    'Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to "drop_block".'
)
LEFT_OUT = {"type": "thinking_dropped", "path": "messages.1.content.0", "reason": "prefix_binding_mismatch"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_history_that_was_edited_goes_on_without_its_thoughts(stream: bool, server: Loopback) -> None:
    answer = stream_answer if stream else message_answer
    server.script(
        refusal(400, "invalid_request_error", STALE),
        answer("So.", input_transformations=[LEFT_OUT]),
        answer("So."),
    )
    model = model_at(server, model="claude-opus-5-5", generate_args={"max_tokens": 100})
    betas = {"anthropic-beta": "some-beta"}

    reply = model.stream("Hi").reply if stream else model("Hi")
    model("Hi", thinking={"type": "enabled", "budget_tokens": 50}, extra_headers=betas)

    first, second, third = server.asked
    assert "thinking" not in first.body
    assert second.body["thinking"] == {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "drop_block"}}
    assert third.body["thinking"]["type"] == "enabled"
    assert third.body["thinking"]["block_binding"] == second.body["thinking"]["block_binding"]
    assert "anthropic-beta" not in first.headers
    assert second.headers["anthropic-beta"] == "thinking-binding-controls-2026-08-01"
    assert third.headers["anthropic-beta"] == "some-beta,thinking-binding-controls-2026-08-01"
    assert [(change.kind, change.what) for change in reply.meta.changes] == [
        ("learned", "thinking.block_binding"),
        ("dropped", "extra_content.anthropic"),
    ]


def test_an_endpoint_that_cannot_leave_thoughts_out_is_not_asked_again(server: Loopback) -> None:
    words = "Unexpected value(s) `thinking-binding-controls-2026-08-01` for the `anthropic-beta` header"
    stale = refusal(400, "invalid_request_error", STALE)
    server.script(stale, refusal(400, "invalid_request_error", words), stale, message_answer("So."))
    model = model_at(server, model="claude-opus-5-5", generate_args={"max_tokens": 100})

    with pytest.raises(BadRequest, match="bound to a different conversation"):
        model("Hi")
    reply = model("Hi")

    assert ["thinking" in asked.body for asked in server.asked] == [False, True, False, False]
    assert reply.meta.changes == ()


@pytest.mark.parametrize(
    "thinking",
    [
        {"type": "disabled"},
        {"type": "between_tools"},
        {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "error"}},
    ],
)
def test_who_wants_to_hear_of_an_edited_history_does(thinking: dict[str, Any], server: Loopback) -> None:
    server.script(refusal(400, "invalid_request_error", STALE))
    model = model_at(server, generate_args={"max_tokens": 100, "thinking": thinking})

    with pytest.raises(BadRequest, match="bound to a different conversation"):
        model("Hi")

    assert len(server.asked) == 1


def test_overload_before_the_first_word_is_tried_again(colour: Colour, server: Loopback) -> None:
    start = events_of(message("x"))[0]
    server.script(
        refusal(529, "overloaded_error", "Overloaded"), events_answer([start, overloaded_event()]), stream_answer("So.")
    )

    chunks, reply = colour.stream(model_at(server))

    assert reply.text == "So."
    assert reply.meta.attempts == 3
    assert len(chunks) == len("So.") // 3 + 2


def test_overload_after_it_is_an_error_with_what_came(colour: Colour, server: Loopback) -> None:
    events = events_of(message("The Rhine."))
    server.script(events_answer([*events[:4], overloaded_event()]))

    with pytest.raises(StreamFailed) as caught:
        colour.stream(model_at(server))

    assert not isinstance(caught.value, StreamTruncated)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "The Rh"
    assert caught.value.partial.choices[0].finish_reason is None
    assert caught.value.attempts == 1


# Pauses.


def test_a_paused_turn_is_gone_on_with(colour: Colour, server: Loopback) -> None:
    server.script(
        message_answer("I search. ", SEARCH, stop="pause_turn", container={"id": "c_1", "expires_at": "x"}),
        message_answer(FOUND, SEARCH, stop="pause_turn", id="msg_2"),
        message_answer(FOUND, "So.", id="msg_3"),
    )
    model = model_at(server, generate_args={"max_tokens": 100})

    reply = colour.call(model)

    assert [asked.body.get("container") for asked in server.asked] == [None, "c_1", "c_1"]
    first, second, third = (asked.body["messages"] for asked in server.asked)
    assert second == [*first, {"role": "assistant", "content": [{"type": "text", "text": "I search. "}, SEARCH]}]
    assert third[-1]["content"] == [{"type": "text", "text": "I search. "}, SEARCH, FOUND, SEARCH]
    assert (reply.id, reply.text, reply.choices[0].finish_reason) == ("msg_1", "I search. So.", "stop")
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (30, 12)
    assert len(reply.raw["content"]) == 6
    assert [change.what for change in reply.meta.changes] == ["pause_turn", "pause_turn"]
    assert reply.meta.attempts == 3


def test_a_paused_stream_is_gone_on_with(colour: Colour, server: Loopback) -> None:
    server.script(
        stream_answer("I search. ", LOOK, SEARCH, stop="pause_turn"),
        stream_answer(FOUND, "So.", {**LOOK, "id": "toolu_2"}, id="msg_2", stop="tool_use"),
    )
    model = model_at(server, generate_args={"max_tokens": 100})

    chunks, reply = colour.stream(model)

    assert {chunk.id for chunk in chunks} == {"msg_1"}
    assert [choice.delta.role for chunk in chunks for choice in chunk.choices if choice.delta.role] == ["assistant"]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == [
        "tool_calls"
    ]
    assert reply.text == "I search. So."
    message = reply.choices[0].message
    assert [call.id for call in message.tool_calls or ()] == ["toolu_1", "toolu_2"]
    assert message.model_dump()["extra_content"]["anthropic"]["content"] == server.asked[1].body["messages"][-1][
        "content"
    ] + [FOUND, {"type": "text", "text": "So."}, {**LOOK, "id": "toolu_2"}]
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (20, 8)
    assert [change.what for change in reply.meta.changes] == ["pause_turn"]
    assert reply.meta.done


def test_a_turn_that_pauses_for_ever_is_an_error(colour: Colour, server: Loopback) -> None:
    server.script(message_answer("x", SEARCH, stop="pause_turn"))

    with pytest.raises(InvalidResponse, match="paused its answer more than 16 times") as caught:
        colour.call(model_at(server, generate_args={"max_tokens": 100}))

    assert len(server.asked) == 17
    assert caught.value.partial is not None
    assert caught.value.partial.text == "x" * 17


def test_a_stream_that_pauses_for_ever_is_an_error(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer("x", SEARCH, stop="pause_turn"))

    with pytest.raises(StreamFailed, match="paused its answer more than 16 times") as caught:
        colour.stream(model_at(server, generate_args={"max_tokens": 100}))

    assert len(server.asked) == 17
    assert caught.value.partial is not None
    assert caught.value.partial.text == "x" * 17


def test_the_deadline_holds_over_pauses(colour: Colour, server: Loopback) -> None:
    paused = message_answer("x", SEARCH, stop="pause_turn")
    paused.pieces.insert(0, 0.06)
    server.script(paused)

    with pytest.raises(TimedOut):
        colour.call(model_at(server, generate_args={"max_tokens": 100}), "Hi", timeout=0.15, max_retries=0)

    assert len(server.asked) <= 3


def test_a_refusal_while_going_on_carries_what_came(colour: Colour, server: Loopback) -> None:
    server.script(stream_answer("I search.", SEARCH, stop="pause_turn"), refusal(529, "overloaded_error", "Overloaded"))

    with pytest.raises(Overloaded) as caught:
        colour.stream(model_at(server, generate_args={"max_tokens": 100}))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "I search."
    assert caught.value.partial.choices[0].finish_reason is None
    assert len(server.asked) == 2


# Structured answers.


class Rivers(BaseModel):
    names: list[str] = Field(min_length=2)


def test_a_class_is_asked_for_and_given_back(colour: Colour, server: Loopback) -> None:
    server.script(message_answer('{"names": ["Rhine", "Po"]}'))

    reply = colour.call(model_at(server, generate_args={"max_tokens": 100}), response_format=Rivers)

    assert reply.parsed == Rivers(names=["Rhine", "Po"])
    schema = server.asked[0].body["output_config"]["format"]["schema"]
    assert schema["properties"]["names"]["description"] == "{minItems: 2}"


def test_an_answer_is_held_to_what_claude_does_not_check(colour: Colour, server: Loopback) -> None:
    server.script(message_answer('{"names": ["Rhine"]}'), stream_answer('{"names": ["Rhine"]}'))
    model = model_at(server, generate_args={"max_tokens": 100})

    for ask in (colour.call, colour.stream):
        with pytest.raises(InvalidResponse, match="names: .* is fewer than 2 items") as caught:
            ask(model, response_format=Rivers)
        assert caught.value.partial is not None
        assert caught.value.partial.text == '{"names": ["Rhine"]}'
        assert caught.value.partial.meta.config_name == ("c" if ask == colour.stream else "")


# Configs.


@pytest.mark.parametrize("name", ["claude", "anthropic", "anthropic_chat", "AnthropicChatWrapper"])
def test_the_type_has_the_names_that_files_use(name: str) -> None:
    assert repr(model_at(model_type=name, api_key="sk-ant-canary-1")).endswith("'c'>")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/anthropic",
        "http://localhost:1/anthropic/v1",
        "localhost:1/anthropic/v1/messages",
        "http://localhost:1//anthropic/",
    ],
)
def test_base_urls_in_any_form_lead_to_the_same_place(url: str) -> None:
    model = model_at(client_args={"base_url": url})

    assert model.explain("Hi").url == "http://localhost:1/anthropic/v1/messages"


def test_a_base_url_that_is_none_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="client_args.base_url"):
        model_at(client_args={"base_url": "ftp://example.com"})


def test_a_token_goes_out_as_bearer(colour: Colour, server: Loopback) -> None:
    server.script(message_answer("So."))

    colour.call(model_at(server, auth_token="canary-token-1", generate_args={"max_tokens": 5}))

    assert server.asked[0].headers["authorization"] == "Bearer canary-token-1"
    assert "x-api-key" not in server.asked[0].headers


@pytest.mark.parametrize(
    "environment, expected",
    [
        ({"ANTHROPIC_API_KEY": "sk-ant-canary-1"}, {"x-api-key": "***"}),
        ({"ANTHROPIC_AUTH_TOKEN": "canary-token-1"}, {"authorization": "***"}),
        ({"ANTHROPIC_API_KEY": "sk-ant-canary-1", "ANTHROPIC_AUTH_TOKEN": "canary-token-1"}, {"x-api-key": "***"}),
    ],
)
def test_the_environment_is_asked_for_a_key_and_then_for_a_token(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: dict[str, str]
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    headers = model_at().explain("Hi").headers

    assert {name: headers[name] for name in ("x-api-key", "authorization") if name in headers} == expected


def test_no_key_from_the_environment_goes_to_a_stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-canary-1")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "canary-token-1")

    headers = model_at(client_args={"base_url": "https://example.com"}).explain("Hi").headers

    assert not headers.keys() & {"x-api-key", "authorization"}


def test_without_a_key_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)

    with pytest.raises(MissingSecret, match="ANTHROPIC_API_KEY is not set"):
        model_at()


@pytest.mark.parametrize("header", ["x-api-key", "Authorization"])
def test_a_header_of_ones_own_takes_the_place_of_the_key(header: str) -> None:
    headers = (
        model_at(api_key="sk-ant-canary-1", client_args={"default_headers": {header: "own"}}).explain("Hi").headers
    )

    assert len(headers.keys() & {"x-api-key", "authorization"}) == 1


def test_an_empty_token_sends_nothing() -> None:
    headers = model_at(auth_token="EMPTY").explain("Hi").headers

    assert not headers.keys() & {"x-api-key", "authorization"}


def test_a_key_and_a_token_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="auth_token: goes out in place of api_key"):
        model_at(api_key="sk-ant-canary-1", auth_token="canary-token-1")


def test_a_key_does_not_go_over_plain_http_to_a_stranger() -> None:
    with pytest.raises(ConfigError, match="plain http"):
        model_at(api_key="sk-ant-canary-1", client_args={"base_url": "http://example.com"})


def test_another_version_of_the_api_can_be_asked_for() -> None:
    model = model_at(api_key="x", client_args={"default_headers": {"Anthropic-Version": "2026-10-21"}})

    assert model.explain("Hi").headers["anthropic-version"] == "2026-10-21"


def test_a_config_can_say_what_a_new_model_takes() -> None:
    model = model_at(api_key="x", model="claude-novella-9", capabilities={"like": "claude-opus-5"})

    with pytest.raises(UnsupportedParameter, match="temperature"):
        model.explain("Hi", temperature=0.5)
    assert model.explain("Hi").body["max_tokens"] == 128_000


def test_what_is_left_out_is_told_in_a_warning_where_the_config_says_so(server: Loopback) -> None:
    server.script(message_answer("So."))
    model = model_at(server, unsupported="warn", generate_args={"max_tokens": 5})

    with pytest.warns(modelwrap.ModelwrapWarning, match="c: seed: dropped"):
        reply = model("Hi", seed=1)

    assert [str(change) for change in reply.meta.changes] == [
        "seed: dropped, Claude has no seed: nothing makes it answer the same again"
    ]


def test_no_key_shows_in_what_goes_wrong(colour: Colour, server: Loopback) -> None:
    server.script(refusal(401, "authentication_error", "invalid x-api-key: sk-ant-canary-1"))
    model = model_at(server, api_key="sk-ant-canary-1")

    with pytest.raises(modelwrap.errors.AuthenticationFailed) as caught:
        colour.call(model)

    assert "canary" not in f"{caught.value} {caught.value.body} {model!r} {model.explain('Hi')}"


def test_a_filtered_prompt_keeps_its_class(server: Loopback) -> None:
    server.script(refusal(400, "invalid_request_error", "Output blocked by content filtering policy"))

    with pytest.raises(ContentFiltered):
        model_at(server)("Hi")


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"metadata": "none", "user": "river"}, "metadata: must be an object"),
        ({"service_tier": ["auto"]}, "service_tier: must be a text"),
        (
            {
                "output_config": "",
                "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
            },
            "output_config: must be an object",
        ),
    ],
)
def test_parameters_of_a_wrong_kind_are_refused_in_words(parameters: dict[str, Any], words: str) -> None:
    model = modelwrap.load(
        {"config_name": "claude", "model_type": "claude", "model": "claude-opus-5", "api_key": "k" * 20}
    )["claude"]

    with pytest.raises(BadRequest, match=words):
        model.explain("Hi", **parameters)
