"""What the bytes on one connection tell, whoever parses them."""

from __future__ import annotations

import re

MOST_INFORMATIONAL = 8

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_INFORMATIONAL = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d")


class TooManyInformational(Exception):
    """Say that a server sends one 1xx head after another, and no answer."""

    def __init__(self) -> None:
        super().__init__(f"more than {MOST_INFORMATIONAL} informational answers before the answer")


class Conversation:
    """Follow the exchanges of one connection."""

    __slots__ = ("_head", "_informational", "answered", "exchanges", "spent")

    def __init__(self) -> None:
        self.exchanges = 0
        self.answered = True
        """Whether any byte of the answer to the last request has come."""
        self.spent = False
        """Whether no further request may go over this connection."""
        self._head: bytes | None = None
        self._informational = 0

    @property
    def stale(self) -> bool:
        """Whether the connection served before, and nothing has come of the request that is under way."""
        return self.exchanges > 1 and not self.answered

    def asks(self) -> None:
        """Take note that a part of a request goes out."""
        if self.answered:
            self.exchanges += 1
            self.answered = False
            self._head = b""
            self._informational = 0

    def hears(self, data: bytes) -> None:
        """Take note of what came."""
        self.answered = True
        if self._head is not None:
            self._head = self._after_informational(self._head + data)

    def _after_informational(self, head: bytes) -> bytes | None:
        """Give what may still become an informational head; None when the answer has begun."""
        while _INFORMATIONAL.match(head):
            end = _END_OF_HEAD.search(head)
            if end is None:
                return head
            self._informational += 1
            if self._informational > MOST_INFORMATIONAL:
                raise TooManyInformational
            head = head[end.end() :]
        return head if len(head) < len("HTTP/1.1 100") else None
