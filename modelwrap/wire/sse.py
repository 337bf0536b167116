"""Event streams by the rules of WHATWG's HTML, section 9.2, in linear time and without IO.

Three things differ from a browser, because truncated answers must never look whole and servers do odd things:
bytes that are no UTF-8 are an error; what stands unfinished at the end is given with `unfinished` set, for the reader
to judge; and what is no event stream at all is given as one event with `bare` set. llama.cpp's `error:` field is an
event named `error`, and a JSON object in a line of its own, or spread over several as Gemini's errors are, is taken as
if `data:` stood before it.
"""

from __future__ import annotations

from codecs import utf_8_decode
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelwrap.errors import InvalidResponse, ResponseTooLarge

LARGEST_EVENT = 16 * 2**20

_BOM = b"\xef\xbb\xbf"

_FIELDS = (b"data:", b"event:", b"id:", b"retry:")

# No line of an event stream begins with these; JSON and HTML do.
_NO_EVENT_STREAM = (b"{", b"[", b"<", b'"')

# The first and the last line of JSON that is spread over several.
_OPENS = (b"{", b"[", b"[{")
_CLOSES = (b"}", b"]", b"}]")


class Event(NamedTuple):
    """Be one event: its name, if it has one, and its data."""

    event: str | None
    data: str
    unfinished: bool = False
    """Whether the stream ended before the blank line that ends an event."""
    bare: bool = False
    """Whether this is a whole body that is no event stream."""


@dataclass(slots=True)
class End:
    """Be told how a stream ended."""

    marked: bool = False
    """Whether the wire's own end mark came."""
    reply_id: str = ""
    """The name under which the provider knows an answer that it is still making."""
    paused: Any = None
    """The message so far, in the provider's own shape, where it paused and waits to be asked to go on."""
    unsaid: Any = None
    """The chunk that was held back for the end of a paused answer, to be given where the rest does not come."""


class Decoder:
    r"""Turn the bytes of a stream into events, however they are cut.

    >>> decoder = Decoder()
    >>> decoder.feed(b"data: Hel")
    []
    >>> [event.data for event in decoder.feed(b"lo\n\n")]
    ['Hello']
    """

    def __init__(self, largest_event: int = LARGEST_EVENT) -> None:
        self._largest = largest_event
        self._line = bytearray()
        self._name: str | None = None
        self._data: bytes | bytearray | None = None
        self._is_spread = False
        """Whether the data is JSON that goes on with the next lines."""
        self._unknown = bytearray()
        self._any = False
        self._bare = False
        self._past_mark = False
        self._began = False
        self._after_return = False
        self._failed: InvalidResponse | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Give the events that are complete now; what is wrong behind them is raised by `check`, and by the next."""
        self.check()
        events: list[Event] = []
        try:
            self._feed(data, events)
        except InvalidResponse as error:
            if not events:
                raise
            self._failed = error
        return events

    def check(self) -> None:
        """Raise what is wrong with the bytes behind the last event."""
        if self._failed is not None:
            raise self._failed

    def _feed(self, data: bytes, events: list[Event]) -> None:
        if not self._began:
            data = self._begin(data)
        if self._bare:
            self._keep(data)
            return
        lines = self._newlines_only(data).split(b"\n")
        if len(lines) == 1:
            self._keep(lines[0])
            return
        if self._line:
            self._keep(lines[0])
            lines[0] = bytes(self._line)
        self._line = bytearray(lines.pop())
        for line in lines:
            if line:
                self._field(line, events)
            else:
                self._dispatch(events)
        self._check(len(self._line))

    def finish(self) -> list[Event]:
        """Give what is left when the stream has ended."""
        self.check()
        events: list[Event] = []
        if self._bare:
            return [Event(None, decoded(self._line, cut=True), bare=True)]
        if self._line and not any(field.startswith(self._line) for field in _FIELDS):
            self._field(bytes(self._line), events)
        self._line.clear()
        self._dispatch(events, unfinished=True)
        if not self._any and self._unknown:
            events.append(Event(None, decoded(self._unknown[:-1], cut=True), bare=True))
        return events

    def _begin(self, data: bytes) -> bytes:
        """Drop a byte order mark and blank lines, and see whether what follows is an event stream."""
        held = bytes(self._line) + data
        self._line.clear()
        if not self._past_mark:
            if len(held) < len(_BOM) and _BOM.startswith(held):
                self._line += held
                return b""
            held = held.removeprefix(_BOM)
            self._past_mark = True
        start = held.lstrip()
        held = _last_blank(held[: len(held) - len(start)]) + start
        if not start:
            self._keep(held)
            return b""
        self._began = True
        self._bare = start.startswith(_NO_EVENT_STREAM)
        return held

    def _newlines_only(self, data: bytes) -> bytes:
        """Write every end of line as LF; the LF of a CRLF may come with the next bytes."""
        if not data:
            return data
        follows_return, self._after_return = self._after_return, data.endswith(b"\r")
        if follows_return and data.startswith(b"\n"):
            data = data[1:]
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _field(self, line: bytes, events: list[Event]) -> None:
        if line.startswith(b"data:"):
            self._add(line[6:] if line.startswith(b"data: ") else line[5:])
            return
        if line.startswith(b":"):
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add(value)
        elif name == b"event":
            self._name = decoded(value, cut=True) or None
        elif name == b"error":
            self._name = "error"
            self._add(value)
        elif name not in (b"id", b"retry"):
            self._other(line, events)

    def _add(self, value: bytes) -> None:
        if self._data is None:
            self._data = value
        else:
            # Of one piece: as a list, lines of a few bytes would take ten times their size.
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += b"\n"
            self._data += value
        self._check(len(self._data))

    def _other(self, line: bytes, events: list[Event]) -> None:
        if self._is_spread or (line in _OPENS and self._data is None):
            self._add(line)
            self._is_spread = True
            if line in _CLOSES:
                self._dispatch(events)
        elif line.startswith(b"{") and self._data is None:
            self._add(line)
            self._dispatch(events)
        elif not self._any and len(self._unknown) < 2048:
            self._unknown += line + b"\n"

    def _dispatch(self, events: list[Event], *, unfinished: bool = False) -> None:
        if self._data is not None:
            events.append(Event(self._name, decoded(self._data, cut=unfinished), unfinished))
            self._any = True
            self._data = None
        self._name = None
        self._is_spread = False

    def _keep(self, data: bytes) -> None:
        self._line += data
        self._check(len(self._line))

    def _check(self, size: int) -> None:
        if size > self._largest:
            raise ResponseTooLarge(f"one event of the stream is larger than {self._largest} bytes")


def begins_events(body: bytes) -> bool:
    """Tell whether a body that should be something else is an event stream."""
    return body[:64].lstrip().startswith((*_FIELDS, b":"))


def _last_blank(blanks: bytes) -> bytes:
    """Keep of what precedes the first word of a stream only that its line begins with a blank.

    Endless blanks would else be held, and copied with every piece.
    """
    line = blanks[max(blanks.rfind(b"\n"), blanks.rfind(b"\r")) + 1 :]
    return line[:1]


def decoded(data: bytes | bytearray, *, cut: bool = False) -> str:
    """Decode UTF-8; at the end of a stream that was cut, half a character is no mistake."""
    try:
        return utf_8_decode(data, "strict", not cut)[0]
    except UnicodeDecodeError as error:
        raise InvalidResponse(
            f"an event of the stream is not UTF-8: {error.reason} at byte {error.start}",
            body=data.decode("utf-8", "replace"),
        ) from None
