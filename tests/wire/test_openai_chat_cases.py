"""Every feature and quirk of the chat wire, one folder each in tests/cases/openai_chat."""

from __future__ import annotations

import json
from pathlib import Path

from modelwrap.wire import openai_chat
from tests.wire.cases import (
    Case,
    assert_every_case_is_told_and_tests_something,
    assert_holds,
    folders,
    read_reply,
    read_stream,
    said,
    with_file,
)

WIRE = "openai_chat"


@with_file(WIRE, "request.json")
def test_what_is_asked_goes_out_as_it_should(folder: Path) -> None:
    case = Case(folder)
    before = json.dumps(case.call.parameters, default=str)

    request = openai_chat.to_request(case.call, case.endpoint, case.traits)

    assert_holds(request.json, case.json("request.json"), exactly=True)
    assert json.loads(request.content) == request.json
    assert request.url == f"{case.given['base_url']}/chat/completions"
    assert case.changes == case.given.get("changes", [])
    assert json.dumps(case.call.parameters, default=str) == before


@with_file(WIRE, "reply.json", "reply.txt")
def test_what_comes_in_one_piece_is_read(folder: Path) -> None:
    case = Case(folder)
    seen = read_reply(case, openai_chat)

    assert_holds(seen, case.json("expected.json"))


@with_file(WIRE, "stream.sse")
def test_what_comes_in_pieces_is_read(folder: Path) -> None:
    case = Case(folder)

    seen = read_stream(case, openai_chat)

    assert_holds(seen, case.json("expected.json"))


@with_file(WIRE, "error.json")
def test_what_is_no_success_is_the_right_error(folder: Path) -> None:
    answer = Case(folder).json("error.json")
    body = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])

    error = openai_chat.from_error(answer["status"], answer.get("headers", {}), body.encode())

    assert_holds(said(error), answer["expected"])


def test_every_case_says_what_it_covers_and_tests_something() -> None:
    assert_every_case_is_told_and_tests_something(WIRE)


def test_there_are_enough_cases_and_one_row_for_each_parameter() -> None:
    rows = [case["parameter"] for case in (Case(folder).given for folder in folders(WIRE)) if "parameter" in case]

    assert len(folders(WIRE)) >= 60
    assert len(set(rows)) == len(rows)
    assert all("sent_as" in case for case in (Case(folder).given for folder in folders(WIRE)) if "parameter" in case)
