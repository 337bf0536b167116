"""What every model behind HTTP owes its callers, whatever its codec."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import modelwrap
from modelwrap.errors import (
    AuthenticationFailed,
    BadRequest,
    ConfigError,
    NotFound,
    RateLimited,
    TimedOut,
    TLSFailed,
)
from modelwrap.testing import FaultServer
from tests.colours import Colour
from tests.loopback import Answer, Asked, Loopback, chat_answer, error_answer, stream_answer

KEY = "sk-canary-0123456789"


@pytest.fixture
def model(server: Loopback) -> modelwrap.Model:
    entry = {"model_type": "openai", "model": "m", "api_key": KEY, "client_args": {"base_url": server.base_url}}
    return modelwrap.load({"config_name": "m", "generate_args": {"stop": ["."]}, **entry})["m"]


@pytest.mark.parametrize("streamed", [False, True])
def test_calls_that_were_under_way_share_what_the_first_refusal_teaches(
    model: modelwrap.Model, server: Loopback, streamed: bool
) -> None:
    def answer(asked: Asked) -> Answer:
        if "max_tokens" not in asked.body:
            return stream_answer("Hello") if streamed else chat_answer("Hello")
        time.sleep(0.05)
        return error_answer(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")

    async def call() -> modelwrap.ChatReply:
        return await (model.astream("Hi", max_tokens=5).reply if streamed else model.acall("Hi", max_tokens=5))

    async def call_at_once() -> list[modelwrap.ChatReply]:
        return await asyncio.gather(*(call() for _ in range(8)))

    server.script(answer)
    replies = asyncio.run(call_at_once())

    assert [reply.text for reply in replies] == ["Hello"] * 8
    assert {reply.meta.attempts for reply in replies} == {2}
    assert all(reply.meta.changes[0].kind == "learned" for reply in replies)


def test_a_refusal_keeps_its_class_when_its_body_does_not_come(
    colour: Colour, model: modelwrap.Model, server: Loopback
) -> None:
    cut = b"HTTP/1.1 401 Unauthorized\r\nx-request-id: req-1\r\ncontent-length: 100\r\n\r\n{"
    server.script(Answer(raw=True, pieces=[cut]))

    with pytest.raises(AuthenticationFailed) as whole:
        colour.call(model)
    with pytest.raises(AuthenticationFailed) as streamed:
        colour.stream(model)

    for caught in (whole, streamed):
        assert (caught.value.status, caught.value.request_id, caught.value.attempts) == (401, "req-1", 1)


def test_a_refusal_whose_body_is_cut_keeps_what_the_server_asks_for(model: modelwrap.Model, server: Loopback) -> None:
    cut = b"HTTP/1.1 429 Slow down\r\nretry-after: 7\r\ncontent-length: 100\r\n\r\n{"
    server.script(Answer(raw=True, pieces=[cut]))

    with pytest.raises(RateLimited) as caught:
        model("Hi", max_retries=0)

    assert caught.value.retry_after == 7


def test_what_never_went_out_is_no_attempt(colour: Colour, model: modelwrap.Model, server: Loopback) -> None:
    with pytest.raises(BadRequest, match="x-note") as refused:
        colour.call(model, "Hi", extra_headers={"x-note": "naïve"})
    with pytest.raises(TimedOut) as late:
        colour.call(model, "Hi", timeout=1e-9)

    assert (refused.value.attempts, late.value.attempts) == (0, 0)
    assert server.asked == []


@pytest.mark.parametrize("given", [{"x-n": 5}, {"x-n": None}, {"x-n": b"5"}, {5: "x"}, "x-n: 5", [("x-n", "5")]])
def test_headers_that_are_no_text_are_a_mistake_of_the_caller(model: modelwrap.Model, given: Any) -> None:
    with pytest.raises(ConfigError, match="extra_headers"):
        model("Hi", extra_headers=given)


@pytest.mark.parametrize("given", ["a: 1", [1], [("a", 1)], {1: "a"}])
def test_a_body_that_is_no_object_is_a_mistake_of_the_caller(model: modelwrap.Model, given: Any) -> None:
    with pytest.raises(ConfigError, match="extra_body"):
        model("Hi", extra_body=given)


def test_a_key_that_a_call_brings_is_hidden_like_the_configs(model: modelwrap.Model, server: Loopback) -> None:
    server.script(lambda asked: error_answer(401, f"wrong key {asked.headers['authorization']}"))

    with pytest.raises(AuthenticationFailed) as caught:
        model("Hi", extra_headers={"Authorization": "Bearer sk-of-this-call-alone"})

    assert server.asked[0].headers["authorization"] == "Bearer sk-of-this-call-alone"
    assert "sk-of-this-call-alone" not in f"{caught.value} {caught.value.body}"


def test_an_echo_of_the_key_is_hidden_wherever_it_stands(model: modelwrap.Model, server: Loopback) -> None:
    # Where a body is cut short, half a key would stand at its end.
    server.script(lambda asked: error_answer(401, "x" * 2015 + KEY + "x" * 500, x_request_id=f"id-{KEY}"))

    with pytest.raises(AuthenticationFailed) as caught:
        model("Hi")

    assert "sk-canary" not in f"{caught.value} {caught.value.body} {caught.value.request_id}"


def test_explain_shows_what_the_server_gets(model: modelwrap.Model, server: Loopback) -> None:
    server.script(chat_answer())
    given = {"stop": ("a", "b"), "logit_bias": {5: 1}, "extra_headers": {"X-Note": "here"}}

    explained = model.explain("Hi", **given)
    model("Hi", **given)

    (asked,) = server.asked
    framing = ("host", "content-length", "connection")
    sent = {name: value for name, value in asked.headers.items() if name not in framing}
    assert explained.body == asked.body
    assert explained.headers == {**sent, "authorization": "***"}


def test_what_explain_shows_is_a_copy(model: modelwrap.Model) -> None:
    messages = [{"role": "user", "content": "Hi"}]

    shown = model.explain(messages)
    shown.body["messages"][0]["content"] = "changed"
    shown.body["stop"].append("changed")

    assert messages == [{"role": "user", "content": "Hi"}]
    assert model.explain(messages).body["stop"] == ["."]


def test_explain_names_the_model_in_its_errors(model: modelwrap.Model) -> None:
    with pytest.raises(BadRequest) as caught:
        model.explain([])

    assert caught.value.model == "m"


def test_a_reply_tells_when_its_call_began(colour: Colour, model: modelwrap.Model, server: Loopback) -> None:
    whole = chat_answer()
    server.script(Answer(200, whole.headers, [0.1, *whole.pieces]))
    began = time.time()

    reply = colour.call(model)

    assert began - 0.05 < reply.meta.started_at < began + 0.05


@pytest.mark.parametrize("seconds", [float("inf"), 1e12, 1e9])
def test_a_limit_may_be_larger_than_a_socket_can_take(
    colour: Colour, model: modelwrap.Model, server: Loopback, seconds: float
) -> None:
    server.script(chat_answer())
    limits = dict.fromkeys(["connect", "first_token", "idle", "total"], seconds)

    assert colour.call(model, timeout=limits).text == "Hello"


@pytest.mark.parametrize("key, hinted", [(None, True), ("EMPTY", True), (KEY, False)])
def test_a_refusal_of_a_call_without_a_key_says_that_none_was_sent(
    colour: Colour, server: Loopback, monkeypatch: pytest.MonkeyPatch, key: str | None, hinted: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    server.script(error_answer(401, "Unauthorized"))
    entry = {"config_name": "m", "model_type": "openai", "model": "m", "api_key": key}
    model = modelwrap.load({**entry, "client_args": {"base_url": server.base_url}})["m"]

    with pytest.raises(AuthenticationFailed) as caught:
        colour.call(model)

    assert caught.value.message == "Unauthorized"
    assert ("no key was sent" in str(caught.value)) == hinted
    assert ("authorization" in server.asked[0].headers) != hinted


def test_a_path_that_is_not_there_is_named(colour: Colour, server: Loopback) -> None:
    server.script(error_answer(404, "Not Found"))
    entry = {"config_name": "m", "model_type": "openai", "model": "qwen", "api_key": KEY}
    model = modelwrap.load({**entry, "client_args": {"base_url": f"{server.base_url}/v1"}})["m"]

    with pytest.raises(NotFound) as caught:
        colour.call(model)

    assert caught.value.message == "Not Found"
    assert str(caught.value).endswith("Not Found (is the base URL right? asked was /v1/v1/chat/completions)")


@pytest.mark.parametrize("message", ["The model 'qwen' does not exist.", "qwen is not served here"])
def test_a_model_that_is_not_there_is_no_matter_of_the_path(server: Loopback, message: str) -> None:
    server.script(error_answer(404, message))
    entry = {"config_name": "m", "model_type": "openai", "model": "qwen", "api_key": KEY}
    model = modelwrap.load({**entry, "client_args": {"base_url": server.base_url}})["m"]

    with pytest.raises(NotFound) as caught:
        model("Hi")

    assert caught.value.hint == ""


@pytest.mark.parametrize(
    "fault, hinted", [("self_signed_certificate", True), ("certificate_of_another_host", False), ("old_tls", False)]
)
def test_a_certificate_that_nobody_known_signed_is_answered_with_where_to_name_it(
    colour: Colour, fault: str, hinted: bool
) -> None:
    with FaultServer() as server:
        args = {"base_url": server.url(fault), "max_retries": 0}
        if not hinted:
            args["verify"] = server.authority
        model = modelwrap.load({"config_name": "m", "model_type": "openai", "client_args": args})["m"]

        with pytest.raises(TLSFailed) as caught:
            colour.call(model)

    assert ("verify in client_args may name a file" in str(caught.value)) == hinted


def test_a_warning_of_what_is_left_out_stands_at_the_line_that_calls(server: Loopback) -> None:
    server.script(chat_answer("Hello"))
    entry = {"config_name": "m", "model_type": "openai", "model": "o3", "unsupported": "warn", "api_key": KEY}
    facts = {"sampling": {"temperature": False}}
    model = modelwrap.load({**entry, "capabilities": facts, "client_args": {"base_url": server.base_url}})["m"]

    with pytest.warns(modelwrap.ModelwrapWarning, match="temperature: dropped") as blocking:
        model("Hi", temperature=0.5)
    with pytest.warns(modelwrap.ModelwrapWarning, match="temperature: dropped") as explained:
        model.explain("Hi", temperature=0.5)

    assert [warning.filename for warning in (*blocking, *explained)] == [__file__] * 2
