"""How probable the tokens of an answer were, in OpenAI's form."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any, TypeAlias

from modelwrap.local.transformers.text import Vocabulary

Logprob: TypeAlias = tuple[float, tuple[tuple[int, float], ...]]
"""How probable a token was, and which others with it."""

# The wire has no infinity; nothing is less probable than this.
_NEVER = -9999.0


class Logprobs:
    """Hold back what is known of each token until its text is told.

    Tokens in `hidden` add no bytes to the text. `begins` says that the first begins a text.
    """

    def __init__(self, vocabulary: Vocabulary, hidden: Collection[int] = (), *, begins: bool = False) -> None:
        self._vocabulary = vocabulary
        self._hidden = hidden
        self._begins = begins
        self._held: deque[tuple[int, dict[str, Any]]] = deque()

    def note(self, number: int, logprob: Logprob, place: int) -> None:
        """Take a token, whose text begins at this place of the answer."""
        own, others = logprob
        top = [self._entry(other, value) for other, value in others]
        self._held.append((place, {**self._entry(number, own), "top_logprobs": top}))
        self._begins = self._begins and number in self._hidden

    def told(self, place: int | None) -> list[dict[str, Any]]:
        """Give the tokens that begin before a place, or all that are left."""
        told = []
        while self._held and (place is None or self._held[0][0] < place):
            told.append(self._held.popleft()[1])
        return told

    def _entry(self, number: int, logprob: float) -> dict[str, Any]:
        bytes_of = self._vocabulary.first_bytes_of if self._begins else self._vocabulary.bytes_of
        written = bytes_of(number)
        added = [] if number in self._hidden else list(written)
        return {"token": written.decode("utf-8", "replace"), "logprob": max(logprob, _NEVER), "bytes": added}
