"""Claude's stream of events made into chunks: what one event alone cannot say is remembered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json

from modelwrap.types import JSON, ChatChunk
from modelwrap.wire.claude_content import Block
from modelwrap.wire.claude_native import PROVIDER, carried, says_everything
from modelwrap.wire.claude_reply import (
    PAUSED,
    beside,
    blocks_of,
    citations_of,
    ending,
    identity,
    refusal,
    stop_details,
    summed,
    tell_of_left_out,
    to_usage,
)
from modelwrap.wire.claude_tools import letters
from modelwrap.wire.http import WireCall
from modelwrap.wire.repair import validated
from modelwrap.wire.turns import arguments_text, given_names

_CHUNK = "chat.completion.chunk"

# The one field of a delta whose name is not that of the block's field which it adds to.
_PLURALS = {"citation": "citations"}
# What a delta says beside what it adds: thinking that is not shown is counted so that people see it go on.
_NO_PART = ("type", "estimated_tokens")
# Fields that each delta gives whole, as Anthropic's own client takes them.
_WHOLE = ("signature", "encrypted_content")
_OF_DELTA = {"thinking_delta": "thinking", "signature_delta": "thinking", "input_json_delta": "tool_use"}


class EventReader:
    """Read the events of one answer; of one that goes on after a pause, the events that follow it."""

    def __init__(self, call: WireCall) -> None:
        self._changes = call.changes
        self._names = given_names(call, letters)
        self._message: dict[str, Any] = {}
        self._identity = identity(self._message, _CHUNK)
        self._blocks: list[Block] = []
        self._open: dict[int, _OpenBlock] = {}
        self._paused_usage: JSON = None
        self._held: list[JSON] = []
        """Events that no chunk stands for yet."""
        self._calls = 0
        self._text_length = 0
        self._spoke = False
        """Whether a chunk named the role."""
        self._native = False
        """Whether the blocks themselves are given beside what OpenAI's fields hold of them."""
        self._usage_given = False
        self.began = False
        """Whether a chunk was given."""
        self.started = False
        """Whether any event of an answer came."""
        if call.resumes is not None:
            self._resume(call.resumes)

    def _resume(self, message: Mapping[str, Any]) -> None:
        self._message = {**message, "stop_reason": None}
        self._identity = identity(self._message, _CHUNK)
        self._blocks = list(blocks_of(dict(message)))
        self._paused_usage = message.get("usage")
        self._calls = sum(block.get("type") == "tool_use" for block in self._blocks)
        self._text_length = sum(len(block["text"]) for block in self._blocks if block.get("type") == "text")
        self._spoke = self._native = True

    @property
    def complete(self) -> bool:
        """Whether it was said why the answer ends."""
        return self._message.get("stop_reason") is not None

    @property
    def paused(self) -> dict[str, Any] | None:
        """Give the message to be gone on with, where Claude paused its turn."""
        return self.message if self._message.get("stop_reason") == PAUSED else None

    @property
    def message(self) -> dict[str, Any]:
        """Give the message as it would have come in one piece."""
        message = {**self._message, "content": [*self._blocks, *(block.whole() for block in self._open.values())]}
        usage = self._usage()
        return message if usage is None else {**message, "usage": usage}

    def read(self, event: dict[str, Any]) -> list[ChatChunk]:
        """Read one event; there may be nothing to tell of it yet."""
        kind = event.get("type")
        if kind != "ping":
            self._held.append(event)
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is None:
            # Events that nobody knows yet are to be passed over.
            return []
        self.started = True
        closed = None
        if kind == "content_block_start" and _index(event) in self._open:
            closed = self._stop_block(event)
        chunk = handler(self, event)
        if closed is None:
            return [] if chunk is None else [chunk]
        return [closed] if chunk is None else [closed, chunk]

    def rest(self) -> list[ChatChunk]:
        """Give what was held back when the stream has ended: blocks that were cut, and the usage."""
        chunks = [self._stop_block({"index": index}) for index in list(self._open)]
        if self.began or self._blocks:
            chunks.append(self._last({}))
        return [chunk for chunk in chunks if chunk is not None]

    # The message.

    def _start(self, event: dict[str, Any]) -> ChatChunk | None:
        message = event.get("message")
        if isinstance(message, dict):
            known = {name: self._message[name] for name in ("id", "model", "container") if self._message.get(name)}
            self._message = {**message, **known, "stop_reason": None}
            tell_of_left_out(message, self._changes)
            self._identity = identity(self._message, _CHUNK)
        return None

    def _ending(self, event: dict[str, Any]) -> ChatChunk | None:
        was_complete = self.complete
        delta, usage = event.get("delta"), event.get("usage")
        beside = {name: value for name, value in event.items() if name not in ("type", "delta", "usage")}
        for fields in (beside, delta):
            if isinstance(fields, dict):
                self._message.update((name, value) for name, value in fields.items() if value is not None)
        if isinstance(usage, dict):
            known = self._message.get("usage")
            known = known if isinstance(known, dict) else {}
            # These counts are totals, and those that are left out stay as they were.
            given = {name: value for name, value in usage.items() if value is not None}
            self._message["usage"] = {**known, **given}
        if was_complete or not self.complete or self.paused is not None:
            return None
        return self._chunk(self._last_words(), ending(self._message))

    def _last_words(self) -> dict[str, Any]:
        told = refusal(self._message)
        if not (told or self._calls or self._text_length):
            told["content"] = ""
        details = stop_details(self._message)
        return told if details is None else {**told, "extra_content": {PROVIDER: {"stop_details": details}}}

    def _last(self, event: dict[str, Any]) -> ChatChunk | None:
        """Give the chunk that counts the tokens, once."""
        usage = self._usage()
        if self._usage_given or self.paused is not None or usage is None:
            return None
        self._usage_given = True
        return self._given({"choices": [], "usage": to_usage(usage), **beside(self.message)})

    def _usage(self) -> Any:
        usage = self._message.get("usage")
        usage = usage if isinstance(usage, Mapping) else None
        return usage if self._paused_usage is None else summed(self._paused_usage, usage)

    # Its blocks.

    def _start_block(self, event: dict[str, Any]) -> ChatChunk | None:
        block = event.get("content_block")
        if not isinstance(block, dict):
            return None
        opened = self._open[_index(event)] = _OpenBlock(block)
        if opened.kind == "fallback":
            self._hand_over(block)
        if opened.kind != "tool_use":
            # A server that does not stream may give the whole of it here.
            return self._said(opened.kind, block)
        opened.call = self._calls
        self._calls += 1
        name = str(block.get("name") or "")
        function = {"name": self._names.get(name, name), "arguments": ""}
        call = {"index": opened.call, "id": block.get("id") or "", "type": "function", "function": function}
        return self._chunk({"tool_calls": [call]})

    def _hand_over(self, block: Block) -> None:
        """Name the model that answers from here on, as a whole reply does.

        https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback#server-side-fallback
        """
        served_by = block.get("to")
        if isinstance(served_by, dict) and served_by.get("model"):
            self._message["model"] = served_by["model"]
            self._identity = identity(self._message, _CHUNK)

    def _delta(self, event: dict[str, Any]) -> ChatChunk | None:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return None
        kind = delta.get("type")
        index = _index(event)
        block = self._open.get(index)
        if block is None:
            # Some servers leave out the start of a block.
            block = self._open[index] = _OpenBlock({"type": _OF_DELTA.get(str(kind), "text")})
        block.add(delta)
        if kind == "text_delta":
            return self._said("text", delta)
        if kind == "thinking_delta":
            return self._said("thinking", delta)
        piece = delta.get("partial_json")
        if kind == "input_json_delta" and block.call is not None and piece:
            return self._chunk({"tool_calls": [{"index": block.call, "function": {"arguments": piece}}]})
        return None

    def _said(self, kind: str, fields: Mapping[str, Any]) -> ChatChunk | None:
        words = fields.get(kind) if kind in ("text", "thinking") else None
        if not isinstance(words, str) or not words:
            return None
        return self._chunk({"content" if kind == "text" else "reasoning_content": words})

    def _stop_block(self, event: dict[str, Any]) -> ChatChunk | None:
        opened = self._open.pop(_index(event), None)
        if opened is None:
            return None
        block = opened.whole()
        self._blocks.append(block)
        delta: dict[str, Any] = {}
        cut = not event.keys() - {"index"} and not self.complete
        if opened.call is not None and not (opened.has_input_pieces or cut):
            text = arguments_text(block.get("input") or {})
            delta["tool_calls"] = [{"index": opened.call, "function": {"arguments": text}}]
        if block.get("type") == "text":
            if cited := citations_of(block, self._text_length):
                delta["annotations"] = cited
            self._text_length += len(block["text"])
        if own := self._own(block):
            delta["extra_content"] = {PROVIDER: carried(own, str(self._message.get("model") or ""))}
        return self._chunk(delta) if delta else None

    def _own(self, block: Block) -> list[Block]:
        """Give the blocks that are to be kept as they are: all from the first, once one says more than text does."""
        if self._native:
            return [block]
        self._native = not says_everything(self._blocks)
        return list(self._blocks) if self._native else []

    # Chunks.

    def _chunk(self, delta: dict[str, Any], ending: Mapping[str, Any] | None = None) -> ChatChunk:
        if not self._spoke:
            self._spoke = True
            delta = {"role": "assistant", **delta}
        return self._given({"choices": [{"index": 0, "delta": delta, **(ending or {"finish_reason": None})}]})

    def _given(self, data: dict[str, Any]) -> ChatChunk:
        self.began = True
        chunk = validated(ChatChunk, {**self._identity, **data}, self._changes)
        held, self._held = self._held, []
        chunk._raw = held[0] if len(held) == 1 else held
        return chunk


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if type(index) is int else 0


_HANDLERS: dict[str, Callable[[EventReader, dict[str, Any]], ChatChunk | None]] = {
    "message_start": EventReader._start,
    "content_block_start": EventReader._start_block,
    "content_block_delta": EventReader._delta,
    "content_block_stop": EventReader._stop_block,
    "message_delta": EventReader._ending,
    "message_stop": EventReader._last,
}


class _OpenBlock:
    """Collect a block whose end has not come."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self._start = start
        self._pieces: dict[str, list[Any]] = {}
        self.kind = str(start.get("type") or "text")
        self.call: int | None = None
        """Which of the reply's tool calls it is."""

    @property
    def has_input_pieces(self) -> bool:
        return any(self._pieces.get("partial_json", ()))

    def add(self, delta: Mapping[str, Any]) -> None:
        for name, piece in delta.items():
            if name not in _NO_PART and piece is not None:
                self._pieces.setdefault(_PLURALS.get(name, name), []).append(piece)

    def whole(self) -> Block:
        block = dict(self._start)
        for name, pieces in self._pieces.items():
            if name == "partial_json":
                block["input"] = _input("".join(map(str, pieces)), block.get("input"))
            elif name in _PLURALS.values():
                before = block.get(name)
                block[name] = [*(before if isinstance(before, list) else ()), *pieces]
            elif name not in _WHOLE and all(isinstance(piece, str) for piece in pieces):
                block[name] = "".join([str(block.get(name) or ""), *pieces])
            else:
                block[name] = pieces[-1]
        block.setdefault("type", self.kind)
        if block["type"] == "text":
            block["text"] = str(block.get("text") or "")
        return block


def _input(text: str, otherwise: JSON) -> JSON:
    """Read a tool's input; what is no object stays the text that came, for nobody knows what it was to be."""
    if not text.strip():
        return otherwise if otherwise is not None else {}
    try:
        value = from_json(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text
