"""What people write as messages, and what goes on the wire."""

from __future__ import annotations

import copy
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel

from modelwrap.errors import BadRequest
from modelwrap.models.messages import messages_from
from modelwrap.types import AssistantMessage, ChatReply

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


class Turn(BaseModel):
    role: str = "user"
    content: str | list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None


def reply(message: dict[str, Any]) -> ChatReply:
    return ChatReply.model_validate({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def test_a_string_is_one_user_message() -> None:
    assert messages_from("Hello") == [{"role": "user", "content": "Hello"}]


def test_a_single_message_is_a_list_of_it() -> None:
    message = {"role": "user", "content": "Hello"}

    assert messages_from(message) == [message]
    assert messages_from(Turn(content="Hello")) == [message]
    assert messages_from(MappingProxyType(message)) == [message]


def test_plain_messages_go_out_as_the_very_same_objects() -> None:
    messages = [
        {"role": "system", "content": "Be brief.", "vendor_key": {"kept": True}},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "vendor_part", "vendor_part": None}]},
        {"role": "assistant", "content": None, "tool_calls": None},
        {"role": "user", "content": {"odd": "but written so"}},
    ]

    sent = messages_from(messages)

    assert sent is not messages
    assert all(new is old for new, old in zip(sent, messages, strict=True))


def test_the_callers_list_and_dicts_are_never_changed() -> None:
    messages: list[Any] = [
        {"role": "user", "content": ["Look:", PNG, {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}]},
        {"role": "assistant", "tool_calls": reply(CALLED).choices[0].message.tool_calls},
    ]
    before = copy.deepcopy(messages)

    sent = messages_from(messages)

    assert messages == before
    assert sent[0]["content"][0] == {"type": "text", "text": "Look:"}
    assert sent[0]["content"][2]["image_url"]["detail"] == "low"


CALLED = {
    "role": "assistant",
    "content": None,
    "refusal": None,
    "annotations": [],
    "tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}],
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": "{}"}}


def test_a_reply_goes_back_without_what_only_answers_have() -> None:
    expected = {"role": "assistant", "content": None, "tool_calls": [CALL]}

    assert messages_from([reply(CALLED)]) == [expected]
    assert messages_from([reply(CALLED).choices[0].message]) == [expected]
    assert messages_from(reply(CALLED)) == [expected]


def test_tool_calls_of_a_reply_can_stand_in_a_dict() -> None:
    calls = reply(CALLED).choices[0].message.tool_calls
    message = {"role": "assistant", "content": "One moment.", "tool_calls": calls}

    assert messages_from([message]) == [{"role": "assistant", "content": "One moment.", "tool_calls": [CALL]}]


def test_tool_calls_that_are_no_list_are_named() -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\]\.tool_calls: must be a list of calls, not dict"):
        messages_from([{"role": "assistant", "content": None, "tool_calls": CALL}])


def test_empty_tool_calls_of_a_reply_are_left_out() -> None:
    message = {"role": "assistant", "content": "Hi", "tool_calls": [], "audio": None, "function_call": None}

    assert messages_from([reply(message)]) == [{"role": "assistant", "content": "Hi"}]


def test_reasoning_goes_back_under_the_servers_own_name() -> None:
    details = [{"type": "reasoning.text", "text": "Hm.", "signature": None}]
    message = {"role": "assistant", "content": "4", "reasoning": "Hm.", "reasoning_details": details}

    assert messages_from([reply(message)]) == [message]


def test_an_assistant_message_made_by_hand_has_its_role() -> None:
    assert messages_from(AssistantMessage(content="Hi")) == [{"role": "assistant", "content": "Hi"}]


def test_pydantic_messages_leave_out_what_is_none() -> None:
    assert messages_from([Turn(role="assistant", tool_calls=[CALL])]) == [
        {"role": "assistant", "content": None, "tool_calls": [CALL]}
    ]
    assert messages_from([Turn(content=[{"type": "text", "text": "Hi"}])]) == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    ]


def test_a_tuple_and_roles_of_an_enum_are_fine() -> None:
    class Role(StrEnum):
        USER = "user"

    assert messages_from(({"role": Role.USER, "content": ("Hi",)},)) == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]}
    ]


@pytest.mark.parametrize(
    "given, message",
    [
        (None, "messages: give a string or a list of messages, not NoneType"),
        (7, "messages: give a string or a list of messages, not int"),
        (b"Hello", "messages: give a string or a list of messages, not bytes"),
        ((part for part in ["Hello"]), "messages: give a string or a list of messages, not generator"),
        ([], "messages: the list is empty"),
        ([{"role": "user", "content": "Hi"}, {"content": "Hi"}], r"messages\[1\]: role is missing"),
        ([{"role": 1, "content": "Hi"}], r"messages\[0\]: role must be a string, not int"),
        (["Hi"], r"messages\[0\]: a string is no message"),
        ([object()], r"messages\[0\]: object is no message"),
        ([ChatReply()], r"messages\[0\]: the reply has no choices"),
        ([{"role": "user", "content": 7}], r"messages\[0\]\.content: must be text or a list of parts, not int"),
        ([{"role": "user", "content": [7]}], r"messages\[0\]\.content\[0\]: int is no content part"),
        ([{"role": "user", "content": ["Hi", None]}], r"messages\[0\]\.content\[1\]: NoneType is no content part"),
        (
            [{"role": "user", "content": [Path("no/such.png")]}],
            r"messages\[0\]\.content\[0\]: no/such\.png: no such file",
        ),
    ],
)
def test_a_mistake_is_named_by_its_place_and_nothing_is_sent(given: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message) as caught:
        messages_from(given)

    assert not caught.value.sent
    assert not caught.value.retryable
