"""The table on Claude's wire. The rows that hang on it run here; `make prove` runs all, on every HTTP client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.claude_wire import message
from tests.faults.case import Case, Row
from tests.faults.claude import COLUMNS, ClaudeColumn, chat, speaking_claude
from tests.faults.rows import TABLE

NOT_HERE = {
    "C20": "there are no choices on this wire: a row of its own below",
    "C21": "there are no choices on this wire: a row of its own below",
    "C22": "the row breaks OpenAI's JSON: a row of its own below",
    "S20": "there are no choices on this wire",
    "S25": "there are no choices on this wire",
}
ROWS = [row for row in TABLE if row.id not in NOT_HERE]

# What takes long and does not hang on the wire.
_SLOW = {"C42", "C45", "S13", "S15", "S26"}
_OF_THE_WIRE = {
    *(f"C{number:02}" for number in (*range(14, 29), 32, 33, 35, 43, 44)),
    *(f"S{number:02}" for number in range(1, 27)),
}
SHORT = [row for row in ROWS if row.id in _OF_THE_WIRE - _SLOW]


@pytest.fixture(autouse=True)
def claude_everywhere() -> Iterator[None]:
    with speaking_claude():
        yield


def in_turn(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, COLUMNS[number % len(COLUMNS)], id=row.id) for number, row in enumerate(rows)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("row, column", in_turn(SHORT))
def test_no_row_of_the_wire_falls_short(row: Row, column: ClaudeColumn) -> None:
    assert [str(short) for short in row.judge(column)] == []


@pytest.mark.prove
@pytest.mark.timeout(60)
@pytest.mark.parametrize("column", COLUMNS, ids=str)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_no_row_falls_short(row: Row, column: ClaudeColumn) -> None:
    assert [str(short) for short in row.judge(column)] == []


def test_what_is_not_judged_is_in_the_table() -> None:
    assert set(NOT_HERE) <= {row.id for row in TABLE}
    assert len(ROWS) >= 78
    assert len(SHORT) >= 30


# Rows of this wire alone.


@pytest.fixture(params=COLUMNS, ids=str)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    case = Case(request.param)
    with request.param.prepared():
        yield case
        assert [str(short) for short in case.finish()] == []


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
