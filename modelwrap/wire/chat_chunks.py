"""The JSON of a chat stream made into chunks: what one piece alone cannot say is remembered here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from modelwrap.capabilities import Traits
from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON, Change, ChatChunk
from modelwrap.wire.assembly import MOST_CHOICES
from modelwrap.wire.call_pieces import CallPieces
from modelwrap.wire.openai_strict import with_given_names
from modelwrap.wire.repair import tell, validated
from modelwrap.wire.think import ThinkSplitter

THOUGHT = Change("converted", "content", "leading thoughts within tags were read as reasoning_content")
_USAGE_INSIDE = Change("repaired", "usage", "it stood inside a choice")


class ChunkReader:
    """Read the pieces of one stream."""

    def __init__(self, traits: Traits, changes: list[Change], names: Mapping[str, str] = MappingProxyType({})) -> None:
        self._changes = changes
        self._names = names
        """What the caller calls the tools whose names went out in other letters."""
        self._think_tags = traits.think_tags
        self._think_tag = traits.think_tag
        self._splitters: dict[int, ThinkSplitter] = {}
        self._calls: dict[int, CallPieces] = {}
        self._open: set[int] = set()
        self._seen: set[int] = set()
        self._identity: dict[str, Any] = {}
        self.began = False
        """Whether a chunk was given."""

    @property
    def answered(self) -> bool:
        """Whether any choice came."""
        return bool(self._seen)

    @property
    def complete(self) -> bool:
        """Whether every choice that came gave its finish reason."""
        return bool(self._seen) and not self._open

    def read(self, data: dict[str, Any], raw: JSON) -> ChatChunk:
        """Read one piece; `raw` is the JSON that it came as."""
        choices = data.get("choices")
        if type(choices) is list:
            if len(choices) > 1:
                choices = by_position(choices, self._changes)
            read = [self._choice(choice) if type(choice) is dict else choice for choice in choices]
            if any(map(_differs, read, data["choices"])):
                data = {**data, "choices": read}
            if not data.get("usage") and (usage := _usage_in(read)) is not None:
                data = {**data, "usage": usage}
                tell(self._changes, _USAGE_INSIDE)
        chunk = validated(ChatChunk, data, self._changes)
        for choice in chunk.choices:
            if choice.index not in self._seen:
                self._begin(choice.index)
            if choice.finish_reason:
                self._open.discard(choice.index)
        if not self.began:
            self.began = True
            self._identity = {key: data[key] for key in ("id", "object", "created", "model") if key in data}
        if self._names:
            with_given_names(chunk, self._names)
        chunk._raw = raw
        return chunk

    def rest(self) -> ChatChunk | None:
        """Give what was held back when the stream has ended, if anything."""
        choices = []
        for index, splitter in self._splitters.items():
            reasoning, said = splitter.finish()
            if reasoning:
                choices.append({"index": index, "delta": {"reasoning_content": reasoning}})
            elif said:
                choices.append({"index": index, "delta": {"content": said}})
        if not choices:
            return None
        return validated(ChatChunk, {**self._identity, "choices": choices}, self._changes)

    def _begin(self, index: int) -> None:
        self._seen.add(index)
        self._open.add(index)
        if len(self._seen) > MOST_CHOICES:
            raise InvalidResponse(f"the stream has more than {MOST_CHOICES} choices")

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Give the choice as it is to be read; the same object where nothing is to be done."""
        delta = choice.get("delta")
        if delta is None:
            choice = self._with_delta(choice)
            delta = choice.get("delta")
        if type(delta) is not dict:
            return choice
        index = choice.get("index")
        if type(index) is not int:
            index = _index_of(index)
        new = delta
        if delta.get("tool_calls"):
            new = self._told_apart(index, new)
        if self._think_tags:
            new = self._split(index, new, last=bool(choice.get("finish_reason")))
        return choice if new is delta else {**choice, "delta": new}

    def _with_delta(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Read a choice that has the shape of a whole reply, or of a completion."""
        message = choice.get("message")
        if type(message) is dict:
            rest = {key: value for key, value in choice.items() if key != "message"}
            if _index_of(choice.get("index")) in self._seen:
                # It repeats as a whole what came in pieces.
                return rest
            return {**rest, "delta": message}
        if type(choice.get("text")) is str:
            return {**choice, "delta": {"content": choice["text"]}}
        return choice

    def _split(self, index: int, delta: dict[str, Any], *, last: bool) -> dict[str, Any]:
        splitter = self._splitters.get(index)
        if splitter is None:
            splitter = self._splitters[index] = ThinkSplitter(self._think_tag)
        content = delta.get("content")
        if splitter.settled or not (content or last):
            return delta
        if content is not None and type(content) is not str:
            return delta
        reasoning, said = splitter.feed(content or "")
        if last:
            held_reasoning, held = splitter.finish()
            reasoning, said = reasoning + held_reasoning, said + held
        if not reasoning and said == (content or ""):
            return delta
        delta = {**delta, "content": said}
        # MiniMax says the same beside the tags.
        beside = any(delta.get(name) and type(delta[name]) is str for name in ("reasoning_content", "reasoning"))
        if reasoning and not beside:
            delta["reasoning_content"] = reasoning
        if splitter.thought:
            tell(self._changes, THOUGHT)
        return delta

    def _told_apart(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        calls = delta["tool_calls"]
        if type(calls) is dict:
            calls = [calls]
        if type(calls) is not list:
            return delta
        pieces = self._calls.get(index)
        if pieces is None:
            pieces = self._calls[index] = CallPieces(self._changes)
        told_apart = pieces.told_apart(calls)
        return {**delta, "tool_calls": told_apart} if any(map(_differs, told_apart, calls)) else delta


def _usage_in(choices: list[Any]) -> dict[str, Any] | None:
    """Find the usage that Moonshot's streams put into the last piece of a choice."""
    found = (choice.get("usage") for choice in choices if type(choice) is dict)
    return next((usage for usage in found if type(usage) is dict and usage), None)


def by_position(choices: list[Any], changes: list[Change]) -> list[Any]:
    """Number choices by their position where none has an index; the same list where one has."""
    if not all(type(choice) is dict and "index" not in choice for choice in choices):
        return choices
    tell(changes, Change("repaired", "choices.index", "numbered by position"))
    return [{**choice, "index": position} for position, choice in enumerate(choices)]


def _index_of(index: Any) -> int:
    try:
        return int(index or 0)
    except (TypeError, ValueError, OverflowError):
        return 0


def _differs(one: object, other: object) -> bool:
    return one is not other
