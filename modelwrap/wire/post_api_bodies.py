"""Bodies of streams, whatever they call themselves, cut into events: an event stream, JSON a line, or plain text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from codecs import getincrementaldecoder
from collections.abc import Callable, Mapping
from typing import TypeAlias

from modelwrap.errors import InvalidResponse, ResponseTooLarge
from modelwrap.types import JSON
from modelwrap.wire import body, sse
from modelwrap.wire.content_type import ContentType, content_type_of

TEXT = "text"
"""The name of an event that is a piece of plain text."""

MUST_BE_JSON = (b"{", b"[", b'"', b"<", b"\xef\xbb\xbf")
"""How bodies begin that are no text unless they say so; a web page among them is told by who reads it as JSON."""

_BOM = b"\xef\xbb\xbf"
_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
_EVENTS = (b"data:", b"event:")
_OTHER_EVENTS = (b"id:", b"retry:", b":")


def decoder_for(headers: Mapping[str, str], knows: Callable[[JSON], bool]) -> sse.Decoder | Lines | Sniffed:
    """Choose how a body is read by what it says of itself; `knows` tells JSON that a service would answer."""
    content_type = content_type_of(headers)
    if content_type.name in _LINES:
        return Lines()
    return sse.Decoder() if content_type.name == "text/event-stream" else Sniffed(content_type, knows)


def stream_in(body: bytes, headers: Mapping[str, str]) -> sse.Decoder | Lines | None:
    """Choose how a body is read that is a stream though nobody asked for one; None where it is a whole answer."""
    content_type = content_type_of(headers)
    if content_type.name in _LINES and b"\n" in body.strip():
        return Lines()
    return sse.Decoder() if sse.begins_events(body) and not content_type.is_plain else None


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
            found = body.loads(begins if final else begins.partition(b"\n")[0])
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
