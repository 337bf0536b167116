"""Anthropic's own client as the judge: it sends what we send, and reads what we read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import transform_schema
from pydantic import ValidationError

import modelwrap
from modelwrap.types import ChatReply
from tests.claude_wire import events_answer, events_of, message, message_answer, refusal, sse
from tests.judge import own_types
from tests.judge.claude_calls import CALLS, FOUND, HIDDEN_THOUGHT, SEARCHED, THOUGHT, River, use
from tests.loopback import Answer, Loopback

MODEL = "claude-haiku-4-5"
LIMIT = 100

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


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
def theirs(server: Loopback) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{server.port}"
    with anthropic.Anthropic(api_key="sk-ant-canary-1", base_url=url, max_retries=0) as client:
        yield client


def ours(server: Loopback, model: str = MODEL) -> modelwrap.Model:
    config = {"config_name": "c", "model_type": "claude", "model": model, "api_key": "sk-ant-canary-1"}
    return modelwrap.load({**config, "client_args": {"base_url": f"http://127.0.0.1:{server.port}"}})["c"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", CALLS)
def test_both_send_the_same(name: str, stream: bool, server: Loopback, theirs: anthropic.Anthropic) -> None:
    messages, parameters, own = CALLS[name]
    parameters = {"max_tokens": LIMIT, **parameters}
    server.script(events_answer(events_of(message("So."))) if stream else message_answer("So."))

    model = ours(server, parameters.pop("model", MODEL))
    if stream:
        list(model.stream(messages, **parameters))
        list(theirs.messages.create(**{"model": MODEL, "max_tokens": LIMIT, **own}, stream=True))
    else:
        model(messages, **parameters)
        theirs.messages.create(**{"model": MODEL, "max_tokens": LIMIT, **own})

    mine, their = server.asked
    assert mine.body == their.body
    assert mine.path == their.path == "/v1/messages"
    assert mine.headers["accept"].split(",")[0] in (their.headers["accept"], "text/event-stream")


def test_there_are_enough_calls() -> None:
    assert len(CALLS) >= 40


def test_both_ask_for_a_class_in_the_same_way(server: Loopback, theirs: anthropic.Anthropic) -> None:
    server.script(message_answer('{"name": "Po", "kinds": []}'))

    reply = ours(server)("Hi", max_tokens=LIMIT, response_format=River)
    parsed = theirs.messages.parse(
        model=MODEL, max_tokens=LIMIT, messages=[{"role": "user", "content": "Hi"}], output_format=River
    )

    mine, their = server.asked
    assert mine.body == their.body
    assert reply.parsed == parsed.parsed_output == River(name="Po", kinds=[])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer", "minimum": 1}}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "minItems": 2}}},
        {"type": "object", "properties": {"a": {"oneOf": [{"type": "string"}, {"type": "null"}]}}},
        {"type": "object", "properties": {"a": {"enum": ["x", None], "type": "string"}, "b": {"const": 1}}},
        {"type": "object", "properties": {"a": {"type": "string", "format": "date", "pattern": "x", "maxLength": 3}}},
        {"type": "object", "properties": {"a": {"type": "string", "format": "byte", "description": "Of it."}}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}], "title": "A", "default": "x"}}},
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/n"}},
            "$defs": {"n": {"type": "array", "items": {"type": "number", "multipleOf": 2}}},
        },
        River.model_json_schema(),
    ],
)
def test_schemas_are_written_as_their_client_writes_them(schema: dict[str, Any], server: Loopback) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    body = ours(server).explain("Hi", max_tokens=LIMIT, response_format=asked).body

    assert body["output_config"]["format"]["schema"] == transform_schema(schema)


# Requests by their types.


@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("sampling", "extra body")])
def test_their_types_allow_what_we_send(name: str, server: Loopback) -> None:
    messages, parameters, _ = CALLS[name]
    parameters = {"max_tokens": LIMIT, **parameters}
    body = ours(server, parameters.pop("model", MODEL)).explain(messages, **parameters).body

    own_types.looked_through(own_types.claude().validate_python(body))


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "color": "red"}]}]},
        {"messages": [{"role": "critic", "content": "x"}]},
        {"tools": [{"type": "function", "function": {"name": "x"}}]},
    ],
)
def test_their_types_forbid_what_they_should(change: dict[str, Any]) -> None:
    body = {"model": MODEL, "max_tokens": LIMIT, "messages": [{"role": "user", "content": "Hi"}], **change}

    with pytest.raises(ValidationError):
        own_types.looked_through(own_types.claude().validate_python(body))


# Replies.

CITED = {
    "type": "text",
    "text": "So.",
    "citations": [
        {
            "type": "web_search_result_location",
            "url": "https://example.com",
            "title": "x",
            "encrypted_index": "e",
            "cited_text": "y",
        }
    ],
}
REPLIES: dict[str, dict[str, Any]] = {
    "text": message("The Rhine."),
    "several texts": message("The ", "Rhine."),
    "nothing": message(),
    "a call": message(use(1, city="Rome"), stop="tool_use"),
    "text and calls": message("I look.", use(1, city="Röm", n=1.5), use(2, "now"), stop="tool_use"),
    "thinking": message(THOUGHT, "The Rhine."),
    "hidden thinking": message(HIDDEN_THOUGHT, THOUGHT, "The Rhine."),
    "thinking and calls": message(THOUGHT, "I look.", use(1, city="Rome"), stop="tool_use"),
    "a server's tool": message(
        "I search.", SEARCHED, FOUND, CITED, container={"id": "c", "expires_at": "2026-11-20T00:00:00Z"}
    ),
    "cut": message("The Rh", stop="max_tokens"),
    "stopped": message("The Rh", stop="stop_sequence", stop_sequence="ine"),
    "refused": message(
        "Well", stop="refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "No."}
    ),
    "usage": message(
        "x",
        usage={
            "input_tokens": 3,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 50,
            "output_tokens_details": {"thinking_tokens": 7},
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
            "service_tier": "standard",
        },
    ),
}


def read(reply: ChatReply) -> dict[str, Any]:
    said = reply.choices[0].message
    own = said.model_dump().get("extra_content", {}).get("anthropic", {})
    assert reply.meta.usage is not None
    return {
        "id": reply.id,
        "model": reply.model,
        "text": said.content or "",
        "thoughts": said.reasoning_content or "",
        "calls": [(call.id, call.function.name) for call in said.tool_calls or []],
        "kinds": [block["type"] for block in own["content"]] if "content" in own else None,
        "stop_reason": reply.meta.finish_reason,
        "stop_sequence": reply.choices[0].model_dump().get("stop_sequence"),
        "refusal": own.get("stop_details"),
        "prompt": reply.meta.usage.prompt,
        "completion": reply.meta.usage.completion,
        "reasoning": reply.meta.usage.reasoning,
        "container": (reply.model_dump().get("container") or {}).get("id"),
    }


def read_theirs(reply: anthropic.types.Message, *, kinds: bool) -> dict[str, Any]:
    usage = reply.usage
    return {
        "id": reply.id,
        "model": reply.model,
        "text": "".join(block.text for block in reply.content if block.type == "text"),
        "thoughts": "".join(block.thinking for block in reply.content if block.type == "thinking"),
        "calls": [(block.id, block.name) for block in reply.content if block.type == "tool_use"],
        "kinds": [block.type for block in reply.content] if kinds else None,
        "stop_reason": reply.stop_reason,
        "stop_sequence": reply.stop_sequence,
        "refusal": reply.stop_details.to_dict() if reply.stop_details else None,
        "prompt": usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0),
        "completion": usage.output_tokens,
        "reasoning": usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0,
        "container": reply.container.id if reply.container else None,
    }


@pytest.mark.parametrize("name", REPLIES)
def test_both_read_the_same_reply(name: str, server: Loopback, theirs: anthropic.Anthropic) -> None:
    server.script(Answer(200, {"content-type": "application/json"}, [json.dumps(REPLIES[name]).encode()]))

    mine = read(ours(server)("Hi", max_tokens=LIMIT))
    their = theirs.messages.create(model=MODEL, max_tokens=LIMIT, messages=[{"role": "user", "content": "Hi"}])

    assert mine == read_theirs(their, kinds=mine["kinds"] is not None)


@pytest.mark.parametrize("pieces", [1, 5, 1000])
@pytest.mark.parametrize("name", REPLIES)
def test_both_read_the_same_stream(name: str, pieces: int, server: Loopback, theirs: anthropic.Anthropic) -> None:
    events = events_of(REPLIES[name], pieces=pieces)
    server.script(Answer(200, {"content-type": "text/event-stream"}, [sse(events)]))

    mine = read(ours(server).stream("Hi", max_tokens=LIMIT).reply)
    with theirs.messages.stream(model=MODEL, max_tokens=LIMIT, messages=[{"role": "user", "content": "Hi"}]) as stream:
        their = stream.get_final_message()

    assert mine == read_theirs(their, kinds=mine["kinds"] is not None)


@pytest.mark.parametrize(
    "status, kind",
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_both_know_an_error_and_whether_to_try_again(
    status: int, kind: str, server: Loopback, theirs: anthropic.Anthropic
) -> None:
    server.script(refusal(status, kind, "No."))

    with pytest.raises(modelwrap.CallError) as mine:
        ours(server)("Hi", max_tokens=LIMIT, max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as their:
        theirs.messages.create(model=MODEL, max_tokens=LIMIT, messages=[{"role": "user", "content": "Hi"}])

    assert mine.value.status == their.value.status_code == status
    assert mine.value.retryable == (status in (408, 409, 429) or status >= 500)
    assert mine.value.message == "No."
