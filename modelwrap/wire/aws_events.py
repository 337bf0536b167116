"""Amazon's binary event streams (`application/vnd.amazon.eventstream`), as the server-sent events that they carry.

The frames: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
"""

from __future__ import annotations

import base64
import json
from typing import Any
from zlib import crc32

from modelwrap.errors import InvalidResponse, ResponseTooLarge
from modelwrap.wire.sse import LARGEST_EVENT

CONTENT_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = 12
_CHECKSUM = 4

# How long the values of headers are, by their types; two of them say it themselves.
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED_TYPES = (6, 7)

# What Amazon calls what Anthropic calls otherwise, and the status that would have said it before the stream.
_ERRORS = {
    "throttlingException": ("rate_limit_error", 429),
    "serviceUnavailableException": ("overloaded_error", 503),
    "modelTimeoutException": ("timeout_error", 408),
    "validationException": ("invalid_request_error", 400),
    "accessDeniedException": ("permission_error", 403),
    "resourceNotFoundException": ("not_found_error", 404),
}


class Decoder:
    """Turn the bytes of a stream into text of server-sent events, however they are cut."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> bytes:
        self._held += data
        events = []
        while (size := self._size()) and len(self._held) >= size:
            frame = bytes(self._held[:size])
            del self._held[:size]
            events.append(_event(frame))
        return b"".join(events)

    def _size(self) -> int:
        """Give the size of the frame that begins here; 0 where not enough of it has come."""
        if len(self._held) < _PRELUDE:
            return 0
        prelude = bytes(self._held[:_PRELUDE])
        if crc32(prelude[:8]) != _number(prelude[8:]):
            raise InvalidResponse("a frame of the event stream is damaged")
        size = _number(prelude[:4])
        if size > LARGEST_EVENT:
            raise ResponseTooLarge(f"an event of the stream is larger than {LARGEST_EVENT // 2**20} MiB")
        if size < _PRELUDE + _CHECKSUM + _number(prelude[4:8]):
            raise InvalidResponse("a frame of the event stream is shorter than its headers")
        return size


def _event(frame: bytes) -> bytes:
    if crc32(frame[:-_CHECKSUM]) != _number(frame[-_CHECKSUM:]):
        raise InvalidResponse("a frame of the event stream is damaged")
    start = _PRELUDE + _number(frame[4:8])
    headers, payload = _headers(frame[_PRELUDE:start]), frame[start:-_CHECKSUM]
    if headers.get(":message-type") in ("exception", "error"):
        return _server_sent("error", json.dumps(_error(headers, payload)))
    if headers.get(":event-type") != "chunk":
        return b""
    text = _chunk(payload)
    return _server_sent(_name(text), text)


def _headers(data: bytes) -> dict[str, str]:
    """Read the headers that are texts; the others say nothing that is asked here."""
    headers = {}
    try:
        while data:
            end = 1 + data[0]
            name, kind, data = data[1:end].decode(), data[end], data[end + 1 :]
            size = _number(data[:2]) + 2 if kind in _SIZED_TYPES else _SIZES[kind]
            if kind == 7:
                headers[name] = data[2:size].decode()
            data = data[size:]
    except (IndexError, KeyError, UnicodeDecodeError):
        raise InvalidResponse("a frame of the event stream has headers that cannot be read") from None
    return headers


def _chunk(payload: bytes) -> str:
    try:
        return base64.b64decode(json.loads(payload)["bytes"], validate=True).decode()
    except (ValueError, KeyError, TypeError):
        raise InvalidResponse("a chunk of the event stream holds no bytes in base64") from None


def _name(text: str) -> str:
    try:
        return str(json.loads(text)["type"])
    except (ValueError, KeyError, TypeError):
        return "message"


def _error(headers: dict[str, str], payload: bytes) -> dict[str, Any]:
    code = headers.get(":exception-type") or headers.get(":error-code") or "error"
    try:
        message = json.loads(payload)["message"]
    except (ValueError, KeyError, TypeError):
        message = headers.get(":error-message") or payload.decode(errors="replace")
    kind, status = _ERRORS.get(code, ("api_error", 500))
    return {"type": "error", "error": {"type": kind, "status": status, "message": f"{code}: {message}"}}


def _server_sent(name: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines())
    return f"event: {name}\n{lines}\n".encode()


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
