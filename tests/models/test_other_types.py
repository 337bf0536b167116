"""The types beside chat that speak to a server: base models, images, any POST."""

from __future__ import annotations

from typing import Any

import pytest

import modelwrap
from modelwrap.errors import (
    BadRequest,
    ConfigError,
    ConnectionFailed,
    InvalidResponse,
    Overloaded,
    UnsupportedParameter,
)
from modelwrap.testing import FaultServer
from tests.colours import Colour
from tests.loopback import Answer, Loopback, error_answer, event, json_answer


def load(**config: Any) -> modelwrap.Model:
    return modelwrap.load({"config_name": "it", "model": "m", **config})["it"]


@pytest.fixture
def base_model(server: Loopback) -> modelwrap.Model:
    completion = {"id": "c", "object": "text_completion", "created": 1, "model": "m"}
    server.script(json_answer({**completion, "choices": [{"index": 0, "text": " Bonn.", "finish_reason": "stop"}]}))
    return load(model_type="openai_completion", client_args={"base_url": server.base_url})


def test_a_base_model_continues_a_string(colour: Colour, server: Loopback, base_model: modelwrap.Model) -> None:
    reply = colour.call(base_model, "The capital was", max_tokens=3)

    assert reply.text == " Bonn."
    assert server.asked[0].path == "/v1/completions"
    assert server.asked[0].body == {"model": "m", "prompt": "The capital was", "max_tokens": 3}


def test_a_base_model_takes_messages_as_a_transcript(server: Loopback, base_model: modelwrap.Model) -> None:
    reply = base_model([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital?"}])

    assert server.asked[0].body["prompt"] == "System: Be brief.\n\nUser: Capital?\n\nAssistant:"
    assert [change.kind for change in reply.meta.changes] == ["emulated"]


def test_a_base_model_takes_tokens_and_several_prompts(server: Loopback, base_model: modelwrap.Model) -> None:
    base_model([1, 2, 3])
    base_model(["one", "two"])

    assert [asked.body["prompt"] for asked in server.asked] == [[1, 2, 3], ["one", "two"]]


def test_a_base_model_streams(colour: Colour, server: Loopback, base_model: modelwrap.Model) -> None:
    pieces = [event({"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": None}]}) for text in ("B", "n")]
    last = event({"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
    server.script(Answer(200, {"content-type": "text/event-stream"}, [*pieces, last, event(b"[DONE]")]))

    _, reply = colour.stream(base_model, "The capital was")

    assert (reply.text, reply.choices[0].finish_reason) == ("Bn", "length")


def test_what_a_base_model_cannot_do_is_refused_unless_the_config_says_otherwise(
    server: Loopback, base_model: modelwrap.Model
) -> None:
    config = {"model_type": "openai_completion", "client_args": {"base_url": server.base_url}}

    with pytest.raises(UnsupportedParameter, match="tools: base models have none"):
        base_model("Hi", tools=[{}])
    with pytest.warns(modelwrap.ModelwrapWarning, match="tools: dropped"):
        warned = load(**config, unsupported="warn")("Hi", tools=[{}])
    dropped = load(**config, unsupported="drop")("Hi", tools=[{}])

    assert all("tools" not in asked.body for asked in server.asked)
    assert [change.kind for change in warned.meta.changes] == ["dropped"]
    assert dropped.meta.changes == warned.meta.changes


def test_an_image_model_gives_urls(colour: Colour, server: Loopback) -> None:
    server.script(json_answer({"created": 1, "data": [{"url": "https://host/a.png", "revised_prompt": "A cat."}]}))
    model = load(
        model_type="openai_dall_e", client_args={"base_url": server.base_url}, generate_args={"size": "1024x1024"}
    )

    reply = colour.call(model, "a cat")

    assert reply.image_urls == ["https://host/a.png"]
    assert reply.text is None
    assert server.asked[0].path == "/v1/images/generations"
    assert server.asked[0].body == {"model": "m", "prompt": "a cat", "size": "1024x1024"}


def test_images_that_come_as_bytes_are_data_urls(server: Loopback) -> None:
    server.script(json_answer({"created": 1, "data": [{"b64_json": "aGk="}], "output_format": "webp"}))

    reply = load(model_type="openai_dall_e", client_args={"base_url": server.base_url})("a cat")

    assert reply.image_urls == ["data:image/webp;base64,aGk="]


@pytest.mark.parametrize("body", [{"hello": 1}, [], {"data": 3}])
def test_what_is_no_list_of_images_is_an_error(server: Loopback, body: Any) -> None:
    server.script(json_answer(body))

    with pytest.raises(InvalidResponse, match="images"):
        load(model_type="openai_dall_e", client_args={"base_url": server.base_url})("a cat")


def test_an_image_error_under_status_200_is_an_error(server: Loopback) -> None:
    server.script(json_answer({"error": {"message": "no such size", "type": "invalid_request_error"}}))

    with pytest.raises(BadRequest, match="no such size"):
        load(model_type="openai_dall_e", client_args={"base_url": server.base_url})("a cat")


def post_api(server: Loopback, **config: Any) -> modelwrap.Model:
    return load(model_type="post_api", api_url=f"http://127.0.0.1:{server.port}/llm/", **config)


def test_any_service_gets_what_is_given_under_the_configs_key(colour: Colour, server: Loopback) -> None:
    server.script(json_answer([{"generated_text": "Bonn."}]))
    model = post_api(
        server, json_args={"max_length": 4096, "temperature": 0.5}, headers={"Authorization": "Bearer k3y-value"}
    )

    reply = colour.call(model, "The capital was", temperature=0.1)

    assert reply.text == "Bonn."
    assert reply.raw == [{"generated_text": "Bonn."}]
    assert server.asked[0].path == "/llm/"
    assert server.asked[0].headers["authorization"] == "Bearer k3y-value"
    assert server.asked[0].body == {"inputs": "The capital was", "max_length": 4096, "temperature": 0.1}


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"response": {"choices": [{"message": {"content": "Bonn."}}]}}},
        {"choices": [{"message": {"content": "Bonn."}}]},
        {"choices": [{"text": "Bonn."}]},
        {"generated_text": "Bonn."},
        {"response": "Bonn.", "n_token_response": 2},
        {"Data": {"text": "Bonn."}},
        "Bonn.",
    ],
)
def test_text_is_found_where_services_put_it(server: Loopback, body: Any) -> None:
    server.script(json_answer(body))

    assert post_api(server)("Capital?").text == "Bonn."


def test_an_answer_without_text_still_gives_its_json(server: Loopback) -> None:
    server.script(json_answer({"score": 0.5}))

    reply = post_api(server)("Capital?")

    assert (reply.text, reply.choices, reply.raw) == ("", [], {"score": 0.5})


def test_an_error_under_status_200_is_an_error(server: Loopback) -> None:
    server.script(json_answer({"error": "no such model"}))

    with pytest.raises(modelwrap.CallError, match="no such model"):
        post_api(server, max_retries=1)("Capital?")


def test_a_model_that_is_loading_is_waited_for(server: Loopback) -> None:
    server.script(json_answer({"error": "Model gpt2 is loading", "estimated_time": 0.05}, 503), json_answer("ready"))

    reply = post_api(server)("Hi")

    assert reply.text == "ready"
    assert 0.05 <= reply.meta.history[1].delay < 0.1


def test_the_number_of_tries_is_agentscopes(server: Loopback) -> None:
    server.script(error_answer(503, retry_after="0"))

    with pytest.raises(Overloaded) as caught:
        post_api(server, max_retries=2)("Hi")

    assert caught.value.attempts == 2


@pytest.mark.parametrize("idempotent, requests", [(False, 1), (True, 3)])
def test_a_request_that_may_have_arrived_is_not_sent_twice(server: Loopback, idempotent: bool, requests: int) -> None:
    server.script(Answer(raw=True))

    with pytest.raises(ConnectionFailed):
        post_api(server, idempotent=idempotent, max_retries=3)("Hi")

    assert len(server.asked) == requests


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_kept_connection_that_is_closed_over_a_request_is_replaced_only_where_that_does_no_harm(
    colour: Colour, idempotent: bool
) -> None:
    async def ask_twice(model: modelwrap.Model) -> str:
        await model.acall("Hi")
        return (await model.acall("Hi")).text

    with FaultServer() as server:
        keys = {"config_name": "any", "model_type": "post_api", "idempotent": idempotent}
        model = modelwrap.load({**keys, "api_url": server.url("closes_idle_connection")})["any"]
        outcome: Any = None
        try:
            outcome = [model("Hi"), model("Hi")] if colour.name == "blocking" else colour.run(ask_twice(model))
        except ConnectionFailed as error:
            outcome = error
        seen = server.seen("closes_idle_connection").requests
        model.close()

    assert seen == (3 if idempotent else 2)
    assert isinstance(outcome, ConnectionFailed) is not idempotent


def test_the_limits_of_any_service_are_its_own(server: Loopback) -> None:
    plain = post_api(server)
    named = post_api(server, timeout=7)
    both = post_api(server, client_args={"timeout": {"idle": 3}, "max_retries": 4})

    assert (plain.timeouts.total, plain.max_retries) == (30.0, 2)
    assert named.timeouts.total == 7.0
    assert (both.timeouts.total, both.timeouts.idle, both.max_retries) == (30.0, 3.0, 4)


def test_what_goes_into_the_json_is_never_taken_for_an_argument_of_the_call(server: Loopback) -> None:
    server.script(json_answer("Bonn."))
    json_args = {"timeout": 5, "max_retries": 9, "stream": False, "extra_body": {"a": 1}}

    post_api(server, json_args=json_args)("Capital?", temperature=0.1)

    assert server.asked[0].body == {**json_args, "temperature": 0.1, "inputs": "Capital?"}


def test_images_are_found_where_services_put_them(server: Loopback) -> None:
    images = [{"url": "https://host/a.png"}, {"url": "https://host/b.png"}]
    server.script(json_answer({"data": {"response": {"data": images}}}), json_answer({"data": images}))
    model = load(model_type="post_api_dall_e", api_url=server.base_url)

    replies = [model("A cat"), model("A cat")]

    assert [reply.image_urls for reply in replies] == [["https://host/a.png", "https://host/b.png"]] * 2


def test_the_address_of_any_service_is_taken_whole() -> None:
    bare = load(model_type="post_api", api_url="localhost:8000/llm/")
    asked = load(
        model_type="post_api", api_url="http://localhost/llm/?a=1", client_args={"default_query": {"b": "2", "a": "3"}}
    )

    assert bare.explain("Hi").url == "http://localhost:8000/llm/"
    assert asked.explain("Hi").url == "http://localhost/llm/?a=3&b=2"


@pytest.mark.parametrize(
    "api_url, mistake",
    [
        ("ftp://host/llm", "begins with http:// or https://"),
        ("http://me:hunter22@localhost/llm", "a user name or password in a URL is not supported"),
        ("http://localhost:99999/llm", "no port"),
        ("http://localhost/l lm", "%20"),
        ("http://localhost/llm?api_key=hunter22", "the URL carries a credential"),
    ],
)
def test_an_address_that_is_none_is_refused(api_url: str, mistake: str) -> None:
    with pytest.raises(ConfigError, match=f'"it": api_url: .*{mistake}') as caught:
        load(model_type="post_api", api_url=api_url)

    assert "hunter22" not in str(caught.value)


def test_a_key_of_the_config_gives_way_to_a_header(server: Loopback) -> None:
    server.script(json_answer("Bonn."))

    post_api(server, api_key="k3y-value")("Hi")
    post_api(server, api_key="k3y-value", headers={"Authorization": "Basic 0wn-value"})("Hi")

    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer k3y-value", "Basic 0wn-value"]
