"""The table on OpenAI's Responses. The rows that hang on the wire run here; `make prove` runs all, on every client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.case import Case, Row
from tests.faults.responses import COLUMNS, ResponsesColumn, chat, speaking_responses
from tests.faults.rows import TABLE

NOT_HERE = {
    "C20": "there are no choices on this wire: a row of its own below",
    "C21": "there are no choices on this wire: a row of its own below",
    "C22": "the row breaks the JSON of Chat Completions: a row of its own below",
    "C53": "the row asks a server that repeats messages of Chat Completions",
    "C54": "the row asks a server that repeats messages of Chat Completions",
    "C55": "the row asks a server that repeats messages of Chat Completions",
    "S08": "the end of this wire is its end mark",
    "S09": "the end of this wire is its end mark",
    "S25": "there are no choices on this wire; that items have an end is shown beside its codec",
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
def responses_everywhere() -> Iterator[None]:
    with speaking_responses():
        yield


def in_turn(rows: list[Row]) -> list[Any]:
    return [pytest.param(row, COLUMNS[number % len(COLUMNS)], id=row.id) for number, row in enumerate(rows)]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("row, column", in_turn(SHORT))
def test_no_row_of_the_wire_falls_short(row: Row, column: ResponsesColumn) -> None:
    assert [str(short) for short in row.judge(column)] == []


@pytest.mark.prove
@pytest.mark.timeout(60)
@pytest.mark.parametrize("column", COLUMNS, ids=str)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_no_row_falls_short(row: Row, column: ResponsesColumn) -> None:
    assert [str(short) for short in row.judge(column)] == []


def test_what_is_not_judged_is_in_the_table() -> None:
    assert set(NOT_HERE) <= {row.id for row in TABLE}
    assert len(ROWS) >= 75
    assert len(SHORT) >= 34


# Rows of this wire alone.


@pytest.fixture(params=COLUMNS, ids=str)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    case = Case(request.param)
    with request.param.prepared():
        yield case
        assert [str(short) for short in case.finish()] == []


def body(**changed: Any) -> str:
    return json.dumps({**chat(), **changed})


@pytest.mark.parametrize("output", ["none", [3], {"type": "message"}, None])
def test_wrong_types_in_the_output_are_told_with_their_place(case: Case, output: Any) -> None:
    tried = case.ask("body", text=body(output=output)).fails("InvalidResponse", requests=1)

    assert tried.failure is not None
    assert "output" in tried.failure.message


@pytest.mark.parametrize("text", ["{", '{"output": [', body()[:-9], body().replace(":", "=", 1)])
def test_broken_json_is_asked_for_again(case: Case, text: str) -> None:
    tried = case.ask("body", text=text).fails("InvalidResponse")

    assert tried.failure is not None
    assert tried.failure.attempts in (2, 3)


def test_response_that_failed_is_asked_for_again(case: Case) -> None:
    failed = {"code": "server_error", "message": "The server had an error."}

    tried = case.ask("body", text=body(status="failed", error=failed)).fails("ServerFailed", requests=3)

    assert tried.failure is not None
    assert tried.failure.partial == "Rhine, Elbe, Oder 🌊."


def test_response_that_was_refused_is_not(case: Case) -> None:
    failed = {"code": "bio_policy", "message": "This request was declined."}

    case.ask("body", text=body(status="failed", error=failed, output=[])).fails("ContentFiltered", requests=1)
