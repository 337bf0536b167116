"""Every feature and quirk of the wires that carry chats, one folder each in tests/cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from modelwrap.errors import BadRequest
from modelwrap.wire import claude, gemini, openai_chat, openai_responses
from tests.wire.cases import (
    Case,
    assert_every_case_is_told_and_tests_something,
    assert_holds,
    folders,
    read_reply,
    read_stream,
    said,
)


@dataclass(frozen=True)
class Wire:
    """Say what is a wire's own about its folders."""

    name: str
    codec: Any
    path: Callable[[Case], str]
    """Where under the base URL its requests go."""
    provider: str | None = None
    """Whose models it speaks to, where it speaks to no others'."""

    def case(self, folder: Path) -> Case:
        case = Case(folder, provider=self.provider, strict=self.provider is None)
        if self.codec is openai_responses:
            # What the table says of this is meant for Chat Completions.
            case.traits = replace(case.traits, replay_reasoning=case.given.get("replay_reasoning", True))
        return case


def _path_of_gemini(case: Case) -> str:
    action = "streamGenerateContent?alt=sse" if case.call.stream else "generateContent"
    return f"/models/{case.call.model}:{action}"


WIRES = [
    Wire("openai_chat", openai_chat, lambda case: "/chat/completions"),
    Wire("openai_responses", openai_responses, lambda case: "/responses"),
    Wire("claude", claude, lambda case: "/messages", provider="anthropic"),
    Wire("gemini", gemini, _path_of_gemini, provider="gemini"),
]


def with_file(*names: str) -> Any:
    """Run a test for each folder of each wire that has one of these files."""
    return pytest.mark.parametrize(
        "wire, folder",
        [
            pytest.param(wire, folder, id=f"{wire.name}-{folder.name}")
            for wire in WIRES
            for folder in folders(wire.name)
            if any((folder / name).exists() for name in names)
        ],
    )


@with_file("request.json")
def test_what_is_asked_goes_out_as_it_should(wire: Wire, folder: Path) -> None:
    case = wire.case(folder)
    before = json.dumps([case.call.input, case.call.parameters], default=str)

    request = wire.codec.to_request(case.call, case.endpoint, case.traits)

    assert_holds(request.json, case.json("request.json"), exactly=True)
    assert json.loads(request.content) == request.json
    assert request.url == case.endpoint.base_url + wire.path(case)
    assert_changes_are_told(wire, case)
    assert json.dumps([case.call.input, case.call.parameters], default=str) == before


def assert_changes_are_told(wire: Wire, case: Case) -> None:
    # Where the wire is nearly what was written, a change is named; elsewhere its words are told, too.
    told = case.changes if wire.codec is openai_chat else [str(change) for change in case.call.changes]
    assert told == case.given.get("changes", [])


@with_file("refused.json")
def test_what_the_wire_cannot_take_is_refused_in_words(wire: Wire, folder: Path) -> None:
    case = wire.case(folder)

    with pytest.raises(BadRequest) as caught:
        wire.codec.to_request(case.call, case.endpoint, case.traits)

    assert not caught.value.sent
    assert_holds(said(caught.value), case.json("refused.json"))


@with_file("reply.json", "reply.txt")
def test_what_comes_in_one_piece_is_read(wire: Wire, folder: Path) -> None:
    case = wire.case(folder)

    seen = read_reply(case, wire.codec)

    assert_holds(seen, case.json("expected.json"))


@with_file("stream.sse")
def test_what_comes_in_pieces_is_read(wire: Wire, folder: Path) -> None:
    case = wire.case(folder)

    seen = read_stream(case, wire.codec)

    assert_holds(seen, case.json("expected.json"))


@with_file("error.json")
def test_what_is_no_success_is_the_right_error(wire: Wire, folder: Path) -> None:
    answer = wire.case(folder).json("error.json")
    body = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])

    error = wire.codec.from_error(answer["status"], answer.get("headers", {}), body.encode())

    assert_holds(said(error), answer["expected"])


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_every_case_says_what_it_covers_and_tests_something(wire: Wire) -> None:
    assert_every_case_is_told_and_tests_something(wire.name)
    assert len(folders(wire.name)) >= 40


def test_each_parameter_of_chats_has_one_case() -> None:
    given = [Case(folder).given for folder in folders("openai_chat")]
    rows = [case["parameter"] for case in given if "parameter" in case]

    assert len(set(rows)) == len(rows)
    assert all("sent_as" in case for case in given if "parameter" in case)


def test_claude_is_told_which_api_is_meant() -> None:
    case = WIRES[2].case(folders("claude")[0])

    request = claude.to_request(
        replace(case.call, input=[{"role": "user", "content": "Hi"}]), case.endpoint, case.traits
    )

    assert request.headers["anthropic-version"] == claude.API_VERSION
