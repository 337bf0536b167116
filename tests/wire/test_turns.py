from __future__ import annotations

import re

import pytest

from modelwrap.types import Change
from modelwrap.wire.turns import arguments_of, native_extra, spelled, tell_of_foreign, with_speaker

FORBIDDEN = re.compile(r"[^a-z_]")


def test_a_name_in_the_right_letters_stays_as_it_is() -> None:
    assert spelled("get_weather", FORBIDDEN, 20) == "get_weather"


@pytest.mark.parametrize("name", ["get weather", "get.weather", "", "x" * 21])
def test_a_name_in_other_letters_is_written_alike_every_time_and_unlike_any_other(name: str) -> None:
    written = spelled(name, FORBIDDEN, 20)

    assert written == spelled(name, FORBIDDEN, 20)
    assert len(written) <= 20
    assert written not in (spelled("get_weather", FORBIDDEN, 20), spelled("get-weather", FORBIDDEN, 20))


@pytest.mark.parametrize(
    "given, expected",
    [
        (None, {}),
        ("", {}),
        (" ", {}),
        ({"city": "Ulm"}, {"city": "Ulm"}),
        ('{"b": 1, "a": 2.50}', {"b": 1, "a": 2.5}),
    ],
)
def test_arguments_are_read_as_an_object(given: object, expected: object) -> None:
    assert arguments_of(given, []) == expected


@pytest.mark.parametrize("given", ["{", "[1]", "7", '"text"', '{"a": "\ud800"}'])
def test_arguments_that_are_no_object_go_out_whole_inside_of_one(given: str) -> None:
    changes: list[Change] = []

    assert arguments_of(given, changes) == {"INVALID_JSON": given}

    assert [change.what for change in changes] == ["tool_calls.arguments"]


@pytest.mark.parametrize(
    "message, content, told",
    [
        ({"content": "Hi", "name": "Ann"}, "Ann: Hi", 1),
        (
            {"content": [{"type": "text", "text": "Hi"}], "name": "Ann"},
            [{"type": "text", "text": "Ann:"}, {"type": "text", "text": "Hi"}],
            1,
        ),
        ({"content": "Hi", "name": "user"}, "Hi", 0),
        ({"content": "Hi"}, "Hi", 0),
    ],
)
def test_who_speaks_is_written_in_front(message: dict[str, object], content: object, told: int) -> None:
    changes: list[Change] = []

    written = with_speaker({"role": "user", **message}, changes)

    assert written == content
    assert len(changes) == told


def test_what_others_left_is_told_once_and_ones_own_is_not() -> None:
    changes: list[Change] = []
    call = {"id": "call_1", "extra_content": {"google": {"thought_signature": "sig"}}}
    message = {
        "role": "assistant",
        "reasoning_content": "Hm.",
        "extra_content": {"mine": {"a": 1}},
        "tool_calls": [call],
    }

    for _ in range(2):
        tell_of_foreign(message, "mine", changes, own=True)
    told_of_own = [change.what for change in changes]
    tell_of_foreign(message, "mine", changes, own=False)

    assert told_of_own == ["extra_content.google"]
    assert [change.what for change in changes] == ["extra_content.google", "reasoning_content"]
    assert native_extra(message, "mine") == {"a": 1}
    assert native_extra(message, "google") == {}
