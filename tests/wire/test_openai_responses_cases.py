"""Every feature and quirk of OpenAI's Responses, one folder each in tests/cases/openai_responses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from modelwrap.errors import BadRequest
from modelwrap.wire import openai_responses
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

WIRE = "openai_responses"


def case_in(folder: Path) -> Case:
    case = Case(folder)
    # What the table says of this is meant for Chat Completions.
    case.traits = replace(case.traits, replay_reasoning=case.given.get("replay_reasoning", True))
    return case


@with_file(WIRE, "request.json")
def test_what_is_asked_goes_out_as_it_should(folder: Path) -> None:
    case = case_in(folder)
    before = json.dumps([case.call.input, case.call.parameters], default=str)

    request = openai_responses.to_request(case.call, case.endpoint, case.traits)

    assert_holds(request.json, case.json("request.json"), exactly=True)
    assert json.loads(request.content) == request.json
    assert request.url == f"{case.endpoint.base_url}/responses"
    assert [str(change) for change in case.call.changes] == case.given.get("changes", [])
    assert json.dumps([case.call.input, case.call.parameters], default=str) == before


@with_file(WIRE, "refused.json")
def test_what_responses_cannot_take_is_refused_in_words(folder: Path) -> None:
    case = case_in(folder)

    with pytest.raises(BadRequest) as caught:
        openai_responses.to_request(case.call, case.endpoint, case.traits)

    assert not caught.value.sent
    assert_holds(said(caught.value), case.json("refused.json"))


@with_file(WIRE, "reply.json")
def test_what_comes_in_one_piece_is_read(folder: Path) -> None:
    case = case_in(folder)

    seen = read_reply(case, openai_responses)

    assert_holds(seen, case.json("expected.json"))


@with_file(WIRE, "stream.sse")
def test_what_comes_in_pieces_is_read(folder: Path) -> None:
    case = case_in(folder)

    seen = read_stream(case, openai_responses)

    assert_holds(seen, case.json("expected.json"))


@with_file(WIRE, "error.json")
def test_what_is_no_success_is_the_right_error(folder: Path) -> None:
    answer = case_in(folder).json("error.json")

    error = openai_responses.from_error(
        answer["status"], answer.get("headers", {}), json.dumps(answer["body"]).encode()
    )

    assert_holds(said(error), answer["expected"])


def test_every_case_says_what_it_covers_and_tests_something() -> None:
    assert_every_case_is_told_and_tests_something(WIRE)


def test_there_are_enough_cases() -> None:
    assert len(folders(WIRE)) >= 40
