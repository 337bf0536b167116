"""Every feature and quirk of generateContent, one folder each in tests/cases/gemini."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelwrap.errors import BadRequest
from modelwrap.wire import gemini
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

WIRE = "gemini"


def case_in(folder: Path) -> Case:
    return Case(folder, provider="gemini", strict=False)


@with_file(WIRE, "request.json")
def test_what_is_asked_goes_out_as_it_should(folder: Path) -> None:
    case = case_in(folder)
    before = json.dumps([case.call.input, case.call.parameters], default=str)

    request = gemini.to_request(case.call, case.endpoint, case.traits)

    assert_holds(request.json, case.json("request.json"), exactly=True)
    assert json.loads(request.content) == request.json
    action = "streamGenerateContent?alt=sse" if case.call.stream else "generateContent"
    assert request.url == f"{case.endpoint.base_url}/models/{case.call.model}:{action}"
    assert [str(change) for change in case.call.changes] == case.given.get("changes", [])
    assert json.dumps([case.call.input, case.call.parameters], default=str) == before


@with_file(WIRE, "refused.json")
def test_what_gemini_cannot_take_is_refused_in_words(folder: Path) -> None:
    case = case_in(folder)

    with pytest.raises(BadRequest) as caught:
        gemini.to_request(case.call, case.endpoint, case.traits)

    assert not caught.value.sent
    assert_holds(said(caught.value), case.json("refused.json"))


@with_file(WIRE, "reply.json", "reply.txt")
def test_what_comes_in_one_piece_is_read(folder: Path) -> None:
    case = case_in(folder)

    seen = read_reply(case, gemini)

    assert_holds(seen, case.json("expected.json"))


@with_file(WIRE, "stream.sse")
def test_what_comes_in_pieces_is_read(folder: Path) -> None:
    case = case_in(folder)

    seen = read_stream(case, gemini)

    assert_holds(seen, case.json("expected.json"))


@with_file(WIRE, "error.json")
def test_what_is_no_success_is_the_right_error(folder: Path) -> None:
    answer = case_in(folder).json("error.json")
    body = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])

    error = gemini.from_error(answer["status"], answer.get("headers", {}), body.encode())

    assert_holds(said(error), answer["expected"])


def test_every_case_says_what_it_covers_and_tests_something() -> None:
    assert_every_case_is_told_and_tests_something(WIRE)


def test_there_are_enough_cases() -> None:
    assert len(folders(WIRE)) >= 40
