"""Text that comes token by token: whole characters, the same text as at once, and stops that are never seen."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwrap.local.transformers.text import Detokenizer, StopFinder, Vocabulary

pytest.importorskip("transformers")

from tests.local.transformers.tokenizers_of_kinds import KINDS, byte_fallback, byte_level

pytestmark = pytest.mark.xdist_group("torch")

TEXTS = st.text(
    alphabet=st.sampled_from("The quick dog.,\n  éß北京М😀👍🏽\u200d") | st.characters(codec="utf-8"), max_size=40
)


def pieces(tokenizer: Any, ids: list[int], **options: Any) -> list[str]:
    detokenizer = Detokenizer(Vocabulary(tokenizer), **options)
    return [*map(detokenizer.feed, ids), detokenizer.finish()]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_text_that_comes_by_tokens_is_the_text_of_all_tokens(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode(text, add_special_tokens=False)

    told = pieces(tokenizer, ids)

    assert "".join(told) == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "bytes"])
@settings(max_examples=150, deadline=None)
@given(text=TEXTS.filter(lambda text: "\ufffd" not in text))
def test_no_piece_of_a_whole_text_has_a_broken_character(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode(text, add_special_tokens=False)

    told = pieces(tokenizer, ids)

    assert not [piece for piece in told if "\ufffd" in piece]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_bytes_at_all_give_what_they_give_at_once(data: st.DataObject) -> None:
    tokenizer = byte_level()
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=60))

    told = pieces(tokenizer, ids)

    assert "".join(told) == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("kind", KINDS)
def test_all_tokens_at_once_give_the_text_of_all_tokens(kind: str) -> None:
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode("The dog 北京 sleeps, and", add_special_tokens=False)

    text = Detokenizer(Vocabulary(tokenizer)).whole(ids)

    assert text == tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_a_space_behind_what_was_written_before_is_kept() -> None:
    tokenizer = byte_fallback()
    before, ids = tokenizer.encode("The", add_special_tokens=False), tokenizer.encode("dog", add_special_tokens=False)

    told = pieces(tokenizer, ids, before=before)

    assert "".join(told) == " dog"


def test_bytes_that_never_become_a_character_are_told_in_the_end() -> None:
    tokenizer = byte_fallback()
    lone = tokenizer.convert_tokens_to_ids("<0xFF>")

    told = pieces(tokenizer, [lone] * 40)

    assert "".join(told) == "\ufffd" * 40
    assert told[15] == "\ufffd" * 16


def test_special_tokens_say_nothing_unless_they_are_shown() -> None:
    tokenizer = byte_level()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = [*tokenizer.encode("dog", add_special_tokens=False), end, tokenizer.eos_token_id]

    assert "".join(pieces(tokenizer, ids)) == "dog"
    assert "".join(pieces(tokenizer, ids, shown=[end])) == "dog<|im_end|>"
    assert "".join(pieces(tokenizer, ids, skip_special=False)) == "dog<|im_end|></s>"


@pytest.mark.parametrize("kind, begins", [("byte_level", ""), ("byte_fallback", " "), ("bytes", "")])
@settings(max_examples=100, deadline=None)
@given(text=TEXTS.filter(lambda text: text and "▁" not in text))
def test_the_bytes_of_tokens_are_the_bytes_of_their_text(kind: str, begins: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    vocabulary = Vocabulary(tokenizer)
    ids = tokenizer.encode(text, add_special_tokens=False)

    joined = b"".join(map(vocabulary.bytes_of, ids))

    assert joined.decode() == begins + text


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"bytes"}))
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_bytes_of_the_tokens_of_an_answer_are_those_of_its_text(kind: str, data: st.DataObject) -> None:
    tokenizer = KINDS[kind]()
    vocabulary = Vocabulary(tokenizer)
    pieces_of_bytes = {f"<0x{byte:02X}>" for byte in range(256)}
    # Single bytes that make no character become another one in the text.
    ordinary = [
        number
        for number in range(len(tokenizer))
        if number not in vocabulary.specials and tokenizer.convert_ids_to_tokens(number) not in pieces_of_bytes
    ]
    first, *rest = ids = data.draw(st.lists(st.sampled_from(ordinary), min_size=1, max_size=20))

    joined = vocabulary.first_bytes_of(first) + b"".join(map(vocabulary.bytes_of, rest))

    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert joined.decode("utf-8", "replace") == text


def test_a_mark_is_found_where_it_is_a_token() -> None:
    tokenizer = byte_level()
    vocabulary = Vocabulary(tokenizer)

    assert vocabulary.id_of("<|im_end|>") == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert vocabulary.id_of("\nUser:") is None
    assert vocabulary.bytes_of(len(tokenizer) + 7) == b""


@settings(max_examples=500, deadline=None)
@given(
    text=st.text("abAB\n", max_size=30),
    stops=st.lists(st.text("abAB\n", min_size=1, max_size=4), max_size=4),
    cuts=st.lists(st.integers(0, 30), max_size=8),
)
def test_stops_are_never_seen_however_the_text_is_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    finder, whole = StopFinder(stops), StopFinder(stops)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]

    told = "".join(finder.feed(text[start:end]) for start, end in pairwise(edges))
    told += finder.finish()

    assert told == whole.feed(text) + whole.finish()
    assert text.startswith(told)
    assert not any(stop in told for stop in stops)
    assert finder.found == any(stop in text for stop in stops)
    assert finder.found or told == text


def test_only_what_could_begin_a_stop_is_held_back() -> None:
    finder = StopFinder(["\nUser:", "###"])

    told = [finder.feed(text) for text in ("Hi.", "\n", "Us", "ual ", "#", "#", "!", "\nUser", ": x")]

    assert told == ["Hi.", "", "", "\nUsual ", "", "", "##!", "", ""]
    assert finder.found
