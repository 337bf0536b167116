from __future__ import annotations

import pytest

from modelwrap.errors import BadRequest
from modelwrap.types import Change
from modelwrap.wire.functions import modern_messages, modern_parameters

WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {}}}


def test_functions_become_tools() -> None:
    changes: list[Change] = []
    given = {"functions": [WEATHER], "function_call": {"name": "weather"}, "temperature": 0}

    written = modern_parameters(given, changes)

    assert written == {
        "tools": [{"type": "function", "function": WEATHER}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "temperature": 0,
    }
    assert [str(change) for change in changes] == [
        "functions: converted, written as tools; calls come back as tool_calls"
    ]
    assert "functions" in given


def test_a_choice_in_one_word_stays_one() -> None:
    assert modern_parameters({"function_call": "none"}, []) == {"tool_choice": "none"}


def test_calls_of_functions_and_their_results_find_each_other() -> None:
    changes: list[Change] = []
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": "Rain."},
    ]

    written = modern_messages(messages, changes)

    assert written == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "content": "Rain.", "tool_call_id": "call_1"},
    ]
    assert len(changes) == 1


def test_messages_without_functions_are_the_same_list() -> None:
    messages = [{"role": "user", "content": "Hi"}]

    assert modern_messages(messages, []) is messages


@pytest.mark.parametrize("given", [5, "weather", WEATHER])
def test_functions_that_are_no_list_are_a_mistake_of_the_caller(given: object) -> None:
    with pytest.raises(BadRequest, match="functions: must be a list, not (int|str|dict)"):
        modern_parameters({"functions": given}, [])


def test_tools_beside_functions_that_are_no_list_are_one_too() -> None:
    with pytest.raises(BadRequest, match="tools: must be a list, not int"):
        modern_parameters({"functions": [WEATHER], "tools": 5}, [])
