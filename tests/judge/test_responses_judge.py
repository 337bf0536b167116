"""OpenAI's own client as the judge of Responses: it sends what we send, and reads what we read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.beta import response_create_params as beta
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses import Response
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from pydantic import ValidationError

import modelwrap
from modelwrap.errors import CallError
from modelwrap.models import openai_responses
from modelwrap.types import ChatReply
from modelwrap.wire.openai_wires import _OF_RESPONSES
from tests.judge import own_types
from tests.judge.responses_calls import CALLS, River
from tests.loopback import Answer, Loopback, error_answer, json_answer
from tests.responses_wire import ANSWERS, called, events_answer, events_of, response, response_answer, said, thought

MODEL = "gpt-4.1"


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    """Serve all of these tests: they are many, and each asks twice."""
    server = Loopback()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def nothing_asked(server: Loopback) -> None:
    server.asked.clear()


@pytest.fixture(scope="module")
def theirs(server: Loopback) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-canary-1", base_url=server.base_url, max_retries=0) as client:
        yield client


def ours(server: Loopback, model: str = MODEL) -> modelwrap.Model:
    config = {"config_name": "r", "model_type": "openai", "model": model, "api_key": "sk-canary-1", "api": "responses"}
    # What the table knows of a model at OpenAI holds here, too.
    config["capabilities"] = {"like": model}
    return modelwrap.load({**config, "client_args": {"base_url": server.base_url, "max_retries": 0}})["r"]


def own_arguments(own: dict[str, Any]) -> dict[str, Any]:
    given = {"model": MODEL, "store": False, **own}
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize("way", ["whole", "events", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_both_send_the_same(name: str, way: str, server: Loopback, theirs: openai.OpenAI) -> None:
    messages, given, own = CALLS[name]
    parameters = dict(given)
    model = ours(server, parameters.pop("model", MODEL))
    server.script(response_answer(said("So.")) if way == "whole" else events_answer(events_of(response(said("So.")))))

    if way == "whole":
        model(messages, **parameters)
        theirs.responses.create(**own_arguments(own))
    else:
        list(model.stream(messages, **parameters))
        if way == "events":
            list(theirs.responses.create(**own_arguments(own), stream=True))
        else:
            with theirs.responses.stream(**own_arguments(own)) as stream:
                list(stream)

    mine, their = server.asked
    assert mine.body == their.body
    assert mine.path == their.path == "/v1/responses"
    assert mine.headers["authorization"] == their.headers["authorization"]


def test_both_ask_in_the_same_way_for_an_answer_that_is_being_made(
    server: Loopback, theirs: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_responses, "_FIRST_WAIT", 0.01)
    included = ["web_search_call.action.sources", "message.output_text.logprobs"]
    queued = response(status="queued")
    server.script(json_answer(queued), response_answer(said("So.")), response_answer(said("So.")))

    ours(server)("Hi", background=True, include=included)
    theirs.responses.retrieve("resp_1", include=included)

    mine, their = server.asked[1:]
    assert (mine.method, mine.path) == (their.method, their.path)
    assert mine.path.startswith("/v1/responses/resp_1?include")


def test_both_ask_in_the_same_way_for_the_rest_of_a_stream(
    server: Loopback, theirs: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_responses, "_FIRST_WAIT", 0.01)
    events = events_of(response(said("So.")))
    server.script(events_answer(events[:3], cut=True), events_answer(events[3:]), events_answer(events[3:]))

    assert ours(server).stream("Hi", background=True).reply.text == "So."
    list(theirs.responses.retrieve("resp_1", stream=True, starting_after=2))

    mine, their = server.asked[1:]
    assert mine.method == their.method
    assert set(mine.path.partition("?")[2].split("&")) == set(their.path.partition("?")[2].split("&"))


def test_every_parameter_that_only_responses_have_is_known_as_such() -> None:
    known = {*ResponseCreateParamsBase.__annotations__, *beta.ResponseCreateParamsBase.__annotations__}
    own = known - set(CompletionCreateParamsBase.__annotations__)

    # The second is a header.
    assert set(_OF_RESPONSES) == own - {"input", "betas"}


def test_there_are_enough_calls() -> None:
    assert len(CALLS) >= 40


def test_both_ask_for_a_class_in_the_same_way(server: Loopback, theirs: openai.OpenAI) -> None:
    server.script(response_answer(said('{"name": "Po", "length": null}')))

    reply = ours(server)("Hi", response_format=River)
    parsed = theirs.responses.parse(**own_arguments({"input": [{"role": "user", "content": "Hi"}]}), text_format=River)

    mine, their = server.asked
    ignored = ("title", "description")
    assert mine.body["text"]["format"]["name"] == their.body["text"]["format"]["name"]
    assert _without(mine.body["text"]["format"]["schema"], ignored) == _without(
        their.body["text"]["format"]["schema"], ignored
    )
    assert reply.parsed == parsed.output_parsed == River(name="Po")


def _without(schema: Any, names: tuple[str, ...]) -> Any:
    if isinstance(schema, dict):
        return {key: _without(value, names) for key, value in schema.items() if key not in names}
    return schema


# Requests by their types.


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", [name for name in CALLS if name != "extra body"])
def test_their_types_allow_what_we_send(name: str, stream: bool, server: Loopback) -> None:
    messages, given, _ = CALLS[name]
    parameters = dict(given)
    model = ours(server, parameters.pop("model", MODEL))

    body = model.explain(messages, stream=stream, **parameters).body

    own_types.looked_through(own_types.responses(stream=stream).validate_python(body))


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": 1},
        {"max_tokens": 1},
        {"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"input": [{"role": "critic", "content": "x"}]},
        {"input": [{"type": "function_call", "call_id": "x", "name": "x", "input": {}}]},
        {"tools": [{"type": "function", "function": {"name": "x"}}]},
        {"reasoning": {"level": "low"}},
    ],
)
def test_their_types_would_find_a_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        own_types.looked_through(
            own_types.responses(stream=False).validate_python({"model": MODEL, "input": "Hi", **wrong})
        )


# What is read.


def theirs_seen(reply: Response) -> dict[str, Any]:
    parts = [part for item in reply.output if item.type == "message" for part in item.content]
    texts = [part for part in parts if part.type == "output_text"]
    summaries = [part.text for item in reply.output if item.type == "reasoning" for part in item.summary]
    usage = reply.usage
    assert usage is not None
    return {
        "id": reply.id,
        "model": reply.model,
        "created": int(reply.created_at),
        "text": reply.output_text,
        "refusal": "".join(part.refusal for part in parts if part.type == "refusal"),
        "thoughts": "\n\n".join(summaries),
        "calls": [
            (item.call_id, item.name, item.input if item.type == "custom_tool_call" else item.arguments)
            for item in reply.output
            if item.type in ("function_call", "custom_tool_call")
        ],
        "citations": [found.url for part in texts for found in part.annotations if found.type == "url_citation"],
        "tokens": [token.token for part in texts for token in part.logprobs or ()],
        "reason": reply.incomplete_details.reason if reply.incomplete_details else reply.status,
        "usage": [
            usage.input_tokens,
            usage.output_tokens,
            usage.total_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.output_tokens_details.reasoning_tokens,
        ],
    }


def ours_seen(reply: ChatReply) -> dict[str, Any]:
    message, usage = reply.choices[0].message, reply.meta.usage
    assert usage is not None
    logprobs = reply.choices[0].logprobs
    return {
        "id": reply.id,
        "model": reply.model,
        "created": reply.created,
        "text": reply.text,
        "refusal": message.refusal or "",
        "thoughts": message.reasoning_content or "",
        "calls": [
            (call.id, call.custom.name, call.custom.input)
            if call.custom
            else (call.id, call.function.name, call.function.arguments)
            for call in message.tool_calls or ()
        ],
        "citations": [found["url_citation"]["url"] for found in message.annotations or ()],
        "tokens": [token.token for token in (logprobs.content if logprobs else None) or ()],
        "reason": reply.meta.finish_reason,
        "usage": [usage.prompt, usage.completion, usage.total, usage.cached, usage.reasoning],
    }


@pytest.mark.parametrize("name", ANSWERS)
def test_both_read_a_reply_alike(name: str, server: Loopback, theirs: openai.OpenAI) -> None:
    server.script(
        response_answer(*ANSWERS[name]["output"], **{k: v for k, v in ANSWERS[name].items() if k != "output"})
    )

    mine = ours(server)("Hi")
    their = theirs.responses.create(model=MODEL, input="Hi")

    assert ours_seen(mine) == theirs_seen(their)


@pytest.mark.parametrize("name", ANSWERS)
def test_both_read_a_stream_alike(name: str, server: Loopback, theirs: openai.OpenAI) -> None:
    server.script(events_answer(events_of(ANSWERS[name])))

    mine = ours(server).stream("Hi").reply
    with theirs.responses.stream(model=MODEL, input="Hi") as stream:
        ends = [event for event in stream if event.type in ("response.completed", "response.incomplete")]

    assert ours_seen(mine) == theirs_seen(ends[-1].response)


@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_comes_to_what_a_whole_reply_says(name: str, server: Loopback) -> None:
    whole = ANSWERS[name]
    server.script(
        events_answer(events_of(whole)),
        response_answer(*whole["output"], **{k: v for k, v in whole.items() if k != "output"}),
    )
    model = ours(server)

    streamed, at_once = model.stream("Hi").reply, model("Hi")

    assert streamed.choices == at_once.choices
    assert streamed.meta.usage == at_once.meta.usage
    assert streamed.meta.finish_reason == at_once.meta.finish_reason


def test_what_came_goes_back_as_their_output_does(server: Loopback, theirs: openai.OpenAI) -> None:
    came = [thought("Hm."), said("I look.", phase="commentary"), called(1)]
    server.script(response_answer(*came), response_answer(*came), response_answer(said("Sun.")))
    model = ours(server)
    question = {"role": "user", "content": "Weather?"}

    first = model([question])
    their_first = theirs.responses.create(model=MODEL, store=False, input=[question])
    model([question, first, {"role": "tool", "tool_call_id": "call_1", "content": "Sun."}])
    result = {"type": "function_call_output", "call_id": "call_1", "output": "Sun."}
    theirs.responses.create(model=MODEL, store=False, input=[question, *their_first.output, result])

    assert server.asked[2].body == server.asked[3].body


@pytest.mark.parametrize(
    "refused",
    [error_answer(status, f"No {status}.", "some_code") for status in (400, 401, 403, 404, 409, 422, 429, 500, 503)],
    ids=lambda refused: str(refused.status),
)
def test_both_tell_the_same_of_a_refusal(refused: Answer, server: Loopback, theirs: openai.OpenAI) -> None:
    server.script(refused)

    with pytest.raises(CallError) as mine:
        ours(server)("Hi")
    with pytest.raises(openai.APIStatusError) as their:
        theirs.responses.create(model=MODEL, input="Hi")

    body: Any = their.value.body
    assert (mine.value.status, mine.value.message) == (their.value.status_code, body["message"])
    assert json.loads(mine.value.body or "") == {"error": body}
