"""Answers as they come, with a bound to everything that a server decides the size of."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping

from modelwrap.errors import CallError, InvalidResponse, ResponseTooLarge, clip
from modelwrap.runtime.base import Limit
from modelwrap.runtime.content import decoder_for
from modelwrap.runtime.conversation import LARGEST_HEAD, MOST_HEADERS
from modelwrap.wire.body import text_of
from modelwrap.wire.http import HttpRequest

LARGEST_BODY = 64 * 2**20
LONGEST_STREAM = 2**30

# More than any error carries of a body.
_SHOWN = 8192


class Response:
    """Read an answer; a backend writes how the next bytes come and how the connection is given back."""

    def __init__(self, status: int, headers: Mapping[str, str], request: HttpRequest, limit: Limit) -> None:
        self.status = status
        self.headers = headers
        self.read_limit = limit
        self._largest = request.largest_body
        self._size = 0
        self._decoder = decoder_for(headers["content-encoding"]) if "content-encoding" in headers else None
        if not request.stream:
            limit.change(request.timeouts.idle, "idle")

    async def read(self) -> bytes:
        largest = LARGEST_BODY if self._largest is None else self._largest
        parts: list[bytes] = []
        try:
            if self._announced() > largest:
                raise _too_large(largest)
            while (data := await self._next()) is not None:
                parts += self._plain(data, largest)
            self._finish()
        except CallError as error:
            error.body = error.body or _beginning(parts)
            raise
        finally:
            await self.aclose()
        return b"".join(parts)

    async def stream(self) -> AsyncGenerator[bytes, None]:
        longest = LONGEST_STREAM if self._largest is None else self._largest
        try:
            while (data := await self._next()) is not None:
                for part in self._plain(data, longest):
                    yield part
            self._finish()
        finally:
            await self.aclose()

    async def _next(self) -> bytes | None:
        """Give what came next, None at the end; raise what went wrong as an error of ours."""
        raise AssertionError("a backend writes this")

    async def aclose(self) -> None:
        """Give the connection back, or close it where the answer has not come to its end."""
        raise AssertionError("a backend writes this")

    def _plain(self, data: bytes, largest: int) -> Iterable[bytes]:
        for part in (data,) if self._decoder is None else self._decoder.feed(data):
            self._size += len(part)
            if self._size > largest:
                raise _too_large(largest)
            yield part

    def _finish(self) -> None:
        if self._decoder is not None:
            self._decoder.finish()

    def _announced(self) -> int:
        length = self.headers.get("content-length", "")
        return int(length[:20]) if length.isascii() and length.isdigit() else 0


def joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Make headers a plain dict with names in lower case; those that come twice become a list with commas."""
    headers: dict[str, str] = {}
    count = size = 0
    for raw_name, raw_value in raw:
        count += 1
        size += len(raw_name) + len(raw_value)
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if count > MOST_HEADERS or size > LARGEST_HEAD:
        raise InvalidResponse(
            f"the answer has more than {MOST_HEADERS} headers or {LARGEST_HEAD // 1024} KiB of them", retryable=True
        )
    return headers


def _beginning(parts: Iterable[bytes]) -> str | None:
    """Show what had come of a body that breaks off, as far as an error carries it."""
    shown = b""
    for part in parts:
        shown += part[:_SHOWN]
        if len(shown) >= _SHOWN:
            break
    return clip(text_of(shown)) or None


def is_ambiguous(headers: Mapping[str, str]) -> bool:
    """Tell whether two readers may disagree about where an answer with these headers ends."""
    return "transfer-encoding" in headers and "content-length" in headers


def _too_large(largest: int) -> ResponseTooLarge:
    shown = f"{largest // 2**20} MiB" if largest >= 2**20 else f"{largest} bytes"
    return ResponseTooLarge(f"the answer is larger than {shown}")
