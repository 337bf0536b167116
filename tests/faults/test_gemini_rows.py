"""The rows that Gemini's wire alone has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.case import Case
from tests.faults.gemini import GEMINI, chat


@pytest.fixture(params=GEMINI.columns, ids=str)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with GEMINI.judged(request.param) as case:
        yield case


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
