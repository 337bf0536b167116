"""Streams of any service, whatever they call themselves, told in the shape of OpenAI's."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, TypeAlias

from pydantic_core import from_json

from modelwrap.errors import InvalidResponse, ResponseTooLarge, StreamFailed
from modelwrap.types import JSON
from modelwrap.wire import body as bodies
from modelwrap.wire import failures, sse
from modelwrap.wire import post_api_answers as answers
from modelwrap.wire.content_type import ContentType, content_type_of
from modelwrap.wire.places import Place, at, written

TEXT = "text"
"""The name of an event that is a piece of plain text."""

MUST_BE_JSON = (b"{", b"[", b'"', b"<", b"\xef\xbb\xbf")
"""How bodies begin that are no text unless they say so; a web page among them is told by who reads it as JSON."""

SHAPES_OF_PIECES = frozenset({"choices", "token", "done"})
"""What the pieces of known streams have, with a text in them or without."""

_END = sse.Event(None, "[DONE]")
_BOM = b"\xef\xbb\xbf"
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_EVENTS = (b"data:", b"event:")
_OTHER_EVENTS = (b"id:", b"retry:", b":")


# From bytes to events.


def decoder_for(headers: Mapping[str, str], knows: Callable[[JSON], bool]) -> sse.Decoder | Lines | Sniffed:
    """Choose how a body is read by what it says of itself; `knows` tells JSON that a service would answer."""
    content_type = content_type_of(headers)
    if content_type.name in _LINES:
        return Lines()
    return sse.Decoder() if content_type.name == "text/event-stream" else Sniffed(content_type, knows)


class _Pieces(ABC):
    """Read a body piece by piece; what is good comes out before what is wrong behind it is raised."""

    def __init__(self) -> None:
        self._failed: InvalidResponse | None = None

    def feed(self, data: bytes) -> list[sse.Event]:
        return self._careful(data)

    def check(self) -> None:
        """Raise what is wrong behind the last event."""
        if self._failed is not None:
            raise self._failed

    def finish(self) -> list[sse.Event]:
        return self._careful(b"", final=True)

    def _careful(self, data: bytes, *, final: bool = False) -> list[sse.Event]:
        self.check()
        events: list[sse.Event] = []
        try:
            self._read(data, events, final=final)
        except InvalidResponse as error:
            if not events:
                raise
            self._failed = error
        return events

    @abstractmethod
    def _read(self, data: bytes, events: list[sse.Event], *, final: bool) -> None: ...


class Lines(_Pieces):
    """Read a body of one JSON a line."""

    def __init__(self, largest: int = sse.LARGEST_EVENT) -> None:
        super().__init__()
        self._largest = largest
        self._line = bytearray()

    def _read(self, data: bytes, events: list[sse.Event], *, final: bool) -> None:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        self._line += rest
        for line in lines:
            _add_line(events, line)
        if len(self._line) > self._largest:
            raise ResponseTooLarge(f"one line of the stream is larger than {self._largest} bytes")
        if final:
            _add_line(events, bytes(self._line), unfinished=True)


class Text(_Pieces):
    """Read a body of plain text."""

    def __init__(self, content_type: ContentType) -> None:
        super().__init__()
        self._content_type = content_type
        self._decoder = getincrementaldecoder(content_type.encoding)()

    def _read(self, data: bytes, events: list[sse.Event], *, final: bool) -> None:
        failed: InvalidResponse | None = None
        try:
            text = self._decoder.decode(data, final)
        except UnicodeError as error:
            failed = self._content_type.unreadable(error)
            text = self._before(error)
        if text:
            events.append(sse.Event(TEXT, text))
        if failed is not None:
            raise failed

    def _before(self, error: UnicodeError) -> str:
        """Give what could be read."""
        if not isinstance(error, UnicodeDecodeError):
            return ""
        return error.object[: error.start].decode(self._content_type.encoding, "ignore")


_Reader: TypeAlias = sse.Decoder | Lines | Text


class Sniffed(_Pieces):
    """Find out by its first bytes what a body is that does not say so, or says what many do.

    A line of JSON is held until something follows: one alone is a whole answer.
    """

    def __init__(
        self, content_type: ContentType, knows: Callable[[JSON], bool], largest: int = sse.LARGEST_EVENT
    ) -> None:
        super().__init__()
        self._content_type = content_type
        self._knows = knows
        self._largest = largest
        self._events = _EVENTS if content_type.is_plain else (*_EVENTS, *_OTHER_EVENTS)
        self._held = bytearray()
        self._start = -1
        """Where the first letter stands, behind blanks."""
        self._line_end = -1
        self._reader: _Reader | None = None

    def check(self) -> None:
        super().check()
        if self._reader is not None:
            self._reader.check()

    def _read(self, data: bytes, events: list[sse.Event], *, final: bool) -> None:
        if self._reader is None:
            self._held += data
            if len(self._held) > self._largest:
                raise ResponseTooLarge(f"one line of the stream is larger than {self._largest} bytes")
            self._reader = self._chosen(final=final) if final or self._enough(data) else None
            if self._reader is None:
                return
            data = bytes(self._held)
            self._held.clear()
        events += self._reader.feed(data)
        if final:
            events += self._reader.finish()

    def _enough(self, data: bytes) -> bool:
        """Tell whether there is something to choose by; only new bytes are looked at, for there may be very many."""
        if self._start < 0:
            letters = bytes(self._held).removeprefix(_BOM).lstrip() if data.strip() else b""
            if not letters or _BOM.startswith(letters):
                return False
            self._start = len(self._held) - len(letters)
        if chr(self._held[self._start]) not in "{[":
            return True
        known = len(self._held) - len(data)
        if self._line_end < 0:
            self._line_end = self._held.find(b"\n", max(self._start, known))
        return self._line_end >= 0 and bool(self._held[max(self._line_end, known) :].strip())

    def _chosen(self, *, final: bool) -> _Reader | None:
        """Choose the reader; None where more must come to know."""
        begins = bytes(self._held).removeprefix(_BOM).lstrip()
        if begins.startswith(self._events):
            return sse.Decoder()
        if not final and any(field.startswith(begins) for field in self._events):
            return None
        if begins.startswith((b"{", b"[")):
            return self._json_reader(begins, final=final)
        if self._content_type.is_plain:
            return Text(self._content_type)
        if begins.startswith(MUST_BE_JSON) or not self._content_type.is_unsaid:
            return sse.Decoder()
        return Text(self._content_type)

    def _json_reader(self, begins: bytes, *, final: bool) -> _Reader:
        try:
            found = bodies.loads(begins if final else begins.partition(b"\n")[0])
        except InvalidResponse:
            # JSON over several lines, or cut; or words that begin with a bracket.
            return Text(self._content_type) if self._content_type.is_plain else sse.Decoder()
        if self._content_type.is_plain and not self._knows(found):
            return Text(self._content_type)
        return sse.Decoder() if final else Lines()


def _add_line(events: list[sse.Event], line: bytes, *, unfinished: bool = False) -> None:
    try:
        text = line.removeprefix(_BOM).decode("utf-8").strip()
    except UnicodeDecodeError as error:
        if unfinished:
            return
        raise InvalidResponse(f"a line of the stream is not UTF-8: {error.reason} at byte {error.start}") from None
    if text:
        events.append(sse.Event(None, text, unfinished))


# From events to OpenAI's.


class Pieces:
    """Tell what one stream says in OpenAI's shape."""

    def __init__(
        self,
        piece: Place,
        error: Place,
        whole: Callable[[JSON], dict[str, Any] | None],
        counts: Callable[[JSON], dict[str, int] | None],
    ) -> None:
        self._piece = piece
        self._error = error
        self._whole = whole
        self._counts = counts
        self._open = False
        """Whether the stream has an end of its own, which has not come."""
        self._words: bool | None = None
        """Whether the events are words as they are, and no JSON; None until one has come."""
        self.last: JSON = None
        """The piece that was told last, as it came."""

    async def translated(self, events: AsyncIterator[sse.Event]) -> AsyncGenerator[sse.Event, None]:
        own_end = said = False
        async for event in events:
            told = self._told(event)
            own_end = own_end or (told is event and event.event != "error")
            if told is not None:
                said = True
                yield told
        if self.last is not None and not said:
            raise InvalidResponse('no text is where services put it; "piece_path" says where it stands in the pieces')
        if not (own_end or self._open):
            # Nothing but the end of the body says so here.
            yield _END

    def _told(self, event: sse.Event) -> sse.Event | None:
        """Tell one event; the same object where it is OpenAI's already, None where it says nothing."""
        if event.event == TEXT:
            return self._of_words(event.data)
        if event.event == "error" or "[DONE]" in event.data[:8]:
            return event
        if self._words:
            self._open = event.unfinished
            return self._of_words(event.data)
        try:
            value = from_json(event.data)
        except ValueError as error:
            return self._of_no_json(event, error)
        if self._words is None and isinstance(value, (int, float)):
            self._words = True
            return self._of_words(event.data)
        self._words = False
        if value is None:
            return None
        self.last = value
        if self._error and (said := at(value, self._error)):
            return sse.Event("error", json.dumps(_said_at(self._error, said, value)))
        if event.bare:
            return self._of_whole(value, event)
        if isinstance(value, str):
            return self._event({"delta": {"content": value}})
        if isinstance(value, dict) and failures.says_error(value):
            return event
        return self._of_piece(value, event)

    def _of_no_json(self, event: sse.Event, error: ValueError) -> sse.Event | None:
        if event.bare:
            bodies.loads(event.data.encode("utf-8", "surrogatepass"))  # says what it is instead
        if event.unfinished:
            self._open = True
            return None
        if self._words is None and not event.data.lstrip().startswith(("{", "[")):
            self._words = True
            return self._of_words(event.data)
        raise StreamFailed(f"a piece of the stream is not JSON: {error}", body=event.data) from None

    def _of_words(self, text: str) -> sse.Event | None:
        self.last = text
        return self._event({"delta": {"content": text}}) if text else None

    def _of_whole(self, value: JSON, event: sse.Event) -> sse.Event:
        """Tell an answer that came in one piece after all."""
        if isinstance(value, dict) and value.get("error"):
            return event
        text = at(value, self._piece) if self._piece else None
        chat = answers.chat_of(text, value) if isinstance(text, str) else self._whole(value)
        return event if chat is None else sse.Event(None, json.dumps(chat), bare=True)

    def _of_piece(self, value: JSON, event: sse.Event) -> sse.Event | None:
        if self._piece:
            text = at(value, self._piece)
            return self._event({"delta": {"content": text}} if isinstance(text, str) else None, value)
        if isinstance(value, dict):
            if "choices" in value:
                return event
            if isinstance(value.get("token"), dict):
                return self._of_token(value)
            # Ollama's last piece says that it is done, llama.cpp's that it stops.
            for end in ("done", "stop"):
                if isinstance(value.get(end), bool):
                    return self._of_marked(value, last=value[end])
        chat = self._whole(value)
        return self._event(None, value) if chat is None else self._event_of(_deltas(chat), value)

    def _of_token(self, value: dict[str, Any]) -> sse.Event | None:
        """Tell a token of text-generation-inference, whose last comes with the whole text."""
        token, whole = value["token"], value.get("generated_text")
        self._open = whole is None
        text = "" if token.get("special") else str(token.get("text") or "")
        reason = None if self._open else at(value, ("details", "finish_reason")) or "stop"
        return self._event({"delta": {"content": text}, "finish_reason": reason}, value)

    def _of_marked(self, value: dict[str, Any], *, last: bool) -> sse.Event | None:
        """Tell a piece that says whether it is the last."""
        self._open = not last
        choices = _deltas(answers.chat_in(value) or {"choices": [{"index": 0, "message": {}}]})
        if last:
            choices = [{**choice, "finish_reason": choice.get("finish_reason") or "stop"} for choice in choices]
        return self._event_of(choices, value)

    def _event(self, choice: dict[str, Any] | None, value: JSON = None) -> sse.Event | None:
        return self._event_of([] if choice is None else [{"index": 0, **choice}], value)

    def _event_of(self, choices: list[dict[str, Any]], value: JSON) -> sse.Event | None:
        """Make an event of what a piece says and what it counts; None where it does neither."""
        known = {"model": value["model"]} if isinstance(value, dict) and isinstance(value.get("model"), str) else {}
        usage = None if value is None else self._counts(value)
        if not choices and usage is None:
            return None
        cost = {} if usage is None else {"usage": usage}
        return sse.Event(None, json.dumps({**known, "choices": choices, **cost}))


def _deltas(chat: dict[str, Any]) -> list[dict[str, Any]]:
    """Tell the choices of an answer as those of a piece."""
    return [_delta(choice) for choice in chat["choices"] if isinstance(choice, dict)]


def _delta(choice: dict[str, Any]) -> dict[str, Any]:
    told = {"delta" if name == "message" and "delta" not in choice else name: item for name, item in choice.items()}
    # DashScope's word for "not yet".
    return {**told, "finish_reason": None} if told.get("finish_reason") == "null" else told


def refusal_at(place: Place, said: JSON, raw: JSON) -> failures.Refusal:
    """Read the error that stands at a place; a number there has its words beside it, if anywhere."""
    return failures.read(_said_at(place, said, raw))


def _said_at(place: Place, said: JSON, raw: JSON) -> dict[str, Any]:
    if isinstance(said, dict):
        return said
    if isinstance(said, (str, list)):
        return {"error": said}
    if isinstance(raw, dict) and failures.read(raw).message:
        return raw
    return {"error": f"{written(place)} is {json.dumps(said)}"}
