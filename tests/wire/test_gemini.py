from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from modelwrap.capabilities import Traits
from modelwrap.errors import InvalidResponse
from modelwrap.models.messages import messages_from
from modelwrap.wire import gemini
from modelwrap.wire.gemini_arguments import StreamedCall
from modelwrap.wire.gemini_schema import GeminiSchema
from modelwrap.wire.gemini_tools import function_name
from modelwrap.wire.http import Endpoint, WireCall

ENDPOINT = Endpoint("https://generativelanguage.googleapis.com/v1beta")


def answered(*parts: Any, **call: Any) -> Any:
    body = {"candidates": [{"content": {"parts": list(parts)}, "finishReason": "STOP"}], "responseId": "r1"}
    return gemini.from_response(json.dumps(body).encode(), {}, WireCall("m", [], call), Traits())


def sent_back(reply: Any) -> Any:
    message = reply.choices[0].message
    results = [{"role": "tool", "tool_call_id": call.id, "content": "7"} for call in message.tool_calls or []]
    messages = messages_from([{"role": "user", "content": "Hello"}, reply, *results])
    return gemini.to_request(WireCall("m", messages, {}), ENDPOINT, Traits()).json["contents"][1]["parts"]


CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}
SIGNED = {"functionCall": {"name": "f", "args": {}, "id": "x"}, "thoughtSignature": "c2ln"}
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "A"}],
        [{"text": "A", "thoughtSignature": "c2ln"}],
        [{"text": "A"}, {"text": "", "thoughtSignature": "c2ln"}],
        [{"text": "T", "thought": True}, {"text": "A"}],
        [{"text": "T", "thought": True}, {"text": "A", "thoughtSignature": "c2ln"}],
        [{"text": "T", "thought": True, "thoughtSignature": "dGg="}, {"text": "A"}],
        [{"text": "A"}, {"text": "T", "thought": True}, {"text": "B"}],
        [{"text": "A", "thoughtSignature": "MQ=="}, {"text": "B", "thoughtSignature": "Mg=="}],
        [{"text": "A"}, CALL, SIGNED],
        [CALL, {"text": "A"}],
        [SIGNED, {"text": "", "thoughtSignature": "ZW5k"}],
        [{"text": "T", "thought": True}, SIGNED, CALL],
        [{"functionCall": {"name": "f"}}],
        [IMAGE, {"text": "A"}],
        [{"text": "A"}, IMAGE, {**IMAGE, "thoughtSignature": "c2ln"}],
        [{**IMAGE, "thought": True}, {"text": "A"}],
        [{"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "id": "1"}}, {"toolResponse": {"id": "1"}}, {"text": "A"}],
        [{"fileData": {"fileUri": "gs://a/b"}}],
        [{"inlineData": {"data": "no base64!"}}],
        [{"inlineData": {"mimeType": "image/png", "data": "a,b"}}, {"text": "A"}],
        [{"inlineData": {"data": "iVBORw0KGgo="}}],
        [{"thoughtSignature": "c2ln"}],
        [{"text": "A", "partMetadata": {"a": 1}}],
    ],
)
def test_every_turn_goes_back_as_it_came(parts: list[Any]) -> None:
    reply = answered(*parts)

    assert sent_back(reply) == parts
    assert json.loads(json.dumps(reply.model_dump())) == reply.model_dump()


def test_ids_that_are_made_up_are_the_same_each_time_and_never_twice() -> None:
    first, second = (answered(CALL, CALL).choices[0].message.tool_calls for _ in range(2))

    assert [call.id for call in first] == [call.id for call in second]
    assert len({call.id for call in first}) == 2
    assert all(call.id.startswith("call_gemini_") for call in first)


def test_a_reply_and_the_callers_messages_are_not_changed() -> None:
    messages = [
        {"role": "user", "content": "Hello", "name": "Ann"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "x", "content": "{}"},
    ]
    before = copy.deepcopy(messages)

    gemini.to_request(WireCall("gemini-2.5-flash", messages, {}), ENDPOINT, Traits())

    assert messages == before


def test_two_calls_of_one_id_get_their_results_in_order() -> None:
    called = [{"id": "x", "function": {"name": name, "arguments": "{}"}} for name in ("a", "b")]
    results = [{"role": "tool", "tool_call_id": "x", "content": text} for text in ("1", "2")]
    messages: list[Any] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": called}, *results]

    request = gemini.to_request(WireCall("m", messages, {}), ENDPOINT, Traits())

    given = [part["functionResponse"] for part in request.json["contents"][2]["parts"]]
    assert [(result["name"], result["response"]) for result in given] == [
        ("a", {"output": "1"}),
        ("b", {"output": "2"}),
    ]


@pytest.mark.parametrize("name", ["get_weather", "_x", "a.b:c-d", "x" * 64])
def test_names_that_gemini_takes_stay(name: str) -> None:
    assert function_name(name) == name


@pytest.mark.parametrize("name", ["7days", "-x", "a b", "ü", "x" * 65, ""])
def test_names_that_gemini_does_not_take_are_written_anew(name: str) -> None:
    written = function_name(name)

    assert written != name
    assert function_name(written) == written
    assert len(written) <= 64


def streamed(*pieces: dict[str, Any]) -> Any:
    call = StreamedCall()
    for piece in pieces:
        call.add({"functionCall": piece}, piece)
    return call.whole()["functionCall"]["args"]


@pytest.mark.parametrize(
    "pieces, expected",
    [
        ([("$.a", {"stringValue": "x"})], {"a": "x"}),
        ([("$.a.b[0][1].c", {"numberValue": 1})], None),
        ([("$.a[0]", {"numberValue": 1}), ("$.a[1]", {"numberValue": 2.5})], {"a": [1, 2.5]}),
        (
            [("$.a[0].b", {"boolValue": True}), ("$.a[0].c", {"nullValue": "NULL_VALUE"})],
            {"a": [{"b": True, "c": None}]},
        ),
        ([('$["a b"]', {"stringValue": "x"}), ("$['c']", {"stringValue": "y"})], {"a b": "x", "c": "y"}),
        ([("$.a", {"stringValue": "x"}), ("$.a", {"stringValue": "y"})], {"a": "xy"}),
        ([("$.a", {})], {}),
        ([("a", {"stringValue": "x"})], None),
        ([("$", {"stringValue": "x"})], None),
        ([("$.a..b", {"stringValue": "x"})], None),
        ([("$.a[99999999]", {"stringValue": "x"})], None),
        ([(7, {"stringValue": "x"})], None),
    ],
)
def test_arguments_that_come_value_by_value_are_laid_in_their_places(pieces: Any, expected: Any) -> None:
    given = [{"name": "f", "partialArgs": [{"jsonPath": path, **value} for path, value in pieces]}]

    if expected is None:
        with pytest.raises(InvalidResponse, match="jsonPath"):
            streamed(*given)
    else:
        assert streamed(*given) == expected


def test_a_schema_is_left_as_it_is_where_gemini_takes_all_of_it() -> None:
    schema = {
        "type": "object",
        "title": "T",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "$defs": {
            "A": {"type": "array", "prefixItems": [{"type": "integer", "minimum": 1}], "items": {"type": "number"}}
        },
        "required": ["a"],
        "additionalProperties": False,
        "propertyOrdering": ["a", "b"],
    }

    gemini_schema = GeminiSchema(schema)

    assert gemini_schema.written == schema
    assert not gemini_schema.told


def test_a_property_may_be_named_as_a_keyword() -> None:
    schema = {
        "type": "object",
        "properties": {"pattern": {"type": "string", "pattern": "^a$"}, "not": {"type": "null"}},
    }

    written = GeminiSchema(schema).written

    assert written["properties"] == {
        "pattern": {"type": "string", "description": "pattern ^a$"},
        "not": {"type": "null"},
    }


@pytest.mark.parametrize(
    "model, path",
    [
        ("gemini-3.8-flash", "models/gemini-3.8-flash"),
        ("models/gemini-3.8-flash", "models/gemini-3.8-flash"),
        ("tunedModels/mine", "tunedModels/mine"),
        ("a b?c#d", "models/a%20b%3Fc%23d"),
    ],
)
def test_a_model_stands_in_the_url(model: str, path: str) -> None:
    request = gemini.to_request(WireCall(model, [{"role": "user", "content": "Hi"}], {}), ENDPOINT, Traits())

    assert request.url == f"https://generativelanguage.googleapis.com/v1beta/{path}:generateContent"
