"""One answer told: in pieces or whole, from its beginning or from where a lost worker left it, the same is said."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from modelwrap.local.transformers.answers import CallReader, PlainReader
from modelwrap.local.transformers.logprobs import Logprobs
from modelwrap.local.transformers.telling import Answer, HookedText, Limits
from modelwrap.local.transformers.text import Detokenizer, Vocabulary
from modelwrap.local.transformers.tool_calls import form_of
from modelwrap.local.work import Piece
from tests.local.transformers.tokenizers_of_kinds import KINDS

pytestmark = pytest.mark.xdist_group("torch")

TOKENS = st.lists(st.integers(4, 320), min_size=1, max_size=40)
STOPS = st.lists(st.text("abehinorst .", min_size=1, max_size=3), max_size=3)
END = 2


def begun(
    kind: str,
    stops: list[str],
    *,
    streams: bool,
    hooked: bool = False,
    most: int = 50,
    logprobs: bool = False,
    **options: Any,
) -> Answer:
    vocabulary = Vocabulary(KINDS[kind]())
    detokenizer = Detokenizer(vocabulary)
    text = HookedText(Detokenizer(vocabulary).whole) if hooked else detokenizer
    limits = Limits(most, ends={END}, stops=stops)
    known = Logprobs(vocabulary) if logprobs else None
    options = {"watch": detokenizer if hooked and stops else None, "logprobs": known, **options}
    return Answer(1, "m", 3, limits, text, PlainReader(), streams=streams, **options)


def told(answer: Answer, tokens: list[int]) -> list[Piece]:
    pieces: list[Piece] = []
    for token in [*tokens, END]:
        pieces += answer.take(token, (-1.0, ()))
        if answer.finish_reason is not None:
            break
    return pieces


def text_of(pieces: list[Piece]) -> str:
    choices = [choice for piece in pieces if piece.data for choice in piece.data["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def reasons(pieces: list[Piece]) -> list[str]:
    choices = [choice for piece in pieces if piece.data for choice in piece.data["choices"]]
    return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


def tokens_of(pieces: list[Piece]) -> list[int]:
    return [token for piece in pieces for token in piece.tokens]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=120, deadline=None)
@given(tokens=TOKENS, stops=STOPS, most=st.integers(1, 50))
def test_pieces_and_the_whole_say_the_same(kind: str, tokens: list[int], stops: list[str], most: int) -> None:
    tokens = [token % len(KINDS[kind]()) for token in tokens]
    streamed = told(begun(kind, stops, streams=True, most=most), tokens)
    whole = told(begun(kind, stops, streams=False, most=most), tokens)

    assert text_of(streamed) == text_of(whole)
    assert reasons(streamed) == reasons(whole)
    assert tokens_of(streamed) == tokens_of(whole)
    assert not any(stop in text_of(whole) for stop in stops)


@settings(max_examples=120, deadline=None)
@given(tokens=TOKENS, stops=STOPS)
def test_a_text_that_a_function_makes_stops_where_pieces_would(tokens: list[int], stops: list[str]) -> None:
    streamed = told(begun("byte_level", stops, streams=True), tokens)
    hooked = told(begun("byte_level", stops, streams=True, hooked=True), tokens)

    assert text_of(streamed) == text_of(hooked)
    assert tokens_of(streamed) == tokens_of(hooked)


@pytest.mark.parametrize("streams", [False, True])
@settings(max_examples=120, deadline=None)
@given(data=st.data(), tokens=TOKENS, stops=STOPS)
def test_an_answer_goes_on_from_any_of_its_pieces(
    streams: bool, data: st.DataObject, tokens: list[int], stops: list[str]
) -> None:
    whole = told(begun("byte_level", stops, streams=streams), tokens)
    kept = whole[: data.draw(st.integers(0, len(whole)))]
    done = tokens_of(kept)

    answer = begun("byte_level", stops, streams=streams)
    for token in done:
        answer.again(token)
    left = [*tokens, END][len(done) :]
    rest = answer.end() if answer.finish_reason else told(answer, left[:-1])

    # What is told when all is over may come twice, if it was lost with the news that it was.
    over = [piece for piece in kept if reasons([piece])]
    assert over or text_of([*kept, *rest]) == text_of(whole)
    assert reasons(rest) == reasons(whole)
    assert [*done, *tokens_of(rest)] == tokens_of(whole)


@settings(max_examples=120, deadline=None)
@given(tokens=TOKENS, stops=STOPS)
def test_probabilities_are_told_of_what_is_said(tokens: list[int], stops: list[str]) -> None:
    streamed = told(begun("byte_level", stops, streams=True, logprobs=True), tokens)
    whole = told(begun("byte_level", stops, streams=False, logprobs=True), tokens)

    entries = [
        entry
        for piece in streamed
        if piece.data
        for choice in piece.data["choices"]
        for entry in choice["logprobs"]["content"]
    ]
    (choice,) = whole[-1].data["choices"]
    assert entries == choice["logprobs"]["content"]
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode("utf-8", "replace").startswith(text_of(whole))


@pytest.mark.parametrize("kind, text", [("byte_fallback", "The dog"), ("metaspace", "The dog"), ("words", "The dog")])
def test_the_first_token_has_no_space_that_the_text_has_not(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    vocabulary = Vocabulary(tokenizer)
    hidden = tokenizer.convert_tokens_to_ids("<|im_end|>")
    known = Logprobs(vocabulary, Detokenizer(vocabulary).hidden, begins=True)

    for token in [hidden, *tokenizer.encode(text, add_special_tokens=False), hidden]:
        known.note(token, (-1.0, ((hidden, -1.0),)), 0)

    entries = known.told(None)
    assert b"".join(bytes(entry["bytes"]) for entry in entries) == text.encode()
    assert entries[-1]["token"] == entries[0]["top_logprobs"][0]["token"] == "<|im_end|>"


def test_only_the_first_call_is_told_where_one_is_wanted() -> None:
    vocabulary = Vocabulary(KINDS["byte_level"]())
    text = '<tool_call>{"name": "a"}</tool_call><tool_call>{"name": "b"}</tool_call>'
    reader = CallReader(form_of("<tool_call>"), {"a": {}, "b": {}})
    answer = Answer(1, "m", 3, Limits(9), Detokenizer(vocabulary), reader, only_one_call=True)

    (piece,) = answer.take_text(text, 7)

    (choice,) = piece.data["choices"]
    assert [call["function"]["name"] for call in choice["delta"]["tool_calls"]] == ["a"]
    assert choice["finish_reason"] == "tool_calls"
    assert piece.data["usage"] == {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
