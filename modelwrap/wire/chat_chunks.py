"""The JSON of a chat stream made into chunks: what one piece alone cannot say is remembered here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic_core import from_json

from modelwrap.capabilities import Traits
from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON, Change, ChatChunk
from modelwrap.wire.assembly import MOST_CHOICES
from modelwrap.wire.openai_strict import with_given_names
from modelwrap.wire.repair import tell, validated
from modelwrap.wire.think import ThinkSplitter

THOUGHT = Change("converted", "content", "a leading <think> was read as reasoning_content")
_NUMBERED = Change("repaired", "tool_calls.index", "calls that the server did not tell apart were numbered")


class ChunkReader:
    """Read the pieces of one stream."""

    def __init__(self, traits: Traits, changes: list[Change], names: Mapping[str, str] = MappingProxyType({})) -> None:
        self._changes = changes
        self._names = names
        """What the caller calls the tools whose names went out in other letters."""
        self._think_tags = traits.think_tags
        self._splitters: dict[int, ThinkSplitter] = {}
        self._calls: dict[int, _Calls] = {}
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
            new = self._numbered(index, new)
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
            splitter = self._splitters[index] = ThinkSplitter()
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
        if reasoning:
            delta["reasoning_content"] = _text(delta.get("reasoning_content")) + reasoning
        if splitter.thought:
            tell(self._changes, THOUGHT)
        return delta

    def _numbered(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        calls = delta["tool_calls"]
        if type(calls) is dict:
            calls = [calls]
        if type(calls) is not list:
            return delta
        numbers = self._calls.setdefault(index, _Calls())
        numbered = numbers.numbered(calls)
        if not any(map(_differs, numbered, calls)):
            return delta
        tell(self._changes, _NUMBERED)
        return {**delta, "tool_calls": numbered}


class _Call:
    """Remember of a tool call what tells it from the next."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments: list[Any] = []

    def add(self, call_id: str, name: str, arguments: JSON) -> None:
        self.id = self.id or call_id
        self.name = self.name or name
        if arguments:
            self.arguments.append(arguments)

    def is_whole(self) -> bool:
        """Tell whether its arguments are a finished object."""
        if not all(isinstance(part, str) for part in self.arguments):
            return True
        try:
            return isinstance(from_json("".join(self.arguments)), dict)
        except ValueError:
            return False


class _Calls:
    """Number the tool calls of one choice, of which some servers send no index, or 0 for all.

    A call begins where a new id comes with a name. vLLM once gave each piece an id of its own, but the name to the
    first piece only; others repeat id and name with every piece.
    """

    def __init__(self) -> None:
        self._calls: dict[int, _Call] = {}
        self._by_wire: dict[int, int] = {}
        self._last: int | None = None

    def numbered(self, pieces: list[Any]) -> list[Any]:
        touched: set[int] = set()
        return [self._number(piece, touched) if type(piece) is dict else piece for piece in pieces]

    def _number(self, piece: dict[str, Any], touched: set[int]) -> dict[str, Any]:
        wire = piece.get("index")
        wire = wire if type(wire) is int else None
        function = piece.get("function") or piece.get("custom")
        function = function if type(function) is dict else {}
        call_id, name = _text(piece.get("id")), _text(function.get("name"))
        arguments = function.get("arguments") or function.get("input")
        number = self._known(wire, call_id)
        if number is None or self._begins(number, wire, call_id, name, arguments, touched):
            number = wire if wire is not None and wire not in self._calls else max(self._calls, default=-1) + 1
            self._calls[number] = _Call()
        if wire is not None:
            self._by_wire[wire] = number
        self._last = number
        self._calls[number].add(call_id, name, arguments)
        touched.add(number)
        return piece if wire == number else {**piece, "index": number}

    def _known(self, wire: int | None, call_id: str) -> int | None:
        if wire is not None:
            return self._by_wire.get(wire)
        if call_id:
            for number, call in self._calls.items():
                if call.id == call_id:
                    return number
        return self._last

    def _begins(
        self, number: int, wire: int | None, call_id: str, name: str, arguments: JSON, touched: set[int]
    ) -> bool:
        """Tell whether a piece begins another call than the one that it seems to belong to."""
        call = self._calls[number]
        if not name or not call.name:
            return False
        if call_id and call.id:
            return call_id != call.id
        if number in touched:
            return True
        if name != call.name:
            return wire is None or bool(call.arguments)
        return bool(arguments) and call.is_whole()


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


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _differs(one: object, other: object) -> bool:
    return one is not other
