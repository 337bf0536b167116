"""The table on Gemini's wire. The rows that hang on it run here; `make prove` runs all, on every HTTP client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.case import Case, Row
from tests.faults.gemini import COLUMNS, GeminiColumn, chat, speaking_gemini
from tests.faults.rows import TABLE

NOT_HERE = {
    "C20": "there are no choices on this wire: a row of its own below",
    "C21": "there are no choices on this wire: a row of its own below",
    "C22": "the row breaks OpenAI's JSON: a row of its own below",
    "S08": "this wire has no end mark that could be missing",
    "S09": "this wire has no end mark that could be missing",
    "S23": "this wire has no end mark behind which anything could come",
    "S24": "the row cuts OpenAI's pieces of arguments; calls come whole here, and tests/cases has those of Vertex",
}
ROWS = [row for row in TABLE if row.id not in NOT_HERE]

# What takes long and does not hang on the wire.
_SLOW = {"C42", "C45", "S13", "S15", "S26"}
_OF_THE_WIRE = {
    *(f"C{number:02}" for number in (*range(14, 29), 43, 44)),
    *(f"S{number:02}" for number in range(1, 27)),
}
SHORT = [row for row in ROWS if row.id in _OF_THE_WIRE - _SLOW]


@pytest.fixture(autouse=True)
def gemini_everywhere() -> Iterator[None]:
    with speaking_gemini():
        yield


def in_turn(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, COLUMNS[number % len(COLUMNS)], id=row.id) for number, row in enumerate(rows)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("row, column", in_turn(SHORT))
def test_no_row_of_the_wire_falls_short(row: Row, column: GeminiColumn) -> None:
    assert [str(short) for short in row.judge(column)] == []


@pytest.mark.prove
@pytest.mark.timeout(60)
@pytest.mark.parametrize("column", COLUMNS, ids=str)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_no_row_falls_short(row: Row, column: GeminiColumn) -> None:
    assert [str(short) for short in row.judge(column)] == []


def test_what_is_not_judged_is_in_the_table() -> None:
    assert set(NOT_HERE) <= {row.id for row in TABLE}
    assert len(ROWS) >= 74
    assert len(SHORT) >= 30


# Rows of this wire alone.


@pytest.fixture(params=COLUMNS, ids=str)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    case = Case(request.param)
    with request.param.prepared():
        yield case
        assert [str(short) for short in case.finish()] == []


def body(**changed: Any) -> str:
    return json.dumps({**chat(), **changed})


def test_blocked_prompt_is_content_filtered(case: Case) -> None:
    text = json.dumps({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}})

    case.ask("body", text=text).fails("ContentFiltered", requests=1)
    case.ask("body", text=text, stream=True).fails("ContentFiltered", requests=1)


@pytest.mark.parametrize("candidates", ["missing", None, []])
def test_answer_without_candidates_is_asked_for_again(case: Case, candidates: Any) -> None:
    given = {name: value for name, value in chat().items() if name != "candidates"}
    text = json.dumps(given if candidates == "missing" else {**given, "candidates": candidates})

    case.ask("body", text=text).fails("InvalidResponse", requests=3)


@pytest.mark.parametrize(
    "candidates",
    ["none", [3], {"index": 0}, [{"content": 3}], [{"content": {"parts": "x"}}], [{"content": {"parts": [3]}}]],
)
def test_wrong_types_in_candidates_are_told_with_their_place(case: Case, candidates: Any) -> None:
    tried = case.ask("body", text=body(candidates=candidates)).fails("InvalidResponse", requests=1)

    assert tried.failure is not None
    assert "candidates" in tried.failure.message


@pytest.mark.parametrize("text", ["{", '{"candidates": [', body()[:-9], body().replace(":", "=", 1)])
def test_broken_json_is_asked_for_again(case: Case, text: str) -> None:
    tried = case.ask("body", text=text).fails("InvalidResponse")

    assert tried.failure is not None
    assert tried.failure.attempts in (2, 3)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE"])
def test_answer_that_went_wrong_is_asked_for_again_and_kept(case: Case, reason: str) -> None:
    text = body(candidates=[{"content": {"parts": [{"text": "Rhine"}]}, "finishReason": reason}])

    tried = case.ask("body", text=text).fails("InvalidResponse")

    assert tried.failure is not None
    assert tried.failure.partial == "Rhine"
    assert tried.failure.attempts in (2, 3)
