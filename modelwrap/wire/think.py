"""Reasoning that models write into their answer, `<think>…</think>`, told from the answer itself."""

from __future__ import annotations

_OPEN = "<think>"
_CLOSE = "</think>"


class ThinkSplitter:
    """Split a text that comes in pieces into what was thought and what was said.

    Only a tag that leads the text counts; every other character is kept, on one side or the other.

    >>> splitter = ThinkSplitter()
    >>> splitter.feed("<thi"), splitter.feed("nk>so</th"), splitter.feed("ink>Yes")
    (('', ''), ('so', ''), ('', 'Yes'))
    """

    def __init__(self) -> None:
        self._held = ""
        self._tag: str | None = _OPEN
        self.thought = False
        """Whether there was a tag."""

    @property
    def settled(self) -> bool:
        """Whether all that comes is said."""
        return self._tag is None

    def feed(self, text: str) -> tuple[str, str]:
        """Give what this piece adds to the reasoning and to the answer."""
        if self._tag is None:
            return "", text
        text = self._held + text
        self._held = ""
        return self._opening(text) if self._tag == _OPEN else self._closing(text)

    def finish(self) -> tuple[str, str]:
        """Give what was held back because it could have become a tag."""
        held, self._held = self._held, ""
        return (held, "") if self._tag == _CLOSE else ("", held)

    def _opening(self, text: str) -> tuple[str, str]:
        start = text.lstrip()
        if start.startswith(_OPEN):
            self._tag = _CLOSE
            self.thought = True
            space = text[: len(text) - len(start)]
            reasoning, answer = self._closing(start[len(_OPEN) :])
            return reasoning, space + answer
        if _OPEN.startswith(start):
            self._held = text
            return "", ""
        self._tag = None
        return "", text

    def _closing(self, text: str) -> tuple[str, str]:
        reasoning, tag, answer = text.partition(_CLOSE)
        if tag:
            self._tag = None
            return reasoning, answer
        kept = len(text) - _length_of_start(text, _CLOSE)
        self._held = text[kept:]
        return text[:kept], ""


def _length_of_start(text: str, tag: str) -> int:
    """Measure how much of a tag's beginning a text ends with."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[len(text) - length :]):
            return length
    return 0
