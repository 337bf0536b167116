"""Every feature and quirk of the wire of embeddings, one folder each in tests/cases/openai_embedding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelwrap.errors import CallError
from modelwrap.types import EmbeddingReply
from modelwrap.wire import openai_embedding
from modelwrap.wire.embeddings import batches, joined
from tests.wire.cases import (
    Case,
    assert_every_case_is_told_and_tests_something,
    assert_holds,
    folders,
    said,
    with_file,
)

WIRE = "openai_embedding"


@with_file(WIRE, "request.json")
def test_what_is_asked_goes_out_as_it_should(folder: Path) -> None:
    case = Case(folder)

    request = openai_embedding.to_request(case.call, case.endpoint, case.traits)

    assert_holds(request.json, case.json("request.json"), exactly=True)
    assert json.loads(request.content) == request.json
    assert request.url == f"{case.endpoint.base_url}/embeddings"
    assert case.changes == case.given.get("changes", [])
    # Two thousand vectors of three thousand numbers fit in.
    assert request.largest_body == 256 * 2**20


@with_file(WIRE, "refused.json")
def test_what_cannot_go_out_is_refused_here(folder: Path) -> None:
    case = Case(folder)

    with pytest.raises(CallError) as caught:
        openai_embedding.to_request(case.call, case.endpoint, case.traits)

    assert_holds(said(caught.value), case.json("refused.json"))
    assert not caught.value.sent


@with_file(WIRE, "reply.json", "reply.txt")
def test_what_comes_in_is_read(folder: Path) -> None:
    case = Case(folder)

    assert_holds(read(case), case.json("expected.json"))


@with_file(WIRE, "error.json")
def test_what_is_no_success_is_the_right_error(folder: Path) -> None:
    answer = Case(folder).json("error.json")

    error = openai_embedding.from_error(answer["status"], {}, json.dumps(answer["body"]).encode())

    assert_holds(said(error), answer["expected"])


def test_every_case_says_what_it_covers_and_tests_something() -> None:
    assert_every_case_is_told_and_tests_something(WIRE)
    assert len(folders(WIRE)) >= 30


def read(case: Case) -> dict[str, Any]:
    body = case.bytes("reply.json", "reply.txt")
    try:
        reply = openai_embedding.from_response(body, case.given.get("headers", {}), case.call, case.traits)
    except CallError as error:
        return {"error": said(error)}
    assert reply.raw == json.loads(body)
    return {
        "embeddings": reply.embeddings,
        "model": reply.model,
        "tokens": reply.meta.usage.prompt if reply.meta.usage else None,
        "request_id": reply.meta.request_id,
        "dumped": reply.model_dump(),
        "changes": case.changes,
    }


# Several requests for one call.


@pytest.mark.parametrize(
    "sizes, most, most_in_all, expected",
    [
        ([1, 1, 1], 2, None, [[0, 1], [2]]),
        ([1, 1, 1], 9, 2, [[0, 1], [2]]),
        ([5, 1, 1], 9, 2, [[0], [1, 2]]),
        ([1, 5, 1], 9, 2, [[0], [1], [2]]),
        ([], 9, 2, []),
    ],
)
def test_texts_are_split_by_number_and_by_size(
    sizes: list[int], most: int, most_in_all: int | None, expected: list[list[int]]
) -> None:
    assert batches(range(len(sizes)), most, sizes, most_in_all) == expected


def test_what_is_counted_is_summed_and_what_is_not_is_the_last() -> None:
    usages: list[dict[str, Any]] = [
        {"prompt_tokens": 2, "total_tokens": 2, "cost": {"total": 0.5, "currency": "USD"}, "byok": False},
        {"prompt_tokens": 3, "total_tokens": 3, "cost": {"total": 0.25, "currency": "USD"}, "byok": True},
    ]
    parts = [EmbeddingReply.model_validate({"model": "m", "data": [], "usage": usage}) for usage in usages]

    whole = joined(parts).usage.model_dump()

    assert whole == {
        "prompt_tokens": 5,
        "total_tokens": 5,
        "cost": {"total": 0.75, "currency": "USD"},
        "byok": True,
    }


def test_what_one_part_did_not_count_is_not_said_of_the_whole() -> None:
    parts = [EmbeddingReply.model_validate({"data": [], **usage}) for usage in ({"usage": {"prompt_tokens": 1}}, {})]

    assert "usage" not in joined(parts).model_dump()
    assert joined(parts).meta.usage is None
