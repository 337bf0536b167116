from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwrap.errors import InvalidResponse
from modelwrap.types import ChatChunk, ChatReply, TokenUsage
from modelwrap.wire.assembly import Assembly


def chunk(
    delta: dict[str, Any] | None = None, *, index: int = 0, top: dict[str, Any] | None = None, **choice: Any
) -> ChatChunk:
    choices = [] if delta is None else [{"index": index, "delta": delta, **choice}]
    return ChatChunk.model_validate({"id": "c1", "created": 7, "model": "m", "choices": choices, **(top or {})})


def assembled(*chunks: ChatChunk) -> ChatReply:
    assembly = Assembly()
    for piece in chunks:
        assembly.add(piece)
    return assembly.reply()


def message_of(*deltas: dict[str, Any]) -> dict[str, Any]:
    return assembled(*map(chunk, deltas)).model_dump()["choices"][0]["message"]


def test_reply_looks_as_if_it_had_come_in_one_piece() -> None:
    reply = assembled(
        chunk({"role": "assistant", "content": "", "refusal": None}, finish_reason=None, logprobs=None),
        chunk({"content": "Hel"}, finish_reason=None, top={"system_fingerprint": "fp", "obfuscation": "xyz"}),
        chunk({"content": "lo"}, finish_reason=None, top={"service_tier": "default"}),
        chunk({}, finish_reason="stop"),
        chunk(top={"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
    )

    assert reply.model_dump() == {
        "id": "c1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "system_fingerprint": "fp",
        "service_tier": "default",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    assert reply.text == "Hello"
    assert reply.meta.usage == TokenUsage(prompt=3, completion=2)
    assert reply.meta.finish_reason == "stop"


def test_nothing_added_is_told() -> None:
    assembly = Assembly()

    assert not assembly
    assert assembly.reply().choices == []
    assembly.add(chunk({"content": "x"}))
    assert assembly


def test_reply_can_be_asked_for_on_the_way() -> None:
    assembly = Assembly()
    assembly.add(chunk({"content": "Hel", "reasoning_details": [{"type": "t", "index": 0, "text": "a"}]}))
    first = assembly.reply()
    assembly.add(chunk({"content": "lo", "reasoning_details": [{"type": "t", "index": 0, "text": "b"}]}))

    assert first.text == "Hel"
    assert assembly.reply().text == "Hello"
    assert assembly.reply().choices[0].message.reasoning_content == "ab"


def test_first_name_and_latest_usage_count() -> None:
    reply = assembled(
        chunk(top={"id": "", "created": 0, "model": "", "choices": []}),
        chunk({"content": "x"}, top={"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
        chunk({}, top={"id": "c2", "usage": {"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5}}),
    )

    assert (reply.id, reply.created, reply.model) == ("c1", 7, "m")
    assert reply.usage.total_tokens == 5


def test_choices_are_kept_apart_and_in_order() -> None:
    reply = assembled(
        chunk({"content": "b"}, index=1),
        chunk({"content": "a"}),
        chunk({"content": "B"}, index=1, finish_reason="stop"),
    )

    assert [(choice.index, choice.message.content, choice.finish_reason) for choice in reply.choices] == [
        (0, "a", None),
        (1, "bB", "stop"),
    ]


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(InvalidResponse, match="128"):
        assembled(*(chunk({"content": "x"}, index=10**9 + index) for index in range(129)))


def test_tool_calls_are_put_together_by_index() -> None:
    message = message_of(
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "two", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "one", "arguments": '{"x"'}}]},
        {
            "tool_calls": [
                {"index": 0, "function": {"arguments": ": 1}"}},
                {"index": 1, "function": {"arguments": "{}"}},
            ]
        },
    )

    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "one", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "two", "arguments": "{}"}},
    ]


def test_names_and_ids_that_are_repeated_are_not_doubled() -> None:
    call = {"index": 0, "id": "a", "type": "function"}
    message = message_of(
        {"role": "assistant", "tool_calls": [{**call, "function": {"name": "one", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": [{**call, "id": "z", "function": {"name": "one", "arguments": "}"}}]},
    )

    assert message["tool_calls"] == [{"id": "a", "type": "function", "function": {"name": "one", "arguments": "{}"}}]
    assert message["role"] == "assistant"


def test_custom_tool_calls_are_put_together() -> None:
    message = message_of(
        {"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "run", "input": "print"}}]},
        {"tool_calls": [{"index": 0, "custom": {"input": "(1)"}}]},
    )

    assert message["tool_calls"] == [{"id": "a", "type": "custom", "custom": {"name": "run", "input": "print(1)"}}]


def test_signature_of_a_tool_call_stays_with_it() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "abc"}}}
    message = message_of(
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}, **signed}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}, "extra_content": None}]},
    )

    assert message["tool_calls"][0]["extra_content"] == signed["extra_content"]


def test_older_function_call_is_put_together() -> None:
    message = message_of(
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{"}},
        {"function_call": {"arguments": "}"}},
    )

    assert message["function_call"] == {"name": "f", "arguments": "{}"}


def test_refusal_audio_and_annotations_are_put_together() -> None:
    message = message_of(
        {"refusal": "I ", "audio": {"id": "a1", "transcript": "He"}, "annotations": [{"type": "one"}]},
        {"refusal": "won't", "audio": {"data": "AAAA"}, "annotations": [{"type": "two"}]},
        {"audio": {"data": "BBBB", "transcript": "y", "expires_at": 9}},
    )

    assert message["content"] is None
    assert message["refusal"] == "I won't"
    assert message["audio"] == {"id": "a1", "data": "AAAABBBB", "transcript": "Hey", "expires_at": 9}
    assert message["annotations"] == [{"type": "one"}, {"type": "two"}]


def test_vendors_fields_inside_calls_and_audio_are_kept() -> None:
    message = message_of(
        {"function_call": {"name": "f", "arguments": "{}", "vendor": 1}, "audio": {"id": "a", "format": "wav"}},
        {"function_call": {"vendor": None}, "audio": {"format": None}},
    )

    assert message["function_call"]["vendor"] == 1
    assert message["audio"]["format"] == "wav"


def test_items_with_a_strange_index_are_kept_as_they_are() -> None:
    items = [{"index": [], "text": "a"}, {"index": None, "text": "b"}, "c"]

    assert message_of({"reasoning_details": items[:2]}, {"reasoning_details": items[2:]})["reasoning_details"] == items


def test_logprobs_are_put_together() -> None:
    reply = assembled(
        chunk({"content": "a"}, logprobs={"content": [{"token": "a", "logprob": -1.0}], "refusal": None}),
        chunk({"content": "b"}, logprobs=None),
        chunk({"content": "b"}, logprobs={"content": [{"token": "b", "logprob": -2.0}], "refusal": None}),
        chunk({}, logprobs={"content": None, "refusal": None, "vendor": 1}),
    )

    assert reply.model_dump()["choices"][0]["logprobs"] == {
        "content": [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -2.0}],
        "refusal": None,
        "vendor": 1,
    }


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_put_together_under_the_servers_name(name: str) -> None:
    reply = assembled(chunk({name: "so "}), chunk({name: "then", "content": "Yes"}), chunk({"content": "."}))

    message = reply.choices[0].message
    assert message.reasoning_content == "so then"
    assert message.content == "Yes."
    assert reply.model_dump()["choices"][0]["message"] == {"role": "assistant", "content": "Yes.", name: "so then"}


def test_reasoning_items_are_merged_by_index_with_their_signature() -> None:
    item = {"type": "reasoning.text", "format": "f", "index": 0}
    reply = assembled(
        chunk({"reasoning": "so ", "reasoning_details": [{**item, "text": "so "}]}),
        chunk({"reasoning": "then", "reasoning_details": [{**item, "text": "then"}]}),
        chunk(
            {
                "reasoning_details": [
                    {**item, "signature": "sig"},
                    {"type": "reasoning.encrypted", "index": 1, "data": "x"},
                ]
            }
        ),
        chunk({"reasoning_details": [{"type": "unnumbered"}]}),
    )

    message = reply.model_dump()["choices"][0]["message"]
    assert message["reasoning_details"] == [
        {**item, "text": "so then", "signature": "sig"},
        {"type": "reasoning.encrypted", "index": 1, "data": "x"},
        {"type": "unnumbered"},
    ]
    assert reply.choices[0].message.reasoning_content == "so then"


def test_vendors_fields_are_kept() -> None:
    reply = assembled(
        chunk(
            {"content": "a", "channel": "final", "sources": ["x"]},
            text="a",
            seed=1,
            top={"citations": ["1"], "x": {"id": 1}},
        ),
        chunk(
            {"content": "b", "channel": "final", "sources": ["y"]}, text="b", seed=None, top={"citations": ["1", "2"]}
        ),
        chunk(
            {}, native_finish_reason="end_turn", finish_reason="stop", message={"content": "ab"}, top={"x": {"cost": 2}}
        ),
    )

    dumped = reply.model_dump()
    choice = dumped["choices"][0]
    assert dumped["citations"] == ["1", "2"]
    assert dumped["x"] == {"id": 1, "cost": 2}
    assert (choice["text"], choice["seed"]) == ("ab", 1)
    assert choice["message"] == {"role": "assistant", "content": "ab", "channel": "final", "sources": ["x", "y"]}
    assert reply.meta.finish_reason == "end_turn"


def test_raw_is_what_was_sent() -> None:
    pieces = [chunk({"content": "a"}), chunk({"content": "b"})]
    for number, piece in enumerate(pieces):
        piece._raw = {"number": number}

    assert assembled(*pieces).raw == [{"number": 0}, {"number": 1}]


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.text(max_size=4), st.none() | st.text(max_size=4))))
def test_every_piece_is_there_in_its_order(pieces: list[tuple[int, str | None, str | None]]) -> None:
    reply = assembled(
        *(chunk({"content": said, "reasoning_content": thought}, index=index) for index, said, thought in pieces)
    )

    for choice in reply.choices:
        mine = [(said or "", thought or "") for index, said, thought in pieces if index == choice.index]
        assert (choice.message.content or "") == "".join(said for said, _ in mine)
        assert (choice.message.reasoning_content or "") == "".join(thought for _, thought in mine)
    assert {choice.index for choice in reply.choices} == {index for index, _, _ in pieces}


def test_long_streams_take_linear_time() -> None:
    piece = chunk({"content": "x" * 50, "reasoning_details": [{"index": 0, "type": "t", "text": "y" * 50}]})

    def seconds(count: int) -> float:
        assembly = Assembly()
        started = time.process_time()
        for _ in range(count):
            assembly.add(piece)
        assembly.reply()
        return time.process_time() - started

    small, large = (min(seconds(count) for _ in range(3)) for count in (2_000, 8_000))

    assert large < small * 12


def test_an_empty_finish_reason_or_usage_takes_nothing_back() -> None:
    reply = assembled(
        chunk({"content": "Yes"}, finish_reason="stop"),
        chunk(top={"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
        chunk({}, finish_reason="", top={"usage": {}}),
    )

    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == 5
