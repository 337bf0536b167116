"""An item of a streamed response whose end has not come, and how much of it was given."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from modelwrap.wire.openai_responses_content import Item

ARGUMENTS = ("arguments", 0)
"""The place of what a tool is called with."""


class OpenItem:
    """Remember how much of an item was given."""

    __slots__ = ("_lengths", "call", "cited", "held", "introduced", "start", "starts", "thought", "tokens")

    def __init__(self, start: Item) -> None:
        self.start = start
        self._lengths: dict[tuple[str, int], int] = {}
        """By what grows, and which of several it is."""
        self.call = 0
        """Which of the reply's tool calls it is."""
        self.introduced = False
        """Whether it was said which tool is called."""
        self.held = ""
        """What a tool is called with by the event that began the item; pieces may repeat it."""
        self.tokens: dict[int, int] = {}
        """How many logprobs of each part were given."""
        self.cited: dict[int, int] = {}
        """How many annotations of each part were given."""
        self.starts: dict[int, int] = {}
        """Where in the whole text each part begins."""
        self.thought = ""
        """Which of its fields the thoughts that were given stand in."""

    def said(self, place: tuple[str, int]) -> bool:
        return place in self._lengths

    def take(self, place: tuple[str, int], piece: str) -> None:
        self._lengths[place] = self._lengths.get(place, 0) + len(piece)

    def opening(self, piece: str) -> str:
        """Give what is held of a call's arguments, where the pieces go on from there."""
        held, self.held = self.held, ""
        return "" if piece.startswith(held) or _is_object(held) else held

    def first_place(self, parts: int) -> int:
        """Give the place of a finished item's first part: vLLM counts on from the item before."""
        places = {place for _, place in self._lengths} | self.cited.keys()
        return min(places) if places and max(places) >= parts else 0

    def missing(self, place: tuple[str, int], whole: Any) -> str:
        """Give the end of a text that did not come in pieces."""
        return whole[self._lengths.get(place, 0) :] if isinstance(whole, str) else ""


def _is_object(text: str) -> bool:
    try:
        return type(from_json(text)) is dict
    except ValueError:
        return False
