"""Reasoning that models write into their answer, `<think>…</think>`, told from the answer itself."""

from __future__ import annotations

from collections.abc import Mapping

# Nobody asks a model for these; Seed-OSS, Magistral and Kimi-VL write them where a server does not read them.
_TAGS: Mapping[str, str] = {
    "<think>": "</think>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "◁think▷": "◁/think▷",
}
_FIRST_CHARACTERS = "<[◁"


class ThinkSplitter:
    """Split a text that comes in pieces into what was thought and what was said.

    Only a tag that leads the text counts; every other character is kept, on one side or the other. `name` is that of a
    tag which one host uses, and which people elsewhere ask models for.

    >>> splitter = ThinkSplitter()
    >>> splitter.feed("<thi"), splitter.feed("nk>so</th"), splitter.feed("ink>Yes")
    (('', ''), ('so', ''), ('', 'Yes'))
    """

    def __init__(self, name: str = "") -> None:
        self._tags = {**_TAGS, f"<{name}>": f"</{name}>"} if name else _TAGS
        self._held = ""
        self._end = ""
        self.settled = False
        """Whether all that comes is said."""
        self.thought = False
        """Whether there was a tag."""

    def feed(self, text: str) -> tuple[str, str]:
        """Give what this piece adds to the reasoning and to the answer."""
        if self.settled:
            return "", text
        text = self._held + text
        self._held = ""
        return self._closing(text) if self._end else self._opening(text)

    def finish(self) -> tuple[str, str]:
        """Give what was held back because it could have become a tag."""
        held, self._held = self._held, ""
        return (held, "") if self._end and not self.settled else ("", held)

    def _opening(self, text: str) -> tuple[str, str]:
        start = text.lstrip()
        if start and start[0] not in _FIRST_CHARACTERS:
            self.settled = True
            return "", text
        for tag, end in self._tags.items():
            if start.startswith(tag):
                self._end = end
                self.thought = True
                space = text[: len(text) - len(start)]
                reasoning, answer = self._closing(start[len(tag) :])
                return reasoning, space + answer
        if any(tag.startswith(start) for tag in self._tags):
            self._held = text
            return "", ""
        self.settled = True
        return "", text

    def _closing(self, text: str) -> tuple[str, str]:
        reasoning, tag, answer = text.partition(self._end)
        if tag:
            self.settled = True
            return reasoning, answer
        kept = len(text) - _length_of_start(text, self._end)
        self._held = text[kept:]
        return text[:kept], ""


def _length_of_start(text: str, tag: str) -> int:
    """Measure how much of a tag's beginning a text ends with."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[len(text) - length :]):
            return length
    return 0
