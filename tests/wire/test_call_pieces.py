"""Tool calls in pieces, cut anywhere: what is well formed is left alone, and what is said twice counts once."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from modelwrap.types import Change
from modelwrap.wire.call_pieces import CallPieces

# Few letters, most of them JSON's own, so that parts often look like beginnings.
TEXTS = st.text(alphabet='ab{}[]":,\\é\n', max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ARGUMENTS = st.builds(
    json.dumps,
    st.dictionaries(TEXTS, VALUES, max_size=3),
    ensure_ascii=st.booleans(),
    separators=st.sampled_from([None, (",", ":")]),
)


def piece(arguments: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"index": index, "function": {"arguments": arguments}, **more}


def begun(index: int = 0) -> dict[str, Any]:
    return {"index": index, "id": f"call_{index}", "function": {"name": "f", "arguments": ""}}


def cut(data: st.DataObject, text: str) -> list[str]:
    places = sorted(data.draw(st.sets(st.integers(1, max(len(text) - 1, 1)), max_size=6)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def read(*pieces: dict[str, Any]) -> tuple[list[Any], list[Change]]:
    changes: list[Change] = []
    calls = CallPieces(changes)
    return [told for each in pieces for told in calls.told_apart([each])], changes


def said(told: list[Any]) -> str:
    return "".join(each["function"]["arguments"] for each in told)


@given(ARGUMENTS, st.data())
def test_arguments_cut_anywhere_are_left_alone(arguments: str, data: st.DataObject) -> None:
    pieces = [begun(), *map(piece, cut(data, arguments))]

    told, changes = read(*pieces)

    assert all(one is other for one, other in zip(told, pieces, strict=True))
    assert changes == []


@given(ARGUMENTS, ARGUMENTS, st.data())
def test_calls_that_come_by_turns_are_left_alone(first: str, second: str, data: st.DataObject) -> None:
    by_turns = [[piece(part) for part in cut(data, first)], [piece(part, 1) for part in cut(data, second)]]
    pieces = [begun(0), begun(1)]
    while any(by_turns):
        pieces.append(data.draw(st.sampled_from([left for left in by_turns if left])).pop(0))

    told, changes = read(*pieces)

    assert all(one is other for one, other in zip(told, pieces, strict=True))
    assert changes == []


@given(ARGUMENTS, st.data())
def test_arguments_that_are_said_again_are_taken_once(arguments: str, data: st.DataObject) -> None:
    again = data.draw(
        st.sampled_from([piece(arguments), {**begun(), "function": {"name": "f", "arguments": arguments}}])
    )

    told, _ = read(begun(), *map(piece, cut(data, arguments)), again)

    assert said(told) == arguments
    assert {each["index"] for each in told} == {0}


@given(st.dictionaries(st.text("ab", max_size=3), st.integers() | st.text("ab", max_size=3), max_size=3), st.data())
def test_arguments_that_come_with_all_that_came_before_are_taken_once(given: Any, data: st.DataObject) -> None:
    arguments = json.dumps(given)
    parts = cut(data, arguments)
    # Behind a brace alone, what comes can be nothing but all of it again.
    grown = {"{", *("".join(parts[: count + 1]) for count in range(len(parts)))}

    told, _ = read(begun(), *map(piece, sorted(grown, key=len)))

    assert said(told) == arguments


def test_of_calls_that_share_an_id_a_piece_belongs_to_the_latest() -> None:
    first = {"id": "f", "function": {"name": "f", "arguments": '{"a":1}'}}
    second = {"id": "f", "function": {"name": "f", "arguments": '{"a"'}}

    told, _ = read(first, second, {"id": "f", "function": {"arguments": ":2}"}})

    assert [each["index"] for each in told] == [0, 1, 1]
    assert said(told[1:]) == '{"a":2}'


def test_a_thousand_calls_without_an_index_are_as_many() -> None:
    pieces = [{"id": f"call_{number}", "function": {"name": "f", "arguments": "{}"}} for number in range(1000)]

    told, _ = read(*pieces)

    assert [each["index"] for each in told] == list(range(1000))
