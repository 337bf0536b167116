"""Tokens into text as they come: no broken characters, and nothing of a text that ends the answer."""

from __future__ import annotations

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from typing import Any

_BROKEN = "\ufffd"
# A character is four tokens at most. What is still broken after so many is not one that wants to be whole.
_LONGEST_WAIT = 16
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_utf8 = getincrementaldecoder("utf-8")


class Vocabulary:
    """Know of a tokenizer what each token is, as text and as bytes."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = getattr(tokenizer, "added_tokens_decoder", None) or {}
        self._added: dict[int, str] = {number: token.content for number, token in added.items()}
        self._numbers = {content: number for number, content in self._added.items()}
        self.specials: frozenset[int] = frozenset(getattr(tokenizer, "all_special_ids", ())) | {
            number for number, token in added.items() if token.special
        }
        # The library's own method does the same, and takes ten times as long on the way there.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._decode: Callable[..., str] | None = getattr(backend, "decode", None)
        decoder = getattr(backend, "decoder", None)
        self.is_byte_level = type(decoder).__name__ == "ByteLevel"
        """Whether a text is nothing but the bytes of its tokens."""
        self._is_metaspace = "▁" in repr(decoder)
        self._begins: tuple[list[int], str] | None = None
        """A token and its text, to put others behind."""
        self._bytes: dict[int, bytes] = {}

    def text_of(self, ids: Sequence[int]) -> str:
        """Give the text of tokens, special ones with the rest."""
        if self._decode is not None:
            return self._decode(list(ids), skip_special_tokens=False)
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return str(self.tokenizer.decode(list(ids), **options))

    def bytes_of(self, number: int) -> bytes:
        """Give what one token adds to a text, which may be a part of a character."""
        known = self._bytes.get(number)
        if known is None:
            known = self._bytes[number] = self._read_bytes(number)
        return known

    def first_bytes_of(self, number: int) -> bytes:
        """Give what a token adds where it begins a text, for some tokenizers drop the space there."""
        if self.is_byte_level or number in self._added or self._byte_of(number):
            return self.bytes_of(number)
        return self.text_of([number]).encode()

    def id_of(self, text: str) -> int | None:
        """Give the token that a mark is, where it is one."""
        if (number := self._numbers.get(text)) is not None:
            return number
        found: Any = self.tokenizer.convert_tokens_to_ids(text)
        return int(found) if isinstance(found, int) and self._piece_of(found) == text else None

    def _read_bytes(self, number: int) -> bytes:
        piece = self._piece_of(number)
        if self.is_byte_level:
            known = _byte_level()
            if all(character in known for character in piece):
                return bytes(known[character] for character in piece)
            return piece.encode()
        if number in self._added:
            return self._added[number].encode()
        if byte := self._byte_of(number):
            return byte
        if self._is_metaspace:
            return piece.replace("▁", " ").encode()
        before, text = self._behind()
        added = self.text_of([*before, number])
        return (added[len(text) :] if added.startswith(text) else self.text_of([number])).encode()

    def _byte_of(self, number: int) -> bytes | None:
        """Give the byte that a token stands for; None where it is a text."""
        piece = self._piece_of(number)
        if found := _BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        # By this character some name a byte that alone is no text.
        is_half = len(piece) == 1 and 0x80 <= ord(piece) <= 0xFF and not self.text_of([number])
        return bytes([ord(piece)]) if is_half else None

    def _behind(self) -> tuple[list[int], str]:
        if self._begins is None:
            ordinary = (number for number in range(len(self.tokenizer)) if number not in self.specials)
            first = next((number for number in ordinary if self.text_of([number]).isalnum()), None)
            before = [] if first is None else [first]
            self._begins = before, self.text_of(before) if before else ""
        return self._begins

    def _piece_of(self, number: int) -> str:
        # There are models with more numbers than their tokenizer has tokens, and tokenizers whose tokens are bytes.
        piece: str | bytes | None = self.tokenizer.convert_ids_to_tokens(number)
        return piece.decode("utf-8", "replace") if isinstance(piece, bytes) else piece or ""


@cache
def _byte_level() -> dict[str, int]:
    """Give the bytes that the characters of byte-level tokens stand for.

    https://github.com/openai/gpt-2/blob/master/src/encoder.py#L9: what can be printed stands for itself, the others
    for the characters from 256 on.
    """
    themselves = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in themselves]
    return {chr(byte): byte for byte in themselves} | {chr(256 + place): byte for place, byte in enumerate(others)}


class Detokenizer:
    """Make text of tokens that come one by one; what is no whole character yet is held back.

    Special tokens say nothing, but for those in `shown`. `before` are tokens that stand in front of the first: some
    tokenizers drop the space at which a text begins.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        skip_special: bool = True,
        shown: Collection[int] = (),
        before: Sequence[int] = (),
    ) -> None:
        self._vocabulary = vocabulary
        self.hidden: frozenset[int] = vocabulary.specials - frozenset(shown) if skip_special else frozenset()
        self._bytes = _utf8(errors="replace") if vocabulary.is_byte_level else None
        self._ids: list[int] = []
        self._read = 0
        self._read_text = ""
        if self._bytes is None:
            self._keep([number for number in before[-_LONGEST_WAIT:] if number not in self.hidden])

    def feed(self, number: int) -> str:
        """Give what this token and those held back before it add to the text."""
        if number in self.hidden:
            return ""
        if self._bytes is not None:
            return self._bytes.decode(self._vocabulary.bytes_of(number))
        self._ids.append(number)
        text = self._vocabulary.text_of(self._ids)
        # Some tokenizers say nothing of half a character, where others say that it is broken.
        incomplete = text.endswith(_BROKEN) or text == self._read_text
        if incomplete and len(self._ids) - self._read < _LONGEST_WAIT:
            return ""
        return self._take(text)

    def finish(self) -> str:
        """Give what was held back, whole or not."""
        if self._bytes is not None:
            return self._bytes.decode(b"", final=True)
        return self._take(self._vocabulary.text_of(self._ids)) if len(self._ids) > self._read else ""

    def whole(self, numbers: Iterable[int]) -> str:
        """Give the text of all tokens at once."""
        numbers = [number for number in numbers if number not in self.hidden]
        if self._bytes is not None:
            return self._bytes.decode(b"".join(map(self._vocabulary.bytes_of, numbers)), final=True)
        self._ids += numbers
        return self.finish()

    def _take(self, text: str) -> str:
        pending = self._ids[self._read :]
        if text.startswith(self._read_text):
            added = text[len(self._read_text) :]
        else:
            # What came changes what was told already, as a byte does that makes its neighbours wrong.
            added = self._vocabulary.text_of(pending)
        self._keep(pending)
        return added

    def _keep(self, numbers: list[int]) -> None:
        """Remember the tokens told last, as what stands in front of the next."""
        self._ids = numbers
        self._read = len(numbers)
        self._read_text = self._vocabulary.text_of(numbers) if numbers else ""


class Marks:
    """Find some texts in a text that comes in pieces."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def find(self, text: str) -> int | None:
        """Give where the one stands that is complete first, as if the text had come letter by letter."""
        ends = [(place + len(mark), place) for mark in self._texts if (place := text.find(mark)) >= 0]
        return min(ends)[1] if ends else None

    def begun(self, text: str) -> int:
        """Measure how much of a text's end one may begin with."""
        return max((_begun(text, mark) for mark in self._texts), default=0)


def _begun(text: str, mark: str) -> int:
    place = text.find(mark[0], max(0, len(text) - len(mark) + 1))
    while place >= 0 and not mark.startswith(text[place:]):
        place = text.find(mark[0], place + 1)
    return len(text) - place if place >= 0 else 0


class StopFinder:
    """Pass a text on up to the first of some texts that end it, however it is cut into pieces.

    >>> finder = StopFinder(["END"])
    >>> finder.feed("one E"), finder.feed("N"), finder.feed("Dtwo"), finder.found
    ('one ', '', '', True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = Marks(stops)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        if self.found:
            return ""
        text = self._held + text
        place = self._stops.find(text)
        if place is not None:
            self.found = True
            self._held = ""
            return text[:place]
        told = text[: len(text) - self._stops.begun(text)]
        self._held = text[len(told) :]
        return told

    def finish(self) -> str:
        """Give what was held back because a stop could have begun with it."""
        held, self._held = self._held, ""
        return held
