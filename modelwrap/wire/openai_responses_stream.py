"""The events of a streamed response made into chunks: what one event alone cannot say is remembered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from modelwrap.capabilities import Facts
from modelwrap.errors import InvalidResponse
from modelwrap.types import JSON, ChatChunk
from modelwrap.wire.http import WireCall
from modelwrap.wire.openai_responses_content import Item, is_aside, is_call, is_text, kind_of, parts_of, thoughts_of
from modelwrap.wire.openai_responses_item import ARGUMENTS, OpenItem
from modelwrap.wire.openai_responses_native import is_unreadable, kept, says_more
from modelwrap.wire.openai_responses_reply import (
    BETWEEN_THOUGHTS,
    beside,
    counted,
    ending,
    identity,
    images_of,
    logprobs_of,
    to_annotation,
    to_call,
    wants_json,
)
from modelwrap.wire.openai_strict import function_name
from modelwrap.wire.repair import validated
from modelwrap.wire.turns import given_names

# Research of an hour has some hundred.
MOST_ITEMS = 10_000


class EventReader:
    """Read the events of one response."""

    def __init__(self, call: WireCall, facts: Facts) -> None:
        self._changes = call.changes
        self._facts = facts
        self._only_final = wants_json(call)
        self._names = given_names(call, function_name)
        self._identity = identity({}, "chat.completion.chunk")
        self._open: dict[Any, OpenItem] = {}
        self._items: list[Item] = []
        """Those that ended, as far as none is missing before them."""
        self._ahead: dict[int, Item] = {}
        """Those that ended before one in front of them did, by their places."""
        self._next_place = 0
        self._known: set[Any] = set()
        """Places and ids of the items that came."""
        self._held: list[JSON] = []
        """Events that no chunk stands for yet."""
        self._calls = 0
        self._text_length = 0
        self._thought = False
        self._refuses = False
        self._spoke = False
        """Whether an item came that goes back."""
        self._native = False
        """Whether the items themselves are given beside what Chat Completions' fields hold of them."""
        self.began = False
        """Whether a chunk was given."""
        self.started = False
        """Whether any event of a response came."""
        self.complete = False
        """Whether it was said that the response ends."""
        self.response: dict[str, Any] = {}
        """The response as it was last told as a whole."""

    @property
    def reply_id(self) -> str:
        return str(self._identity["id"])

    def read(self, event: dict[str, Any]) -> list[ChatChunk]:
        """Read one event; there may be nothing to tell of it yet."""
        kind = event.get("type")
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        self._held.append(event)
        self.started = self.started or (isinstance(kind, str) and kind.startswith("response."))
        return [] if handler is None else handler(self, event)

    # The response.

    def _told(self, event: dict[str, Any]) -> list[ChatChunk]:
        response = event.get("response")
        if isinstance(response, dict):
            self.response = response
            if not self._identity["id"]:
                self._identity = identity(response, "chat.completion.chunk")
        return []

    def _ended(self, event: dict[str, Any]) -> list[ChatChunk]:
        self._told(event)
        response = self.response
        chunks = self._settled()
        if response.get("status") not in ("completed", "incomplete"):
            response = {**response, "status": str(event["type"]).removeprefix("response.")}
        self.complete = True
        silent = not (self._calls or self._text_length or self._refuses)
        chunks.append(self._chunk({"content": ""} if silent else {}, ending(response, calls=bool(self._calls))))
        if last := {**counted(response), **beside(response)}:
            chunks.append(self._given({"choices": [], **last}))
        return chunks

    def _settled(self) -> list[ChatChunk]:
        """Close what no event closed, and give what no event brought, by what the response ends with."""
        items = parts_of(self.response, "output")
        places: dict[Any, int | None] = {}
        for key, opened in self._open.items():
            places[key] = self._place_of(key, opened, items)
            self._known.add(places[key])
        chunks = [chunk for key, place in places.items() if place is None for chunk in self._close(key, None)]
        open_at = {place: key for key, place in places.items() if place is not None}
        missing = len(items) - self._ended_items - len(open_at)
        for place, item in enumerate(items):
            if place in open_at:
                chunks += self._close(open_at[place], item)
            elif missing > 0 and place not in self._known and (_name(item) or place) not in self._known:
                chunks += self._close(place, item)
        rest = [self._ahead.pop(place) for place in sorted(self._ahead)]
        own = self._own(rest)
        return [*chunks, self._chunk(own)] if own else chunks

    def _place_of(self, key: Any, opened: OpenItem, items: list[Item]) -> int | None:
        """Find an item by its name, its place, or where a server told neither, by its kind."""
        name, kind = _name(opened.start), kind_of(opened.start)
        places = range(len(items))
        named = (place for place in places if name and _name(items[place]) == name)
        alike = (place for place in places if place not in self._known and kind_of(items[place]) == kind)
        return next(named, key if key in places else next(alike, None))

    # Its items.

    def _item_added(self, event: dict[str, Any]) -> list[ChatChunk]:
        item, key = event.get("item"), self._key(event, None)
        if not isinstance(item, dict):
            return []
        opened = self._open.get(key)
        if opened is None:
            return self._begin(key, item)[1]
        if kind_of(item) == kind_of(opened.start) and _name(item) in ("", _name(opened.start)):
            # Its pieces came before it, or it is told twice.
            opened.start = {**opened.start, **item}
            return self._introduced(opened)
        # Proxies give two items the same place.
        return self._begin(_name(item) or (key, len(self._known)), item)[1]

    def _item_done(self, event: dict[str, Any]) -> list[ChatChunk]:
        item = event.get("item")
        if not isinstance(item, dict):
            return self._close(self._key(event, None), None)
        return self._close(self._key(event, kind_of(item)), item)

    def _key(self, event: Mapping[str, Any], kind: str | None) -> Any:
        """Tell by what the item of an event is known: its place, or where that is told of none or of two, its name.

        Where no open item has the place, its name is believed. An event that tells neither is about the last one of its
        kind that has not ended.
        """
        index, name = event.get("output_index"), _name_in(event)
        if name and name in self._open:
            return name
        if isinstance(index, int):
            moved = (
                key
                for key, opened in self._open.items()
                if name and _name(opened.start) == name and kind_of(opened.start) == kind
            )
            return index if index in self._open else next(moved, index)
        by, wanted = ("call_id", name) if name else ("type", kind)
        fitting = (key for key, opened in reversed(self._open.items()) if opened.start.get(by) == wanted)
        return next(fitting, name)

    def _begin(self, key: Any, item: Item) -> tuple[OpenItem, list[ChatChunk]]:
        if len(self._open) + self._ended_items >= MOST_ITEMS:
            raise InvalidResponse(f"the stream has more than {MOST_ITEMS} items")
        opened = self._open[key] = OpenItem(item)
        self._known |= {key, _name(item)}
        if not is_call(item):
            return opened, []
        opened.call = self._calls
        self._calls += 1
        return opened, self._introduced(opened)

    def _introduced(self, opened: OpenItem) -> list[ChatChunk]:
        """Say which tool is called, once that is known; what it is called with follows."""
        item = opened.start
        if opened.introduced or not is_call(item) or not (item.get("call_id") or item.get("name")):
            return []
        opened.introduced = True
        held = item.get("arguments") or item.get("input")
        opened.held = held if isinstance(held, str) else ""
        call = to_call({**item, "arguments": "", "input": ""}, self._names)
        return [self._chunk({"tool_calls": [{"index": opened.call, **call}]})]

    def _close(self, key: Any, item: Item | None) -> list[ChatChunk]:
        opened = self._open.pop(key, None)
        chunks: list[ChatChunk] = []
        if opened is None:
            if item is None or {key, _name(item) or None} <= self._known:
                # It was told before.
                return []
            opened, chunks = self._begin(key, {**item, "content": None, "summary": None, "arguments": "", "input": ""})
            del self._open[key]
        whole = {**opened.start, **(item or {})}
        chunks += self._rest(opened, whole)
        if item is None:
            return chunks
        delta = self._own(self._in_order(key, item))
        if images := images_of(item):
            delta["images"] = images
        return [*chunks, self._chunk(delta)] if delta else chunks

    @property
    def _ended_items(self) -> int:
        return len(self._items) + len(self._ahead)

    def _in_order(self, key: Any, item: Item) -> list[Item]:
        """Give the items that none before them holds up any more, now that this one has ended."""
        if not isinstance(key, int) or key < self._next_place or key in self._ahead:
            return [item]
        self._ahead[key] = item
        ready = []
        while self._next_place in self._ahead:
            ready.append(self._ahead.pop(self._next_place))
            self._next_place += 1
        return ready

    def _own(self, ended: list[Item]) -> dict[str, Any]:
        """Give the items that are to be kept as they are: all from the first, once one says more than text does."""
        if not ended:
            return {}
        self._items += ended
        if self._native:
            return kept(ended, self._facts)
        for item in ended:
            self._native = self._native or says_more(item, first=not self._spoke)
            self._spoke = self._spoke or not is_unreadable(item)
        return kept(list(self._items), self._facts) if self._native else {}

    def _rest(self, opened: OpenItem, whole: Item) -> list[ChatChunk]:
        """Give what a finished item holds and no event brought."""
        if is_call(whole):
            return self._rest_of_call(opened, whole)
        if kind_of(whole) == "reasoning":
            return self._rest_of_thoughts(opened, whole)
        if kind_of(whole) != "message":
            return []
        parts = parts_of(whole)
        first = opened.first_place(len(parts))
        return [chunk for index, part in enumerate(parts, first) for chunk in self._rest_of_part(opened, index, part)]

    def _rest_of_call(self, opened: OpenItem, whole: Item) -> list[ChatChunk]:
        opened.start = whole
        given = whole.get("arguments") or whole.get("input") or opened.held
        chunks = self._introduced(opened)
        opened.held = ""
        rest = opened.missing(ARGUMENTS, given) if isinstance(given, str) else given
        return [*chunks, self._arguments(opened, rest)] if rest else chunks

    def _rest_of_part(self, opened: OpenItem, index: int, part: Item) -> list[ChatChunk]:
        chunks = []
        rest = opened.missing(("text", index), part.get("text")) if is_text(part) else ""
        tokens = logprobs_of(part)[opened.tokens.get(index, 0) :]
        if rest or tokens:
            chunks += self._said(opened, index, rest, tokens)
        if rest := opened.missing(("refusal", index), part.get("refusal")):
            chunks.append(self._refuse(opened, index, rest))
        for annotation in parts_of(part, "annotations")[opened.cited.get(index, 0) :]:
            chunks += self._cited(opened, index, annotation)
        return chunks

    def _rest_of_thoughts(self, opened: OpenItem, whole: Item) -> list[ChatChunk]:
        if opened.thought:
            return []
        return [chunk for thought in thoughts_of(whole) for chunk in self._thinks(opened, thought, starts=True)]

    # Their pieces.

    def _text(self, event: dict[str, Any]) -> list[ChatChunk]:
        piece = event.get("delta")
        opened, chunks = self._at(event, "message")
        if not isinstance(piece, str):
            return chunks
        return [*chunks, *self._said(opened, _place(event), piece, logprobs_of(event))]

    def _said(self, opened: OpenItem, index: int, piece: str, logprobs: list[Any]) -> list[ChatChunk]:
        opened.starts.setdefault(index, self._text_length)
        opened.take(("text", index), piece)
        if logprobs:
            opened.tokens[index] = opened.tokens.get(index, 0) + len(logprobs)
        if not (piece or logprobs) or self._is_aside(opened):
            return []
        self._text_length += len(piece)
        delta = {"content": piece} if piece else {}
        return [self._chunk(delta, {"logprobs": {"content": logprobs}} if logprobs else {})]

    def _is_aside(self, opened: OpenItem) -> bool:
        """Tell whether this is no part of the answer, or said on the way to one that is to be JSON."""
        return is_aside(opened.start, final=self._only_final)

    def _refused(self, event: dict[str, Any]) -> list[ChatChunk]:
        piece = event.get("delta")
        opened, chunks = self._at(event, "message")
        if not isinstance(piece, str) or not piece:
            return chunks
        return [*chunks, self._refuse(opened, _place(event), piece)]

    def _refuse(self, opened: OpenItem, index: int, piece: str) -> ChatChunk:
        opened.take(("refusal", index), piece)
        self._refuses = True
        return self._chunk({"refusal": piece})

    def _annotated(self, event: dict[str, Any]) -> list[ChatChunk]:
        annotation = event.get("annotation")
        opened, chunks = self._at(event, "message")
        if isinstance(annotation, dict):
            chunks += self._cited(opened, _place(event), annotation)
        return chunks

    def _cited(self, opened: OpenItem, index: int, annotation: Mapping[str, Any]) -> list[ChatChunk]:
        opened.cited[index] = opened.cited.get(index, 0) + 1
        if self._is_aside(opened):
            return []
        start = opened.starts.setdefault(index, self._text_length)
        return [self._chunk({"annotations": [to_annotation(annotation, start)]})]

    def _summarised(self, event: dict[str, Any]) -> list[ChatChunk]:
        opened, chunks = self._at(event, "reasoning")
        if opened.thought == "content":
            # What was thought was given itself.
            return chunks
        return chunks + self._thinks_at(opened, event, "summary")

    def _thinking(self, event: dict[str, Any]) -> list[ChatChunk]:
        opened, chunks = self._at(event, "reasoning")
        return chunks + self._thinks_at(opened, event, "content")

    def _thinks_at(self, opened: OpenItem, event: dict[str, Any], field: str) -> list[ChatChunk]:
        piece = event.get("delta")
        if not isinstance(piece, str) or not piece:
            return []
        place = (field, _place(event, f"{field}_index"))
        starts = not opened.said(place)
        opened.take(place, piece)
        opened.thought = field
        return self._thinks(opened, piece, starts=starts)

    def _thinks(self, opened: OpenItem, piece: str, *, starts: bool) -> list[ChatChunk]:
        opened.thought = opened.thought or "content"
        if starts and self._thought:
            piece = BETWEEN_THOUGHTS + piece
        self._thought = True
        return [self._chunk({"reasoning_content": piece})]

    def _call_piece(self, event: dict[str, Any]) -> list[ChatChunk]:
        piece = event.get("delta")
        custom = str(event["type"]).startswith("response.custom")
        opened, chunks = self._at(event, "custom_tool_call" if custom else "function_call")
        if not isinstance(piece, str) or not piece or not is_call(opened.start):
            return chunks
        return [*chunks, self._arguments(opened, piece)]

    def _arguments(self, opened: OpenItem, piece: Any) -> ChatChunk:
        if isinstance(piece, str):
            piece = opened.opening(piece) + piece
            opened.take(ARGUMENTS, piece)
        custom = kind_of(opened.start) == "custom_tool_call"
        inner = {"custom": {"input": piece}} if custom else {"function": {"arguments": piece}}
        return self._chunk({"tool_calls": [{"index": opened.call, **inner}]})

    def _previewed(self, event: dict[str, Any]) -> list[ChatChunk]:
        """Hand on what there is of an image, which stands in `raw` alone: it is no part of the answer."""
        return [self._chunk({})]

    def _at(self, event: dict[str, Any], kind: str) -> tuple[OpenItem, list[ChatChunk]]:
        """Give the item that a piece belongs to; some servers leave out where one begins."""
        key = self._key(event, kind)
        opened = self._open.get(key)
        if opened is not None:
            return opened, []
        return self._begin(key, {"type": kind, "id": event.get("item_id")})

    def _told_whole(self, event: dict[str, Any]) -> list[ChatChunk]:
        """Give what no piece brought of a text, as one piece."""
        told = str(event["type"])
        kind, name, field = _WHOLES[told]
        key = self._key(event, kind)
        opened = self._open.get(key)
        if opened is None and not self._known.isdisjoint((key, _name_in(event) or key)):
            return []
        opened, place = opened or OpenItem({}), _place(event)
        rest = opened.missing((name, place), event.get(field))
        if not rest or opened.thought not in ("", name):
            return []
        tokens = logprobs_of(event)[opened.tokens.get(place, 0) :]
        piece = {**event, "type": told.replace(".done", ".delta"), "delta": rest, "logprobs": tokens}
        return _HANDLERS[piece["type"]](self, piece)

    # Chunks.

    def _chunk(self, delta: dict[str, Any], beside: Mapping[str, Any] | None = None) -> ChatChunk:
        if not self.began:
            delta = {"role": "assistant", **delta}
        return self._given({"choices": [{"index": 0, "delta": delta, "finish_reason": None, **(beside or {})}]})

    def _given(self, data: dict[str, Any]) -> ChatChunk:
        self.began = True
        chunk = validated(ChatChunk, {**self._identity, **data}, self._changes)
        held, self._held = self._held, []
        chunk._raw = held[0] if len(held) == 1 else held
        return chunk


_HANDLERS: dict[str, Callable[[EventReader, dict[str, Any]], list[ChatChunk]]] = {
    "response.created": EventReader._told,
    "response.queued": EventReader._told,
    "response.in_progress": EventReader._told,
    "response.output_item.added": EventReader._item_added,
    "response.output_item.done": EventReader._item_done,
    "response.output_text.delta": EventReader._text,
    "response.refusal.delta": EventReader._refused,
    "response.output_text.annotation.added": EventReader._annotated,
    "response.reasoning_summary_text.delta": EventReader._summarised,
    "response.reasoning_text.delta": EventReader._thinking,
    "response.function_call_arguments.delta": EventReader._call_piece,
    "response.custom_tool_call_input.delta": EventReader._call_piece,
    "response.image_generation_call.partial_image": EventReader._previewed,
    "response.output_text.done": EventReader._told_whole,
    "response.refusal.done": EventReader._told_whole,
    "response.reasoning_text.done": EventReader._told_whole,
    "response.function_call_arguments.done": EventReader._told_whole,
    "response.custom_tool_call_input.done": EventReader._told_whole,
    "response.completed": EventReader._ended,
    "response.incomplete": EventReader._ended,
    "response.done": EventReader._ended,
}
_WHOLES = {
    "response.output_text.done": ("message", "text", "text"),
    "response.refusal.done": ("message", "refusal", "refusal"),
    "response.reasoning_text.done": ("reasoning", "content", "text"),
    "response.function_call_arguments.done": ("function_call", "arguments", "arguments"),
    "response.custom_tool_call_input.done": ("custom_tool_call", "arguments", "input"),
}
"""Of an event that tells a text as a whole: the kind of its item, what has grown there, and the event's field."""


def _place(event: Mapping[str, Any], field: str = "content_index") -> int:
    index = event.get(field)
    return index if isinstance(index, int) else 0


def _name_in(event: Mapping[str, Any]) -> str:
    name, item = event.get("item_id"), event.get("item")
    if isinstance(name, str):
        return name
    return _name(item) if isinstance(item, dict) else ""


def _name(item: Item) -> str:
    # llama.cpp gives calls no other name than that of the call.
    name = item.get("id") or item.get("call_id")
    return name if isinstance(name, str) else ""
