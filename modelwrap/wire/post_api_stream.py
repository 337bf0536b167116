"""Streams of any service: event streams, JSON a line, or plain text, told in the shape of OpenAI's."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any

from pydantic_core import from_json

from modelwrap.errors import InvalidResponse, ResponseTooLarge, StreamFailed
from modelwrap.types import JSON
from modelwrap.wire import failures, sse
from modelwrap.wire import post_api_answers as answers
from modelwrap.wire.places import Place, at

TEXT = "text"
"""The name of an event that is a piece of plain text."""

_END = sse.Event(None, "[DONE]")
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_EVENTS = (b"data:", b"event:", b"id:", b"retry:", b":")


def decoder_for(headers: Mapping[str, str]) -> sse.Decoder | Lines | Text:
    """Choose how a body is read by what it says of itself."""
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type in _LINES:
        return Lines()
    if content_type.startswith("text/") and content_type != "text/event-stream":
        return Text()
    return sse.Decoder()


class Lines:
    """Read a body of one JSON a line."""

    def __init__(self, largest: int = sse.LARGEST_EVENT) -> None:
        self._largest = largest
        self._line = bytearray()

    def feed(self, data: bytes) -> list[sse.Event]:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        self._line += rest
        if len(self._line) > self._largest:
            raise ResponseTooLarge(f"one line of the stream is larger than {self._largest} bytes")
        return [event for line in lines if (event := _event(line)) is not None]

    def check(self) -> None:
        """Hold nothing back: what is wrong is raised as it comes."""

    def finish(self) -> list[sse.Event]:
        event = _event(bytes(self._line), unfinished=True)
        return [] if event is None else [event]


class Text:
    """Read a body of plain text; one that is an event stream under another name is read as that."""

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")()
        self._held = b""
        self._events: sse.Decoder | None = None
        self._began = False

    def feed(self, data: bytes) -> list[sse.Event]:
        if not self._began:
            self._held += data
            begins = self._held.lstrip()
            if not begins or any(field.startswith(begins) and field != begins for field in _EVENTS):
                return []
            self._began = True
            self._events = sse.Decoder() if begins.startswith(_EVENTS[:2]) else None
            data, self._held = self._held, b""
        return self._events.feed(data) if self._events else self._texts(data)

    def check(self) -> None:
        if self._events is not None:
            self._events.check()

    def finish(self) -> list[sse.Event]:
        if self._events is not None:
            return self._events.finish()
        return self._texts(self._held, final=True)

    def _texts(self, data: bytes, *, final: bool = False) -> list[sse.Event]:
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            raise InvalidResponse(f"the text is not UTF-8: {error.reason} at byte {error.start}") from None
        return [sse.Event(TEXT, text)] if text else []


class Pieces:
    """Tell what one stream says in OpenAI's shape."""

    def __init__(self, piece: Place, error: Place, whole: Callable[[JSON], dict[str, Any] | None]) -> None:
        self._piece = piece
        self._error = error
        self._whole = whole
        self._open = False
        """Whether the stream has an end of its own, which has not come."""
        self.last: JSON = None
        """The piece that was told last, as it came."""

    async def translated(self, events: AsyncIterator[sse.Event]) -> AsyncGenerator[sse.Event, None]:
        own_end = False
        async for event in events:
            told = self._told(event)
            own_end = own_end or (told is event and event.event != "error")
            if told is not None:
                yield told
        if not (own_end or self._open):
            # Nothing but the end of the body says so here.
            yield _END

    def _told(self, event: sse.Event) -> sse.Event | None:
        """Tell one event; the same object where it is OpenAI's already, None where it says nothing."""
        if event.event == TEXT:
            self.last = event.data
            return _event_of({"delta": {"content": event.data}})
        if "[DONE]" in event.data[:8]:
            return event
        try:
            value = from_json(event.data)
        except ValueError as error:
            if event.unfinished:
                self._open = True
                return None
            raise StreamFailed(f"a piece of the stream is not JSON: {error}", body=event.data) from None
        self.last = value
        if said := at(value, self._error) if self._error else None:
            return sse.Event("error", json.dumps(said if isinstance(said, dict) else {"message": str(said)}))
        if event.bare:
            return self._of_whole(value, event)
        if isinstance(value, str):
            return _event_of({"delta": {"content": value}})
        if not isinstance(value, dict) or event.event == "error" or failures.says_error(value):
            return event
        return self._of_piece(value, event)

    def _of_whole(self, value: JSON, event: sse.Event) -> sse.Event:
        """Tell an answer that came in one piece after all."""
        chat = None if isinstance(value, dict) and value.get("error") else self._whole(value)
        return event if chat is None else sse.Event(None, json.dumps(chat), bare=True)

    def _of_piece(self, value: dict[str, Any], event: sse.Event) -> sse.Event | None:
        if self._piece:
            text = at(value, self._piece)
            return _event_of({"delta": {"content": text}}) if isinstance(text, str) else None
        if "choices" in value:
            return event
        if isinstance(value.get("token"), dict):
            return self._of_token(value)
        if "done" in value:
            return self._of_ollama(value)
        chat = self._whole(value)
        if chat is None:
            return None
        choice = chat["choices"][0]
        return _event_of({"delta": choice["message"], "finish_reason": choice.get("finish_reason")}, value)

    def _of_token(self, value: dict[str, Any]) -> sse.Event:
        """Tell a token of text-generation-inference, whose last comes with the whole text."""
        token, whole = value["token"], value.get("generated_text")
        self._open = whole is None
        text = "" if token.get("special") else str(token.get("text") or "")
        reason = None if self._open else at(value, ("details", "finish_reason")) or "stop"
        return _event_of({"delta": {"content": text}, "finish_reason": reason}, value)

    def _of_ollama(self, value: dict[str, Any]) -> sse.Event:
        """Tell a piece of Ollama's own API, whose last says that it is done."""
        self._open = not value["done"]
        chat = answers.chat_in(value)
        message = chat["choices"][0]["message"] if chat else {}
        reason = None if self._open else value.get("done_reason") or "stop"
        return _event_of({"delta": message, "finish_reason": reason}, value)


def _event_of(choice: dict[str, Any], value: JSON = None) -> sse.Event:
    known = {"model": value["model"]} if isinstance(value, dict) and isinstance(value.get("model"), str) else {}
    usage = None if value is None else answers.usage_in(value)
    cost = {} if usage is None else {"usage": usage}
    return sse.Event(None, json.dumps({**known, "choices": [{"index": 0, **choice}], **cost}))


def _event(line: bytes, *, unfinished: bool = False) -> sse.Event | None:
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        if unfinished:
            return None
        raise InvalidResponse(f"a line of the stream is not UTF-8: {error.reason} at byte {error.start}") from None
    return sse.Event(None, text, unfinished) if text else None
