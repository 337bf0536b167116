"""The rows that OpenAI's Responses alone has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.case import Case
from tests.faults.responses import RESPONSES, chat


@pytest.fixture(params=RESPONSES.columns, ids=str)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with RESPONSES.judged(request.param) as case:
        yield case


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
