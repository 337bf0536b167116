"""What the rules and the search for losses would find, so that their silence means something."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.moving import rules
from tests.moving.losses import losses

SIGNED_BY_CLAUDE = "Y2xhdWRlIHNpZ25lZCB0dXJuIDAwMSAwMDA="
PNG_CALLED_JPEG = {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "iVBORw0KGgo="}}


def use(call_id: str = "t1", name: str = "a") -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": call_id, "name": name, "input": {}}]}


def result(*ids: str, **beside: Any) -> dict[str, Any]:
    blocks = [{"type": "tool_result", "tool_use_id": call_id, "content": "x", **beside} for call_id in ids]
    return {"role": "user", "content": blocks}


USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "turns",
    [
        [use(), result("t1")],
        [USER, use("t.1"), result("t.1")],
        [USER, use(name="a b"), result("t1")],
        [USER, use(), USER],
        [USER, use(), result("t2")],
        [USER, use(), result("t1", "t1")],
        [USER, use(), result("t1"), use(), result("t1")],
        [USER, use(), {"role": "user", "content": [{"type": "text", "text": "x"}, *result("t1")["content"]]}],
        [USER, use(), result("t1", is_error=True, content="")],
        [USER, use(), result("t1", is_error=True, content=[PNG_CALLED_JPEG])],
        [USER, result("t1")],
        [{"role": "user", "content": []}],
        [{"role": "user", "content": [{"type": "text", "text": " "}]}],
        [{"role": "user", "content": [PNG_CALLED_JPEG]}],
        [USER, {"role": "assistant", "content": "So"}],
        [USER, {"role": "system", "content": "So"}, USER],
    ],
)
def test_claudes_rules_would_find(turns: list[Any]) -> None:
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in ("a", "a b")]

    with pytest.raises((AssertionError, ValidationError)):
        rules.claude({"model": "m", "max_tokens": 1, "messages": turns, "tools": tools}, inline_system=True)


THINKING = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
THOUGHT_FIRST = {"role": "assistant", "content": [THINKING, *use()["content"]]}


@pytest.mark.parametrize(
    "asked, said", [({}, THOUGHT_FIRST), ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, use())]
)
def test_an_older_claudes_rules_would_find_thinking_out_of_place(asked: Any, said: dict[str, Any]) -> None:
    body = {"model": "m", "max_tokens": 2000, "messages": [USER, said, result("t1")], **asked}
    tools = [{"name": "a", "input_schema": {"type": "object"}}]

    with pytest.raises(AssertionError):
        rules.claude({**body, "tools": tools}, inline_system=False)


CALL = {"role": "model", "parts": [{"functionCall": {"name": "a", "args": {}}, "thoughtSignature": "c2ln"}]}
ANSWER = {"role": "user", "parts": [{"functionResponse": {"name": "a", "response": {}}}]}
SAYS = {"role": "user", "parts": [{"text": "Hi"}]}


@pytest.mark.parametrize(
    "contents",
    [
        [CALL, ANSWER],
        [SAYS, CALL],
        [SAYS, CALL, SAYS],
        [SAYS, CALL, {"role": "user", "parts": [*ANSWER["parts"], {"text": "x"}]}],
        [SAYS, CALL, {"role": "user", "parts": [*ANSWER["parts"], *ANSWER["parts"]]}],
        [SAYS, {"role": "model", "parts": [{"text": "x"}]}, CALL, ANSWER],
        [SAYS, {"role": "model", "parts": [{"functionCall": {"name": "a", "args": {}}}]}, ANSWER],
        [SAYS, ANSWER],
        [{"role": "user", "parts": []}],
        [{"role": "user", "parts": [{"text": ""}]}],
        [{"role": "user", "parts": [{"inlineData": {"mimeType": "image/jpeg", "data": "iVBORw0KGgo="}}]}],
    ],
)
def test_geminis_rules_would_find(contents: list[Any]) -> None:
    with pytest.raises((AssertionError, ValidationError, IndexError, KeyError)):
        rules.gemini({"contents": contents}, newer=True)


def chat_call(call_id: str = "c1", name: str = "a") -> dict[str, Any]:
    function = {"name": name, "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]}


TOOL = {"role": "tool", "tool_call_id": "c1", "content": "x"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {**chat_call("c" * 41), "content": None}, {**TOOL, "tool_call_id": "c" * 41}],
        [USER, {**chat_call(name="a.b"), "content": None}, TOOL],
        [USER, {**chat_call(), "content": None}, USER, TOOL],
        [USER, {**chat_call(), "content": None}, TOOL, TOOL],
        [USER, {"role": "assistant", "content": None}],
        [{**USER, "name": "Ann Smith"}],
        [{**USER, "colour": "red"}],
        [{**USER, "content": []}],
        [
            USER,
            {**chat_call(), "content": None},
            {**TOOL, "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        ],
    ],
)
def test_the_rules_of_chat_would_find(messages: list[Any]) -> None:
    with pytest.raises((AssertionError, ValidationError, ValueError)):
        rules.chat({"model": "m", "messages": messages})


ITEM = {"type": "function_call", "call_id": "c1", "name": "a", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "eHh4"}


@pytest.mark.parametrize(
    "items",
    [
        [ITEM],
        [OUTPUT],
        [ITEM, USER, OUTPUT],
        [{**ITEM, "call_id": "c" * 65}, {**OUTPUT, "call_id": "c" * 65}],
        [{**ITEM, "name": "a.b"}, OUTPUT],
        [ITEM, OUTPUT, ITEM, OUTPUT],
        [THOUGHT, USER],
        [{**THOUGHT, "encrypted_content": ""}, ITEM, OUTPUT],
    ],
)
def test_the_rules_of_responses_would_find(items: list[Any]) -> None:
    with pytest.raises((AssertionError, ValidationError, ValueError, KeyError)):
        rules.responses({"model": "m", "input": items})


@pytest.mark.parametrize(
    "left", [{"extra_content": {}}, {"signature": SIGNED_BY_CLAUDE}, {"text": "Hm, thought claude in turn 1"}]
)
def test_what_is_anothers_would_be_found(left: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        rules.unsigned_by_others({"contents": [left]}, "gemini")
    if "extra_content" not in left:
        rules.unsigned_by_others({"contents": [left]}, "claude")


@pytest.mark.parametrize(
    "message, name",
    [
        ({"content": "Hi"}, "messages"),
        ({"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,eHh4"}}]}, "messages"),
        ({"content": None, "name": "Ann"}, "messages.name"),
        ({"content": None, "reasoning_content": "Hm, thought chat in turn 1"}, "reasoning_content"),
        ({"content": None, "tool_calls": chat_call()["tool_calls"]}, "tool_calls.arguments"),
        ({"content": None, "is_error": True}, "messages.is_error"),
        ({"content": None, "extra_content": {"anthropic": {"data": SIGNED_BY_CLAUDE}}}, "extra_content"),
        ({"content": None, "cache_control": {"type": "ephemeral"}}, "cache_control"),
    ],
)
def test_what_is_lost_would_be_found(message: dict[str, Any], name: str) -> None:
    found = list(losses([{"role": "assistant", **message}], {"messages": []}))

    assert [names[0] for _, names in found] == [name]
    assert list(losses([{"role": "assistant", **message}], {"messages": [message]})) == []
