from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwrap.wire.think import ThinkSplitter


def split(*pieces: str) -> tuple[str, str]:
    splitter = ThinkSplitter()
    halves = [splitter.feed(piece) for piece in pieces]
    halves.append(splitter.finish())
    return "".join(half[0] for half in halves), "".join(half[1] for half in halves)


@pytest.mark.parametrize(
    "text, reasoning, answer",
    [
        ("<think>so</think>Yes", "so", "Yes"),
        ("<think>\nso\n</think>\n\nYes\n", "\nso\n", "\n\nYes\n"),
        (" \n<think>so</think>Yes", "so", " \nYes"),
        ("<think></think>Yes", "", "Yes"),
        ("<think>never closed</thin", "never closed</thin", ""),
        ("Yes <think>so</think>", "", "Yes <think>so</think>"),
        ("<thinking>so</thinking>", "", "<thinking>so</thinking>"),
        ("<thi", "", "<thi"),
        ("  ", "", "  "),
        ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
        ("", "", ""),
    ],
)
def test_leading_tag_is_told_from_the_answer(text: str, reasoning: str, answer: str) -> None:
    assert split(text) == (reasoning, answer)
    assert split(*text) == (reasoning, answer)


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "</thi", "a", " ", "\n"])), st.integers(1, 5))
def test_where_a_text_is_cut_makes_no_difference(parts: list[str], size: int) -> None:
    text = "".join(parts)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]

    assert split(*pieces) == split(text)
