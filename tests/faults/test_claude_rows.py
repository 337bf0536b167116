"""The rows that Claude's wire alone has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.claude_wire import message
from tests.faults.case import Case
from tests.faults.claude import CLAUDE, chat


@pytest.fixture(params=CLAUDE.columns, ids=str)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with CLAUDE.judged(request.param) as case:
        yield case


def framed(*events: dict[str, Any]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


START = {"type": "message_start", "message": {**message(), "stop_reason": None}}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


@pytest.mark.parametrize("events", [[OVERLOADED], [START, OVERLOADED], [START, {"type": "ping"}, OVERLOADED]])
def test_overload_under_status_200_is_tried_again(case: Case, events: list[dict[str, Any]]) -> None:
    text = framed(*events)

    case.ask("body", text=text, stream=True).fails("Overloaded", requests=3)
    case.ask("body", text=text, stream=True, times=2).succeeds(requests=3)
    case.ask("body", text=text).fails("Overloaded", requests=3)


@pytest.mark.parametrize("content", ["missing", None, 7, {}, [3], [[]]])
def test_answer_without_blocks_is_told(case: Case, content: Any) -> None:
    given = {name: value for name, value in chat().items() if name != "content"}
    text = json.dumps(given if content == "missing" else {**given, "content": content})

    tried = case.ask("body", text=text).fails("InvalidResponse", requests=1)

    assert tried.failure is not None
    assert "content" in tried.failure.message


@pytest.mark.parametrize(
    "text", ["{", '{"content": [', json.dumps(chat())[:-9], json.dumps(chat()).replace(":", "=", 1)]
)
def test_broken_json_is_asked_for_again(case: Case, text: str) -> None:
    tried = case.ask("body", text=text).fails("InvalidResponse")

    assert tried.failure is not None
    assert tried.failure.attempts in (2, 3)
