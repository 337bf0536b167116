"""What the bytes on one connection tell, whoever parses them."""

from __future__ import annotations

import re

MOST_INFORMATIONAL = 8
MOST_HEADERS = 200
LARGEST_HEAD = 100 * 1024

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

    @property
    def in_head(self) -> bool:
        """Whether the head of the answer that is under way has not come to its end."""
        return self._head is not None

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
            self._head = self._unfinished(self._head, data)

    def _unfinished(self, head: bytes, data: bytes) -> bytes | None:
        """Give the part of a head that has come; None when the head of the answer itself has ended."""
        begin = max(0, len(head) - 3)
        head += data
        while end := _END_OF_HEAD.search(head, begin):
            if not _INFORMATIONAL.match(head):
                return None
            self._informational += 1
            if self._informational > MOST_INFORMATIONAL:
                raise TooManyInformational
            head, begin = head[end.end() :], 0
        # Beyond this every client has given up.
        return head if len(head) < LARGEST_HEAD else None
