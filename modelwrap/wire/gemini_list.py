"""The list of JSON objects as which an answer of Gemini's streams where nobody asked for events."""

from __future__ import annotations

import re

from modelwrap.errors import ResponseTooLarge
from modelwrap.wire import sse

_BEFORE = b"\xef\xbb\xbf \t\r\n"
_OUTSIDE = re.compile(rb'["{}]')
_IN_TEXT = re.compile(rb'"|\\(?:.|\Z)', re.DOTALL)


class Decoder:
    r"""Give each object of a list as an event as soon as it is whole; a body that is no list is read for events.

    >>> decoder = Decoder()
    >>> decoder.feed(b'[{"text": "}"},\n{"te')
    [Event(event=None, data='{"text": "}"}', unfinished=False, bare=False)]
    """

    def __init__(self, largest_event: int = sse.LARGEST_EVENT) -> None:
        self._largest = largest_event
        self._events = sse.Decoder(largest_event)
        self._is_list: bool | None = None
        self._held = bytearray()
        self._place = 0
        """How far the bytes that are held were looked through."""
        self._depth = 0
        self._in_text = False

    def feed(self, data: bytes) -> list[sse.Event]:
        if self._is_list is None and (begins := data.lstrip(_BEFORE)):
            self._is_list = begins.startswith(b"[")
        if not self._is_list:
            return self._events.feed(data)
        self._held += data
        events = self._objects()
        if len(self._held) > self._largest:
            raise ResponseTooLarge(f"one piece of the stream is larger than {self._largest} bytes")
        return events

    def check(self) -> None:
        self._events.check()

    def finish(self) -> list[sse.Event]:
        if not self._is_list:
            return self._events.finish()
        return [sse.Event(None, sse.decoded(self._held, cut=True), unfinished=True)] if self._depth else []

    def _objects(self) -> list[sse.Event]:
        objects: list[sse.Event] = []
        start = 0
        while found := (_IN_TEXT if self._in_text else _OUTSIDE).search(self._held, self._place):
            mark = found[0]
            if mark == b"\\":
                # What it stands before comes with the next bytes.
                self._place = found.start()
                break
            self._place = found.end()
            if mark == b'"':
                self._in_text = not self._in_text
            elif mark == b"{":
                start = start if self._depth else found.start()
                self._depth += 1
            elif mark == b"}" and self._depth:
                self._depth -= 1
                if self._depth == 0:
                    objects.append(sse.Event(None, sse.decoded(self._held[start : self._place])))
        else:
            self._place = len(self._held)
        done = start if self._depth else self._place
        del self._held[:done]
        self._place -= done
        return objects


def objects_in(event: sse.Event) -> list[sse.Event]:
    """Give the objects of a list that came as one body, each as an event; any other event as it is."""
    if not event.data.lstrip("\ufeff \t\r\n").startswith("["):
        return [event]
    decoder = Decoder()
    return [*decoder.feed(event.data.encode("utf-8", "surrogatepass")), *decoder.finish()]
