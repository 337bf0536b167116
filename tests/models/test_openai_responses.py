"""OpenAI's two wires behind one model: which of them a call takes, and answers that are made in the background."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from types import MappingProxyType, coroutine
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import (
    BadRequest,
    CallError,
    ConnectionFailed,
    InvalidResponse,
    NotFound,
    RateLimited,
    StreamTruncated,
    TimedOut,
    UnsupportedParameter,
)
from modelwrap.models import openai_responses
from modelwrap.runtime.auth import Credential, Token
from modelwrap.runtime.base import run_sync
from modelwrap.secrets import Secret
from tests.colours import Colour, FakeRuntime
from tests.loopback import Answer, Loopback, chat_answer, error_answer, event, json_answer

FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
KNOWN_TO_HAVE_IT = {"capabilities": {"wire.responses": True}}


def model_at(server: Loopback, **config: Any) -> modelwrap.Model:
    client_args = {"base_url": server.base_url, "max_retries": 0, **config.pop("client_args", {})}
    config = {"config_name": "gpt", "model_type": "openai", "model": "gpt-5.5", **config}
    return modelwrap.load({**config, "client_args": client_args})["gpt"]


def at_openai(model: str, **config: Any) -> modelwrap.Model:
    return modelwrap.load(
        {"config_name": "gpt", "model_type": "openai", "model": model, "api_key": "sk-canary-1", **config}
    )["gpt"]


def response(text: str | None = "Hello", status: str = "completed", **fields: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": "test-model",
        "output": [] if text is None else [message],
        "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
        **fields,
    }


def queued() -> Answer:
    return json_answer(response(None, "queued", usage=None))


def stream_of(*events: dict[str, Any], cut: bool = False) -> Answer:
    return Answer(200, {"content-type": "text/event-stream"}, [event(one) for one in events], cut=cut)


def pieces(*texts: str) -> list[dict[str, Any]]:
    return [
        {"type": "response.created", "response": response(None, "in_progress", usage=None)},
        *(
            {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": text}
            for text in texts
        ),
    ]


# Which wire.


@pytest.mark.parametrize(
    "model, parameters, why",
    [
        ("gpt-4o", {}, ""),
        ("gpt-4o", {"tools": [FUNCTION]}, ""),
        ("gpt-4o", {"reasoning_effort": "high", "tools": [FUNCTION]}, ""),
        ("gpt-5", {"tools": [FUNCTION]}, ""),
        ("gpt-5.4", {"tools": [FUNCTION]}, ""),
        ("gpt-5.5", {}, ""),
        ("gpt-5.5", {"reasoning_effort": "none", "tools": [FUNCTION]}, ""),
        ("gpt-5.5", {"tools": [{"type": "custom", "custom": {"name": "sql"}}]}, ""),
        ("gpt-9", {"tools": [FUNCTION]}, ""),
        ("gpt-audio", {"tools": [FUNCTION]}, ""),
        ("gpt-5-search-api", {"web_search_options": {}}, ""),
        ("gpt-4.1", {"tools": [{"type": "function", "name": "weather"}]}, "the tool weather is described as for"),
        ("gpt-5.4", {"reasoning_effort": "low", "tools": [FUNCTION]}, "gpt-5.4: function tools while"),
        ("gpt-5.5", {"tools": [FUNCTION]}, "gpt-5.5: function tools while"),
        ("gpt-5.5", {"functions": [FUNCTION["function"]]}, "gpt-5.5: function tools while"),
        ("gpt-6-astra", {"tools": [FUNCTION]}, "gpt-6-astra: tools need the Responses API"),
        ("gpt-6-sol", {"reasoning_effort": "max"}, "gpt-6-sol: effort max exists on Responses only"),
        ("gpt-5-pro", {}, "gpt-5-pro answers on Responses only"),
        ("gpt-4o", {"model": "gpt-5-pro"}, "gpt-5-pro answers on Responses only"),
        ("gpt-4.1", {"tools": [{"type": "web_search"}]}, "web_search is a tool of Responses"),
        ("gpt-4.1", {"previous_response_id": "resp_1"}, "previous_response_id is a parameter of Responses"),
        ("gpt-4.1", {"extra_body": {"background": True}}, "background is a parameter of Responses"),
        ("gpt-4.1", {"truncation": None}, ""),
    ],
)
def test_a_call_takes_responses_only_where_nothing_else_can_carry_it(
    model: str, parameters: dict[str, Any], why: str
) -> None:
    explained = at_openai(model).explain("Hi", **parameters)

    assert explained.url.endswith("/responses" if why else "/chat/completions")
    told = [change.detail for change in explained.changes if change.what == "api"]
    assert [detail.startswith(f"sent over Responses: {why}") for detail in told] == ([True] if why else [])


def test_a_host_that_is_not_known_to_have_responses_gets_chat_completions(server: Loopback) -> None:
    config = {"capabilities": {"like": "gpt-6-astra"}}

    assert model_at(server, **config).explain("Hi", tools=[FUNCTION]).url.endswith("/chat/completions")

    known = {"capabilities": {"like": "gpt-6-astra", "wire": {"responses": True}}}
    assert model_at(server, **known).explain("Hi", tools=[FUNCTION]).url.endswith("/responses")


def test_a_config_may_settle_the_wire(server: Loopback) -> None:
    assert model_at(server, api="responses").explain("Hi").url == f"{server.base_url}/responses"
    assert at_openai("gpt-5.5", api="chat").explain("Hi", tools=[FUNCTION]).url.endswith("/chat/completions")


@pytest.mark.parametrize(
    "model, api, words",
    [
        ("gpt-5-pro", "chat", 'gpt-5-pro answers on Responses only: set "api" to "responses" or "auto"'),
        ("gpt-audio", "responses", 'gpt-audio answers on Chat Completions only: set "api" to "chat" or "auto"'),
    ],
)
def test_a_wire_on_which_the_model_does_not_answer_is_refused_with_the_remedy(model: str, api: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        at_openai(model, api=api).explain("Hi")

    assert caught.value.message == words
    assert not caught.value.sent


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"background": True}, "background is a parameter of Responses"),
        ({"tools": [{"type": "web_search"}]}, "web_search is a tool of Responses"),
    ],
)
def test_what_needs_responses_is_refused_of_a_model_that_does_not_answer_there(
    parameters: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        at_openai("gpt-5-search-api").explain("Hi", **parameters)

    assert caught.value.message == f"{words}, and gpt-5-search-api answers on Chat Completions only"
    assert not caught.value.sent


def test_a_base_url_that_was_given_with_the_wire_behind_it_settles_it(server: Loopback) -> None:
    given = {"base_url": f"{server.base_url}/responses"}

    assert model_at(server, client_args=given).explain("Hi").url == f"{server.base_url}/responses"
    assert model_at(server, client_args=given, api="chat").explain("Hi").url == f"{server.base_url}/chat/completions"


def test_a_deployment_in_the_url_is_named_in_the_body_as_azure_wants_it_there() -> None:
    url = "https://mine.openai.azure.com/openai/deployments/my-gpt?api-version=2025-04-01-preview"
    model = at_openai("gpt-5.5", client_args={"base_url": url})

    over_responses, over_chat = model.explain("Hi", tools=[FUNCTION]), model.explain("Hi")

    assert over_responses.url == "https://mine.openai.azure.com/openai/responses?api-version=2025-04-01-preview"
    assert over_responses.body["model"] == "my-gpt"
    assert over_chat.url.partition("?")[0].endswith("/openai/deployments/my-gpt/chat/completions")


@pytest.mark.parametrize("name", ["prompt", "conversation", "previous_response_id"])
def test_what_the_server_has_already_needs_no_messages(name: str) -> None:
    explained = at_openai("gpt-4.1").explain(None, **{name: "some-id"})

    assert explained.body[name] == "some-id"
    assert "input" not in explained.body


def test_a_call_without_messages_is_refused_where_the_server_has_none() -> None:
    with pytest.raises(BadRequest, match="messages"):
        at_openai("gpt-4.1", api="responses").explain(None)


def test_what_responses_cannot_do_is_refused_also_where_it_was_chosen() -> None:
    with pytest.raises(UnsupportedParameter, match="seed"):
        at_openai("gpt-5.5").explain("Hi", tools=[FUNCTION], seed=7)


def test_an_unknown_wire_is_a_mistake_of_the_config() -> None:
    with pytest.raises(modelwrap.ConfigError, match="api"):
        at_openai("gpt-5.5", api="completions")


def test_reasoning_stays_here_where_the_config_wants_it() -> None:
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5j"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
    ]
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
            "extra_content": {"openai": {"output": output}},
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "Sun."},
    ]

    kinds = {
        replay: [
            item.get("type")
            for item in at_openai("gpt-5.5", replay_reasoning=replay).explain(messages, tools=[FUNCTION]).body["input"]
        ]
        for replay in ("auto", "always", "never")
    }

    assert kinds["auto"] == kinds["always"] == [None, "reasoning", "function_call", "function_call_output"]
    assert kinds["never"] == [None, "function_call", "function_call_output"]


# Over the wire.


def test_answers_in_the_same_shape_over_either_wire(colour: Colour, server: Loopback) -> None:
    server.script(json_answer(response("The Rhine."), x_request_id="req-1"), chat_answer("The Rhine."))

    over_responses = colour.call(model_at(server, api="responses"), "Name a river.")
    over_chat = colour.call(model_at(server, api="chat"), "Name a river.")

    assert over_responses.text == over_chat.text == "The Rhine."
    assert over_responses.usage.total_tokens == over_chat.usage.total_tokens == 5
    assert over_responses.choices[0].finish_reason == over_chat.choices[0].finish_reason == "stop"
    assert (over_responses.meta.finish_reason, over_responses.meta.request_id) == ("completed", "req-1")
    assert over_responses.meta.done
    assert over_responses.raw == response("The Rhine.")
    assert [asked.path for asked in server.asked] == ["/v1/responses", "/v1/chat/completions"]


def test_streams_in_pieces(colour: Colour, server: Loopback) -> None:
    done = {"type": "response.completed", "response": response("The Rhine.")}
    server.script(stream_of(*pieces("The ", "Rhine."), done))

    chunks, reply = colour.stream(model_at(server, api="responses"), "Name a river.")

    assert [chunk.text for chunk in chunks if chunk.text] == ["The ", "Rhine."]
    assert (reply.text, reply.choices[0].finish_reason, reply.usage.total_tokens) == ("The Rhine.", "stop", 5)
    assert reply.meta.done
    assert server.asked[0].body["stream"] is True


def test_a_stream_that_is_cut_gives_what_came(colour: Colour, server: Loopback) -> None:
    server.script(stream_of(*pieces("The ", "Rh"), cut=True))

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(model_at(server, api="responses"))

    assert caught.value.partial is not None
    assert caught.value.partial.text == "The Rh"


def test_a_failure_before_the_first_piece_is_retried(colour: Colour, server: Loopback) -> None:
    failed = {"code": "rate_limit_exceeded", "message": "Too many requests."}
    refusal = {"type": "response.failed", "response": response(None, "failed", error=failed)}
    done = {"type": "response.completed", "response": response("Yes.")}
    server.script(stream_of(*pieces(), refusal), stream_of(*pieces("Yes."), done))

    _, reply = colour.stream(model_at(server, api="responses", client_args={"max_retries": 1}))

    assert (reply.text, reply.meta.attempts, reply.meta.history[0].outcome) == ("Yes.", 2, "RateLimited")


def test_a_conversation_with_tools_goes_on_over_either_wire(colour: Colour, server: Loopback) -> None:
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ZW5j"}
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "weather", "arguments": "{}"}
    server.script(
        json_answer({**response(None), "output": [reasoning, call]}), chat_answer("Sun."), json_answer(response("Ok."))
    )
    settled = {api: model_at(server, api=api, **KNOWN_TO_HAVE_IT) for api in ("responses", "chat")}
    messages: list[Any] = [{"role": "user", "content": "Weather?"}]

    asked = colour.call(settled["responses"], messages, tools=[FUNCTION])
    messages += [asked, {"role": "tool", "tool_call_id": "call_1", "content": "Sun."}]
    told = colour.call(settled["chat"], messages, tools=[FUNCTION])
    messages += [told, {"role": "user", "content": "Thanks."}]
    colour.call(settled["responses"], messages, tools=[FUNCTION])

    over_chat, over_responses = server.asked[1].body["messages"], server.asked[2].body["input"]
    assert "extra_content" not in over_chat[1]
    assert over_chat[1]["tool_calls"][0]["id"] == "call_1"
    assert [change.what for change in told.meta.changes] == ["extra_content.openai"]
    assert over_responses[1:3] == [reasoning, call]
    assert over_responses[3] == {"type": "function_call_output", "call_id": "call_1", "output": "Sun."}
    assert over_responses[4] == {"role": "assistant", "content": "Sun."}


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_responses_is_told_as_such(colour: Colour, server: Loopback, status: int) -> None:
    server.script(Answer(status, {"content-type": "text/plain"}, [b"No such page."]))

    with pytest.raises(CallError) as caught:
        colour.call(model_at(server, api="responses"))

    assert caught.value.message.startswith("No such page. (asked at /responses")
    assert '"api": "chat"' in caught.value.message


def test_a_model_that_the_server_does_not_know_is_no_missing_path(server: Loopback) -> None:
    server.script(error_answer(404, "The model does not exist.", "model_not_found"))

    with pytest.raises(NotFound) as caught:
        model_at(server, api="responses")("Hi")

    assert caught.value.message == "The model does not exist."


# In the background.


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_responses, "_FIRST_WAIT", 0.01)


@pytest.mark.usefixtures("soon")
def test_an_answer_made_in_the_background_is_asked_for_until_it_is_there(colour: Colour, server: Loopback) -> None:
    working = json_answer(response(None, "in_progress", usage=None))
    server.script(queued(), working, error_answer(503), json_answer(response("At last.")))

    reply = colour.call(model_at(server, api="responses", api_key="sk-canary-1"), background=True)

    assert (reply.text, reply.choices[0].finish_reason, reply.meta.attempts) == ("At last.", "stop", 1)
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("POST", "/v1/responses"),
        *[("GET", "/v1/responses/resp_1")] * 3,
    ]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-canary-1"}
    assert server.asked[0].body["background"] is True
    assert "store" not in server.asked[0].body


class Answered:
    """Be an answer of Responses that no server gave."""

    status = 200
    headers = MappingProxyType({"content-type": "application/json"})

    def __init__(self, status: str = "queued") -> None:
        self._body = json.dumps(response(None, status)).encode()

    async def read(self) -> bytes:
        return self._body

    async def aclose(self) -> None:
        pass


def call_in(runtime: FakeRuntime, seconds: float) -> None:
    model: Any = at_openai("gpt-5.5", api="responses").model
    run_sync(model.complete(model._call("Hi", {"background": True, "timeout": seconds}, runtime), runtime))


def test_whoever_gives_up_has_the_answer_cancelled() -> None:
    runtime = FakeRuntime(*(Answered() for _ in range(8)))

    with pytest.raises(TimedOut) as caught:
        call_in(runtime, 5.0)

    assert not caught.value.retryable
    asked = [(request.method, request.url.removeprefix("https://api.openai.com/v1")) for request in runtime.sent]
    assert asked[0] == ("POST", "/responses")
    assert set(asked[1:-1]) == {("GET", "/responses/resp_1?include%5B%5D=reasoning.encrypted_content")}
    assert asked[-1] == ("POST", "/responses/resp_1/cancel")
    assert runtime.sent[-1].content == b""
    assert runtime.slept[:3] == [0.5, 0.75, 1.125]
    assert sum(runtime.slept) == pytest.approx(5.0)


def test_waits_between_polls_grow_to_ten_seconds() -> None:
    runtime = FakeRuntime(*(Answered() for _ in range(30)), Answered("completed"))

    call_in(runtime, 1000.0)

    assert max(runtime.slept) == 10.0
    assert [request.method for request in runtime.sent].count("POST") == 1


def test_a_cancellation_that_fails_does_not_hide_why_one_gave_up() -> None:
    runtime = FakeRuntime(Answered(), Answered(), ConnectionFailed("no route"))

    with pytest.raises(TimedOut):
        call_in(runtime, 0.6)

    assert runtime.answers == []


@pytest.mark.usefixtures("soon")
def test_a_cancelled_caller_has_the_answer_cancelled(server: Loopback) -> None:
    server.script(queued())

    async def give_up() -> None:
        calling = asyncio.ensure_future(model_at(server, api="responses").acall("Hi", background=True))
        while len(server.asked) < 3:
            await asyncio.sleep(0.005)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling

    asyncio.run(give_up())

    assert server.asked[-1].path == "/v1/responses/resp_1/cancel"


@pytest.mark.usefixtures("soon")
def test_an_answer_that_fails_in_the_background_is_made_again(colour: Colour, server: Loopback) -> None:
    failed = response(None, "failed", error={"code": "rate_limit_exceeded", "message": "Too many requests."})
    server.script(queued(), json_answer(failed), json_answer(response("Yes.")))

    reply = colour.call(model_at(server, api="responses", client_args={"max_retries": 1}), background=True)

    assert (reply.text, reply.meta.attempts) == ("Yes.", 2)
    assert not any(asked.path.endswith("/cancel") for asked in server.asked)


@pytest.mark.usefixtures("soon")
def test_polls_that_keep_failing_end_the_call_and_start_no_other(colour: Colour, server: Loopback) -> None:
    server.script(queued(), error_answer(429))

    with pytest.raises(RateLimited) as caught:
        colour.call(model_at(server, api="responses", client_args={"max_retries": 2}), background=True)

    assert not caught.value.retryable
    assert [asked.path for asked in server.asked].count("/v1/responses") == 1
    assert server.asked[-1].path == "/v1/responses/resp_1/cancel"


def test_a_name_of_an_answer_cannot_lead_a_poll_elsewhere(colour: Colour, server: Loopback, soon: None) -> None:
    server.script(json_answer(response(None, "queued", id="../files/x?y")), json_answer(response("Yes.")))

    colour.call(model_at(server, api="responses"), background=True)

    assert server.asked[1].path == "/v1/responses/..%2Ffiles%2Fx%3Fy"


@pytest.mark.usefixtures("soon")
def test_a_poll_logs_in_as_the_call_did(colour: Colour, server: Loopback) -> None:
    tokens = iter(("t1", "t2", "t3"))
    server.script(queued(), queued(), json_answer(response("Yes.")))
    model: Any = model_at(server, api="responses")
    # Each is too old when the next request goes out.
    model.model.credential = Credential(lambda: Token(Secret(next(tokens)), 0.0))

    colour.call(model, background=True)

    sent = [asked.headers["authorization"] for asked in server.asked]
    assert sent == ["Bearer t1", "Bearer t2", "Bearer t3"]


@pytest.mark.usefixtures("soon")
def test_a_vendors_client_logs_in_for_polls_too(colour: Colour, server: Loopback) -> None:
    server.script(queued(), json_answer(response("Yes.")), queued(), json_answer(response(None, "cancelled")))
    model = model_at(server, api="responses", transport="sdk", api_key="sk-canary-1")

    reply = colour.call(model, background=True)
    with pytest.raises(InvalidResponse, match="cancelled"):
        colour.call(model, background=True)

    assert reply.text == "Yes."
    assert [(asked.method, asked.path) for asked in server.asked[:2]] == [
        ("POST", "/v1/responses"),
        ("GET", "/v1/responses/resp_1"),
    ]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-canary-1"}


def test_an_answer_in_the_background_without_a_name_is_no_answer(colour: Colour, server: Loopback) -> None:
    server.script(json_answer(response(None, "queued", id="")))

    with pytest.raises(InvalidResponse, match="name"):
        colour.call(model_at(server, api="responses"), background=True)

    assert len(server.asked) == 1


def test_a_call_that_nobody_runs_any_more_awaits_nothing() -> None:
    class Stopping(FakeRuntime):
        async def sleep(self, seconds: float) -> None:
            await _suspended()

    runtime = Stopping(Answered())
    model: Any = at_openai("gpt-5.5", api="responses").model
    calling = model.complete(model._call("Hi", {"background": True}, runtime), runtime)

    calling.send(None)
    calling.close()

    assert [request.method for request in runtime.sent] == ["POST"]


@coroutine
def _suspended() -> Generator[None, None, None]:
    yield


def numbered(*events: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**one, "sequence_number": number} for number, one in enumerate(events)]


DONE = {"type": "response.completed", "response": response("The Rhine.")}


@pytest.mark.usefixtures("soon")
def test_a_stream_of_the_background_that_breaks_is_read_on_without_saying_anything_twice(
    colour: Colour, server: Loopback
) -> None:
    events = numbered(*pieces("The ", "Rh", "ine."), DONE)
    server.script(
        stream_of(*events[:2], cut=True),
        error_answer(503),
        stream_of(*events[2:3]),
        # A server that begins with what came before.
        stream_of(*events[1:]),
    )

    chunks, reply = colour.stream(model_at(server, api="responses", api_key="sk-canary-1"), background=True)

    assert [chunk.text for chunk in chunks if chunk.text] == ["The ", "Rh", "ine."]
    assert (reply.text, reply.meta.attempts, reply.meta.done) == ("The Rhine.", 1, True)
    assert reply.raw == events
    rest = "/v1/responses/resp_1?stream=true&starting_after="
    assert [(asked.method, asked.path) for asked in server.asked] == [
        ("POST", "/v1/responses"),
        ("GET", f"{rest}1"),
        ("GET", f"{rest}1"),
        ("GET", f"{rest}2"),
    ]
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer sk-canary-1"}


@pytest.mark.usefixtures("soon")
def test_a_stream_that_breaks_before_its_first_piece_is_read_on_too(colour: Colour, server: Loopback) -> None:
    events = numbered(*pieces("The Rhine."), DONE)
    server.script(stream_of(*events[:1], cut=True), stream_of(*events[1:]))

    _, reply = colour.stream(model_at(server, api="responses", client_args={"max_retries": 2}), background=True)

    assert reply.text == "The Rhine."
    assert [asked.method for asked in server.asked] == ["POST", "GET"]


@pytest.mark.usefixtures("soon")
def test_a_stream_whose_rest_the_server_does_not_give_is_cut(colour: Colour, server: Loopback) -> None:
    server.script(stream_of(*numbered(*pieces("The ", "Rh")), cut=True), error_answer(404), json_answer({}))

    with pytest.raises(StreamTruncated) as caught:
        colour.stream(model_at(server, api="responses"), background=True)

    assert caught.value.partial is not None
    assert caught.value.partial.text == "The Rh"
    assert [asked.path.partition("?")[0] for asked in server.asked] == [
        "/v1/responses",
        "/v1/responses/resp_1",
        "/v1/responses/resp_1/cancel",
    ]


def test_a_stream_that_breaks_again_and_again_without_a_new_event_is_given_up(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_responses, "_FIRST_WAIT", 0.001)
    server.script(stream_of(*numbered(*pieces("The ")), cut=True))

    with pytest.raises(StreamTruncated):
        list(model_at(server, api="responses").stream("Hi", background=True))

    assert [asked.method for asked in server.asked] == ["POST", *["GET"] * 5, "POST"]


def test_a_stream_whose_events_have_no_numbers_is_not_asked_for_again(colour: Colour, server: Loopback) -> None:
    server.script(stream_of(*pieces("The "), cut=True), json_answer({}))

    with pytest.raises(StreamTruncated):
        colour.stream(model_at(server, api="responses"), background=True)

    assert [asked.path for asked in server.asked] == ["/v1/responses", "/v1/responses/resp_1/cancel"]


def test_a_stream_of_the_background_that_is_left_is_cancelled(colour: Colour, server: Loopback) -> None:
    server.script(stream_of(*pieces("The ", "Rh"), cut=True), json_answer({}))

    with pytest.raises(StreamTruncated):
        colour.stream(model_at(server, api="responses"), background=True)

    assert [asked.path for asked in server.asked] == ["/v1/responses", "/v1/responses/resp_1/cancel"]


def test_a_stream_of_the_background_that_is_read_is_not_cancelled(colour: Colour, server: Loopback) -> None:
    done = {"type": "response.completed", "response": response("The Rhine.")}
    server.script(stream_of(*pieces("The ", "Rhine."), done))

    _, reply = colour.stream(model_at(server, api="responses"), background=True)

    assert reply.text == "The Rhine."
    assert [asked.path for asked in server.asked] == ["/v1/responses"]


def test_a_reader_who_hangs_up_has_the_answer_cancelled(server: Loopback) -> None:
    server.script(stream_of(*pieces("The ", "Rhine.")), json_answer({}))

    with model_at(server, api="responses").stream("Hi", background=True) as stream:
        assert next(stream).text == "The "

    assert server.asked[-1].path == "/v1/responses/resp_1/cancel"


def test_the_wire_shows_in_an_explanation_without_sending() -> None:
    explained = at_openai("gpt-5.5").explain("Hi", tools=[FUNCTION], stream=True)

    assert json.loads(json.dumps(explained.body))["stream"] is True
    assert explained.body["tools"][0]["name"] == "weather"
    assert "sk-canary-1" not in str(explained)
